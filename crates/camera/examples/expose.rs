//! Takes exposures with the simulated sensor and writes each as DNG and JPEG, without any network.
//!
//! For: looking at what the imaging half of the camera does to a photograph, and at what it costs.
//!
//! ```text
//! cargo run --release -p birthmark-camera --example expose -- PHOTO OUTDIR [COUNT [WIDTHxHEIGHT]]
//! ```
//! `-` as PHOTO stands for the painted landscape.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use birthmark_camera::durable_file::{IfTaken, write_durably};
use birthmark_camera::exif::{CaptureDetails, CaptureTime, TimeSource};
use birthmark_camera::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477};
use birthmark_camera::{FrameSize, Sensor as _, dng, jpeg};
use birthmark_core::ImageHash;
use birthmark_core::time::UnixSeconds;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [photo, folder, rest @ ..] = arguments.as_slice() else {
        return Err("usage: expose PHOTO|- OUTDIR [COUNT [WIDTHxHEIGHT]]".into());
    };
    let count: u32 = rest.first().map_or(Ok(3), |count| count.parse())?;
    let size = rest.get(1).map_or(Ok(FrameSize::IMX477), |size| size.parse())?;
    let scene = if photo == "-" { Scene::Procedural } else { Scene::Photograph(PathBuf::from(photo)) };
    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;

    let seed = DeviceSeed::from_label("example");
    let (sensor, spent) = timed(|| SimulatedImx477::new(SimulatedConfig { seed, size, scene, first_frame: 0 }));
    let mut sensor = sensor?;
    say(&format!("scene {spent:.1?}, NUC hash {}", sensor.nuc_hash()));
    for number in 0..count {
        let (exposure, exposed) = timed(|| sensor.expose());
        let exposure = exposure?;
        let (raw_hash, raw_hashed) = timed(|| exposure.raw.hash());
        let time = CaptureTime { at: UnixSeconds(1_733_259_600 + u64::from(number)), source: TimeSource::Unsynced };
        let details = CaptureDetails { metadata: &exposure.metadata, time };
        let exif = details.to_exif(size)?;
        let (jpeg, encoded) = timed(|| jpeg::encode(&exposure.raw, &exif));
        let jpeg = jpeg?;
        let (processed_hash, jpeg_hashed) = timed(|| ImageHash::of(&jpeg));
        let path = |end: &str| folder.join(format!("{number:06}.{end}"));
        let header = dng::header(&exposure.raw, &details)?;
        let (written, stored) = timed(|| {
            write_durably(&path("dng"), IfTaken::Replace, |file| {
                file.write_all(&header)?;
                file.write_all(exposure.raw.canonical_bytes())
            })?;
            write_durably(&path("jpg"), IfTaken::Replace, |file| file.write_all(&jpeg))
        });
        written?;
        say(&format!(
            "{number}: exposed {exposed:.1?}, raw hashed {raw_hashed:.1?}, developed and encoded {encoded:.1?}, \
             JPEG of {} bytes hashed {jpeg_hashed:.1?}, stored {stored:.1?}\n   raw {raw_hash}\n   JPEG {processed_hash}",
            jpeg.len()
        ));
    }
    say(&format!("most memory held: {}", peak_memory()?));
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "a stopwatch for a person, in no code that ships")]
    let start = Instant::now();
    (work(), start.elapsed())
}

#[expect(clippy::print_stdout, reason = "a command-line program")]
fn say(line: &str) {
    println!("{line}");
}

/// Linux's high-water mark of resident memory.
fn peak_memory() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned()))
}
