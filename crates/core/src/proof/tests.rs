use proptest::prelude::*;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::merkle::{leaf_hash, prove_inclusion, root_of};
use crate::note::{KeyName, NoteSigner, SecretKey};
use crate::policy::{Policy, PolicyMember};
use crate::time::UnixSeconds;

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

/// Proof of leaf `index` of `size` leaves, and what accepts it.
fn proof(index: usize, size: usize, endorsement: Option<Vec<u8>>) -> (ProofBundle, Trust) {
    let leaves: Vec<Vec<u8>> = (0..size).map(|i| format!("leaf {i}").into_bytes()).collect();
    let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let mut source = |level: u8, at: u64| {
        let start = usize::try_from(at << level).unwrap();
        Ok::<_, MerkleError>(root_of(&hashes[start..start + (1 << level)]))
    };
    let path = prove_inclusion(index as u64, size as u64, &mut source).unwrap();
    let log = NoteSigner::log(name("example.com/log"), SecretKey::from_seed(&[1; 32]));
    let cosigner = NoteSigner::cosigner(name("v.example"), SecretKey::from_seed(&[2; 32]));
    let checkpoint = Checkpoint { origin: name("example.com/log"), size: size as u64, root: root_of(&hashes) };
    let cosignature = checkpoint.cosign(&cosigner, UnixSeconds(600)).unwrap();
    let note = checkpoint.assemble(checkpoint.log_signature(&log).unwrap(), &[cosignature]).unwrap();
    let member =
        PolicyMember { name: "v".to_owned(), log: log.verifier().clone(), cosigner: cosigner.verifier().clone() };
    let trust = Trust::Policy(Policy::of_validators(&[member]).unwrap());
    (
        ProofBundle {
            leaf: leaves[index].clone(),
            endorsement,
            index: index as u64,
            path,
            checkpoint: note.to_string(),
        },
        trust,
    )
}

#[test]
fn a_proof_holds_before_and_after_its_text() {
    for (index, size) in [(0, 1), (0, 2), (6, 7), (3, 300)] {
        let (bundle, trust) = proof(index, size, Some(vec![5; 264]));
        let read = ProofBundle::parse(&bundle.to_string()).unwrap();
        assert_eq!(read, bundle);
        let verified = read.verify_inclusion(&trust).unwrap();
        assert_eq!(verified.checkpoint.size, size as u64);
        assert_eq!(verified.time, Some(UnixSeconds(600)));
    }
}

#[test]
fn the_text_is_as_documented() {
    let (bundle, _) = proof(1, 2, None);
    let extra = base64::encode([&[1, 0, 6][..], b"leaf 1", &[0, 0]].concat());
    let sibling = leaf_hash(b"leaf 0");
    let expected = format!("c2sp.org/tlog-proof@v1\nextra {extra}\nindex 1\n{sibling}\n\n{}", bundle.checkpoint);
    assert_eq!(bundle.to_string(), expected);
}

#[test]
fn every_part_of_a_proof_matters() {
    let (good, trust) = proof(3, 7, None);
    let (other, _) = proof(3, 8, None);
    let changed = |change: fn(&mut ProofBundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        bundle.verify_inclusion(&trust).unwrap_err()
    };
    assert!(matches!(changed(|b| b.leaf.push(0)), ProofError::Inclusion(MerkleError::RootMismatch)));
    assert!(matches!(changed(|b| b.index = 2), ProofError::Inclusion(MerkleError::RootMismatch)));
    assert!(matches!(changed(|b| b.index = 7), ProofError::Inclusion(MerkleError::IndexOutOfRange { .. })));
    assert!(matches!(changed(|b| b.path.truncate(2)), ProofError::Inclusion(MerkleError::ProofLength(2))));
    assert!(matches!(changed(|b| b.path.swap(0, 1)), ProofError::Inclusion(MerkleError::RootMismatch)));
    assert!(matches!(changed(|b| b.checkpoint = b.checkpoint.replace("\n7\n", "\n8\n")), ProofError::Trust(_)));
    let moved = ProofBundle { checkpoint: other.checkpoint, ..good };
    assert!(matches!(moved.verify_inclusion(&trust), Err(ProofError::Inclusion(_))));
}

/// Whether it is the cause meant.
type Check = fn(&ProofError) -> bool;

#[test]
fn malformed_texts_are_refused_by_cause() {
    let (bundle, _) = proof(2, 5, Some(vec![9; 10]));
    let text = bundle.to_string();
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let extra = |bytes: &[u8]| {
        let (_, rest) = text.split_once("\nindex").unwrap();
        format!("{HEADER}\nextra {}\nindex{rest}", base64::encode(bytes))
    };
    let hash = bundle.path[0].to_string();
    let cases: [(String, Check); 26] = [
        (String::new(), |e| matches!(e, ProofError::NoCheckpoint)),
        (replaced("\n\n", "\n"), |e| matches!(e, ProofError::Path(4))),
        (replaced("@v1", "@v2"), |e| matches!(e, ProofError::Header)),
        (format!("\n{text}"), |e| matches!(e, ProofError::Header)),
        (text.replace('\n', "\r\n"), |e| matches!(e, ProofError::NoCheckpoint)),
        (replaced("extra ", "extra  "), |e| matches!(e, ProofError::ExtraLine)),
        (replaced("extra ", "Extra "), |e| matches!(e, ProofError::ExtraLine)),
        (replaced("\nindex", "=\nindex"), |e| matches!(e, ProofError::ExtraLine)),
        (extra(&[]), |e| matches!(e, ProofError::Extra(DecodeError::Truncated { .. }))),
        (extra(&[2, 0, 1, 7, 0, 0]), |e| matches!(e, ProofError::Extra(DecodeError::Value { value: 2, .. }))),
        (extra(&[1, 0, 0, 0, 0]), |e| matches!(e, ProofError::Extra(DecodeError::Value { value: 0, .. }))),
        (extra(&[1, 0, 1, 7]), |e| matches!(e, ProofError::Extra(DecodeError::Truncated { .. }))),
        (extra(&[1, 0, 1, 7, 0, 0, 0]), |e| matches!(e, ProofError::Extra(DecodeError::Trailing(1)))),
        (extra(&[1, 0, 1, 7, 4, 9]), |e| matches!(e, ProofError::Extra(DecodeError::Value { value: 1033, .. }))),
        (replaced("index 2", "index 02"), |e| matches!(e, ProofError::IndexLine)),
        (replaced("index 2", "index +2"), |e| matches!(e, ProofError::IndexLine)),
        (replaced("index 2", "index ٢"), |e| matches!(e, ProofError::IndexLine)),
        (replaced("index 2\n", ""), |e| matches!(e, ProofError::IndexLine)),
        (replaced("index 2", "index 18446744073709551616"), |e| matches!(e, ProofError::IndexLine)),
        (replaced(&hash, hash.trim_end_matches('=')), |e| matches!(e, ProofError::Path(1))),
        (replaced(&hash, &format!("{hash} ")), |e| matches!(e, ProofError::Path(1))),
        (replaced(&hash, "AAAA"), |e| matches!(e, ProofError::Path(1))),
        (replaced(&hash, &vec![hash.as_str(); 65].join("\n")), |e| matches!(e, ProofError::Path(65))),
        (replaced("\n\n", "\n\n\n"), |e| matches!(e, ProofError::Checkpoint(_))),
        (format!("{text}\n"), |e| matches!(e, ProofError::Checkpoint(_))),
        (" ".repeat(MAX_PROOF_TEXT_LEN + 1), |e| matches!(e, ProofError::TooLong(_))),
    ];
    for (i, (bad, is_cause)) in cases.into_iter().enumerate() {
        let error = ProofBundle::parse(&bad).unwrap_err();
        assert!(is_cause(&error), "case {i}: {error:?}");
    }
}

#[test]
fn the_largest_leaf_and_endorsement_fit() {
    let (mut bundle, _) = proof(0, 1, Some(vec![1; MAX_ENDORSEMENT]));
    bundle.leaf = vec![1; MAX_LEAF_LEN];
    bundle.path = vec![leaf_hash(b""); MAX_PROOF_LEN];
    let text = bundle.to_string();
    assert!(text.len() + crate::note::MAX_NOTE_LEN <= MAX_PROOF_TEXT_LEN + bundle.checkpoint.len());
    assert_eq!(ProofBundle::parse(&text).unwrap(), bundle);
}

proptest! {
    #[test]
    fn proofs_round_trip(
        leaf in prop::collection::vec(any::<u8>(), 1..200), endorsement in prop::option::of(prop::collection::vec(any::<u8>(), 1..300)),
        index: u64, path in prop::collection::vec(any::<[u8; 32]>(), 0..65),
    ) {
        let path = path.into_iter().map(TreeHash::from_bytes).collect();
        let bundle = ProofBundle { leaf, endorsement, index, path, checkpoint: proof(0, 1, None).0.checkpoint };
        prop_assert_eq!(ProofBundle::parse(&bundle.to_string()).unwrap(), bundle);
    }

    #[test]
    fn every_changed_byte_is_noticed(at: prop::sample::Index, byte in 1u8..128) {
        let (bundle, trust) = proof(4, 6, None);
        let text = bundle.to_string();
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        if changed != text && let Ok(read) = ProofBundle::parse(&changed) {
            prop_assert_eq!(read.to_string(), changed);
            prop_assert!(read.verify_inclusion(&trust).is_err() || read.endorsement != bundle.endorsement);
        }
    }
}
