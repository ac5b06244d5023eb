//! What is done with any bytes, one function for each parser that reads something from outside.
//!
//! For: `targets/`, which give them to libFuzzer, and the test here, which gives them the seeds.
//!
//! A function panics if a promise is broken: a parser that panics, or one that takes two texts for one
//! value where the format has one.

pub mod seeds;

use std::sync::LazyLock;

use birthmark_core::absence::AbsenceProof;
use birthmark_core::api::provision::DeviceConfig;
use birthmark_core::api::submit::SubmitAnswer;
use birthmark_core::api::transactions::TransactionsAnswer;
use birthmark_core::api::validate::{BatchAnswer, BatchRequest, ValidateAnswer, ValidateRequest};
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::batch::{Batch, BlockBatch};
use birthmark_core::body::{Body, Kind};
use birthmark_core::checkpoint;
use birthmark_core::codec::Reader;
use birthmark_core::endorsement::{CaptureDigest, Endorsement, PublicKey};
use birthmark_core::governance::{Act, ActFile, ApprovedAct};
use birthmark_core::hash::{Digest, ImageHash};
use birthmark_core::ids::NetworkId;
use birthmark_core::image_data::jpeg_image_data;
use birthmark_core::index::{decode_value, encode_value};
use birthmark_core::json;
use birthmark_core::leaf::Leaf;
use birthmark_core::merkle::EMPTY_ROOT;
use birthmark_core::network::{AuthorityStatement, Genesis, Network, Revision, Trust, parse_policy_or_network};
use birthmark_core::note::Note;
use birthmark_core::policy::Policy;
use birthmark_core::prefix::{PrefixPage, Said};
use birthmark_core::proof::ProofBundle;
use birthmark_core::submission::Submission;
use birthmark_core::tile::{Tile, decode_entries, encode_entries};
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::{Blinding, TokenJson};
use birthmark_core::verify::{Candidate, verify};
use birthmark_core::witness::AddCheckpoint;
use birthmark_ledger::block::{Header, Payload};
use birthmark_ledger::transfer;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One target: its name, what it does with bytes, and what to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("absence", absence, seeds::absence),
    ("act", act, seeds::act),
    ("answers", answers, seeds::answers),
    ("batch", batch, seeds::batch),
    ("block", block, seeds::block),
    ("body", body, seeds::body),
    ("checkpoint", checkpoint, seeds::checkpoint),
    ("device_config", device_config, seeds::device_config),
    ("endorsement", endorsement, seeds::endorsement),
    ("endorsement_key", endorsement_key, seeds::endorsement_key),
    ("entries", entries, seeds::entries),
    ("genesis", genesis, seeds::genesis),
    ("image_data", image_data, seeds::image_data),
    ("index_value", index_value, seeds::index_value),
    ("leaf", leaf, seeds::leaf),
    ("network", network, seeds::network),
    ("policy", policy, seeds::policy),
    ("prefix", prefix, seeds::prefix),
    ("proof", proof, seeds::proof),
    ("statement", statement, seeds::statement),
    ("submission", submission, seeds::submission),
    ("tile", tile, seeds::tile),
    ("token", token, seeds::token),
    ("validate", validate, seeds::validate),
    ("whole_blocks", whole_blocks, seeds::whole_blocks),
    ("witness", witness, seeds::witness),
];

/// The network and policy of `vectors/proof.json`, whose proofs are among the seeds.
static TRUSTS: LazyLock<Vec<Trust>> = LazyLock::new(|| {
    seeds::trusts().iter().map(|text| parse_policy_or_network(text.as_bytes()).expect("the vectors' trusts")).collect()
});

/// A page of a look-up by prefix, and what is taken out of it.
pub fn prefix(bytes: &[u8]) {
    let Ok(page) = PrefixPage::parse(bytes) else { return };
    let text = serde_json::to_vec(&page).expect("what is read can be written");
    assert_eq!(PrefixPage::parse(&text).ok().as_ref(), Some(&page));
    for seed in 0..16 {
        match page.about(&ImageHash::of(&[seed])) {
            Ok(Said::Record(proof)) => TRUSTS.iter().for_each(|trust| drop(proof.verify_inclusion(trust))),
            Ok(Said::Absent(proof)) => TRUSTS.iter().for_each(|trust| drop(proof.verify(trust, UnixSeconds(1_733_259_600)))),
            Ok(Said::Elsewhere) | Err(_) => {}
        }
    }
}

/// A proof of absence.
pub fn absence(bytes: &[u8]) {
    let Ok(proof) = AbsenceProof::parse(bytes) else { return };
    let text = serde_json::to_vec(&proof).expect("what is read can be written");
    assert_eq!(AbsenceProof::parse(&text).ok().as_ref(), Some(&proof));
    for trust in TRUSTS.iter() {
        let _ = proof.verify(trust, UnixSeconds(1_733_259_600));
    }
}

/// `POST /api/v1/governance/acts`, and what other validators pass on.
pub fn act(bytes: &[u8]) {
    if let Ok(act) = Act::decode(bytes) {
        assert_eq!(act.encode(), bytes);
    }
    if let Ok(approved) = ApprovedAct::decode(bytes) {
        assert_eq!(approved.encode(), bytes);
        for trust in TRUSTS.iter() {
            assert!(trust.network().is_none_or(|network| network.check_act(&approved).is_err()));
        }
    }
    if let Ok(approved) = ActFile::parse(bytes) {
        let text = serde_json::to_vec(&ActFile::from(&approved)).expect("what is read can be written");
        assert_eq!(ActFile::parse(&text).ok(), Some(approved));
    }
}

/// Answers of aggregators, nodes and authorities, as their clients read them.
pub fn answers(bytes: &[u8]) {
    round_trip::<SubmitAnswer>(bytes);
    round_trip::<TransactionsAnswer>(bytes);
    round_trip::<ValidateAnswer>(bytes);
    round_trip::<BatchAnswer>(bytes);
    round_trip::<VerifyAnswer>(bytes);
}

/// `POST /api/v1/transactions`.
pub fn batch(bytes: &[u8]) {
    if let Ok(batch) = Batch::decode(bytes) {
        assert_eq!(batch.encode(), bytes);
        assert!(batch.verify(NetworkId(Digest::from_bytes([0; 32])), &[1; 32]).is_err());
    }
    let mut reader = Reader::new(bytes);
    if let Ok(batch) = BlockBatch::decode_from(&mut reader)
        && reader.finish().is_ok()
    {
        let mut again = Vec::new();
        batch.encode_into(&mut again);
        assert_eq!(again, bytes);
    }
}

/// What another validator proposes.
pub fn block(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        assert_eq!(header.encode().as_slice(), bytes);
    }
    if let Ok(payload) = Payload::decode(bytes) {
        assert_eq!(payload.encode(), bytes);
    }
}

/// What is to be recorded.
pub fn body(bytes: &[u8]) {
    if let Ok(body) = Body::decode(bytes) {
        assert_eq!(body.encode(), bytes);
        let _ = body.entries.check_capture();
        for entry in body.entries.as_slice() {
            let _ = body.entries.parent_hash(entry);
        }
    }
}

/// A checkpoint's note, and notes as such.
pub fn checkpoint(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text);
    }
    if let Ok((note, checkpoint)) = checkpoint::parse_unverified(text) {
        assert_eq!((note.to_string().as_str(), checkpoint.to_string().as_str()), (text, note.text()));
    }
    for trust in TRUSTS.iter() {
        let _ = trust.verify_checkpoint(text);
    }
}

/// A camera's own configuration.
pub fn device_config(bytes: &[u8]) {
    round_trip::<DeviceConfig>(bytes);
}

/// `key_id ‖ signature` under some capture.
pub fn endorsement(bytes: &[u8]) {
    let Ok(endorsement) = Endorsement::decode(bytes) else { return };
    assert_eq!(endorsement.encode(), bytes);
    let Some(network) = TRUSTS.iter().find_map(Trust::network) else { return };
    for authority in network.authorities() {
        // Nobody endorsed an empty body.
        assert!(network.check_endorsement(authority.number, bytes, b"").is_err());
    }
}

/// The SPKI of an endorsement key.
pub fn endorsement_key(bytes: &[u8]) {
    let Ok(key) = PublicKey::from_spki(bytes) else { return };
    assert!((256..=512).contains(&key.modulus_len()));
    let digest = CaptureDigest::of(NetworkId(Digest::from_bytes([0; 32])), key.id(), b"");
    for signature in [vec![0; key.modulus_len()], vec![0xff; key.modulus_len()], Vec::new()] {
        assert!(key.verify(&digest, &signature).is_err());
        let _ = key.finish(&digest, &signature, &signature, &signature);
    }
}

/// A bundle of leaves; the first byte says how many are expected.
pub fn entries(bytes: &[u8]) {
    let Some((count, bundle)) = bytes.split_first() else { return };
    if let Ok(leaves) = decode_entries(bundle, u16::from(*count)) {
        assert_eq!(leaves.len(), usize::from(*count));
        assert_eq!(encode_entries(leaves).ok().as_deref(), Some(bundle));
    }
}

/// What a network started from.
pub fn genesis(bytes: &[u8]) {
    if let Ok(genesis) = Genesis::decode(bytes) {
        assert_eq!(genesis.encode(), bytes);
    }
}

/// Any file that might be a JPEG.
pub fn image_data(bytes: &[u8]) {
    let Some(hash) = jpeg_image_data(bytes) else { return };
    // What follows the end of the picture does not count.
    assert_eq!(jpeg_image_data(&[bytes, b"\xff\xd8 and more"].concat()), Some(hash));
}

/// What the index says of a hash.
pub fn index_value(bytes: &[u8]) {
    if let Ok(records) = decode_value(bytes) {
        assert_eq!(encode_value(&records), bytes);
    }
}

/// One entry of the log.
pub fn leaf(bytes: &[u8]) {
    if let Ok(leaf) = Leaf::decode(bytes) {
        assert_eq!(leaf.encode(), bytes);
    }
}

/// A network file, for verifiers and for its revision.
pub fn network(bytes: &[u8]) {
    let Ok(network) = Network::parse(bytes) else { return };
    assert!(network.is_succeeded_by(&network));
    let again = Revision::of(bytes).map(Revision::finish);
    assert!(matches!(again, Ok(Ok(_))), "a file that is read can be revised");
}

/// A C2SP policy.
pub fn policy(bytes: &[u8]) {
    let Ok(policy) = Policy::parse(bytes) else { return };
    let canonical = policy.to_string();
    let again = Policy::parse(canonical.as_bytes()).expect("what is written can be read");
    assert_eq!((&again, again.to_string()), (&policy, canonical));
    let _ = policy.is_satisfied_by(|witness| policy.counts(witness));
}

/// A proof bundle.
pub fn proof(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(bundle) = ProofBundle::parse(text) else { return };
    assert_eq!(bundle.to_string(), text);
    let file = [Candidate { kind: Kind::File, hash: ImageHash::of(b"birthmark vectors: processed") }];
    for trust in TRUSTS.iter() {
        let _ = verify(&file, &bundle, trust);
    }
}

/// What an authority says of itself for the network file.
pub fn statement(bytes: &[u8]) {
    round_trip::<AuthorityStatement>(bytes);
}

/// What a camera or an editor submits.
pub fn submission(bytes: &[u8]) {
    let Ok(submission) = Submission::from_json(bytes) else { return };
    let body = submission.body();
    assert_eq!(Body::decode(&body.encode()).as_ref(), Ok(body));
    if let Submission::Camera(camera) = &submission {
        let again = TokenJson::of(&camera.token, camera.binding.as_ref()).parse(None);
        assert_eq!(again, Ok((camera.token.clone(), camera.binding.clone())));
        let _ = camera.idempotency_key();
    }
}

/// A tile's path.
pub fn tile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(tile) = text.parse::<Tile>() {
        assert_eq!(tile.to_string(), text);
    }
}

/// A token in JSON, with or without binding.
pub fn token(bytes: &[u8]) {
    let Ok(json) = json::from_slice::<TokenJson>(bytes) else { return };
    if let Ok((token, binding)) = json.parse(None) {
        assert_eq!(TokenJson::of(&token, binding.as_ref()).parse(None), Ok((token, binding)));
    }
}

/// A question to the authority, alone or among others.
pub fn validate(bytes: &[u8]) {
    round_trip::<BatchRequest>(bytes);
    let Ok(asked) = json::from_slice::<ValidateRequest>(bytes) else { return };
    if let (Some(enc), Some(key_id), Some(message)) = (&asked.enc, &asked.key_id, &asked.blinded_message)
        && let Ok(blinding) = Blinding::parse(enc, key_id, message)
    {
        let _ = blinding.commitment();
    }
    let _ = asked.camera_token.parse_sealed(None);
}

/// Blocks that another node gives.
pub fn whole_blocks(bytes: &[u8]) {
    let Ok(blocks) = transfer::decode(bytes) else { return };
    let mut again = vec![transfer::VERSION];
    for block in &blocks {
        block.encode_into(&mut again);
    }
    assert_eq!(again, bytes);
}

/// What a log asks of a witness.
pub fn witness(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(request) = AddCheckpoint::parse(text) else { return };
    assert_eq!(request.to_string(), text);
    let tree = (request.checkpoint.size, request.checkpoint.root);
    for last in [(0, EMPTY_ROOT), (request.old_size, EMPTY_ROOT), tree] {
        let _ = request.follows(last);
    }
    assert!(!request.is_signed_by(&[]));
}

/// What is read from JSON can be written, and is then read as the same.
fn round_trip<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(value) = json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&value).expect("what is read can be written");
    let again: T = json::from_slice(&written).expect("what is written can be read");
    assert_eq!(serde_json::to_vec(&again).ok(), Some(written));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_and_what_is_left_of_it_keeps_the_promises() {
        for (name, run, seeds) in TARGETS {
            let seeds = seeds();
            assert!(!seeds.is_empty(), "{name}");
            for seed in seeds {
                run(&seed);
                for part in 1..8 {
                    run(&seed[..seed.len() * part / 8]);
                    let mut changed = seed.clone();
                    if let Some(byte) = changed.get_mut(seed.len() * part / 8) {
                        *byte ^= 1 << part;
                        run(&changed);
                    }
                }
            }
        }
    }

    #[test]
    fn every_target_has_a_program_of_its_name() {
        let manifest = include_str!("../Cargo.toml");
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
        let mut programs: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        programs.sort();
        assert_eq!(programs, TARGETS.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
        for name in programs {
            let text = std::fs::read_to_string(
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("targets").join(format!("{name}.rs")),
            );
            assert!(text.unwrap().contains(&format!("birthmark_fuzz::{name}(")), "{name}");
            assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
        }
    }
}
