//! `birthmark network propose`, `approve`, `enact`, `follow`, `show`: who runs a network that is running, and
//! who may speak in it.
//!
//! For: acts of governance on their way from one operator to the next, and a network file that follows
//! them. Not for: making a network (`network`), nor for the rules (`birthmark_core::network`).
//!
//! ```text
//! propose ──► act.json ──► approve (each operator, with its log.key) ──► enact (any node) ──► follow (all others)
//! ```
//! `follow` believes no server: it adds an act to the file only by a proof that the validators whom the file
//! knew before it have signed.

mod args;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use axum::http::{HeaderMap, HeaderValue};
use birthmark_core::governance::{ActFile, ApprovedAct, Change, MAX_ACT_FILE};
use birthmark_core::ids::{AuthorityId, SubmitterName};
use birthmark_core::network::{self as core, AuthorityStatement, Network, Submitter, Validator, with_acts};
use birthmark_core::note::PublicKey;
use birthmark_service::client::{ClientError, ClientOptions, HttpClient};
use birthmark_service::secret_file::{self, FileMode};
use serde::Deserialize;
use serde_json::{Value, json};

use self::args::Proposed;
pub(crate) use self::args::{ApproveArgs, EnactArgs, FollowArgs, NewValidatorArgs, Proposal, ShowArgs};
use super::{create_node, places, read_key, read_statement};
use crate::runtime::block_on;
use crate::terminal;

/// Writes an act for the validators to approve.
pub(crate) fn propose(proposal: &Proposal) -> anyhow::Result<()> {
    let Proposed { place, change } = proposal.proposed();
    let (file, network) = read(&place.network)?;
    let network = match &place.node {
        Some(url) => block_on(followed(&file, &network, url))?.1,
        None => network,
    };
    let change = change(&network)?;
    network.check_change(&change).with_context(|| format!("cannot {change}"))?;
    let approved = ApprovedAct::new(network.next_act(change), Vec::new());
    anyhow::ensure!(!place.out.exists(), "{} exists already, and is not written over", place.out.display());
    write(&place.out, &approved)?;
    tell(place.json, &approved, &network, &format!("written to {}", place.out.display()));
    Ok(())
}

/// Makes the folder of a validator that is to join; `validator.json` in it is for `propose add-validator`.
pub(crate) fn new_validator(args: &NewValidatorArgs) -> anyhow::Result<()> {
    let taken = std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    anyhow::ensure!(!taken, "{} is not empty; a validator is never made over another", args.out.display());
    let (file, network) = read(&args.network)?;
    let name = args.out.file_name().and_then(|name| name.to_str()).context("the folder needs a name")?;
    let (_, port) = args.p2p_address.rsplit_once(':').context("--p2p-address must be HOST:PORT")?;
    let port = port.parse().context("--p2p-address must be HOST:PORT")?;
    let p2p_listen = args.p2p_listen.unwrap_or_else(|| ([0, 0, 0, 0], port).into());
    let place = places::joining(name.to_owned(), &args.p2p_address, p2p_listen, args.listen);
    let (validator, _, submitter) = create_node(&args.out, &place, network.origin().as_str())?;
    secret_file::replace(&args.out.join("network.json"), &file, FileMode::Public)?;
    let mut statement = serde_json::to_vec_pretty(&validator)?;
    statement.push(b'\n');
    secret_file::replace(&args.out.join("validator.json"), &statement, FileMode::Public)?;
    let submitter = PublicKey::from_bytes(&submitter.public())?;
    if args.json {
        terminal::say(json!({"validator": validator, "submitter_key": submitter}));
    } else {
        terminal::note(format_args!(
            "a validator is made in {}; others add it by its validator.json (its submitter's key is {submitter})",
            args.out.display()
        ));
    }
    Ok(())
}

/// Adds validators' signatures.
pub(crate) fn approve(args: &ApproveArgs) -> anyhow::Result<()> {
    let mut approved = read_act(&args.act)?;
    let network = args.network.as_deref().map(read).transpose()?.map(|(_, network)| network);
    for path in &args.key {
        let key = read_key(path)?;
        if let Some(network) = &network {
            let validators = network.current_epoch().validators();
            let known = validators.iter().any(|validator| validator.log_key == key.public_key());
            anyhow::ensure!(known, "{} is no log key of a validator of {}", path.display(), network.origin());
        }
        approved.approve(&key);
    }
    write(&args.act, &approved)?;
    if args.json {
        terminal::say(summary(&approved));
    } else {
        let count = approved.approvals().len();
        terminal::note(format_args!("approved: {}; {count} approvals so far", approved.act().change));
    }
    Ok(())
}

/// What a node says became of an act.
#[derive(Deserialize)]
struct Enacted {
    status: String,
    #[serde(default)]
    tx_id: Option<u64>,
    #[serde(default)]
    last_height: Option<u64>,
}

/// Hands an act to a node.
pub(crate) fn enact(args: &EnactArgs) -> anyhow::Result<()> {
    let approved = read_act(&args.act)?;
    let answer: Enacted = block_on(async {
        let node = client(&args.node)?;
        let mut headers = HeaderMap::new();
        headers.insert("prefer", HeaderValue::from_str(&format!("wait={}", args.wait.min(30)))?);
        let answer = node.post_json_with("/api/v1/governance/acts", headers, &ActFile::from(&approved)).await;
        Ok(answer.map_err(explained)?.body)
    })?;
    if args.json {
        let mut line = summary(&approved);
        line["status"] = json!(answer.status);
        line["tx_id"] = json!(answer.tx_id);
        line["last_height"] = json!(answer.last_height);
        terminal::say(line);
        return Ok(());
    }
    let change = &approved.act().change;
    match (answer.status.as_str(), answer.last_height) {
        ("enacted", _) => terminal::note(format_args!("enacted: {change}")),
        ("scheduled", Some(height)) => {
            terminal::note(format_args!("scheduled: {change}; it takes effect after block {height}"));
        }
        _ => terminal::note(format_args!("accepted: {change}; it waits for a block")),
    }
    Ok(())
}

/// Brings a network file up to date.
pub(crate) fn follow(args: &FollowArgs) -> anyhow::Result<()> {
    let (file, before) = read(&args.network)?;
    let (file, network) = block_on(followed(&file, &before, &args.node))?;
    let added = network.act_count().saturating_sub(before.act_count());
    if added > 0 {
        secret_file::replace(&args.network, &file, FileMode::Public)?;
        // For other C2SP tools; it knows the current validators only.
        let policy = args.network.with_file_name("network.policy");
        if policy.exists() {
            secret_file::replace(&policy, network.current_policy().to_string().as_bytes(), FileMode::Public)?;
        }
    }
    if args.json {
        terminal::say(json!({"added": added, "acts": network.act_count(), "epoch": network.current_epoch().number()}));
    } else {
        terminal::note(format_args!(
            "{} has {added} more acts; {} in all, epoch {}",
            args.network.display(),
            network.act_count(),
            network.current_epoch().number().0
        ));
    }
    Ok(())
}

/// Prints who runs the network and may speak in it.
pub(crate) fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let (file, mut network) = read(&args.network)?;
    if let Some(url) = &args.node {
        network = block_on(followed(&file, &network, url))?.1;
    }
    if args.json {
        terminal::say(standing(&network));
        return Ok(());
    }
    let epoch = network.current_epoch();
    terminal::say(format_args!("network {} ({})", network.origin(), network.network_id().0));
    terminal::say(format_args!("epoch {}, {} acts of governance", epoch.number().0, network.act_count()));
    for validator in epoch.validators() {
        let address = validator.p2p_address.as_deref().unwrap_or("no address");
        terminal::say(format_args!("validator {} at {address}", validator.consensus_key));
    }
    for authority in network.authorities() {
        let removed = if network.is_authority_active(authority.number) { "" } else { " (removed)" };
        terminal::say(format_args!("authority {} {}{removed}", authority.number.0, authority.id));
    }
    for submitter in network.submitters() {
        let removed = if network.active_submitter(submitter.number).is_some() { "" } else { " (removed)" };
        terminal::say(format_args!("submitter {} {}{removed}", submitter.number.0, submitter.name));
    }
    Ok(())
}

fn standing(network: &Network) -> Value {
    let submitters: Vec<_> = network
        .submitters()
        .iter()
        .map(|submitter| {
            let active = network.active_submitter(submitter.number).is_some();
            json!({"number": submitter.number, "name": submitter.name, "key": submitter.key, "active": active})
        })
        .collect();
    let authorities: Vec<_> = network
        .authorities()
        .iter()
        .map(|authority| {
            let active = network.is_authority_active(authority.number);
            json!({"number": authority.number, "id": authority.id, "active": active})
        })
        .collect();
    json!({
        "network_id": network.network_id(), "origin": network.origin(), "epoch": network.current_epoch().number(),
        "acts": network.act_count(), "validators": network.current_epoch().validators(),
        "authorities": authorities, "submitters": submitters,
    })
}

/// The network file with the acts that a node proves beyond its own.
async fn followed(file: &[u8], network: &Network, url: &str) -> anyhow::Result<(Vec<u8>, Network)> {
    let theirs = client(url)?.get_bytes("/network.json").await.map_err(explained)?.body;
    let theirs = core::acts_of(&theirs).with_context(|| format!("{url} gives no network file"))?;
    let mut acts = core::acts_of(file)?;
    let known = acts.len();
    acts.extend(theirs.into_iter().skip(known));
    if acts.len() == known {
        return Ok((file.to_vec(), network.clone()));
    }
    with_acts(file, &acts).with_context(|| format!("the acts that {url} gives do not follow from the network file"))
}

fn client(url: &str) -> anyhow::Result<HttpClient> {
    let options = ClientOptions { max_response: core::MAX_FILE_LEN, ..ClientOptions::default() };
    HttpClient::new(url, &options).with_context(|| format!("the node's address {url}"))
}

/// A node's refusal in its own words.
fn explained(cause: ClientError) -> anyhow::Error {
    anyhow::Error::new(cause).context("the node refuses or does not answer")
}

fn read(path: &Path) -> anyhow::Result<(Vec<u8>, Network)> {
    let (network, bytes) = crate::roles::read_network(path)?;
    Ok((bytes.to_vec(), Network::clone(&network)))
}

fn read_act(path: &Path) -> anyhow::Result<ApprovedAct> {
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > MAX_ACT_FILE as u64 {
        bail!("{} is too long for an act of governance", path.display());
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    ActFile::parse(&bytes).with_context(|| format!("{} is no act of governance", path.display()))
}

fn write(path: &Path, approved: &ApprovedAct) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(&ActFile::from(approved))?;
    bytes.push(b'\n');
    Ok(secret_file::replace(path, &bytes, FileMode::Public)?)
}

fn tell(json: bool, approved: &ApprovedAct, network: &Network, done: &str) {
    if json {
        terminal::say(summary(approved));
        return;
    }
    let (act, validators) = (approved.act(), network.current_epoch().validators().len());
    let needed = birthmark_core::policy::quorum_size(validators);
    terminal::note(format_args!(
        "act {} of {}: {}; {done}; {needed} of {validators} validators must approve it",
        act.number,
        network.origin(),
        act.change
    ));
}

fn summary(approved: &ApprovedAct) -> Value {
    let act = approved.act();
    json!({
        "number": act.number, "epoch": act.epoch, "change": act.change.to_string(),
        "approvals": approved.approvals().len(),
    })
}

/// The change that adds a validator out of its `validator.json`.
fn added_validator(path: &Path) -> anyhow::Result<Change> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let validator: Validator = birthmark_core::json::from_slice(&bytes)
        .with_context(|| format!("{} is no validator's statement", path.display()))?;
    Ok(Change::AddValidator(Box::new(validator)))
}

/// The change that sets an authority's entry: a known one's, or the next number's.
fn set_authority(network: &Network, file: Option<&PathBuf>, id: Option<&AuthorityId>) -> anyhow::Result<Change> {
    let statement = match (file, id) {
        (Some(file), _) => read_statement(file)?,
        (None, Some(id)) => AuthorityStatement::named(id.clone()),
        (None, None) => bail!("give --authority FILE or --id NAME"),
    };
    let known = network.authorities().iter().find(|authority| authority.id == statement.id);
    let last = network.authorities().iter().map(|authority| authority.number.0).max().unwrap_or(0);
    let next = || last.checked_add(1).context("no number is left for another authority");
    let number = known.map_or_else(next, |known| Ok(known.number.0))?;
    Ok(Change::SetAuthority(Box::new(statement.numbered(birthmark_core::ids::AuthorityNumber(number)))))
}

fn removed_authority(network: &Network, id: &AuthorityId) -> anyhow::Result<Change> {
    let known = network.authority_by_id(id).with_context(|| format!("the network has no authority {id}"))?;
    Ok(Change::RemoveAuthority(known.number))
}

fn added_submitter(network: &Network, name: &SubmitterName, key: PublicKey) -> anyhow::Result<Change> {
    let last = network.submitters().iter().map(|submitter| submitter.number.0).max().unwrap_or(0);
    let number = last.checked_add(1).context("no number is left for another submitter")?;
    let number = birthmark_core::ids::SubmitterNumber(number);
    Ok(Change::AddSubmitter(Submitter { number, name: name.clone(), key }))
}

fn removed_submitter(network: &Network, name: &SubmitterName) -> anyhow::Result<Change> {
    let known = network.submitter_by_name(name).with_context(|| format!("the network has no submitter {name}"))?;
    Ok(Change::RemoveSubmitter(known.number))
}
