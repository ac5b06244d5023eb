//! A camera's folder with its queue, as a test needs it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birthmark_camera::FrameSize;
use birthmark_camera::capture::{Camera, CameraSettings, CaptureError, Recovery, Step};
use birthmark_camera::counter::Counter;
use birthmark_camera::device::{Credentials, ElementKind, Sealer};
use birthmark_camera::exif::TimeSource;
use birthmark_camera::queue::{NewPhoto, PhotoHashes, PhotoId, Queue};
use birthmark_camera::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477, nuc_hash};
use birthmark_camera::upload::{UploadOptions, UploadSettings, Uploader};
use birthmark_core::ImageHash;
use birthmark_core::base64;
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::NucHash;
use birthmark_service::client::ClientOptions;
use birthmark_service::clock::ManualClock;
use birthmark_service::random::OsRng;
use serde_json::{Value, json};

/// Long enough for the slowest machine; nothing waits for it where things work.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) struct Field {
    home: PathBuf,
    _folder: Option<tempfile::TempDir>,
    config: Value,
    pub(crate) queue: Queue,
    pub(crate) clock: ManualClock,
    pub(crate) steps: Mutex<Vec<Step>>,
}

impl Field {
    /// A camera of the seed's five fields.
    pub(crate) fn new() -> Self {
        Self::with(json!({
            "device_serial": "PI_CAMERA_001", "table_id": 42, "encryption_key": base64::encode([1; 32]),
            "aggregator_url": "http://127.0.0.1:8545",
            "manufacturer_cert": {"authority_id": "SIMULATED_MFG_001", "validation_endpoint": "http://127.0.0.1:8001/validate"}
        }))
    }

    /// A camera of this configuration.
    pub(crate) fn with(config: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let field = Self::at(folder.path(), config);
        Self { _folder: Some(folder), ..field }
    }

    /// The camera of a folder that another process has made.
    pub(crate) fn at(home: &Path, config: Value) -> Self {
        let queue = Queue::open(home).unwrap();
        let clock = ManualClock::at(UnixSeconds(1_733_259_600));
        Self { home: home.to_owned(), _folder: None, config, queue, clock, steps: Mutex::default() }
    }

    /// Closes the queue and opens all anew, as the next process does.
    pub(crate) async fn restart(&mut self) {
        self.queue.close().await;
        self.queue = Queue::open(&self.home).unwrap();
    }

    /// From now on it has another configuration.
    pub(crate) fn reconfigure(&mut self, config: Value) {
        self.config = config;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.home
    }

    /// A row without an exposure behind it.
    pub(crate) fn photo(&self, frame: u64) -> PhotoId {
        std::fs::create_dir_all(self.path().join("photos")).unwrap();
        let hash = |what: &str| ImageHash::of(format!("{what} {frame}").as_bytes());
        let photo = NewPhoto {
            frame,
            taken_at: UnixSeconds(1_733_259_600),
            time_source: TimeSource::Unsynced,
            jpeg: format!("photos/IMG_{frame:06}.jpg").into(),
            dng: format!("photos/IMG_{frame:06}.dng").into(),
            hashes: PhotoHashes { raw: hash("raw"), processed: hash("jpeg"), image_data: hash("data") },
        };
        self.queue.insert(photo).unwrap()
    }

    pub(crate) fn nuc_hash() -> NucHash {
        NucHash::from_bytes(*nuc_hash(&Self::seed()).as_bytes())
    }

    /// Read as if the configuration lay in the folder.
    pub(crate) fn credentials(&self) -> Credentials {
        let config = serde_json::from_value(self.config.clone()).unwrap();
        Credentials::at(&self.path().join("device_config.json"), config, Self::nuc_hash(), None).unwrap()
    }

    /// Tries again at once, and gives up on an answer soon.
    pub(crate) fn uploader(&self, url: &str) -> Uploader<OsRng> {
        self.uploader_with(
            url,
            UploadOptions {
                retry_base: Duration::ZERO,
                poll_base: Duration::ZERO,
                answer_time: DEADLINE,
                ..UploadOptions::default()
            },
        )
    }

    pub(crate) fn uploader_with(&self, url: &str, options: UploadOptions) -> Uploader<OsRng> {
        self.uploader_to(&[url], options)
    }

    pub(crate) fn uploader_to(&self, urls: &[&str], options: UploadOptions) -> Uploader<OsRng> {
        let client = ClientOptions { request_timeout: 2 * DEADLINE, ..options.client };
        Uploader::new(UploadSettings {
            data: self.path().to_owned(),
            queue: self.queue.clone(),
            sealer: Arc::new(Sealer::new(Arc::new(self.credentials()), OsRng)),
            aggregators: urls.iter().map(|url| (*url).to_owned()).collect(),
            clock: Arc::new(self.clock.clone()),
            options: UploadOptions { client, ..options },
        })
        .unwrap()
    }

    pub(crate) fn on_step(&self) -> impl Fn(Step) + Sync {
        |step| self.steps.lock().unwrap().push(step)
    }

    /// The names of the steps so far.
    pub(crate) fn step_names(&self) -> Vec<String> {
        let steps = self.steps.lock().unwrap();
        let name = |step: &Step| format!("{step:?}").split([' ', '(', '{']).next().unwrap().to_owned();
        steps.iter().map(name).collect()
    }

    pub(crate) fn seed() -> DeviceSeed {
        DeviceSeed::from_label("device queue tests")
    }

    /// A camera with a small simulated sensor.
    pub(crate) fn camera(&self, count: u64) -> Result<(Camera<SimulatedImx477>, Recovery), CaptureError> {
        let counter = Counter::frames(&self.path().join("device_config.json"));
        let frames = counter.reserve(count, self.queue.next_frame().unwrap()).unwrap();
        let config = SimulatedConfig {
            seed: Self::seed(),
            size: FrameSize::new(96, 64).unwrap(),
            scene: Scene::Procedural,
            first_frame: frames.start,
        };
        Camera::open(CameraSettings {
            data: self.path().to_owned(),
            queue: self.queue.clone(),
            frames,
            sensor: SimulatedImx477::new(config).unwrap(),
            clock: Arc::new(self.clock.clone()),
            time_source: TimeSource::Unsynced,
            element: ElementKind::Software,
        })
    }
}
