//! `birthmark sma init | serve | provision`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use birthmark_core::api::provision::ProvisionRequest;
use birthmark_core::ids::{AuthorityId, DeviceFamily, DeviceSerial};
use birthmark_service::clock::SystemClock;
use birthmark_sma::{InitOptions, Sma, SmaConfig};
use clap::{Args, Subcommand};

use crate::serve::{CallerArgs, ServeArgs, block_on};
use crate::terminal;

/// The manufacturer authority.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new authority: its master key and its registry of cameras.
    Init(InitArgs),
    /// Serve `POST /validate` and provisioning.
    Serve(Box<SmaServeArgs>),
    /// Register a camera and print its `device_config.json`. Its secrets are handed out this once.
    Provision(Box<ProvisionArgs>),
}

/// Flags of `sma init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Folder of the authority.
    #[arg(long, env = "SMA_DATA_DIR", default_value = "/var/lib/birthmark/sma", value_name = "DIR")]
    data: PathBuf,
    /// The authority's name in the network file.
    #[arg(long, default_value = "SIMULATED_MFG_001", value_name = "NAME")]
    authority_id: AuthorityId,
}

/// What cameras are told, besides their keys.
#[derive(Debug, Args)]
struct Told {
    /// Folder of the authority.
    #[arg(long, env = "SMA_DATA_DIR", default_value = "/var/lib/birthmark/sma", value_name = "DIR")]
    data: PathBuf,
    /// Where provisioned cameras submit.
    #[arg(long, env = "AGGREGATOR_URL", default_value = "http://localhost:8545", value_name = "URL")]
    aggregator_url: String,
    /// Where this authority is reached from outside. The default is where it listens, and for `provision`
    /// `http://localhost:8001`.
    #[arg(long, env = "SMA_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// The network file, to be handed to cameras.
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// Refuse tokens of version 1, which are bound to no photo.
    #[arg(long)]
    refuse_version_1: bool,
}

/// Flags of `sma serve`.
#[derive(Debug, Args)]
pub(crate) struct SmaServeArgs {
    #[command(flatten)]
    told: Told,
    #[command(flatten)]
    callers: CallerArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Flags of `sma provision`.
#[derive(Debug, Args)]
pub(crate) struct ProvisionArgs {
    #[command(flatten)]
    told: Told,
    /// The camera's serial.
    #[arg(long, value_name = "SERIAL")]
    serial: DeviceSerial,
    /// The camera's family.
    #[arg(long, default_value = "Raspberry Pi HQ Camera", value_name = "NAME")]
    device_family: DeviceFamily,
    /// The sensor's fingerprint, 64 hex digits.
    #[arg(long, value_name = "HEX")]
    nuc_hash: String,
    /// The oldest token that is accepted from this camera: 1 or 2.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    min_token_version: u8,
    /// Write to this file, mode 0600, instead of printing.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => {
            let options = InitOptions { authority_id: args.authority_id, database_url: None };
            birthmark_sma::init(&args.data, options, &SystemClock)?;
            terminal::note(format_args!(
                "authority created in {}; keep master.key safe: every camera's keys come from it",
                args.data.display()
            ));
            Ok(())
        }
        Command::Serve(args) => block_on(serve(*args)),
        Command::Provision(args) => block_on(provision(*args)),
    }
}

impl Told {
    fn open(self, own_url: String) -> anyhow::Result<Sma> {
        let network = self.network.map(std::fs::read).transpose().context("cannot read the network file")?;
        let network = network.map(|bytes| serde_json::from_slice(&bytes)).transpose().context("network file")?;
        let config = SmaConfig {
            authority_id: None,
            aggregator_url: self.aggregator_url,
            public_url: self.public_url.unwrap_or(own_url),
            network,
            database_url: None,
            network_id: None,
            accept_version_1: !self.refuse_version_1,
            quota: birthmark_sma::Quota::default(),
        };
        Ok(Sma::open(&self.data, config, Arc::new(SystemClock))?)
    }
}

async fn serve(args: SmaServeArgs) -> anyhow::Result<()> {
    let listening = args.serve.bind(DEFAULT_PORT).await?;
    let authenticator = args.callers.authenticator(&listening)?;
    let sma = args.told.open(listening.url())?;
    let router = sma.router(authenticator);
    let served = listening.serve("sma", router).await;
    sma.close().await;
    served
}

async fn provision(args: ProvisionArgs) -> anyhow::Result<()> {
    let request = ProvisionRequest {
        device_serial: args.serial,
        device_family: args.device_family,
        nuc_hash: args.nuc_hash,
        min_token_version: args.min_token_version,
    };
    let folder = args.told.data.clone();
    let sma = args.told.open(format!("http://localhost:{DEFAULT_PORT}")).with_context(|| {
        format!("cannot work on {} (a running authority takes POST /api/v1/devices/provision)", folder.display())
    })?;
    let provisioned = sma.provision(request).await;
    sma.close().await;
    let config = zeroize::Zeroizing::new(serde_json::to_string_pretty(&provisioned?)?);
    match args.out {
        Some(file) => birthmark_service::secret_file::create(&file, config.as_bytes())?,
        None => terminal::say(&*config),
    }
    Ok(())
}

const DEFAULT_PORT: u16 = 8001;
