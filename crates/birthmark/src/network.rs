//! `birthmark network init`: the keys, genesis and policy of a new network.
//!
//! For: [`create`], which `demo` uses too, and `network update`, by which an authority's new keys get
//! into the network file; `governance` is for networks that run. Not for: the authority, which makes its own
//! secrets (`birthmark sma init`) and states their public halves in `authority.json`.
//!
//! ```text
//! DIR/network.json  network.policy
//!     aggregator/signing.key
//!     node-<n>/{validator.key,log.key,cosign.key,submitter.key,cosign.state,node.toml}
//! ```
//! Whoever runs a validator gets its folder and `network.json`, and nobody else keeps a copy of the folder.

mod governance;
pub(crate) mod places;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use birthmark_core::batch::SubmitterKey;
use birthmark_core::ids::{AuthorityId, AuthorityNumber, SubmitterName, SubmitterNumber};
use birthmark_core::network::{AuthorityStatement, NetworkBuilder, Revision, Submitter, Validator};
use birthmark_core::note::{KeyName, PublicKey, SecretKey};
use birthmark_core::time::Clock as _;
use birthmark_node::KeyFiles;
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file::{self, FileMode};
use clap::Subcommand;
use rand_core::Rng as _;
use zeroize::Zeroizing;

use self::places::Place;
use crate::terminal;

/// Networks.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the keys, the genesis and the policy of a network, and each validator's settings.
    Init(Args),
    /// Put an authority's new keys into the network file and sign it again. Before the first act of governance
    /// only; afterwards `propose add-authority`.
    Update(UpdateArgs),
    /// Write down a change of who runs the network or may speak in it, for its validators to approve.
    #[command(subcommand)]
    Propose(governance::Proposal),
    /// Add a validator's approval to an act of governance.
    Approve(governance::ApproveArgs),
    /// Hand an act that a quorum has approved to a node.
    Enact(governance::EnactArgs),
    /// Bring a network file up to date with the acts of governance since.
    Follow(governance::FollowArgs),
    /// Print who runs the network and may speak in it.
    Show(governance::ShowArgs),
    /// Make the keys and settings of a validator that is to join a network which runs.
    NewValidator(governance::NewValidatorArgs),
    /// Print the public half of a key file.
    PublicKey {
        /// `signing.key`, `log.key` or another file of 32 secret bytes.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Flags of `network init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A new or empty folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many validators, 1 to 22, all on this machine with ports of their own. A network outlives one of 4, 2 of 7, 7
    /// of 22.
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "host")]
    validators: usize,
    /// The host of a validator, name or address; once for each validator.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// The log's name, a URL without scheme under which its operators are known.
    #[arg(long, value_name = "NAME")]
    origin: String,
    /// What the authority states of itself: the `authority.json` that `birthmark sma init` wrote.
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Without such a file: the authority's name. Its cameras can then use tokens of version 1 only.
    #[arg(long, default_value = "SIMULATED_MFG_001", value_name = "NAME", conflicts_with = "authority")]
    authority_id: AuthorityId,
    /// A software authority, in whose name edits are registered; repeatable.
    #[arg(long, value_name = "NAME")]
    software: Vec<AuthorityId>,
    /// The aggregator's name.
    #[arg(long, default_value = AGGREGATOR, value_name = "NAME")]
    aggregator: SubmitterName,
}

/// Flags of `network update`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    /// The network file to change. It is replaced all at once.
    #[arg(long, value_name = "FILE")]
    network: PathBuf,
    /// What the authority states of itself now: its `authority.json`.
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// A validator's log key; once for each validator.
    #[arg(long, value_name = "FILE", required = true)]
    log_key: Vec<PathBuf>,
    /// Write the new file here and leave the old one as it is.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The aggregator's name where none is chosen.
pub(crate) const AGGREGATOR: &str = "aggregator_node_001";
/// The first node's name among the submitters, and its folder.
pub(crate) const NODE: &str = "node-0";

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => init(args),
        Command::Update(args) => update(args),
        Command::Propose(proposal) => governance::propose(proposal),
        Command::Approve(args) => governance::approve(args),
        Command::Enact(args) => governance::enact(args),
        Command::Follow(args) => governance::follow(args),
        Command::Show(args) => governance::show(args),
        Command::NewValidator(args) => governance::new_validator(args),
        Command::PublicKey { file } => {
            terminal::say(read_key(file)?.public_key());
            Ok(())
        }
    }
}

fn init(args: &Args) -> anyhow::Result<()> {
    let taken = std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    anyhow::ensure!(!taken, "{} is not empty; a network is never made over another", args.out.display());
    let authority = match &args.authority {
        Some(file) => read_statement(file)?,
        None => AuthorityStatement::named(args.authority_id.clone()),
    };
    let places = if args.host.is_empty() { places::local(args.validators)? } else { places::on_hosts(&args.host)? };
    let software = args.software.iter().cloned().map(AuthorityStatement::named);
    let authorities = [authority].into_iter().chain(software).collect();
    create(&args.out, &args.origin, authorities, &args.aggregator, &places)?;
    terminal::note(format_args!("network created in {}", args.out.display()));
    Ok(())
}

fn update(args: &UpdateArgs) -> anyhow::Result<()> {
    let file = std::fs::read(&args.network).with_context(|| format!("cannot read {}", args.network.display()))?;
    let mut revision = Revision::of(&file).with_context(|| format!("{} is refused", args.network.display()))?;
    let statement = read_statement(&args.authority)?;
    let id = statement.id.clone();
    let number = revision.set_authority(statement)?;
    let keys = args.log_key.iter().map(|path| read_key(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let (file, _) = revision.finish()?.sign(&keys.iter().collect::<Vec<_>>())?;
    let out = args.out.as_ref().unwrap_or(&args.network);
    secret_file::replace(out, &file, FileMode::Public)?;
    terminal::note(format_args!(
        "{} has the keys of {id} (authority {}); restart nodes and aggregators with it before cameras use them",
        out.display(),
        number.0
    ));
    Ok(())
}

/// Reads an `authority.json`.
pub(crate) fn read_statement(path: &Path) -> anyhow::Result<AuthorityStatement> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    birthmark_core::json::from_slice(&bytes).with_context(|| format!("{} is no authority's statement", path.display()))
}

/// Makes everything under `folder`. `network.json` comes last: where it is, all else is complete.
pub(crate) fn create(
    folder: &Path,
    origin: &str,
    authorities: Vec<AuthorityStatement>,
    aggregator: &SubmitterName,
    places: &[Place],
) -> anyhow::Result<()> {
    let origin = KeyName::new(origin).context("the network's name")?;
    let aggregator_folder = folder.join("aggregator");
    create_folder(&aggregator_folder)?;
    let signing = SubmitterKey::from_seed(*new_key(&aggregator_folder.join(birthmark_aggregator::SIGNING_KEY_FILE))?);
    let submitter = |number: usize, name: SubmitterName, key: &SubmitterKey| -> anyhow::Result<Submitter> {
        let number = SubmitterNumber(u16::try_from(number)?);
        Ok(Submitter { number, name, key: PublicKey::from_bytes(&key.public())? })
    };
    let mut network = NetworkBuilder::new(origin.clone(), SystemClock.now().minute());
    network.authorities =
        (1..).map(AuthorityNumber).zip(authorities).map(|(number, authority)| authority.numbered(number)).collect();
    network.submitters = vec![submitter(1, aggregator.clone(), &signing)?];
    let mut logs = Vec::with_capacity(places.len());
    for (number, place) in (2..).zip(places) {
        let (validator, log, own) = create_node(&folder.join(&place.name), place, origin.as_str())?;
        network.validators.push(validator);
        network.submitters.push(submitter(number, SubmitterName::new(&place.name)?, &own)?);
        logs.push(log);
    }
    let (file, network) = network.build()?.sign(&logs.iter().collect::<Vec<_>>())?;
    let policy = network.current_policy().to_string();
    secret_file::replace(&folder.join("network.policy"), policy.as_bytes(), FileMode::Public)?;
    secret_file::replace(&folder.join("network.json"), &file, FileMode::Public)?;
    Ok(())
}

/// The public consensus key of the validator in this folder.
pub(crate) fn consensus_key(folder: &Path) -> anyhow::Result<PublicKey> {
    Ok(read_key(&folder.join(KeyFiles::VALIDATOR))?.public_key())
}

/// Makes a validator's folder; gives its public keys, its log's key and its submitter's.
fn create_node(folder: &Path, place: &Place, origin: &str) -> anyhow::Result<(Validator, SecretKey, SubmitterKey)> {
    create_folder(folder)?;
    let key = |name: &str| new_key(&folder.join(name));
    let consensus = SecretKey::from_seed(&*key(KeyFiles::VALIDATOR)?);
    let log = SecretKey::from_seed(&*key(KeyFiles::LOG)?);
    let cosign = SecretKey::from_seed(&*key(KeyFiles::COSIGN)?);
    let submitter = SubmitterKey::from_seed(*key(KeyFiles::SUBMITTER)?);
    birthmark_node::create_state(folder)?;
    secret_file::replace(&folder.join("node.toml"), place.node_toml(origin).as_bytes(), FileMode::Public)?;
    let validator = Validator {
        consensus_key: consensus.public_key(),
        log_key: log.public_key(),
        cosigning_key: cosign.public_key(),
        p2p_address: Some(place.p2p_address.clone()),
    };
    Ok((validator, log, submitter))
}

fn create_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn new_key(path: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *seed);
    secret_file::create(path, &*seed)?;
    Ok(seed)
}

fn read_key(path: &Path) -> anyhow::Result<SecretKey> {
    let bytes = secret_file::read(path, 33)?;
    let seed = <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new);
    let seed = seed.ok().with_context(|| format!("{} is no key, which has 32 bytes", path.display()))?;
    Ok(SecretKey::from_seed(&seed))
}
