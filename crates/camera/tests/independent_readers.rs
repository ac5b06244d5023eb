//! Programs that are not ours read what the camera writes: Python's `tifffile` the DNG, `exiftool` both
//! files. Where a program is not installed the test says so and checks nothing; `./test` installs both.

use std::path::{Path, PathBuf};
use std::process::Command;

use birthmark_camera::durable_file::{IfTaken, write_durably};
use birthmark_camera::exif::{CaptureDetails, CaptureTime, TimeSource};
use birthmark_camera::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477};
use birthmark_camera::{FrameSize, Sensor as _, dng, jpeg};
use birthmark_core::ImageHash;
use birthmark_core::time::UnixSeconds;

/// One exposure's files, and its raw hash.
struct Capture {
    folder: tempfile::TempDir,
    raw_hash: ImageHash,
}

#[cfg(test)]
impl Capture {
    fn take() -> Self {
        let size = FrameSize::new(642, 480).unwrap();
        let seed = DeviceSeed::from_label("independent readers");
        let config = SimulatedConfig { seed, size, scene: Scene::Procedural, first_frame: 12 };
        let exposure = SimulatedImx477::new(config).unwrap().expose().unwrap();
        let time = CaptureTime { at: UnixSeconds(1_733_259_600), source: TimeSource::Ntp };
        let details = CaptureDetails { metadata: &exposure.metadata, time };
        let header = dng::header(&exposure.raw, &details).unwrap();
        let jpeg = jpeg::encode(&exposure.raw, &details.to_exif(size).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_durably(&folder.path().join("a.dng"), IfTaken::Refuse, |file| {
            file.write_all(&header)?;
            file.write_all(exposure.raw.canonical_bytes())
        })
        .unwrap();
        write_durably(&folder.path().join("a.jpg"), IfTaken::Refuse, |file| file.write_all(&jpeg)).unwrap();
        Self { folder, raw_hash: exposure.raw.hash() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Standard output of a program that succeeds; nothing, and a line that says why, where it is missing.
#[cfg(test)]
fn output_of(program: &str, probe: &[&str], arguments: &[&str], file: &Path) -> Option<String> {
    let there = Command::new(program).args(probe).output().is_ok_and(|output| output.status.success());
    if !there {
        println!("skipped: `{program} {}` does not work here", probe.join(" "));
        return None;
    }
    let output = Command::new(program).args(arguments).arg(file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Hashes the strip twice: as bytes of the file, and as the array that `tifffile` makes of it.
#[cfg(test)]
const STRIP_HASHES: &str = r"
import hashlib, sys, tifffile
with tifffile.TiffFile(sys.argv[1]) as tiff:
    page = tiff.pages[0]
    assert page.photometric == 32803 and page.compression == 1 and page.dtype == 'uint16', page
    assert page.tags['BlackLevel'].value[:2] == (2563000, 10000), page.tags['BlackLevel'].value
    assert page.tags['WhiteLevel'].value == 4095
    (offset,), (count,) = page.dataoffsets, page.databytecounts
    strip = open(sys.argv[1], 'rb').read()[offset:offset + count]
    print(*page.shape, hashlib.sha256(strip).hexdigest(), hashlib.sha256(page.asarray().astype('<u2').tobytes()).hexdigest())
";

#[test]
fn tifffile_computes_the_raw_hash_from_the_dng() {
    let capture = Capture::take();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = ["-c", "import tifffile"];
    let Some(output) = output_of(&python, &probe, &["-c", STRIP_HASHES], &capture.path("a.dng")) else { return };
    let hash = capture.raw_hash;
    assert_eq!(output.trim(), format!("480 642 {hash} {hash}"));
}

#[test]
fn exiftool_finds_nothing_wrong_and_reads_that_the_capture_is_simulated() {
    let capture = Capture::take();
    for (name, size) in [("a.jpg", "642 480"), ("a.dng", "642 480")] {
        let tags = [
            "-Validate",
            "-ImageWidth",
            "-ImageHeight",
            "-Make",
            "-Model",
            "-DateTimeOriginal",
            "-OffsetTimeOriginal",
            "-ExposureTime",
            "-ISO",
            "-UserComment",
            "-s3",
            "-n",
        ];
        let Some(output) = output_of("exiftool", &["-ver"], &tags, &capture.path(name)) else { return };
        let expected = [
            "0 0 0",
            &size.replace(' ', "\n"),
            "Birthmark",
            "Birthmark simulated IMX477",
            "2024:12:03 21:00:00",
            "+00:00",
            "0.01",
            "100",
            "sensor=simulated; frame=12; time_source=ntp",
        ];
        assert_eq!(output.trim(), expected.join("\n"), "{name}");
    }
}
