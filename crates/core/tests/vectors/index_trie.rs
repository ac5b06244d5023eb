//! `index-trie.json`: the trie over sets of keys, its paths, and paths that show nothing.

use birthmark_core::batch::Assurance;
use birthmark_core::hash::Digest;
use birthmark_core::ids::TxId;
use birthmark_core::index::trie::{
    EMPTY, End, Leaf, OtherKey, TrieError, path_of, root_of, verify_absence, verify_inclusion,
};
use birthmark_core::index::{IndexRecord, decode_value, encode_value};
use serde_json::{Value, json};

use crate::frame::{Vectors, bytes, digest, patched, text};

/// A key with its value's encoding.
#[derive(Clone)]
pub(crate) struct Filed {
    pub(crate) key: Digest,
    pub(crate) value: Vec<u8>,
}

/// One attested record at this place in the log.
pub(crate) fn filed(key: Digest, tx_id: u64) -> Filed {
    let record = IndexRecord { tx_id: TxId(tx_id), entry: 1, assurance: Assurance::Attested };
    Filed { key, value: encode_value(&[record]) }
}

/// What the trie takes: sorted, with the hashes of the values.
pub(crate) fn leaves(filed: &[Filed]) -> Vec<Leaf> {
    let mut leaves: Vec<_> =
        filed.iter().map(|Filed { key, value }| Leaf { key: *key, value_hash: Digest::of_parts(&[value]) }).collect();
    leaves.sort_unstable_by_key(|leaf| leaf.key);
    leaves
}

/// The key of a label with the bits from `at` on turned.
fn branched(label: &str, at: usize) -> Digest {
    let mut bytes = *digest(label).as_bytes();
    for bit in at..256 {
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
    }
    Digest::from_bytes(bytes)
}

fn sets() -> Vec<(&'static str, Vec<Filed>)> {
    let many = |count: u64| (0..count).map(|at| filed(digest(&format!("key {at}")), at)).collect();
    let at = |bits: &[usize]| {
        let all = [256].iter().chain(bits);
        all.zip(0..).map(|(bit, tx_id)| filed(branched("key", *bit), tx_id)).collect::<Vec<_>>()
    };
    let record = |tx_id, entry, assurance| IndexRecord { tx_id: TxId(tx_id), entry, assurance };
    let mut listed: Vec<Filed> = many(3);
    listed[1].value = encode_value(&[
        record(7, 2, Assurance::Endorsed),
        record(3, 1, Assurance::Attested),
        record(u64::MAX, 8, Assurance::Asserted),
    ]);
    vec![
        ("no keys", vec![]),
        ("one key", many(1)),
        ("a list of three records", listed),
        ("keys that part at the first bit", at(&[0])),
        ("keys that part at the last bit", at(&[255])),
        ("a key that parts after 100 bits, another after 7", at(&[100, 7])),
        ("keys that part at every eighth bit", at(&[1, 9, 17, 25, 33, 41, 49, 57])),
        ("100 keys", many(100)),
    ]
}

fn path(leaves: &[Leaf], key: Digest, root: &Digest) -> Value {
    let path = path_of(leaves, 0, &key);
    let (value_hash, other) = match path.end {
        End::Here { value_hash } => {
            verify_inclusion(&key, &value_hash, &path.siblings, root).unwrap();
            (Some(value_hash), None)
        }
        End::Empty => {
            verify_absence(&key, &path.siblings, None, root).unwrap();
            (None, None)
        }
        End::Other(other) => {
            verify_absence(&key, &path.siblings, Some(&other), root).unwrap();
            (None, Some(other))
        }
    };
    json!({"key": key, "siblings": path.siblings, "value_hash": value_hash, "other": other})
}

fn case((name, filed): (&'static str, Vec<Filed>)) -> Value {
    let leaves = leaves(&filed);
    let root = root_of(&leaves, 0);
    // Of many keys a few say as much as all.
    let present = filed.iter().take(8).map(|filed| filed.key);
    let absent = [digest("absent"), branched("key", 99), branched("key", 254), branched("key 1", 255)];
    let keys = present.chain(absent.into_iter().filter(|key| filed.iter().all(|filed| filed.key != *key)));
    let paths: Vec<_> = keys.map(|key| path(&leaves, key, &root)).collect();
    let records: Vec<_> = filed
        .iter()
        .map(|Filed { key, value }| {
            decode_value(value).unwrap();
            json!({"key": key, "value": birthmark_core::hex::encode(value)})
        })
        .collect();
    json!({"name": name, "records": records, "root": root, "paths": paths})
}

const fn code(error: &TrieError) -> &'static str {
    match error {
        TrieError::TooLong(_) => "siblings",
        TrieError::SameKey => "same_key",
        TrieError::OtherPath(_) => "other_path",
        TrieError::RootMismatch => "root",
    }
}

fn read(hex: &Value) -> Digest {
    serde_json::from_value(hex.clone()).unwrap()
}

/// A path of the file, judged.
fn judge(path: &Value, root: &Digest) -> Result<(), TrieError> {
    let key = read(&path["key"]);
    let siblings: Vec<_> = path["siblings"].as_array().unwrap().iter().map(read).collect();
    let other: Option<OtherKey> = serde_json::from_value(path["other"].clone()).unwrap();
    if path["value_hash"].is_null() {
        verify_absence(&key, &siblings, other.as_ref(), root)
    } else {
        verify_inclusion(&key, &read(&path["value_hash"]), &siblings, root)
    }
}

fn refused(case: &Value) -> Vec<Value> {
    let root = read(&case["root"]);
    let find = |wanted: fn(&Value) -> bool| case["paths"].as_array().unwrap().iter().find(|path| wanted(path)).unwrap();
    let present = find(|path| !path["value_hash"].is_null());
    let beside = find(|path| !path["other"].is_null());
    let empty = find(|path| path["value_hash"].is_null() && path["other"].is_null());
    let changed = |path: &Value, change: &dyn Fn(&mut Value)| {
        let mut path = path.clone();
        change(&mut path);
        path
    };
    let turned = |hex: &Value| {
        let bytes = bytes(&json!({"hex": hex}), "hex");
        json!(birthmark_core::hex::encode(patched(&bytes, 31, &[bytes[31] ^ 1])))
    };
    let flip = |field: &'static str| move |path: &mut Value| path[field] = turned(&path[field]);
    let longer = |by: usize| {
        move |path: &mut Value| {
            let siblings = path["siblings"].as_array_mut().unwrap();
            siblings.extend(vec![json!(EMPTY); by]);
        }
    };
    let own = |path: &mut Value| {
        path["other"] = json!({"key": path["key"], "value_hash": path["value_hash"]});
        path["value_hash"] = Value::Null;
    };
    [
        ("another value", changed(present, &flip("value_hash")), "root"),
        ("a present key said to be absent", changed(present, &|p| p["value_hash"] = Value::Null), "root"),
        ("a present key in its own way", changed(present, &own), "same_key"),
        ("another key by the same path", changed(present, &flip("key")), "root"),
        ("a changed sibling", changed(present, &|p| p["siblings"][0] = turned(&p["siblings"][0])), "root"),
        ("siblings swapped", changed(present, &|p| p["siblings"].as_array_mut().unwrap().swap(0, 1)), "root"),
        ("a sibling too few", changed(present, &|p| drop(p["siblings"].as_array_mut().unwrap().pop())), "root"),
        ("a sibling too many", changed(present, &longer(1)), "root"),
        ("257 siblings", changed(empty, &|p| p["siblings"] = json!(vec![EMPTY; 257])), "siblings"),
        ("no key in the other's place", changed(beside, &|p| p["other"] = Value::Null), "root"),
        (
            "another value of the other key",
            changed(beside, &|p| p["other"]["value_hash"] = turned(&p["other"]["value_hash"])),
            "root",
        ),
        (
            "an other key from elsewhere",
            changed(beside, &|p| p["other"]["key"] = json!(digest("elsewhere"))),
            "other_path",
        ),
        ("an other key where there is none", changed(empty, &|p| p["other"] = beside["other"].clone()), "other_path"),
        ("an absent key said to be present", changed(empty, &|p| p["value_hash"] = json!(EMPTY)), "root"),
    ]
    .map(|(name, path, reason)| {
        assert_eq!(code(&judge(&path, &root).expect_err(name)), reason, "{name}");
        json!({"name": name, "root": root, "path": path, "reason": reason})
    })
    .into()
}

#[test]
fn index_trie_json() {
    let cases: Vec<_> = sets().into_iter().map(case).collect();
    assert_eq!(text(&cases[0], "root"), "00".repeat(32));
    let many = cases.iter().find(|case| case["name"] == "100 keys").unwrap();
    let refused = refused(many);
    Vectors::new("index-trie.json", "9: trie").with("cases", cases.into()).with("refused", refused.into()).check();
}
