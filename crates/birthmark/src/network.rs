//! `birthmark network init`: the keys, genesis and policy of a new network.
//!
//! For: [`create`], which `demo` uses too. Not for: the authority, which makes its own secrets
//! (`birthmark sma init`), nor for changing a network that runs.
//!
//! ```text
//! DIR/network.json  network.policy
//!     aggregator/signing.key
//!     node-0/{validator.key,log.key,cosign.key,submitter.key,cosign.state}
//! ```

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use birthmark_core::batch::SubmitterKey;
use birthmark_core::ids::{AuthorityId, AuthorityNumber, SubmitterName, SubmitterNumber};
use birthmark_core::network::{Authority, NetworkBuilder, Rules, Submitter, Validator};
use birthmark_core::note::{KeyName, PublicKey, SecretKey};
use birthmark_core::time::Clock as _;
use birthmark_node::KeyFiles;
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file::{self, FileMode};
use clap::Subcommand;
use rand_core::Rng as _;
use zeroize::Zeroizing;

use crate::terminal;

/// Networks.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the keys, the genesis and the policy of a network with one validator.
    Init(Args),
}

/// Flags of `network init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A new or empty folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The log's name, a URL without scheme under which its operators are known.
    #[arg(long, value_name = "NAME")]
    origin: String,
    /// The authority's name.
    #[arg(long, default_value = "SIMULATED_MFG_001", value_name = "NAME")]
    authority_id: AuthorityId,
    /// The aggregator's name.
    #[arg(long, default_value = AGGREGATOR, value_name = "NAME")]
    aggregator: SubmitterName,
}

/// The aggregator's name where none is chosen.
pub(crate) const AGGREGATOR: &str = "aggregator_node_001";
/// The first node's name among the submitters, and its folder.
pub(crate) const NODE: &str = "node-0";

pub(crate) fn run(Command::Init(args): &Command) -> anyhow::Result<()> {
    let taken = std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    anyhow::ensure!(!taken, "{} is not empty; a network is never made over another", args.out.display());
    create(&args.out, &args.origin, &args.authority_id, &args.aggregator)?;
    terminal::note(format_args!("network created in {}", args.out.display()));
    Ok(())
}

/// Makes everything under `folder`. `network.json` comes last: where it is, all else is complete.
pub(crate) fn create(
    folder: &Path,
    origin: &str,
    authority: &AuthorityId,
    aggregator: &SubmitterName,
) -> anyhow::Result<()> {
    let origin = KeyName::new(origin).context("the network's name")?;
    let node = folder.join(NODE);
    let aggregator_folder = folder.join("aggregator");
    for made in [&node, &aggregator_folder] {
        std::fs::create_dir_all(made).with_context(|| format!("cannot create {}", made.display()))?;
    }
    let validator = SecretKey::from_seed(&*new_key(&node.join(KeyFiles::VALIDATOR))?);
    let log = SecretKey::from_seed(&*new_key(&node.join(KeyFiles::LOG))?);
    let cosign = SecretKey::from_seed(&*new_key(&node.join(KeyFiles::COSIGN))?);
    let node_submitter = SubmitterKey::from_seed(*new_key(&node.join(KeyFiles::SUBMITTER))?);
    let signing = SubmitterKey::from_seed(*new_key(&aggregator_folder.join(birthmark_aggregator::SIGNING_KEY_FILE))?);
    birthmark_node::create_state(&node)?;

    let mut network = NetworkBuilder::new(origin, SystemClock.now().minute());
    network.validators = vec![Validator {
        consensus_key: validator.public_key(),
        log_key: log.public_key(),
        cosigning_key: cosign.public_key(),
        p2p_address: None,
    }];
    network.authorities = vec![Authority {
        number: AuthorityNumber(1),
        id: authority.clone(),
        token_key: None,
        rules: Rules::default(),
        endorsement_keys: Vec::new(),
    }];
    let submitter = |number, name: SubmitterName, key: &SubmitterKey| -> anyhow::Result<Submitter> {
        Ok(Submitter { number: SubmitterNumber(number), name, key: PublicKey::from_bytes(&key.public())? })
    };
    network.submitters =
        vec![submitter(1, aggregator.clone(), &signing)?, submitter(2, SubmitterName::new(NODE)?, &node_submitter)?];
    let (file, network) = network.build()?.sign(&[&log])?;
    let policy = network.current_policy().to_string();
    secret_file::replace(&folder.join("network.policy"), policy.as_bytes(), FileMode::Public)?;
    secret_file::replace(&folder.join("network.json"), &file, FileMode::Public)?;
    Ok(())
}

fn new_key(path: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *seed);
    secret_file::create(path, &*seed)?;
    Ok(seed)
}
