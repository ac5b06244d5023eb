//! `birthmark camera provision`: a camera gets its configuration, and the network file that it names.
//!
//! For: the camera's side over HTTP, in one step that may be repeated: what is there already is kept.
//! Not for: the authority's own command line (`sma provision`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use birthmark_camera::device::{self, Credentials, History, NetworkPlace, TokenVersion};
use birthmark_core::api::provision::ProvisionRequest;
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::time::Clock as _;
use birthmark_core::token::NucHash;
use birthmark_service::client::BearerToken;
use birthmark_service::clock::{EARLIEST, SystemClock};
use birthmark_service::secret_file;

use super::Token;
use super::element::ElementArgs;
use super::source::SensorArg;
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
    /// The camera's family. Without it, `Raspberry Pi HQ Camera`, and whether it is simulated.
    #[arg(long, value_name = "NAME")]
    device_family: Option<DeviceFamily>,
    #[command(flatten)]
    sensor: SensorArg,
    /// The authority.
    #[arg(long, env = "SMA_URL", default_value = "http://localhost:8001", value_name = "URL")]
    sma_url: String,
    /// File that holds the bearer token of an admin of the authority.
    #[arg(long, value_name = "FILE")]
    sma_token: Option<PathBuf>,
    /// The oldest token that the authority is to accept from this camera.
    #[arg(long, value_enum, default_value_t = Token::V2, value_name = "VERSION")]
    token: Token,
    /// A configuration that the authority has handed out already, such as by `sma device reprovision`: its
    /// keys go into the secure element. Delete the file afterwards.
    #[arg(long, value_name = "FILE", conflicts_with = "serial")]
    import: Option<PathBuf>,
    #[command(flatten)]
    element: ElementArgs,
}

pub(super) async fn run(args: &ProvisionArgs) -> anyhow::Result<()> {
    let config = &args.config;
    if let Some(file) = &args.import {
        import(args, file)?;
    } else if config.try_exists().with_context(|| format!("cannot look for {}", config.display()))? {
        note(format_args!("{} is there already and is kept", config.display()));
    } else {
        ask(args).await?;
    }
    let place = {
        let _waiting = Waiting::new("fetching the network file");
        device::fetch_network(config).await?
    };
    if device::restore_numbers(config, &args.element.choice(), SystemClock.now())? {
        note("the token counter was gone; there is a new one, above all numbers used");
    }
    let credentials = load(args)?;
    note(format_args!(
        "{} is provisioned in {}; it seals tokens of version {} ({}){}",
        credentials.serial(),
        config.display(),
        credentials.token_version(),
        credentials.element(),
        match place {
            NetworkPlace::Fetched => "; its network file was fetched and lies beside it",
            NetworkPlace::Beside => "; its network file lies beside it",
            NetworkPlace::Embedded | NetworkPlace::Nowhere => "",
        }
    ));
    Ok(())
}

/// The configuration is on disk before anything else is done: it is handed out once. So what would keep its
/// keys is tried before.
async fn ask(args: &ProvisionArgs) -> anyhow::Result<()> {
    let serial = args.serial.clone().context("--serial is needed to provision a new camera")?;
    let config = &args.config;
    if let Some(folder) = config.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot use the folder {}", folder.display()))?;
    }
    let element = args.element.choice().for_new()?;
    element.rehearse()?;
    let fingerprint = args.sensor.nuc_hash(config)?.to_string();
    let family = match &args.device_family {
        Some(family) => family.clone(),
        None if args.sensor.is_simulated() => DeviceFamily::new("Raspberry Pi HQ Camera (simulated)")?,
        None => DeviceFamily::new("Raspberry Pi HQ Camera")?,
    };
    let tpm = element.attest(&serial)?;
    let request = device::provision_request(serial, family, fingerprint, args.token.into());
    let request = ProvisionRequest { tpm, ..request };
    let _waiting = Waiting::new("asking the authority");
    let handed_out = device::provision(&args.sma_url, &request, bearer(args.sma_token.as_deref())?).await?;
    Ok(device::keep_config(config, handed_out, &*element, History::New)?)
}

/// The camera may have sealed tokens before, of which nothing here tells.
fn import(args: &ProvisionArgs, file: &Path) -> anyhow::Result<()> {
    let now = SystemClock.now();
    anyhow::ensure!(now >= EARLIEST, "the clock is not set, and token numbers must begin above all that were used");
    let handed_out = device::read_handed_out(file)?;
    let element = args.element.choice().for_new()?;
    Ok(device::keep_config(&args.config, handed_out, &*element, History::Used(now))?)
}

/// As `capture` will read it, so that what is missing is said now.
fn load(args: &ProvisionArgs) -> anyhow::Result<Credentials> {
    let config = &args.config;
    let fingerprint = NucHash::from_bytes(*args.sensor.nuc_hash(config)?.as_bytes());
    let version = (args.token == Token::V1).then_some(TokenVersion::V1);
    Ok(Credentials::open(config, fingerprint, version, &args.element.choice())?)
}

fn bearer(file: Option<&Path>) -> anyhow::Result<Option<BearerToken>> {
    let Some(file) = file else { return Ok(None) };
    let token = secret_file::read(file, MAX_TOKEN)?;
    let token = std::str::from_utf8(&token).context("the authority's token is not text")?;
    Ok(Some(BearerToken::new(token.trim())))
}

const MAX_TOKEN: usize = 1024;
