//! All that must hold of a document before it becomes a [`Network`].

use std::collections::{BTreeMap, BTreeSet};

use super::document::{
    Authority, Document, EndorsementKeyId, EndorsementKeyState, EpochEntry, FileSignature, Submitter,
};
use super::genesis::{Genesis, keys_are_distinct, policy_of};
use super::{DEFAULT_MAX_AGE, KnownKey, Network, NetworkEpoch, NetworkError};
use crate::endorsement::PublicKey;
use crate::hash::Digest;
use crate::ids::{AuthorityNumber, Height, UNATTESTED};
use crate::merkle::TreeHash;
use crate::note::{self, KeyName};
use crate::policy::{Policy, quorum_size};
use crate::{base64, json};

/// Most validators of an epoch: their quorum and the log's line are then 16 lines, which every
/// C2SP verifier accepts.
pub const MAX_VALIDATORS: usize = 22;

/// Most epochs. The file carries signatures for one change of validators only, so the way from the
/// genesis set to a third one cannot be checked; until each change keeps its own signatures, more
/// epochs are refused rather than believed.
pub const MAX_EPOCHS: usize = 2;

/// Most authorities.
pub const MAX_AUTHORITIES: usize = 1024;

/// Most endorsement keys that one authority may ever have used.
pub const MAX_ENDORSEMENT_KEYS: usize = 64;

/// Most submitters.
pub const MAX_SUBMITTERS: usize = 4096;

/// Most signatures on the file.
const MAX_FILE_SIGNATURES: usize = 64;

/// Longest genesis that is decoded.
const MAX_GENESIS_LEN: usize = 4096;

/// Longest `host:port`.
const MAX_ADDRESS_LEN: usize = 255;

pub(super) fn check(bytes: &[u8], signatures: &[FileSignature]) -> Result<Network, NetworkError> {
    let document: Document = json::from_slice(bytes).map_err(NetworkError::Document)?;
    if document.version != 1 {
        return Err(NetworkError::Version(document.version));
    }
    let genesis = base64::decode_bounded(&document.genesis, MAX_GENESIS_LEN)
        .map_err(|cause| NetworkError::Base64 { field: "genesis", cause })?;
    let genesis = Genesis::decode(&genesis)?;
    if document.origin != *genesis.origin() {
        return Err(NetworkError::ContradictsGenesis);
    }
    let mut ended = check_epochs(document.epochs, &genesis)?;
    let endorsement_keys = check_authorities(&document.authorities)?;
    check_submitters(&document.submitters)?;
    check_signatures(bytes, signatures, &ended)?;
    let current = ended.pop().ok_or(NetworkError::ContradictsGenesis)?;
    Ok(Network {
        id: genesis.network_id(),
        genesis,
        ended,
        current,
        authorities: document.authorities,
        endorsement_keys,
        submitters: document.submitters,
        max_age: document.max_age.unwrap_or(DEFAULT_MAX_AGE),
        base: None,
        history: vec![Digest::of_parts(&[bytes])],
        removed_authorities: BTreeSet::new(),
        removed_submitters: BTreeSet::new(),
    })
}

fn check_epochs(entries: Vec<EpochEntry>, genesis: &Genesis) -> Result<Vec<NetworkEpoch>, NetworkError> {
    let count = entries.len();
    check_len("epochs", count, MAX_EPOCHS)?;
    let mut epochs: Vec<NetworkEpoch> = Vec::with_capacity(count);
    for (at, entry) in entries.into_iter().enumerate() {
        let current = at + 1 == count;
        let number = entry.epoch.0;
        let epoch = check_epoch(entry, genesis.origin(), current)?;
        let in_order = match epochs.last() {
            Some(before) => {
                let rises = epoch.last.is_none_or(|(size, _)| before.last.is_some_and(|(last, _)| size > last));
                epoch.number.0.checked_sub(1) == Some(before.number.0)
                    && epoch.first_height > before.first_height
                    && rises
            }
            None => number == 0 && epoch.first_height == Height(0),
        };
        if !in_order {
            return Err(NetworkError::EpochOrder(number));
        }
        epochs.push(epoch);
    }
    let keys_of =
        |validators: &[super::Validator]| validators.iter().map(super::Validator::key_bytes).collect::<Vec<_>>();
    let first = epochs.first().map(|epoch| keys_of(&epoch.validators));
    if first != Some(keys_of(genesis.validators())) {
        return Err(NetworkError::ContradictsGenesis);
    }
    Ok(epochs)
}

fn check_epoch(entry: EpochEntry, origin: &KeyName, current: bool) -> Result<NetworkEpoch, NetworkError> {
    let number = entry.epoch.0;
    let mut validators = entry.validators;
    check_len("validators", validators.len(), MAX_VALIDATORS)?;
    validators.sort_by_key(|validator| validator.consensus_key);
    if !keys_are_distinct(&validators) {
        return Err(NetworkError::ValidatorKeyTwice(number));
    }
    for validator in &validators {
        check_len("p2p_address", validator.p2p_address.as_ref().map_or(1, String::len), MAX_ADDRESS_LEN)?;
    }
    let policy =
        Policy::parse(entry.policy.as_bytes()).map_err(|cause| NetworkError::Policy { epoch: number, cause })?;
    if policy != policy_of(origin, &validators)? {
        return Err(NetworkError::PolicyMismatch(number));
    }
    let last = match (entry.last_size, entry.last_root) {
        (None, None) if current => None,
        (Some(size), Some(root)) if !current => Some((size, TreeHash::from_bytes(*root.as_bytes()))),
        _ => return Err(NetworkError::EpochEnd(number, !current)),
    };
    let first_height = entry.first_height.unwrap_or(Height(0));
    Ok(NetworkEpoch { number: entry.epoch, first_height, validators, policy, last, ended_by: None })
}

pub(super) fn check_authorities(
    authorities: &[Authority],
) -> Result<BTreeMap<EndorsementKeyId, KnownKey>, NetworkError> {
    check_max("authorities", authorities.len(), MAX_AUTHORITIES)?;
    let (mut numbers, mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for authority in authorities {
        let number = authority.number.0;
        if authority.number == AuthorityNumber::UNATTESTED || authority.id.as_str() == UNATTESTED {
            return Err(NetworkError::ReservedAuthority);
        }
        check_new(&mut numbers, number, "an authority's number")?;
        check_new(&mut ids, &authority.id, "an authority's id")?;
        check_max("endorsement_keys", authority.endorsement_keys.len(), MAX_ENDORSEMENT_KEYS)?;
        for key in &authority.endorsement_keys {
            let parsed = PublicKey::from_spki(&key.spki).map_err(|why| NetworkError::EndorsementKey(number, why))?;
            if key.key_id != parsed.id() {
                return Err(NetworkError::EndorsementKeyId(number));
            }
            let known = KnownKey { authority: authority.number, state: key.state, key: parsed };
            if keys.insert(key.key_id, known).is_some() {
                return Err(NetworkError::Duplicate("an endorsement key"));
            }
        }
        let current = authority.endorsement_keys.iter().filter(|key| key.state == EndorsementKeyState::Current).count();
        if current > 1 {
            return Err(NetworkError::SeveralCurrentKeys(number));
        }
    }
    Ok(keys)
}

fn check_submitters(submitters: &[Submitter]) -> Result<(), NetworkError> {
    check_max("submitters", submitters.len(), MAX_SUBMITTERS)?;
    let (mut numbers, mut names, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for submitter in submitters {
        check_new(&mut numbers, submitter.number, "a submitter's number")?;
        check_new(&mut names, &submitter.name, "a submitter's name")?;
        check_new(&mut keys, submitter.key, "a submitter's key")?;
    }
    Ok(())
}

/// In epoch 0 every genesis validator must have signed, later a quorum of the epoch before the
/// current one.
fn check_signatures(
    document: &[u8],
    signatures: &[FileSignature],
    epochs: &[NetworkEpoch],
) -> Result<(), NetworkError> {
    check_len("signatures", signatures.len(), MAX_FILE_SIGNATURES)?;
    let (signers, needed) = match epochs {
        [.., before, _] => (&before.validators, quorum_size(before.validators.len())),
        [only] => (&only.validators, only.validators.len()),
        [] => return Err(NetworkError::TooFewSignatures { got: 0, needed: 1 }),
    };
    let keys: BTreeSet<note::PublicKey> = signers.iter().map(|validator| validator.log_key).collect();
    let mut signed = BTreeSet::new();
    for (at, signature) in signatures.iter().enumerate().filter(|(_, signature)| keys.contains(&signature.key)) {
        if !signature.holds_for(document) {
            return Err(NetworkError::BadSignature(at + 1));
        }
        check_new(&mut signed, signature.key, "a signature")?;
    }
    if signed.len() < needed {
        return Err(NetworkError::TooFewSignatures { got: signed.len(), needed });
    }
    Ok(())
}

fn check_new<T: Ord>(seen: &mut BTreeSet<T>, value: T, what: &'static str) -> Result<(), NetworkError> {
    if seen.insert(value) { Ok(()) } else { Err(NetworkError::Duplicate(what)) }
}

const fn check_len(list: &'static str, got: usize, max: usize) -> Result<(), NetworkError> {
    if got == 0 { Err(NetworkError::ListLength { list, got, max }) } else { check_max(list, got, max) }
}

const fn check_max(list: &'static str, got: usize, max: usize) -> Result<(), NetworkError> {
    if got > max { Err(NetworkError::ListLength { list, got, max }) } else { Ok(()) }
}
