//! What `capture` and `daemon` open their camera with, as flags.
//!
//! Not for: opening it ([`session`](super::session)).

use std::path::PathBuf;

use birthmark_camera::device::TokenVersion;
use birthmark_camera::sensor::simulated::Scene;

use super::Token;
use super::element::ElementArgs;
use super::session::Opening;
use super::source::SourceArgs;

/// Flags of a camera that photographs and submits.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CameraArgs {
    /// What provisioning handed out.
    #[arg(long, default_value = "/etc/birthmark/device_config.json", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Folder of queue and photographs. The default is the configuration's own.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to submit, if not where the configuration says. Given several times, or with commas between them, the
    /// next one is used when one does not answer.
    #[arg(long, env = "AGGREGATOR_URL", value_name = "URL", value_delimiter = ',')]
    aggregator_url: Vec<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// A JPEG that the simulated sensor looks at. Without it, a scene of its own.
    #[arg(long, value_name = "PHOTO")]
    scene: Option<PathBuf>,
    /// Seal this version of the token and no other. Without it the configuration decides: version 2 where it
    /// has a device key.
    #[arg(long, value_enum, value_name = "VERSION")]
    token: Option<Token>,
    #[command(flatten)]
    element: ElementArgs,
}

impl CameraArgs {
    /// A camera that takes `frames` photographs without asking for more numbers.
    pub(crate) fn opening(&self, frames: u64) -> Opening {
        Opening {
            config: self.config.clone(),
            data: self.data.clone(),
            aggregators: self.aggregator_url.clone(),
            scene: self.scene.clone().map_or(Scene::Procedural, Scene::Photograph),
            source: self.source.clone(),
            frames,
            element: self.element.choice(),
        }
    }

    pub(crate) fn token(&self) -> Option<TokenVersion> {
        self.token.map(Into::into)
    }
}
