//! `absence.json`: whole proofs of absence, what they say, and altered ones.

use birthmark_core::ImageHash;
use birthmark_core::absence::{AbsenceError, AbsenceProof};
use birthmark_core::hash::Digest;
use birthmark_core::index::trie::{End, OtherKey, path_of, root_of};
use birthmark_core::merkle::{self, MerkleError, TreeHash, leaf_hash, prove_inclusion};
use birthmark_core::network::Trust;
use birthmark_core::time::UnixSeconds;
use serde_json::{Value, json};

use crate::frame::{Vectors, hash};
use crate::index_trie::{Filed, filed, leaves as trie_leaves};
use crate::log::{code as trust_code, trust, trusts};
use crate::records::{block, capture, edit, leaf, record};
use crate::world::{TIME, checkpoint, lines, note};

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn image(name: &str) -> ImageHash {
    ImageHash::from_hex(&hash(name)).unwrap()
}

/// The index after the log's second block, with more images than its two records have.
fn index() -> Vec<Filed> {
    let names = ["raw", "processed", "edited", "edited again"].map(str::to_owned);
    let names = names.into_iter().chain((0..60).map(|at| format!("image {at}")));
    names.zip(1..).map(|(name, tx_id)| filed(image(&name).index_key(), tx_id)).collect()
}

fn index_root() -> Digest {
    root_of(&trie_leaves(&index()), 0)
}

fn log(last_root: &str) -> Vec<Vec<u8>> {
    [
        block(0, ZEROS),
        record(1, 1, None, &capture()),
        block(1, &hash("index 1")),
        record(2, 1, None, &edit()),
        block(2, last_root),
    ]
    .iter()
    .map(|fields| leaf(fields).encode())
    .collect()
}

fn note_of(leaves: &[Vec<u8>]) -> String {
    let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let tree = checkpoint(leaves.len() as u64, merkle::root_of(&hashes));
    note(&tree, &lines(&tree, 0, &[0, 3, 2]))
}

fn inclusion(leaves: &[Vec<u8>]) -> Vec<TreeHash> {
    let mut source = |level: u8, at: u64| {
        let start = usize::try_from(at << level).unwrap();
        let hashes: Vec<_> = leaves[start..start + (1 << level)].iter().map(|leaf| leaf_hash(leaf)).collect();
        Ok::<_, MerkleError>(merkle::root_of(&hashes))
    };
    let size = leaves.len() as u64;
    prove_inclusion(size - 1, size, &mut source).unwrap()
}

/// The proof about an image by the last leaf of this log, right or not.
fn proof_in(leaves: &[Vec<u8>], name: &str) -> AbsenceProof {
    let index = if leaves.len() > 1 { trie_leaves(&index()) } else { vec![] };
    let path = path_of(&index, 0, &image(name).index_key());
    let other = match path.end {
        End::Empty => None,
        End::Other(other) => Some(other),
        // A present image's own leaf in the place of another key's.
        End::Here { value_hash } => Some(OtherKey { key: image(name).index_key(), value_hash }),
    };
    AbsenceProof {
        image_hash: image(name),
        checkpoint: note_of(leaves),
        leaf: leaves.last().unwrap().clone(),
        inclusion: inclusion(leaves),
        siblings: path.siblings,
        other,
    }
}

fn proof(name: &str) -> AbsenceProof {
    proof_in(&log(&index_root().to_string()), name)
}

/// The first image of these labels whose path ends as wanted.
fn absent(ends: fn(&AbsenceProof) -> bool) -> AbsenceProof {
    (0..1000).map(|at| proof(&format!("absent {at}"))).find(ends).unwrap()
}

fn to_text(proof: &AbsenceProof) -> String {
    let mut value = serde_json::to_value(proof).unwrap();
    value.sort_all_objects();
    value.to_string()
}

fn accepted() -> Vec<(&'static str, &'static str, String, u64)> {
    let beside = absent(|proof| proof.other.is_some());
    let text = to_text(&beside);
    let genesis = proof_in(&log(ZEROS)[..1], "raw");
    vec![
        ("another key stands there", "network", text.clone(), 0),
        ("nothing stands there", "network", to_text(&absent(|proof| proof.other.is_none())), 0),
        ("before the first record", "network", to_text(&genesis), 0),
        ("by a bare policy", "policy", text.clone(), 0),
        ("at the last second", "network", text.clone(), 300),
        ("at the last second of a shorter age", "two_epochs", text, 60),
        ("indented, in another order, with a field more", "network", rearranged(&beside), 0),
        ("upper case hex", "network", upper_case(&beside), 0),
    ]
}

fn rearranged(proof: &AbsenceProof) -> String {
    let mut value = serde_json::to_value(proof).unwrap();
    value["another"] = json!({"key": 1});
    value.sort_all_objects();
    let text = serde_json::to_string_pretty(&value).unwrap();
    let version = "\n  \"version\": 1";
    assert!(text.contains(version));
    let without = text.replacen(version, "\n  \"last\": null", 1);
    without.replacen('{', &format!("{{{version},"), 1)
}

fn upper_case(proof: &AbsenceProof) -> String {
    let mut value = serde_json::to_value(proof).unwrap();
    for field in ["image_hash", "leaf"] {
        value[field] = value[field].as_str().unwrap().to_uppercase().into();
    }
    value.sort_all_objects();
    value.to_string()
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn altered() -> Vec<(&'static str, &'static str, String, u64, &'static str)> {
    let good = absent(|proof| proof.other.is_some());
    let empty = absent(|proof| proof.other.is_none());
    let text = to_text(&good);
    let changed = |change: &dyn Fn(&mut AbsenceProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        to_text(&proof)
    };
    let with = |field: &str, value: Value| {
        let mut object = serde_json::to_value(&good).unwrap();
        object[field] = value;
        object.sort_all_objects();
        object.to_string()
    };
    let without = |field: &str| {
        let mut object = serde_json::to_value(&good).unwrap();
        object.as_object_mut().unwrap().remove(field);
        object.sort_all_objects();
        object.to_string()
    };
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let leaves = log(&index_root().to_string());
    let signed = {
        let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        checkpoint(5, merkle::root_of(&hashes))
    };
    let mut mid_block = proof_in(&leaves[..4], "raw");
    mid_block.siblings = vec![];
    let earlier = AbsenceProof { leaf: leaves[2].clone(), ..good.clone() };
    let stale_index = proof_in(&leaves[..3], "absent 0");
    let without_index = AbsenceProof { siblings: vec![], other: None, ..proof_in(&log(ZEROS), "raw") };
    let garbled = |change: fn(&mut Vec<u8>)| {
        let mut list = log(&index_root().to_string());
        change(list.last_mut().unwrap());
        to_text(&proof_in(&list, "absent 0"))
    };
    let other = good.other.unwrap();
    vec![
        ("another image", "network", changed(&|p| p.image_hash = image("raw")), 0, "path"),
        ("a recorded image", "network", to_text(&proof("raw")), 0, "path"),
        (
            "a recorded image, and nothing there",
            "network",
            to_text(&AbsenceProof { other: None, ..proof("raw") }),
            0,
            "path",
        ),
        ("a changed byte in the leaf", "network", changed(&|p| p.leaf[60] ^= 1), 0, "inclusion"),
        ("the block before", "network", to_text(&earlier), 0, "inclusion"),
        ("a checkpoint within a block", "network", to_text(&mid_block), 0, "not_a_block"),
        ("an index root of another index", "network", to_text(&stale_index), 0, "path"),
        ("a block without an index root", "network", to_text(&without_index), 0, "no_index_root"),
        ("a last leaf of version 2", "network", garbled(|leaf| leaf[0] = 2), 0, "leaf"),
        ("a last leaf with a byte more", "network", garbled(|leaf| leaf.push(0)), 0, "leaf"),
        (
            "inclusion hashes swapped",
            "network",
            {
                let mut proof = proof_in(&[&leaves[..1], &leaves].concat(), "absent 0");
                proof.inclusion.swap(0, 1);
                to_text(&proof)
            },
            0,
            "inclusion",
        ),
        ("an inclusion hash too few", "network", changed(&|p| p.inclusion.truncate(0)), 0, "inclusion"),
        ("an inclusion hash too many", "network", changed(&|p| p.inclusion.push(p.inclusion[0])), 0, "inclusion"),
        ("siblings swapped", "network", changed(&|p| p.siblings.swap(0, 1)), 0, "path"),
        ("a sibling too few", "network", changed(&|p| p.siblings.truncate(p.siblings.len() - 1)), 0, "path"),
        ("a sibling too many", "network", changed(&|p| p.siblings.push(Digest::from_bytes([0; 32]))), 0, "path"),
        ("nothing in the other key's place", "network", changed(&|p| p.other = None), 0, "path"),
        (
            "an other key where there is none",
            "network",
            to_text(&AbsenceProof { other: Some(other), ..empty }),
            0,
            "path",
        ),
        (
            "another value of the other key",
            "network",
            changed(&|p| p.other = Some(OtherKey { value_hash: index_root(), ..other })),
            0,
            "path",
        ),
        ("a second too old", "network", text.clone(), 301, "too_old"),
        ("too old for a shorter age", "two_epochs", text.clone(), 61, "too_old"),
        ("too old for a bare policy", "policy", text.clone(), 301, "too_old"),
        ("a time that nobody vouches for", "log_alone", text.clone(), 0, "no_time"),
        (
            "a cosignature missing",
            "network",
            changed(&|p| p.checkpoint = note(&signed, &lines(&signed, 0, &[0, 3]))),
            0,
            "no_quorum",
        ),
        (
            "another size",
            "network",
            changed(&|p| p.checkpoint = p.checkpoint.replacen("\n5\n", "\n4\n", 1)),
            0,
            "bad_signature",
        ),
        (
            "another origin",
            "network",
            changed(&|p| p.checkpoint = p.checkpoint.replacen("birthmark.", "birthmarx.", 1)),
            0,
            "other_origin",
        ),
        (
            "an empty log",
            "network",
            {
                let tree = checkpoint(0, merkle::EMPTY_ROOT);
                changed(&|p| p.checkpoint = note(&tree, &lines(&tree, 0, &[0, 3, 2])))
            },
            0,
            "inclusion",
        ),
        ("version 2", "network", with("version", 2.into()), 0, "json"),
        ("version 1.0", "network", replaced("\"version\":1", "\"version\":1.0"), 0, "json"),
        ("no version", "network", without("version"), 0, "json"),
        ("a field twice", "network", replaced("{", "{\"version\":1,"), 0, "json"),
        ("no checkpoint", "network", with("checkpoint", Value::Null), 0, "json"),
        ("no siblings", "network", without("siblings"), 0, "json"),
        ("257 siblings", "network", with("siblings", vec!["00".repeat(32); 257].into()), 0, "json"),
        ("65 inclusion hashes", "network", with("inclusion", vec!["00".repeat(32); 65].into()), 0, "json"),
        ("a sibling of 31 bytes", "network", with("siblings", vec!["00".repeat(31)].into()), 0, "json"),
        ("base64 for hex", "network", with("inclusion", vec![good.inclusion[0].to_string()].into()), 0, "json"),
        ("a leaf with 0x", "network", with("leaf", "0x0104".into()), 0, "json"),
        ("an other key without value", "network", with("other", json!({"key": other.key})), 0, "json"),
        ("an array", "network", format!("[{text}]"), 0, "json"),
        ("nothing", "network", String::new(), 0, "json"),
        ("two proofs", "network", text.repeat(2), 0, "json"),
    ]
}

const fn code(error: &AbsenceError) -> &'static str {
    match error {
        AbsenceError::TooLong(_) => "too_long",
        AbsenceError::Json(_) => "json",
        AbsenceError::Trust(cause) => trust_code(cause),
        AbsenceError::Inclusion(_) => "inclusion",
        AbsenceError::Leaf(_) => "leaf",
        AbsenceError::NotABlock => "not_a_block",
        AbsenceError::NoIndexRoot(_) => "no_index_root",
        AbsenceError::Path(_) => "path",
        AbsenceError::NoTime => "no_time",
        AbsenceError::TooOld { .. } => "too_old",
    }
}

/// `age` is in seconds after the time of the notes' first cosignature, which is the least.
fn judge(text: &str, trust: &Trust, age: u64) -> Result<Value, AbsenceError> {
    let proof = AbsenceProof::parse(text.as_bytes())?;
    let absence = proof.verify(trust, UnixSeconds(TIME.0 + age))?;
    Ok(json!({
        "image_hash": absence.image_hash, "height": absence.height, "checkpoint_size": absence.checkpoint_size,
        "checkpoint_time": absence.checkpoint_time, "cosigners": absence.cosigners,
    }))
}

#[test]
fn absence_json() {
    let trusts = trusts();
    let cases: Vec<_> = accepted()
        .into_iter()
        .map(|(name, by, text, age)| {
            let said = judge(&text, &trust(&trusts, by), age).unwrap_or_else(|e| panic!("{name}: {e}"));
            json!({"name": name, "trust": by, "absence": text, "now": TIME.0 + age, "says": said})
        })
        .collect();
    let altered: Vec<_> = altered()
        .into_iter()
        .map(|(name, by, text, age, reason)| {
            let error = judge(&text, &trust(&trusts, by), age).expect_err(name);
            assert_eq!(code(&error), reason, "{name}: {error}");
            json!({"name": name, "trust": by, "absence": text, "now": TIME.0 + age, "reason": reason})
        })
        .collect();
    Vectors::new("absence.json", "10: absence")
        .with("trust", trusts)
        .with("cases", cases.into())
        .with("altered", altered.into())
        .check();
}
