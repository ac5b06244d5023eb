//! A camera with its sensor, queue and uploader, opened in the order in which they need each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::Sensor;
use birthmark_camera::capture::{Camera, CameraSettings, Captured, Step};
use birthmark_camera::counter::Counter;
use birthmark_camera::device::{Credentials, ElementChoice, Sealer, TokenVersion};
use birthmark_camera::exif::TimeSource;
use birthmark_camera::queue::{PhotoId, PhotoState, Queue};
use birthmark_camera::sensor::rpicam::ExposureControl;
use birthmark_camera::sensor::simulated::Scene;
use birthmark_camera::upload::{UploadOptions, UploadSettings, Uploader};
use birthmark_core::token::NucHash;
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use tokio_util::sync::CancellationToken;

use super::selfcheck::clock_is_synchronised;
use super::source::{SourceArgs, View};

/// What a session is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    /// `device_config.json`.
    pub(crate) config: PathBuf,
    /// Folder of queue and photographs, if not the configuration's own.
    pub(crate) data: Option<PathBuf>,
    /// Where to submit, the preferred one first; without any, where the configuration says.
    pub(crate) aggregators: Vec<String>,
    /// What the simulated sensor looks at.
    pub(crate) scene: Scene,
    /// Where exposures come from.
    pub(crate) source: SourceArgs,
    /// How many frames this session reserves at once. It may take more, each with a number of its own.
    pub(crate) frames: u64,
    /// Where the keys are.
    pub(crate) element: ElementChoice,
}

/// A camera that is ready to photograph and submit.
#[derive(Debug)]
pub(crate) struct Session {
    camera: Option<Camera<Box<dyn Sensor>>>,
    counter: Counter,
    pub(crate) queue: Queue,
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
        let nuc_hash = NucHash::from_bytes(*opening.source.nuc_hash(config)?.as_bytes());
        let credentials = Arc::new(Credentials::open(config, nuc_hash, token, &opening.element)?);
        std::fs::create_dir_all(&data).with_context(|| format!("cannot use the folder {}", data.display()))?;
        let queue = Queue::open(&data)?;
        let counter = Counter::frames(config);
        let frames = counter.reserve(opening.frames, queue.next_frame()?)?;
        let view = View { scene: opening.scene, exposure: ExposureControl::Auto, first_frame: frames.start };
        let sensor = opening.source.open(config, view)?;
        let settings = CameraSettings {
            data: data.clone(),
            queue: queue.clone(),
            frames,
            sensor,
            clock: Arc::new(SystemClock),
            time_source: time_source(),
            element: credentials.element(),
        };
        let (camera, recovery) = Camera::open(settings)?;
        tracing::debug!(?recovery, "camera opened");
        let own = || vec![credentials.aggregator_url().to_owned()];
        let aggregators = if opening.aggregators.is_empty() { own() } else { opening.aggregators };
        let uploader = Uploader::new(UploadSettings {
            data,
            queue: queue.clone(),
            sealer: Arc::new(Sealer::new(Arc::clone(&credentials), OsRng)),
            aggregators,
            clock: Arc::new(SystemClock),
            options: UploadOptions::default(),
        })?;
        Ok(Self { camera: Some(camera), counter, queue, uploader: Arc::new(uploader), credentials })
    }

    pub(crate) fn uploader(&self) -> Arc<Uploader> {
        Arc::clone(&self.uploader)
    }

    /// Adds rows that could not be written when their photographs were taken.
    pub(crate) async fn queue_left_behind(&mut self) -> anyhow::Result<()> {
        let mut camera = self.camera.take().context("the camera failed before")?;
        let (camera, queued) = tokio::task::spawn_blocking(move || {
            let queued = camera.queue_left_behind();
            (camera, queued)
        })
        .await?;
        self.camera = Some(camera);
        Ok(queued?)
    }

    /// Takes one photograph; gives the time from shutter to "captured". After an error it may be asked again.
    pub(crate) async fn capture(
        &mut self,
        mut on_step: impl FnMut(Step) + Send + 'static,
    ) -> anyhow::Result<(Captured, Duration)> {
        let mut camera = self.camera.take().context("the camera failed before")?;
        let (counter, queue) = (self.counter.clone(), self.queue.clone());
        let (camera, captured) = tokio::task::spawn_blocking(move || {
            let captured = capture(&mut camera, &counter, &queue, &mut on_step);
            (camera, captured)
        })
        .await?;
        self.camera = Some(camera);
        captured
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

fn capture(
    camera: &mut Camera<Box<dyn Sensor>>,
    counter: &Counter,
    queue: &Queue,
    on_step: &mut dyn FnMut(Step),
) -> anyhow::Result<(Captured, Duration)> {
    if camera.frames_left().is_empty() {
        camera.go_on_with(counter.reserve(1, queue.next_frame()?)?);
    }
    camera.trust_clock(time_source());
    let shutter = tokio::time::Instant::now();
    let captured = camera.capture(on_step)?;
    Ok((captured, shutter.elapsed()))
}

/// How far the system's clock can be trusted now: it may be set while the camera is at work.
fn time_source() -> TimeSource {
    if clock_is_synchronised() { TimeSource::Ntp } else { TimeSource::Unsynced }
}
