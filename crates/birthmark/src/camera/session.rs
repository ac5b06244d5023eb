//! A camera with its sensor, queue and uploader, opened in the order in which they need each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::FrameSize;
use birthmark_camera::capture::{Camera, CameraSettings, Captured, Step};
use birthmark_camera::counter::Counter;
use birthmark_camera::device::{self, Credentials, ElementChoice, Sealer, TokenVersion};
use birthmark_camera::exif::TimeSource;
use birthmark_camera::queue::{PhotoId, PhotoState, Queue};
use birthmark_camera::sensor::simulated::{Scene, SimulatedConfig, SimulatedImx477};
use birthmark_camera::upload::{UploadOptions, UploadSettings, Uploader};
use birthmark_core::token::NucHash;
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use tokio_util::sync::CancellationToken;

/// What a session is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    /// `device_config.json`.
    pub(crate) config: PathBuf,
    /// Folder of queue and photographs, if not the configuration's own.
    pub(crate) data: Option<PathBuf>,
    /// Where to submit, if not where the configuration says.
    pub(crate) aggregator_url: Option<String>,
    /// What the simulated sensor looks at.
    pub(crate) scene: Scene,
    /// The simulated sensor's size.
    pub(crate) size: FrameSize,
    /// How many frames this session will take at most.
    pub(crate) frames: u64,
    /// Where the keys are.
    pub(crate) element: ElementChoice,
}

/// A camera that is ready to photograph and submit.
#[derive(Debug)]
pub(crate) struct Session {
    camera: Option<Camera<SimulatedImx477>>,
    queue: Queue,
    uploader: Arc<Uploader>,
    pub(crate) credentials: Arc<Credentials>,
}

impl Session {
    /// Opens everything; what an interrupted session left behind is taken up. Without a version of the
    /// token, the configuration says which is sealed.
    pub(crate) async fn open(opening: Opening, token: Option<TokenVersion>) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(move || Self::open_blocking(opening, token)).await?
    }

    fn open_blocking(opening: Opening, token: Option<TokenVersion>) -> anyhow::Result<Self> {
        let config = &opening.config;
        let data = match &opening.data {
            Some(data) => data.clone(),
            None => {
                config.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
            }
        };
        let seed = device::simulated_seed(config, &mut OsRng)?;
        let fingerprint = birthmark_camera::sensor::simulated::nuc_hash(&seed);
        let nuc_hash = NucHash::from_bytes(*fingerprint.as_bytes());
        let credentials = Credentials::open(config, nuc_hash, token, &opening.element)?;
        let credentials = Arc::new(credentials);
        std::fs::create_dir_all(&data).with_context(|| format!("cannot use the folder {}", data.display()))?;
        let queue = Queue::open(&data)?;
        let frames = Counter::frames(config).reserve(opening.frames, queue.next_frame()?)?;
        let sensor = SimulatedImx477::new(SimulatedConfig {
            seed,
            size: opening.size,
            scene: opening.scene,
            first_frame: frames.start,
        })?;
        let settings = CameraSettings {
            data: data.clone(),
            queue: queue.clone(),
            frames,
            sensor,
            clock: Arc::new(SystemClock),
            // Whether the system's clock was set by anyone is not known here.
            time_source: TimeSource::Unsynced,
            element: credentials.element(),
        };
        let (camera, recovery) = Camera::open(settings)?;
        tracing::debug!(?recovery, "camera opened");
        let url = opening.aggregator_url.unwrap_or_else(|| credentials.aggregator_url().to_owned());
        let uploader = Uploader::new(UploadSettings {
            data,
            queue: queue.clone(),
            sealer: Arc::new(Sealer::new(Arc::clone(&credentials), OsRng)),
            aggregator_url: url,
            clock: Arc::new(SystemClock),
            options: UploadOptions::default(),
        })?;
        Ok(Self { camera: Some(camera), queue, uploader: Arc::new(uploader), credentials })
    }

    pub(crate) fn uploader(&self) -> Arc<Uploader> {
        Arc::clone(&self.uploader)
    }

    /// Takes one photograph; gives the time from shutter to "captured".
    pub(crate) async fn capture(
        &mut self,
        mut on_step: impl FnMut(Step) + Send + 'static,
    ) -> anyhow::Result<(Captured, Duration)> {
        let mut camera = self.camera.take().context("the camera failed before")?;
        let (camera, captured, elapsed) = tokio::task::spawn_blocking(move || {
            let shutter = tokio::time::Instant::now();
            let captured = camera.capture(&mut on_step);
            (camera, captured, shutter.elapsed())
        })
        .await?;
        self.camera = Some(camera);
        Ok((captured?, elapsed))
    }

    /// Sends what is queued until nothing is left, `most` has passed or `stop` is told.
    pub(crate) async fn drain(
        &self,
        most: Duration,
        stop: &CancellationToken,
        on_step: &(dyn Fn(Step) + Send + Sync),
    ) -> anyhow::Result<()> {
        let until = stop.child_token();
        let (ended, token) = (CancellationToken::new(), until.clone());
        let timer = async {
            tokio::select! {
                () = tokio::time::sleep(most) => token.cancel(),
                () = ended.cancelled() => {}
            }
        };
        let drain = async {
            let drained = self.uploader.drain(&until, on_step).await;
            ended.cancel();
            drained
        };
        // The drain is told to end, never dropped: what it has under way is written down first.
        let (drained, ()) = tokio::join!(drain, timer);
        drained.map(drop).map_err(Into::into)
    }

    /// How far a photograph has come.
    pub(crate) async fn state(&self, id: PhotoId) -> anyhow::Result<PhotoState> {
        Ok(self.queue.photo(id).await?.state)
    }

    pub(crate) async fn close(self) {
        drop(self.camera);
        self.queue.close().await;
    }
}
