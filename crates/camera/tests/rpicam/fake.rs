//! A folder with a fake `rpicam-still` and the camera that uses it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use birthmark_camera::sensor::rpicam::{Rpicam, RpicamConfig, RpicamError};
use birthmark_camera::{Exposure, FrameSize, Sensor as _, SensorError};

/// Long enough for the slowest machine; nothing waits for it where things work.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_fake-rpicam-still");

pub(crate) struct Fake {
    home: tempfile::TempDir,
}

impl Fake {
    /// A program that behaves in its first shots as the words say.
    pub(crate) fn new(plan: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        symlink(PROGRAM, home.path().join("rpicam-still")).unwrap();
        let fake = Self { home };
        fake.tell("plan", &plan.join("\n"));
        fake
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn tell(&self, what: &str, text: &str) {
        fs::write(self.home.path().join(what), text).unwrap();
    }

    pub(crate) fn config(&self) -> RpicamConfig {
        RpicamConfig {
            program: self.home.path().join("rpicam-still"),
            scratch: self.home.path().to_owned(),
            shot_timeout: DEADLINE,
            restart_base: Duration::from_millis(1),
            restart_max: Duration::from_millis(10),
            ..RpicamConfig::new(FrameSize::new(96, 64).unwrap(), 1)
        }
    }

    pub(crate) fn open(&self) -> Rpicam {
        Rpicam::open(&self.config()).unwrap()
    }

    /// The processes that have been started so far.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.home.path().join("pid")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Where the camera has its files.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.home.path().join(format!("birthmark-{}", rustix::process::geteuid().as_raw()))
    }
}

/// Whether a process is there, be it as a zombie.
pub(crate) fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A good shot.
pub(crate) fn shot(camera: &mut Rpicam) -> Exposure {
    camera.expose().unwrap()
}

/// The reason why a shot is none.
pub(crate) fn refused(camera: &mut Rpicam) -> RpicamError {
    match camera.expose() {
        Err(SensorError::Rpicam(error)) => error,
        other => panic!("{other:?}"),
    }
}
