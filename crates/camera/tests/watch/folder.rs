//! A watched folder, and the other program.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use birthmark_camera::exif::{CaptureDetails, CaptureTime, TimeSource};
use birthmark_camera::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477};
use birthmark_camera::sensor::watch::{Watch, WatchConfig, WatchError};
use birthmark_camera::{Exposure, FrameSize, Sensor as _, SensorError, dng, jpeg};
use birthmark_core::time::UnixSeconds;

pub(crate) struct Folder {
    home: tempfile::TempDir,
}

/// What the other program writes for one photograph.
pub(crate) struct Files {
    pub(crate) exposure: Exposure,
    pub(crate) dng: Vec<u8>,
    pub(crate) jpeg: Vec<u8>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("in")).unwrap();
        Self { home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("in").join(name)
    }

    pub(crate) fn done(&self) -> PathBuf {
        self.home.path().join("watch_done")
    }

    pub(crate) fn data(&self) -> &Path {
        self.home.path()
    }

    /// Takes a photograph of this number.
    pub(crate) fn photograph(number: u64) -> Files {
        let seed = DeviceSeed::from_label("another program's camera");
        let size = FrameSize::new(64, 48).unwrap();
        let config = SimulatedConfig { seed, size, scene: Scene::Procedural, first_frame: number };
        let exposure = SimulatedImx477::new(config).unwrap().expose().unwrap();
        let time = CaptureTime { at: UnixSeconds(7), source: TimeSource::Unsynced };
        let details = CaptureDetails { metadata: &exposure.metadata, time };
        let mut dng = Vec::new();
        dng::write(&mut dng, &exposure.raw, &details).unwrap();
        let jpeg = jpeg::encode(&exposure.raw, &details.to_exif(size).unwrap()).unwrap();
        Files { exposure, dng, jpeg }
    }

    pub(crate) fn put(&self, stem: &str, files: &Files) {
        fs::write(self.path(&format!("{stem}.dng")), &files.dng).unwrap();
        fs::write(self.path(&format!("{stem}.jpg")), &files.jpeg).unwrap();
    }

    /// Looks once and takes what is there.
    pub(crate) fn config(&self) -> WatchConfig {
        WatchConfig {
            settle: Duration::ZERO,
            give_up: Duration::ZERO,
            patience: Duration::ZERO,
            ..WatchConfig::new(&self.home.path().join("in"), &self.done(), 1)
        }
    }

    pub(crate) fn open(&self) -> Watch {
        Watch::open(self.config()).unwrap()
    }
}

/// The reason why there is no photograph.
pub(crate) fn refused(watch: &mut Watch) -> WatchError {
    match watch.expose() {
        Err(SensorError::Watch(error)) => error,
        other => panic!("{other:?}"),
    }
}
