//! What others computed, `token-v1.json` and the two of RFC 6962, and `image-data.json`.

use std::convert::Infallible;

use birthmark_core::hex;
use birthmark_core::ids::{KeyIndex, TableId};
use birthmark_core::image_data::jpeg_image_data;
use birthmark_core::keytable::TableKey;
use birthmark_core::merkle::{TreeHash, verify_consistency, verify_inclusion};
use birthmark_core::token::{self, NucHash, SealedToken};
use rand_core::{TryCryptoRng, TryRng};
use serde_json::{Value, json};

use crate::frame::{Vectors, bytes, read, text};

/// Gives the same bytes whenever it is asked: a nonce that is known.
struct Fixed([u8; 12]);

impl TryRng for Fixed {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("a nonce is drawn as bytes")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("a nonce is drawn as bytes")
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

fn cases(file: &str) -> Vec<Value> {
    let parsed: Value = serde_json::from_str(&read(file)).unwrap();
    let cases = parsed["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{file}");
    cases
}

#[test]
fn token_v1_json() {
    for case in cases("token-v1.json") {
        let number = |field: &str| u16::try_from(case[field].as_u64().unwrap()).unwrap();
        let key = TableKey::from_bytes(hex::decode_array(text(&case, "table_key")).unwrap());
        let (table_id, key_index) =
            (TableId::new(number("table_id")).unwrap(), KeyIndex::new(number("key_index")).unwrap());
        let nuc_hash = NucHash::from_hex(text(&case, "nuc_hash")).unwrap();
        let nonce: [u8; 12] = hex::decode_array(text(&case, "nonce")).unwrap();
        let expected = SealedToken {
            table_id,
            key_index,
            nonce,
            ciphertext: bytes(&case, "ciphertext"),
            auth_tag: hex::decode_array(text(&case, "auth_tag")).unwrap(),
        };
        assert_eq!(token::v1::seal((table_id, &key), key_index, &nuc_hash, &mut Fixed(nonce)), expected);
        assert_eq!(token::v1::open(&expected, &key), Ok(nuc_hash));
    }
}

fn hashes(case: &Value) -> Option<Vec<TreeHash>> {
    let list = case["proof"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|hash| TreeHash::from_base64(hash.as_str().unwrap()).ok()).collect()
}

#[test]
fn rfc6962_json() {
    let hash = |case: &Value, field: &str| TreeHash::from_base64(text(case, field)).ok();
    for case in cases("rfc6962-inclusion.json") {
        let number = |field: &str| case[field].as_u64().unwrap();
        let held = (|| {
            let (leaf, root) = (hash(&case, "leafHash")?, hash(&case, "root")?);
            verify_inclusion(&leaf, number("leafIdx"), number("treeSize"), &hashes(&case)?, &root).ok()
        })();
        assert_eq!(held.is_none(), case["wantErr"], "{}", case["name"]);
    }
    for case in cases("rfc6962-consistency.json") {
        let number = |field: &str| case[field].as_u64().unwrap();
        let held = (|| {
            let (old, new) = (hash(&case, "root1")?, hash(&case, "root2")?);
            verify_consistency(number("size1"), number("size2"), &hashes(&case)?, &old, &new).ok()
        })();
        assert_eq!(held.is_none(), case["wantErr"], "{}", case["name"]);
    }
}

const SOI: &str = "ffd8";
const EXIF: &str = "ffe1000645786966";
const JFIF: &str = "ffe000104a46494600010100000100010000";
const PROFILE: &str = "ffe2000649434300";
const ADOBE: &str = "ffee000f41646f62650064000000000001";
const COMMENT: &str = "fffe000568690a";
const TABLE: &str = "ffdb00040102";
const SCAN: &str = "ffda0003091122ff0033ffd044ffd755";
const EOI: &str = "ffd9";

#[test]
fn image_data_json() {
    let bare = [SOI, TABLE, SCAN, EOI].concat();
    let files: [(&str, Vec<&str>, Option<&str>); 23] = [
        ("bare", vec![SOI, TABLE, SCAN, EOI], Some("same")),
        ("with EXIF", vec![SOI, EXIF, TABLE, SCAN, EOI], Some("same")),
        (
            "all that is left out",
            vec![SOI, JFIF, EXIF, PROFILE, "ffed0002", "ffef0002", COMMENT, TABLE, SCAN, EOI],
            Some("same"),
        ),
        ("a comment behind the scan", vec![SOI, TABLE, SCAN, COMMENT, EOI], Some("same")),
        ("bytes behind the end", vec![SOI, TABLE, SCAN, EOI, "00ffd8"], Some("same")),
        ("fill bytes before markers", vec![SOI, "ffff", EXIF, "ff", TABLE, "ffffff", SCAN, "ff", EOI], Some("same")),
        ("colour coding is kept", vec![SOI, ADOBE, TABLE, SCAN, EOI], Some("other")),
        ("two scans", vec![SOI, TABLE, SCAN, TABLE, SCAN, EOI], Some("other")),
        ("tables alone", vec![SOI, TABLE, EOI], Some("other")),
        ("a segment of no content", vec![SOI, "ffdb0002", SCAN, EOI], Some("other")),
        ("a reserved marker is kept", vec![SOI, "fff00002", TABLE, SCAN, EOI], Some("other")),
        ("start and end", vec![SOI, EOI], Some("other")),
        ("nothing", vec![], None),
        ("no end", vec![SOI, TABLE, SCAN], None),
        ("end cut off within the marker", vec![SOI, TABLE, SCAN, "ff"], None),
        ("cut off within a segment", vec![SOI, "ffe100064578"], None),
        ("a length of 1", vec![SOI, "ffe10001", EOI], None),
        ("no marker where one belongs", vec![SOI, "00", TABLE, SCAN, EOI], None),
        ("a restart between segments", vec![SOI, "ffd0", TABLE, SCAN, EOI], None),
        ("a second start", vec![SOI, SOI, TABLE, SCAN, EOI], None),
        ("a stuffed zero between segments", vec![SOI, "ff00", EOI], None),
        ("a byte before the start", vec!["00", SOI, TABLE, SCAN, EOI], None),
        ("PNG", vec!["89504e470d0a1a0a"], None),
    ];
    let same = jpeg_image_data(&hex::decode_bounded(&bare, 1024).unwrap());
    let cases: Vec<Value> = files
        .into_iter()
        .map(|(name, parts, kind)| {
            let file = parts.concat();
            let hash = jpeg_image_data(&hex::decode_bounded(&file, 1024).unwrap());
            let found = hash.map(|_| if hash == same { "same" } else { "other" });
            assert_eq!(found, kind, "{name}");
            json!({"name": name, "file": file, "image_data_hash": hash})
        })
        .collect();
    Vectors::new("image-data.json", "7: kind 1, image data").with("cases", cases.into()).check();
}
