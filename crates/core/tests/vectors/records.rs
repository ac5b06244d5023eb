//! `body.json`, `leaf.json` and `index.json`: what is recorded, in bytes.

use birthmark_core::ImageHash;
use birthmark_core::batch::Assurance;
use birthmark_core::body::{Body, BodyError, Entries, Entry, Kind, Level, Parent};
use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::{AuthorityId, AuthorityNumber, Epoch, Height, SubmitterNumber, TxId};
use birthmark_core::index::{IndexRecord, encode_value};
use birthmark_core::leaf::{BlockLeaf, Leaf, LeafError, RecordLeaf};
use birthmark_core::merkle::leaf_hash;
use birthmark_core::time::Minute;
use serde_json::{Value, json};

use crate::frame::{Vectors, bytes, decode_code, hash, patched, text};

fn item(name: &str, level: u8, kind: &str, parent: &Value) -> Value {
    json!({"hash": hash(name), "kind": kind, "level": level, "parent": parent})
}

pub(crate) fn capture() -> Value {
    json!([item("raw", 0, "file", &json!(null)), item("processed", 1, "file", &json!(1))])
}

pub(crate) fn full_capture() -> Value {
    json!([
        item("raw", 0, "file", &json!(null)),
        item("processed", 1, "file", &json!(1)),
        item("raw with gps", 0, "file", &json!(null)),
        item("processed with gps", 1, "file", &json!(3)),
        item("picture of processed", 1, "image_data", &json!(1)),
        item("picture of processed with gps", 1, "image_data", &json!(3)),
    ])
}

pub(crate) fn edit() -> Value {
    json!([
        item("edited", 2, "file", &json!(hash("processed"))),
        item("edited again", 2, "file", &json!(1)),
        item("picture of edited again", 2, "image_data", &json!(1)),
    ])
}

/// As many and as long as can be.
fn longest() -> Value {
    (0..8).map(|i| item(&format!("edit {i}"), 2, "file", &json!(hash(&format!("outside {i}"))))).collect()
}

/// The entries that a case's fields describe.
pub(crate) fn entries(case: &Value) -> Entries {
    let entry = |fields: &Value| Entry {
        level: [Level::Raw, Level::Validated, Level::Modified]
            [usize::try_from(fields["level"].as_u64().unwrap()).unwrap()],
        kind: if text(fields, "kind") == "file" { Kind::File } else { Kind::ImageData },
        hash: text(fields, "hash").parse().unwrap(),
        parent: match &fields["parent"] {
            Value::Null => Parent::None,
            Value::String(outside) => Parent::Explicit(outside.parse().unwrap()),
            number => Parent::Entry(u8::try_from(number.as_u64().unwrap()).unwrap()),
        },
    };
    let commitment = |field: &str| case[field].as_str().map(|hex| Digest::from_hex(hex).unwrap());
    let list = case["entries"].as_array().unwrap().iter().map(entry).collect();
    Entries::new(list, commitment("owner_hash"), commitment("gps_hash")).unwrap()
}

pub(crate) fn body(case: &Value) -> Body {
    Body { authority: AuthorityId::new(text(case, "authority_id")).unwrap(), entries: entries(case) }
}

fn bodies() -> Vec<Value> {
    let case = |name: &str, authority: &str, entries: Value, owner: Option<&str>, gps: Option<&str>| {
        let mut case = json!({
            "name": name, "authority_id": authority, "entries": entries,
            "owner_hash": owner.map(hash), "gps_hash": gps.map(hash),
        });
        let body = body(&case);
        case["body"] = hex::encode(body.encode()).into();
        case["digest"] = body.digest().to_string().into();
        case
    };
    vec![
        case("raw alone", "SIMULATED_MFG_001", json!([item("raw", 0, "file", &json!(null))]), None, None),
        case("raw and processed", "SIMULATED_MFG_001", capture(), None, None),
        case(
            "with GPS bar, image data and both commitments",
            "SIMULATED_MFG_001",
            full_capture(),
            Some("o"),
            Some("g"),
        ),
        case("owner alone", "a", capture(), Some("owner"), None),
        case("gps alone", "a name with spaces ~", capture(), None, Some("gps")),
        case("edits of an outside parent and of each other", "SOFTWARE_001", edit(), None, None),
        case("level 1 of an unknown origin", "unattested", json!([item("lone", 1, "file", &json!(null))]), None, None),
        case("the longest", &"Z".repeat(64), longest(), Some("o"), Some("g")),
    ]
}

const fn body_code(error: &BodyError) -> &'static str {
    match error {
        BodyError::Decode(cause) => decode_code(cause),
        BodyError::Entries(_) => "entries",
    }
}

#[test]
fn body_json() {
    let cases = bodies();
    for case in &cases {
        let decoded = Body::decode(&bytes(case, "body")).unwrap();
        assert_eq!(decoded, body(case), "{case}");
        assert_eq!(decoded.encode(), bytes(case, "body"));
    }
    let good = bytes(&cases[1], "body");
    let name = "SIMULATED_MFG_001".len();
    // Offsets: count, first entry (35 bytes without explicit parent), second entry, flags.
    let (count, first, second) = (1 + name, 2 + name, 2 + name + 35);
    let flags = second + 35;
    let [level, kind, parent] = [0, 1, 34];
    let outside = [&patched(&good, second + parent, &[255])[..=second + parent], &[7; 32], &[0]].concat();
    let inside = [&outside[..=second + parent], &good[first + 2..first + 34], &[0]].concat();
    assert!(Body::decode(&outside).is_ok(), "differs from the refused one in the parent alone");
    let refused = [
        ("nothing", vec![], "truncated"),
        ("one byte short", good[..good.len() - 1].to_vec(), "truncated"),
        ("one byte over", [good.as_slice(), &[0]].concat(), "trailing"),
        ("name of no length", [&[0][..], &good[count..]].concat(), "text"),
        ("name of 65", [&[65][..], &[b'Z'; 65], &good[count..]].concat(), "text"),
        ("tab in the name", patched(&good, 1, b"\t"), "text"),
        ("DEL in the name", patched(&good, 1, &[0x7f]), "text"),
        ("no entries", [&good[..count], &[0, 0]].concat(), "entries"),
        ("nine entries", patched(&good, count, &[9]), "entries"),
        ("level 3", patched(&good, second + level, &[3]), "value"),
        ("kind 2", patched(&good, second + kind, &[2]), "value"),
        ("the same hash twice", patched(&good, second + 2, &good[first + 2..first + 34]), "entries"),
        ("raw with a parent", patched(&good, second + level, &[0]), "entries"),
        ("its own parent", patched(&good, second + parent, &[2]), "entries"),
        ("parent 254", patched(&good, second + parent, &[254]), "entries"),
        ("an outside parent that is inside", inside, "entries"),
        ("flag 4", patched(&good, flags, &[4]), "value"),
        ("a commitment announced and not there", patched(&good, flags, &[1]), "truncated"),
    ]
    .map(|(name, bad, reason)| {
        assert_eq!(body_code(&Body::decode(&bad).expect_err(name)), reason, "{name}");
        json!({"name": name, "body": hex::encode(bad), "reason": reason})
    });
    Vectors::new("body.json", "7: body").with("cases", cases.into()).with("refused", refused.to_vec().into()).check();
}

pub(crate) fn assurance(number: &Value) -> Assurance {
    Assurance::from_number(u8::try_from(number.as_u64().unwrap()).unwrap()).unwrap()
}

/// The leaf that a case's fields describe.
pub(crate) fn leaf(case: &Value) -> Leaf {
    let number = |field: &str| case[field].as_u64().unwrap();
    let small = |field: &str| u16::try_from(number(field)).unwrap();
    let digest = |field: &str| Digest::from_hex(text(case, field)).unwrap();
    let minute = Minute(u32::try_from(number("minute")).unwrap());
    if number("type") == 4 {
        return Leaf::Block(BlockLeaf {
            minute,
            height: Height(number("height")),
            epoch: Epoch(u32::try_from(number("epoch")).unwrap()),
            validator_set_hash: digest("validator_set_hash"),
            index_root: digest("index_root"),
        });
    }
    Leaf::Record(RecordLeaf {
        minute,
        authority: AuthorityNumber(small("authority")),
        submitter: SubmitterNumber(small("submitter")),
        assurance: assurance(&case["assurance"]),
        endorsement_hash: case["endorsement_hash"].as_str().map(|hex| Digest::from_hex(hex).unwrap()),
        entries: entries(case),
    })
}

/// Fields of a record's leaf.
pub(crate) fn record(leaf_type: u8, assurance: u8, endorsement_hash: Option<&str>, entries: &Value) -> Value {
    json!({
        "type": leaf_type, "minute": 28_887_660, "authority": 1, "submitter": 1, "assurance": assurance,
        "endorsement_hash": endorsement_hash, "entries": entries, "owner_hash": null, "gps_hash": null,
    })
}

/// Fields of a block's leaf.
pub(crate) fn block(height: u64, index_root: &str) -> Value {
    json!({
        "type": 4, "minute": 28_887_660, "height": height, "epoch": 0,
        "validator_set_hash": hash("validators"), "index_root": index_root,
    })
}

const fn leaf_code(error: &LeafError) -> &'static str {
    match error {
        LeafError::Decode(cause) => decode_code(cause),
        LeafError::Entries(cause) => body_code(cause),
        LeafError::Act(_) => "act",
        LeafError::Type => "type",
    }
}

#[test]
fn leaf_json() {
    let case = |name: &str, mut case: Value| {
        let encoded = leaf(&case).encode();
        assert_eq!(Leaf::decode(&encoded).unwrap(), leaf(&case), "{name}");
        case["name"] = name.into();
        case["leaf_hash"] = hex::encode(leaf_hash(&encoded).as_bytes()).into();
        case["leaf"] = hex::encode(encoded).into();
        case
    };
    let mut last = record(1, 0, None, &full_capture());
    for field in ["authority", "submitter"] {
        last[field] = 65_535.into();
    }
    last["minute"] = u32::MAX.into();
    last["owner_hash"] = hash("owner").into();
    last["gps_hash"] = hash("gps").into();
    let mut far = block(u64::MAX >> 11, &hash("index"));
    far["epoch"] = u32::MAX.into();
    let cases = vec![
        case("genesis", block(0, &"00".repeat(32))),
        case("block", far),
        case("attested capture", record(1, 1, None, &capture())),
        case("endorsed capture", record(1, 2, Some(&hash("endorsement")), &capture())),
        case("asserted capture, greatest numbers", last),
        case("edit", record(2, 1, None, &edit())),
    ];
    let (good, ended) = (bytes(&cases[2], "leaf"), bytes(&cases[0], "leaf"));
    let refused = [
        ("nothing", vec![], "truncated"),
        ("version 0", patched(&good, 0, &[0]), "value"),
        ("version 2", patched(&good, 0, &[2]), "value"),
        ("type 0", patched(&good, 1, &[0]), "value"),
        ("type 5", patched(&good, 1, &[5]), "value"),
        ("an edit's type on a capture", patched(&good, 1, &[2]), "type"),
        ("a capture's type on an edit", patched(&bytes(&cases[5], "leaf"), 1, &[1]), "type"),
        ("assurance 3", patched(&good, 10, &[3]), "value"),
        ("no entries", [&good[..11], &[0, 0]].concat(), "entries"),
        ("record one byte short", good[..good.len() - 1].to_vec(), "truncated"),
        ("record one byte over", [good.as_slice(), &[0]].concat(), "trailing"),
        ("block one byte short", ended[..ended.len() - 1].to_vec(), "truncated"),
        ("block one byte over", [ended.as_slice(), &[0]].concat(), "trailing"),
    ]
    .map(|(name, bad, reason)| {
        assert_eq!(leaf_code(&Leaf::decode(&bad).expect_err(name)), reason, "{name}");
        json!({"name": name, "leaf": hex::encode(bad), "reason": reason})
    });
    Vectors::new("leaf.json", "7: leaves").with("cases", cases.into()).with("refused", refused.to_vec().into()).check();
}

#[test]
fn index_json() {
    let keys: Vec<Value> = ["raw", "processed"]
        .map(|name| {
            let image = ImageHash::from_hex(&hash(name)).unwrap();
            json!({"image_hash": image, "key": image.index_key()})
        })
        .to_vec();
    let value = |records: &[(u64, u8, u8)]| {
        let assurance = |number: u8| Assurance::from_number(number).unwrap();
        let encoded: Vec<_> = records
            .iter()
            .map(|(tx, entry, number)| IndexRecord { tx_id: TxId(*tx), entry: *entry, assurance: assurance(*number) })
            .collect();
        let bytes = encode_value(&encoded);
        let list: Vec<Value> =
            records.iter().map(|(tx, entry, level)| json!({"tx_id": tx, "entry": entry, "assurance": level})).collect();
        json!({"records": list, "value": hex::encode(&bytes), "value_hash": Digest::of_parts(&[&bytes])})
    };
    let many: Vec<(u64, u8, u8)> = (0..16).map(|i| (1 << (3 * i), 8, 2)).collect();
    let values = vec![value(&[(0, 1, 0)]), value(&[(7, 2, 2), (3, 1, 1), (5, 1, 1)]), value(&many)];
    Vectors::new("index.json", "9: key and value").with("cases", keys.into()).with("values", values.into()).check();
}
