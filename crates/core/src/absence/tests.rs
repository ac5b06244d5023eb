use proptest::prelude::*;

use super::*;
use crate::body::tests::capture;
use crate::checkpoint::Checkpoint;
use crate::ids::{AuthorityNumber, Epoch, SubmitterNumber};
use crate::index::trie::{End, Leaf as TrieLeaf, path_of, root_of};
use crate::leaf::RecordLeaf;
use crate::merkle::{leaf_hash, prove_inclusion};
use crate::network::{NetworkBuilder, Validator};
use crate::note::{KeyName, NoteSigner, SecretKey};
use crate::policy::Policy;
use crate::time::Minute;

const MINUTE: Minute = Minute(29_000_000);
const MAX_AGE: u64 = DEFAULT_MAX_AGE;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn origin() -> KeyName {
    KeyName::new("example.com/log").unwrap()
}

fn trust() -> Trust {
    let mut network = NetworkBuilder::new(origin(), MINUTE);
    network.validators = vec![Validator {
        consensus_key: secret(1).public_key(),
        log_key: secret(2).public_key(),
        cosigning_key: secret(3).public_key(),
        p2p_address: None,
    }];
    Trust::Network(Box::new(network.build().unwrap().sign(&[&secret(2)]).unwrap().1))
}

fn note(leaves: &[Vec<u8>]) -> String {
    let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let tree = Checkpoint { origin: origin(), size: leaves.len() as u64, root: merkle::root_of(&hashes) };
    let name = crate::network::cosigner_name(&origin(), &secret(1).public_key()).unwrap();
    let cosignature = tree.cosign(&NoteSigner::cosigner(name, secret(3)), MINUTE.start()).unwrap();
    let log = tree.log_signature(&NoteSigner::log(origin(), secret(2))).unwrap();
    tree.assemble(log, &[cosignature]).unwrap().to_string()
}

fn block(height: u64, index_root: Digest) -> Vec<u8> {
    let validator_set_hash = Digest::from_bytes([4; 32]);
    Leaf::Block(BlockLeaf { minute: MINUTE, height: Height(height), epoch: Epoch(0), validator_set_hash, index_root })
        .encode()
}

fn record() -> Vec<u8> {
    Leaf::Record(RecordLeaf {
        minute: MINUTE,
        authority: AuthorityNumber(1),
        submitter: SubmitterNumber(1),
        assurance: crate::batch::Assurance::Attested,
        endorsement_hash: None,
        entries: capture().entries,
    })
    .encode()
}

fn image(seed: u8) -> ImageHash {
    ImageHash::of(&[seed])
}

/// The index of images 0, 1, … and the proof that `asked` is not among them.
fn proof_beside(images: u8, asked: ImageHash) -> AbsenceProof {
    let mut index: Vec<_> = (0..images)
        .map(|seed| TrieLeaf { key: image(seed).index_key(), value_hash: Digest::of_parts(&[&[seed]]) })
        .collect();
    index.sort_unstable_by_key(|leaf| leaf.key);
    let path = path_of(&index, 0, &asked.index_key());
    let other = match path.end {
        End::Empty => None,
        End::Other(other) => Some(other),
        End::Here { .. } => panic!("the image is there"),
    };
    let mut leaves = vec![block(0, trie::EMPTY)];
    if images > 0 {
        leaves.extend([record(), block(1, root_of(&index, 0))]);
    }
    proof_of(&leaves, asked, path.siblings, other)
}

fn proof_of(leaves: &[Vec<u8>], image_hash: ImageHash, siblings: Vec<Digest>, other: Option<OtherKey>) -> AbsenceProof {
    let mut source = |level: u8, at: u64| {
        let start = usize::try_from(at << level).unwrap();
        let hashes: Vec<_> = leaves[start..start + (1 << level)].iter().map(|leaf| leaf_hash(leaf)).collect();
        Ok::<_, MerkleError>(merkle::root_of(&hashes))
    };
    let size = leaves.len() as u64;
    AbsenceProof {
        image_hash,
        checkpoint: note(leaves),
        leaf: leaves.last().unwrap().clone(),
        inclusion: prove_inclusion(size - 1, size, &mut source).unwrap(),
        siblings,
        other,
    }
}

fn verify(proof: &AbsenceProof) -> Result<Absence, AbsenceError> {
    proof.verify(&trust(), MINUTE.start())
}

#[test]
fn what_is_not_in_the_index_is_proven_absent() {
    for images in [0, 1, 2, 40] {
        let proof = proof_beside(images, image(200));
        let read = AbsenceProof::parse(serde_json::to_string(&proof).unwrap().as_bytes()).unwrap();
        assert_eq!(read, proof);
        let absence = verify(&read).unwrap();
        assert_eq!(absence.image_hash, image(200));
        assert_eq!(absence.checkpoint_size, if images == 0 { 1 } else { 3 });
        assert_eq!((absence.height.0, absence.checkpoint_time), (u64::from(images > 0), MINUTE.start()));
    }
}

#[test]
fn the_text_is_as_documented() {
    let proof = proof_beside(1, image(200));
    let text = serde_json::to_value(&proof).unwrap();
    let other = proof.other.unwrap();
    let inclusion: Vec<_> = proof.inclusion.iter().map(|hash| hex::encode(hash.as_bytes())).collect();
    let expected = serde_json::json!({
        "version": 1, "image_hash": image(200).to_string(), "checkpoint": proof.checkpoint,
        "leaf": hex::encode(&proof.leaf), "inclusion": inclusion, "siblings": [],
        "other": {"key": other.key.to_string(), "value_hash": other.value_hash.to_string()},
    });
    assert_eq!(text, expected);
    assert!(serde_json::to_value(proof_beside(0, image(200))).unwrap()["other"].is_null());
}

#[test]
fn a_proof_is_good_for_as_long_as_the_policy_says() {
    let proof = proof_beside(3, image(200));
    let at = |seconds: u64| proof.verify(&trust(), UnixSeconds(MINUTE.start().0 + seconds));
    assert!(at(MAX_AGE).is_ok());
    assert!(matches!(at(MAX_AGE + 1), Err(AbsenceError::TooOld { age, max_age: MAX_AGE }) if age == MAX_AGE + 1));
    let slow_clock = UnixSeconds(MINUTE.start().0 - 7200);
    assert!(proof.verify(&trust(), slow_clock).is_ok(), "nobody can have cosigned before it was so");
    let Trust::Network(network) = trust() else { panic!() };
    let bare = Trust::Policy(network.current_policy().clone());
    assert!(proof.verify(&bare, MINUTE.start()).is_ok());
    let late = proof.verify(&bare, UnixSeconds(MINUTE.start().0 + DEFAULT_MAX_AGE + 1));
    assert!(matches!(late, Err(AbsenceError::TooOld { .. })));
    let alone = format!("log {}\nquorum none\n", network.current_policy().logs()[0].key());
    let timeless = proof.verify(&Trust::Policy(Policy::parse(alone.as_bytes()).unwrap()), MINUTE.start());
    assert!(matches!(timeless, Err(AbsenceError::NoTime)));
}

#[test]
fn only_the_last_leaf_speaks_and_only_if_it_is_a_blocks() {
    let asked = image(200);
    // Cut off before the block's end: the newest record may not be in any index root yet.
    let cut = proof_of(&[block(0, trie::EMPTY), record()], asked, vec![], None);
    assert!(matches!(verify(&cut), Err(AbsenceError::NotABlock)));
    let leaves = [block(0, trie::EMPTY), record(), block(1, Digest::from_bytes([9; 32]))];
    let mut earlier = proof_of(&leaves, asked, vec![], None);
    earlier.leaf = leaves[0].clone();
    assert!(matches!(verify(&earlier), Err(AbsenceError::Inclusion(_))));
    let without_index = proof_of(&[block(0, trie::EMPTY), record(), block(1, trie::EMPTY)], asked, vec![], None);
    assert!(matches!(verify(&without_index), Err(AbsenceError::NoIndexRoot(1))));
    let garbled = proof_of(&[vec![1, 4, 0]], asked, vec![], None);
    assert!(matches!(verify(&garbled), Err(AbsenceError::Leaf(_))));
}

#[test]
fn an_empty_log_has_no_last_leaf() {
    let mut proof = proof_beside(0, image(200));
    proof.checkpoint = note(&[]);
    assert!(matches!(verify(&proof), Err(AbsenceError::Inclusion(MerkleError::IndexOutOfRange { .. }))));
}

#[test]
fn malformed_texts_are_refused() {
    let good = serde_json::to_value(proof_beside(3, image(200))).unwrap();
    let changed = |field: &str, value: serde_json::Value| {
        let mut text = good.clone();
        text[field] = value;
        AbsenceProof::parse(text.to_string().as_bytes())
    };
    let hash = "ab".repeat(32);
    assert!(changed("siblings", vec![hash.clone(); 256].into()).is_ok());
    for (field, value) in [
        ("version", 0.into()),
        ("version", 2.into()),
        ("version", "1".into()),
        ("image_hash", "ab".into()),
        ("checkpoint", "x".repeat(MAX_NOTE_LEN + 1).into()),
        ("checkpoint", serde_json::Value::Null),
        ("leaf", "0".into()),
        ("leaf", "0x00".into()),
        ("leaf", "00".repeat(MAX_LEAF_LEN + 1).into()),
        ("inclusion", vec![hash.clone(); 65].into()),
        ("inclusion", vec!["ab"].into()),
        ("inclusion", serde_json::Value::Null),
        ("siblings", vec![hash.clone(); 257].into()),
        ("siblings", vec![hash.clone() + "0"].into()),
        ("other", serde_json::json!({"key": hash})),
        ("other", serde_json::json!({"key": hash, "value_hash": ""})),
    ] {
        let refused = changed(field, value.clone());
        assert!(matches!(refused, Err(AbsenceError::Json(_))), "{field} = {value}");
    }
    let text = good.to_string();
    let twice = text.replacen('{', r#"{"version":1,"#, 1);
    assert!(matches!(AbsenceProof::parse(twice.as_bytes()), Err(AbsenceError::Json(JsonError::DuplicateKey { .. }))));
    let long = " ".repeat(MAX_ABSENCE_LEN + 1);
    assert!(matches!(AbsenceProof::parse(long.as_bytes()), Err(AbsenceError::TooLong(_))));
    let secret = changed("leaf", "hunter2".into()).unwrap_err().to_string();
    assert!(!secret.contains("hunter2"), "{secret}");
}

/// One bit of a byte string turned.
fn turn(bytes: &mut [u8], at: prop::sample::Index) {
    let at = at.index(8 * bytes.len());
    bytes[at / 8] ^= 1 << (at % 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_field_of_a_proof_matters(
        images in 1u8..60, asked in 60u8.., field in 0usize..6, at: prop::sample::Index, bit: prop::sample::Index,
    ) {
        let mut bad = proof_beside(images, image(asked));
        prop_assert!(verify(&bad).is_ok());
        match field {
            0 => {
                // Anyone's own image instead: present ones above all.
                bad.image_hash = image(at.index(usize::from(images)).try_into().unwrap());
            }
            1 => turn(&mut bad.leaf, bit),
            2 => {
                let mut hash = *bad.inclusion[0].as_bytes();
                turn(&mut hash, bit);
                bad.inclusion[0] = TreeHash::from_bytes(hash);
            }
            3 => match bad.siblings.len() {
                0 => bad.siblings.push(Digest::from_bytes([0; 32])),
                len => {
                    let sibling = &mut bad.siblings[at.index(len)];
                    let mut hash = *sibling.as_bytes();
                    turn(&mut hash, bit);
                    *sibling = Digest::from_bytes(hash);
                }
            },
            4 => bad.other = match bad.other {
                Some(OtherKey { key, value_hash }) => {
                    let mut hash = *value_hash.as_bytes();
                    turn(&mut hash, bit);
                    Some(OtherKey { key, value_hash: Digest::from_bytes(hash) })
                }
                None => Some(OtherKey { key: image(asked).index_key(), value_hash: trie::EMPTY }),
            },
            _ => {
                let mut text = bad.checkpoint.clone().into_bytes();
                let at = at.index(text.len());
                text[at] = if text[at] == b'A' { b'B' } else { b'A' };
                let Ok(text) = String::from_utf8(text) else { return Ok(()) };
                bad.checkpoint = text;
            }
        }
        prop_assert!(verify(&bad).is_err(), "field {field}");
    }

    #[test]
    fn any_proof_reads_back_from_its_text(images in 0u8..60, asked in 60u8..) {
        let proof = proof_beside(images, image(asked));
        let text = serde_json::to_vec(&proof).unwrap();
        prop_assert_eq!(AbsenceProof::parse(&text).unwrap(), proof);
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            prop_assert!(AbsenceProof::parse(&text[..cut]).is_err());
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = AbsenceProof::parse(&text);
    }
}
