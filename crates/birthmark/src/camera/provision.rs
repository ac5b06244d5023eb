//! `birthmark camera provision`: a camera gets its configuration, and the network file that it names.
//!
//! For: the camera's side over HTTP, in one step that may be repeated: what is there already is kept.
//! Not for: the authority's own command line (`sma provision`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use birthmark_camera::device::{self, Credentials, IfProvisioned, NetworkPlace, TokenVersion};
use birthmark_camera::sensor::simulated;
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::token::NucHash;
use birthmark_service::client::BearerToken;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file;

use super::Token;
use crate::terminal::{Waiting, note};

/// Flags of `camera provision`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProvisionArgs {
    /// Where the configuration goes. If it is there already, only its network file is brought.
    #[arg(long, default_value = "/etc/birthmark/device_config.json", value_name = "FILE")]
    config: PathBuf,
    /// The camera's serial.
    #[arg(long, value_name = "SERIAL")]
    serial: Option<DeviceSerial>,
    /// The camera's family.
    #[arg(long, default_value = "Raspberry Pi HQ Camera (simulated)", value_name = "NAME")]
    device_family: DeviceFamily,
    /// The authority.
    #[arg(long, env = "SMA_URL", default_value = "http://localhost:8001", value_name = "URL")]
    sma_url: String,
    /// File that holds the bearer token of an admin of the authority.
    #[arg(long, value_name = "FILE")]
    sma_token: Option<PathBuf>,
    /// The oldest token that the authority is to accept from this camera.
    #[arg(long, value_enum, default_value_t = Token::V2, value_name = "VERSION")]
    token: Token,
}

pub(super) async fn run(args: &ProvisionArgs) -> anyhow::Result<()> {
    let config = &args.config;
    if config.try_exists().with_context(|| format!("cannot look for {}", config.display()))? {
        note(format_args!("{} is there already and is kept", config.display()));
    } else {
        ask(args).await?;
    }
    let place = {
        let _waiting = Waiting::new("fetching the network file");
        device::fetch_network(config).await?
    };
    let credentials = load(config, args.token)?;
    note(format_args!(
        "{} is provisioned in {}; it seals tokens of version {}{}",
        credentials.serial(),
        config.display(),
        credentials.token_version(),
        match place {
            NetworkPlace::Fetched => "; its network file was fetched and lies beside it",
            NetworkPlace::Beside => "; its network file lies beside it",
            NetworkPlace::Embedded | NetworkPlace::Nowhere => "",
        }
    ));
    Ok(())
}

/// The configuration is on disk before anything else is done: it is handed out once.
async fn ask(args: &ProvisionArgs) -> anyhow::Result<()> {
    let serial = args.serial.clone().context("--serial is needed to provision a new camera")?;
    let config = &args.config;
    if let Some(folder) = config.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot use the folder {}", folder.display()))?;
    }
    let seed = device::simulated_seed(config, &mut OsRng)?;
    let fingerprint = simulated::nuc_hash(&seed).to_string();
    let request = device::provision_request(serial, args.device_family.clone(), fingerprint, args.token.into());
    let _waiting = Waiting::new("asking the authority");
    let handed_out = device::provision(&args.sma_url, &request, bearer(args.sma_token.as_deref())?).await?;
    Ok(device::write_config(config, &handed_out, IfProvisioned::Refuse)?)
}

/// As `capture` will read it, so that what is missing is said now.
fn load(config: &Path, token: Token) -> anyhow::Result<Credentials> {
    let seed = device::simulated_seed(config, &mut OsRng)?;
    let fingerprint = NucHash::from_bytes(*simulated::nuc_hash(&seed).as_bytes());
    let version = (token == Token::V1).then_some(TokenVersion::V1);
    Ok(Credentials::load_for(config, fingerprint, version)?)
}

fn bearer(file: Option<&Path>) -> anyhow::Result<Option<BearerToken>> {
    let Some(file) = file else { return Ok(None) };
    let token = secret_file::read(file, MAX_TOKEN)?;
    let token = std::str::from_utf8(&token).context("the authority's token is not text")?;
    Ok(Some(BearerToken::new(token.trim())))
}

const MAX_TOKEN: usize = 1024;
