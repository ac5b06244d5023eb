//! A network that all files share: four validators with known keys, and their lines.

use birthmark_core::base64;
use birthmark_core::checkpoint::Checkpoint;
use birthmark_core::ids::NetworkId;
use birthmark_core::merkle::TreeHash;
use birthmark_core::network::{EndorsementKeyId, Network, NetworkBuilder, Validator, cosigner_name};
use birthmark_core::note::{KeyName, NoteSignature, NoteSigner, SecretKey};
use birthmark_core::policy::{Policy, PolicyMember};
use birthmark_core::time::{Minute, UnixSeconds};
use serde_json::{Value, json};

use crate::authority::{spki, token_secret};
use crate::frame::digest;

pub(crate) const ORIGIN: &str = "birthmark.example/vectors";
pub(crate) const MINUTE: u32 = 28_887_660;
/// The first second of [`MINUTE`].
pub(crate) const TIME: UnixSeconds = UnixSeconds(1_733_259_600);

pub(crate) fn origin() -> KeyName {
    KeyName::new(ORIGIN).unwrap()
}

/// One of a validator's secret keys; `purpose` is `consensus`, `log` or `cosigning`.
pub(crate) fn secret(purpose: &str, validator: usize) -> SecretKey {
    SecretKey::from_seed(digest(&format!("{purpose} {validator}")).as_bytes())
}

pub(crate) fn validator(number: usize) -> Validator {
    Validator {
        consensus_key: secret("consensus", number).public_key(),
        log_key: secret("log", number).public_key(),
        cosigning_key: secret("cosigning", number).public_key(),
        p2p_address: None,
    }
}

pub(crate) fn log_signer(number: usize) -> NoteSigner {
    NoteSigner::log(origin(), secret("log", number))
}

pub(crate) fn cosigner(number: usize) -> NoteSigner {
    let name = cosigner_name(&origin(), &secret("consensus", number).public_key()).unwrap();
    NoteSigner::cosigner(name, secret("cosigning", number))
}

pub(crate) fn checkpoint(size: u64, root: TreeHash) -> Checkpoint {
    Checkpoint { origin: origin(), size, root }
}

/// The log line of one validator and the cosignatures of others, one minute apart.
pub(crate) fn lines(checkpoint: &Checkpoint, log: usize, cosigners: &[usize]) -> Vec<NoteSignature> {
    let cosign = |(minutes, number): (u64, &usize)| {
        checkpoint.cosign(&cosigner(*number), UnixSeconds(TIME.0 + 60 * minutes + 1)).unwrap()
    };
    let first = checkpoint.log_signature(&log_signer(log)).unwrap();
    [first].into_iter().chain((0..).zip(cosigners).map(cosign)).collect()
}

/// A note with these lines in this order.
pub(crate) fn note(checkpoint: &Checkpoint, lines: &[NoteSignature]) -> String {
    birthmark_core::note::Note::new(checkpoint.to_string(), lines.to_vec()).unwrap().to_string()
}

/// The policy text that follows from validators, as the network file must have it.
pub(crate) fn policy_of(numbers: &[usize]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_by_key(|number| validator(*number).consensus_key);
    let member = |number: &usize| PolicyMember {
        name: format!("validator-{}", validator(*number).consensus_key.to_string().get(..16).unwrap()),
        log: log_signer(*number).verifier().clone(),
        cosigner: cosigner(*number).verifier().clone(),
    };
    Policy::of_validators(&sorted.iter().map(member).collect::<Vec<_>>()).unwrap().to_string()
}

/// An entry of an authority's endorsement keys.
pub(crate) fn endorsement_key(number: u8, state: &str) -> Value {
    let spki = spki(number);
    json!({"key_id": EndorsementKeyId::of_spki(&spki), "spki": base64::encode(spki), "state": state})
}

pub(crate) fn authorities() -> Value {
    json!([
        {
            "number": 1, "id": "SIMULATED_MFG_001", "rules": {"min_token_version": 1},
            "token_key": token_secret().public(), "endorsement_keys": [endorsement_key(1, "current")],
        },
        {"number": 7, "id": "SOFTWARE_001", "endorsement_keys": [endorsement_key(2, "current")]},
    ])
}

pub(crate) fn submitters() -> Value {
    json!([{"number": 1, "name": "aggregator_node_001", "key": secret("submitter", 1).public_key()}])
}

/// The file of a network that has just begun, made as `birthmark` makes it.
pub(crate) fn network_file() -> String {
    network_file_of(authorities())
}

/// The same network, with these authorities in its file.
pub(crate) fn network_file_of(authorities: Value) -> String {
    let mut builder = NetworkBuilder::new(origin(), Minute(MINUTE));
    builder.validators = (0..4).map(validator).collect();
    builder.validators[0].p2p_address = Some("validator-0.example:8547".to_owned());
    builder.authorities = serde_json::from_value(authorities).unwrap();
    builder.submitters = serde_json::from_value(submitters()).unwrap();
    let keys: Vec<SecretKey> = (0..4).map(|number| secret("log", number)).collect();
    let (file, network) = builder.build().unwrap().sign(&keys.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(network.current_policy().to_string(), policy_of(&[0, 1, 2, 3]));
    String::from_utf8(file).unwrap()
}

/// Its id, whatever its authorities.
pub(crate) fn network_id() -> NetworkId {
    Network::parse(network_file().as_bytes()).unwrap().network_id()
}

/// A document signed by validators' log keys, put together by hand.
pub(crate) fn signed(document: &Value, signers: &[usize]) -> String {
    let mut document = document.clone();
    document.sort_all_objects();
    let document = document.to_string();
    let message = [b"birthmark/network/v1", document.as_bytes()].concat();
    let signature = |number: &usize| {
        let key = secret("log", *number);
        json!({"key": key.public_key(), "signature": birthmark_core::hex::encode(key.sign(&message))})
    };
    let signatures: Vec<Value> = signers.iter().map(signature).collect();
    let mut file = json!({"network": base64::encode(document), "signatures": signatures});
    file.sort_all_objects();
    file.to_string()
}
