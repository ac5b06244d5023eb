//! `birthmark witness`: a C2SP witness of other logs, with a key and a folder of its own.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use birthmark_core::note::VerifierKey;
use birthmark_core::policy::Policy;
use birthmark_node::witness::{self, Witness};
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use clap::{Args, Subcommand};
use rand_core::Rng as _;
use zeroize::Zeroizing;

use crate::runtime::block_on;
use crate::serve::ServeArgs;
use crate::terminal::{note, say};

/// A witness of other logs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the witness's key; prints the verifier key that others put into their policies.
    Init {
        #[command(flatten)]
        folder: Folder,
        /// The name that it signs under, a URL without scheme.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Sign for one more log. The witness must not run.
    AddLog {
        #[command(flatten)]
        folder: Folder,
        /// A key of the log in C2SP's form; repeatable for a log with several.
        #[arg(long = "key", value_name = "VKEY", required_unless_present = "policy", conflicts_with = "policy")]
        keys: Vec<VerifierKey>,
        /// A C2SP policy file whose logs are this one, such as a network's network.policy.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Answer `POST /add-checkpoint`.
    Serve {
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        serve: ServeArgs,
    },
}

/// Where the witness keeps its key, and what it has signed last.
#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// The witness's folder.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/birthmark/witness")]
    data: PathBuf,
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { folder, name } => {
            let mut seed = Zeroizing::new([0; 32]);
            OsRng.fill_bytes(&mut *seed);
            say(witness::init(&folder.data, &name, &seed)?);
            Ok(())
        }
        Command::AddLog { folder, mut keys, policy } => {
            if let Some(path) = policy {
                let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let policy = Policy::parse(&bytes).with_context(|| format!("{} is refused", path.display()))?;
                keys = policy.logs().iter().map(|log| log.key().clone()).collect();
            }
            let origin = witness::add_log(&folder.data, keys)?;
            note(format_args!("signs for {origin} from its next checkpoint on"));
            Ok(())
        }
        Command::Serve { folder, serve } => block_on(async {
            let listening = serve.bind(8548).await?;
            let witness = Arc::new(Witness::open(&folder.data, Arc::new(SystemClock))?);
            tracing::info!(key = %witness.verifier(), logs = witness.log_count(), "witnessing");
            listening.serve("witness", witness.router()).await
        }),
    }
}
