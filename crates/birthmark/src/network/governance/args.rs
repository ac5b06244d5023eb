//! Flags of the governance commands.

use std::net::SocketAddr;
use std::path::PathBuf;

use birthmark_core::governance::Change;
use birthmark_core::ids::{AuthorityId, SubmitterName};
use birthmark_core::network::Network;
use birthmark_core::note::PublicKey;
use clap::Subcommand;

/// What is to change.
#[derive(Debug, Subcommand)]
pub(crate) enum Proposal {
    /// Let somebody more send batches: an aggregator, or a node for single hashes.
    AddSubmitter {
        /// Its name, shown with its records.
        #[arg(long, value_name = "NAME")]
        name: SubmitterName,
        /// The public half of its signing key, 64 hex digits: `birthmark network public-key FILE`.
        #[arg(long, value_name = "HEX", value_parser = public_key)]
        key: PublicKey,
        #[command(flatten)]
        place: Place,
    },
    /// Take no more batches of a submitter. What it has recorded stays.
    RemoveSubmitter {
        /// Its name.
        #[arg(long, value_name = "NAME")]
        name: SubmitterName,
        #[command(flatten)]
        place: Place,
    },
    /// Add a manufacturer authority, or give a known one the keys that it states now.
    AddAuthority {
        /// What it states of itself: the `authority.json` that `birthmark sma init` wrote.
        #[arg(long, value_name = "FILE", required_unless_present = "id")]
        authority: Option<PathBuf>,
        /// Without such a file: its name. Its cameras can then use tokens of version 1 only.
        #[arg(long, value_name = "NAME", conflicts_with = "authority")]
        id: Option<AuthorityId>,
        #[command(flatten)]
        place: Place,
    },
    /// Record nothing more under an authority. What is recorded stays.
    RemoveAuthority {
        /// Its name.
        #[arg(long, value_name = "NAME")]
        id: AuthorityId,
        #[command(flatten)]
        place: Place,
    },
    /// Add a validator, from the next epoch on.
    AddValidator {
        /// What it states of itself: the `validator.json` that `birthmark network new-validator` wrote.
        #[arg(long, value_name = "FILE")]
        validator: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a validator, from the next epoch on.
    RemoveValidator {
        /// Its consensus key, 64 hex digits, as `birthmark network show` lists it.
        #[arg(long, value_name = "HEX", value_parser = public_key)]
        key: PublicKey,
        #[command(flatten)]
        place: Place,
    },
}

/// Where a proposal starts from and goes to.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The network file.
    #[arg(long, value_name = "FILE")]
    pub(super) network: PathBuf,
    /// A node to ask for acts that the network file lacks.
    #[arg(long, value_name = "URL")]
    pub(super) node: Option<String>,
    /// Write the act here, for the validators' operators to approve.
    #[arg(long, value_name = "FILE", default_value = "act.json")]
    pub(super) out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Makes the change for the network as it is.
type Making<'a> = dyn FnOnce(&Network) -> anyhow::Result<Change> + 'a;

/// A proposal with the network that it is for still to be read.
pub(super) struct Proposed<'a> {
    pub(super) place: &'a Place,
    pub(super) change: Box<Making<'a>>,
}

/// Flags of `network approve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// The act, which is replaced with the approval in it.
    #[arg(value_name = "ACT")]
    pub(super) act: PathBuf,
    /// A validator's log key, `log.key` in its folder; repeatable.
    #[arg(long, value_name = "FILE", required = true)]
    pub(super) key: Vec<PathBuf>,
    /// Check that the keys are current validators' of this network.
    #[arg(long, value_name = "FILE")]
    pub(super) network: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Flags of `network enact`.
#[derive(Debug, clap::Args)]
pub(crate) struct EnactArgs {
    /// The act with its approvals.
    #[arg(value_name = "ACT")]
    pub(super) act: PathBuf,
    /// Any node of the network.
    #[arg(long, value_name = "URL")]
    pub(super) node: String,
    /// How long to wait until the act has taken effect, at most 30.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub(super) wait: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Flags of `network follow`.
#[derive(Debug, clap::Args)]
pub(crate) struct FollowArgs {
    /// The network file, which gets the acts that it lacks.
    #[arg(long, value_name = "FILE")]
    pub(super) network: PathBuf,
    /// Any node of the network. It is not believed: each act is proven.
    #[arg(long, value_name = "URL")]
    pub(super) node: String,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Flags of `network new-validator`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewValidatorArgs {
    /// A new or empty folder, named as the validator is to be called.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// The network file.
    #[arg(long, value_name = "FILE")]
    pub(super) network: PathBuf,
    /// Where the other validators reach it.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) p2p_address: String,
    /// Where it listens for them [default: all addresses, the same port].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) p2p_listen: Option<SocketAddr>,
    /// Where it answers over HTTP.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8546")]
    pub(super) listen: SocketAddr,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Flags of `network show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The network file.
    #[arg(long, value_name = "FILE")]
    pub(super) network: PathBuf,
    /// A node to ask for acts that the file lacks. The file stays as it is.
    #[arg(long, value_name = "URL")]
    pub(super) node: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

impl Proposal {
    pub(super) fn proposed(&self) -> Proposed<'_> {
        match self {
            Self::AddSubmitter { name, key, place } => {
                Proposed::new(place, move |network| super::added_submitter(network, name, *key))
            }
            Self::RemoveSubmitter { name, place } => {
                Proposed::new(place, move |network| super::removed_submitter(network, name))
            }
            Self::AddAuthority { authority, id, place } => {
                Proposed::new(place, move |network| super::set_authority(network, authority.as_ref(), id.as_ref()))
            }
            Self::RemoveAuthority { id, place } => {
                Proposed::new(place, move |network| super::removed_authority(network, id))
            }
            Self::AddValidator { validator, place } => Proposed::new(place, move |_| super::added_validator(validator)),
            Self::RemoveValidator { key, place } => Proposed::new(place, move |_| Ok(Change::RemoveValidator(*key))),
        }
    }
}

impl<'a> Proposed<'a> {
    fn new(place: &'a Place, change: impl FnOnce(&Network) -> anyhow::Result<Change> + 'a) -> Self {
        Self { place, change: Box::new(change) }
    }
}

fn public_key(text: &str) -> Result<PublicKey, &'static str> {
    PublicKey::from_hex(text).map_err(|_| "must be an Ed25519 public key, 64 hex digits")
}
