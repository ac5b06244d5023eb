//! The command line of `rpicam-still`.
//!
//! For: arguments that make raw and JPEG of one request, unaltered and without a preview.
//! Not for: running it (`process`).
//!
//! The program's own parser takes a word after a switch for the switch's value, so every switch is
//! followed by another option.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{ExposureControl, RpicamConfig, RpicamError};

/// The program and its arguments, under `setpriv` where that is installed.
#[derive(Debug)]
pub(super) struct CommandLine {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl CommandLine {
    /// Finds the programs.
    pub(super) fn new(config: &RpicamConfig) -> Result<Self, RpicamError> {
        let program = find(&config.program).ok_or_else(|| RpicamError::NotInstalled(config.program.clone()))?;
        let arguments = arguments(config);
        // A camera program whose parent was killed would hold the camera for ever: it takes no notice of
        // the end of its standard input. `setpriv` asks the system to end it with us.
        let Some(setpriv) = find(Path::new("setpriv")) else {
            tracing::warn!("setpriv is not installed: if this program is killed, the camera program stays");
            return Ok(Self { program, arguments });
        };
        let with = ["--pdeathsig", "KILL", "--"].map(OsString::from).into_iter();
        Ok(Self { program: setpriv, arguments: with.chain([program.into()]).chain(arguments).collect() })
    }
}

/// File names are relative to the folder in which the program runs.
fn arguments(config: &RpicamConfig) -> Vec<OsString> {
    let (width, height) = config.size.sides();
    let mut arguments: Vec<OsString> = ["-t", "0", "--keypress", "--zsl", "-n", "--raw"].map(OsString::from).to_vec();
    // `U`: a Pi 5 would otherwise compress its raw samples with losses.
    let mode = format!("{width}:{height}:{BITS}:U");
    let (width, height, quality) = (width.to_string(), height.to_string(), QUALITY.to_string());
    for (name, value) in [
        ("--mode", mode.as_str()),
        ("--width", &width),
        ("--height", &height),
        ("--denoise", "cdn_off"),
        ("--thumb", "none"),
        ("-q", &quality),
        ("-o", JPEG_PATTERN),
        ("--metadata", METADATA),
    ] {
        arguments.extend([name.into(), value.into()]);
    }
    if let ExposureControl::Fixed { time, gain } = config.exposure {
        for (name, value) in [
            ("--shutter", format!("{}us", time.as_micros())),
            ("--gain", format!("{gain}")),
            ("--awbgains", "1.0,1.0".to_owned()),
        ] {
            arguments.extend([name.into(), value.into()]);
        }
    }
    arguments
}

/// The names of a shot's files, JPEG and DNG.
pub(super) fn shot_names(number: u32) -> [String; 2] {
    ["jpg", "dng"].map(|end| format!("{number:06}.{end}"))
}

/// An executable file by its path, or by its name in one of the folders of `PATH`.
fn find(program: &Path) -> Option<PathBuf> {
    let executable = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.components().count() > 1 {
        return Some(program.to_owned()).filter(executable);
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(executable)
}

/// Where the program writes what it knows about the last shot.
pub(super) const METADATA: &str = "shot.json";
const JPEG_PATTERN: &str = "%06d.jpg";
const BITS: u8 = 12;
const QUALITY: u8 = 95;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::raw_frame::FrameSize;

    #[test]
    fn both_files_come_from_one_unaltered_request() {
        let config = RpicamConfig::new(FrameSize::IMX477, 1);
        let line = arguments(&config).join(OsString::from(" ").as_os_str());
        let expected = "-t 0 --keypress --zsl -n --raw --mode 4056:3040:12:U --width 4056 --height 3040 \
                        --denoise cdn_off --thumb none -q 95 -o %06d.jpg --metadata shot.json";
        assert_eq!(line.to_str(), Some(expected));
        let exposure = ExposureControl::Fixed { time: Duration::from_millis(20), gain: 1.0 };
        let line = arguments(&RpicamConfig { exposure, ..config }).join(OsString::from(" ").as_os_str());
        assert!(line.to_str().unwrap().ends_with("--shutter 20000us --gain 1 --awbgains 1.0,1.0"));
        assert_eq!(shot_names(41), ["000041.jpg", "000041.dng"]);
    }

    #[test]
    fn programs_are_found_by_name_or_path_and_must_be_executable() {
        let shell = find(Path::new("sh")).unwrap();
        assert!(shell.is_absolute());
        assert_eq!(find(&shell), Some(shell));
        for none in ["/etc/passwd", "/etc", "/nowhere/rpicam-still", "no-program-of-this-name"] {
            assert_eq!(find(Path::new(none)), None, "{none}");
        }
    }
}
