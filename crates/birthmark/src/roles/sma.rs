//! `birthmark sma`: an authority is made, served, and looked after.
//!
//! For: `init` and `serve`, and the flags that all subcommands share. Not for: the acts of
//! administrators (`sma/`, one file a subcommand).

mod audit;
mod desk;
mod device;
mod keys;
mod list;
mod provision;
mod seed;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_core::ids::AuthorityId;
use birthmark_service::clock::SystemClock;
use birthmark_sma::{InitOptions, KeySize, Quota, Sma, SmaConfig, WrappingKeySource};
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use super::read_network;
use crate::runtime::block_on;
use crate::serve::{CallerArgs, ServeArgs};
use crate::terminal;

/// The manufacturer authority.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new authority: its master key and its registry of cameras.
    Init(InitArgs),
    /// Serve validation, provisioning and control over HTTP.
    Serve(Box<SmaServeArgs>),
    /// Register a camera, or a list of them, and hand out its `device_config.json`, this once.
    ///
    /// One camera is printed, or written to --out FILE. Cameras of a list (--csv FILE: a header line with
    /// `device_serial,device_family,nuc_hash` and, if wanted, `min_token_version`) are written to
    /// --out DIR/SERIAL.json, mode 0600. All its lines are checked before the first camera is registered.
    Provision(Box<provision::ProvisionArgs>),
    /// Show, revoke, restore and change one camera.
    #[command(subcommand)]
    Device(device::Command),
    /// Show, rotate and revoke endorsement keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Print or check the log of administrators' acts.
    Audit(audit::AuditArgs),
    /// Take over the seed's `key_tables.json` and `device_registry.json`.
    ///
    /// Tables are taken over by an authority without cameras only; they are kept encrypted in tables.sealed,
    /// which belongs to the backup of master.key. Cameras keep their serials, tables and fingerprints; those that
    /// are here already stay as they are, so an interrupted import can be started again. No server of the
    /// authority may run meanwhile.
    Import(seed::ImportArgs),
    /// Write the seed's `key_tables.json` and `device_registry.json`.
    Export(seed::ExportArgs),
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
    /// Bits of the endorsement key: 2048, 3072 or 4096.
    #[arg(long, default_value = "2048", value_name = "BITS", value_parser = key_size)]
    endorsement_key: KeySize,
    #[command(flatten)]
    kept: Kept,
    #[command(flatten)]
    demands: Demands,
    #[command(flatten)]
    seed: seed::SeedFiles,
}

/// Where the authority keeps what it knows.
#[derive(Debug, Args)]
struct Kept {
    /// PostgreSQL, for several servers of one authority: `postgresql://user@host/database`. Without it,
    /// SQLite in the data folder.
    #[arg(long, env = "SMA_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// File with the key under which `master.key` is sealed: 32 bytes, or 64 hex digits. Without it, systemd's
    /// credential `sma-key` if there is one.
    #[arg(long, env = "SMA_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// What the authority demands of its cameras.
#[derive(Debug, Args)]
struct Demands {
    /// Refuse tokens of version 1, which are bound to no photo.
    #[arg(long)]
    refuse_version_1: bool,
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
    /// Passes of one camera and day at which the log warns, where it has no limit of its own.
    #[arg(long, default_value_t = Quota::default().warn, value_name = "N")]
    quota_warn: u32,
    /// Most passes of one camera and day, where it has no limit of its own.
    #[arg(long, default_value_t = Quota::default().stop, value_name = "N")]
    quota_stop: u32,
    #[command(flatten)]
    kept: Kept,
    #[command(flatten)]
    demands: Demands,
}

/// Flags of `sma serve`.
#[derive(Debug, Args)]
pub(crate) struct SmaServeArgs {
    #[command(flatten)]
    told: Told,
    #[command(flatten)]
    seed: seed::SeedFiles,
    #[command(flatten)]
    callers: CallerArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => init(args),
        Command::Serve(args) => block_on(serve(*args)),
        Command::Provision(args) => block_on(provision::run(*args)),
        Command::Device(command) => block_on(device::run(command)),
        Command::Keys(command) => block_on(keys::run(command)),
        Command::Audit(args) => block_on(audit::run(args)),
        Command::Import(args) => block_on(seed::import(args)),
        Command::Export(args) => block_on(seed::export(args)),
    }
}

fn init(args: InitArgs) -> anyhow::Result<()> {
    let options = InitOptions {
        database_url: args.kept.database_url.clone(),
        wrapping: args.kept.wrapping(),
        endorsement_key: args.endorsement_key,
        accept_version_1: !args.demands.refuse_version_1,
        ..InitOptions::new(args.authority_id)
    };
    let sealed = options.wrapping.file.is_some();
    birthmark_sma::init(&args.data, &options, &SystemClock)?;
    let folder = args.data.display();
    terminal::note(format_args!(
        "authority created in {folder}; keep master.key safe: every camera's keys come from it"
    ));
    if !sealed {
        terminal::note("master.key is protected by its mode alone; --key-file seals it under a key from elsewhere");
    }
    terminal::note(format_args!("its public keys for the network file: {folder}/authority.json"));
    if args.seed.is_given() {
        block_on(import_into_new(args.data, options, &args.seed))?;
    }
    Ok(())
}

impl Kept {
    fn wrapping(&self) -> WrappingKeySource {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        WrappingKeySource { file: self.key_file.clone(), credentials }
    }
}

impl Told {
    async fn open(self, own_url: String) -> anyhow::Result<Sma> {
        let mut config = SmaConfig {
            database_url: self.kept.database_url.clone(),
            accept_version_1: !self.demands.refuse_version_1,
            quota: Quota { warn: self.quota_warn, stop: self.quota_stop },
            wrapping: self.kept.wrapping(),
            ..SmaConfig::new(self.aggregator_url, self.public_url.unwrap_or(own_url))
        };
        let mut network = None;
        if let Some(file) = &self.network {
            let (checked, bytes) = read_network(file)?;
            config.network = Some(serde_json::from_slice(&bytes).context("network file")?);
            config.network_id = Some(checked.network_id());
            network = Some(checked);
        }
        let data = self.data;
        let sma = tokio::task::spawn_blocking(move || Sma::open(&data, config, Arc::new(SystemClock))).await??;
        if let Some(network) = network {
            sma.check_network(&network).await?;
        }
        Ok(sma)
    }
}

async fn serve(args: SmaServeArgs) -> anyhow::Result<()> {
    let listening = args.serve.bind(DEFAULT_PORT).await?;
    let authenticator = args.callers.authenticator(&listening)?;
    let sma = args.told.open(listening.url()).await?;
    args.seed.import_at_start(&sma).await?;
    listening.tasks.spawn("endorsement keys", look_after_keys(sma.clone(), listening.tasks.token().clone()));
    let router = sma.router(authenticator);
    let served = listening.serve("sma", router).await;
    sma.close().await;
    served
}

/// A key's 90 days end while servers run, and another server of the same database may rotate keys.
async fn look_after_keys(sma: Sma, stop: CancellationToken) -> Result<(), Infallible> {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_AFTER_KEYS)).await.is_some() {
        if let Err(error) = sma.look_after_keys().await {
            tracing::error!(%error, "endorsement keys were not looked after; trying again later");
        }
    }
    Ok(())
}

async fn import_into_new(data: PathBuf, options: InitOptions, seed: &seed::SeedFiles) -> anyhow::Result<()> {
    // No camera is told anything here.
    let unused = format!("http://localhost:{DEFAULT_PORT}");
    let config = SmaConfig {
        database_url: options.database_url,
        accept_version_1: options.accept_version_1,
        wrapping: options.wrapping,
        ..SmaConfig::new(unused.clone(), unused)
    };
    let sma = tokio::task::spawn_blocking(move || Sma::open(&data, config, Arc::new(SystemClock))).await??;
    let imported = seed.import_at_start(&sma).await;
    sma.close().await;
    imported
}

const DEFAULT_PORT: u16 = 8001;
const LOOK_AFTER_KEYS: Duration = Duration::from_mins(10);

fn key_size(text: &str) -> Result<KeySize, String> {
    let bits: u32 = text.parse().map_err(|_| "not a number of bits".to_owned())?;
    KeySize::try_from(bits).map_err(|error| error.to_string())
}
