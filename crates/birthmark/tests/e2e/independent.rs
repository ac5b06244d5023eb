//! Programs that know nothing of Birthmark read a real node's log over HTTP and check its checkpoint, tiles,
//! inclusion and consistency: the crates `signed_note` and `tlog_tiles`, `PyPI`'s `aics-tlog`, Go's `sumdb/tlog`.
//!
//! `./test` installs the last two and says where they are; where it cannot, their tests say that they are skipped.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use birthmark_core::ImageHash;
use birthmark_core::batch::{Assurance, Batch, SubmitterKey, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::ids::{AuthorityId, SubmitterNumber};
use birthmark_core::network::Network;
use birthmark_service::client::HttpClient;
use bytes::Bytes;
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::tlog::{check_record, check_tree, prove_record, prove_tree, record_hash, tree_hash};
use tlog_tiles::{Checkpoint, Error, Tile, TileHashReader, TileReader};

use crate::installation::Demo;

/// Everything that the node serves of one tree.
pub(crate) struct Tiles(HashMap<String, Vec<u8>>);

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(tiles.iter().map(|tile| self.0[&path(tile)].clone()).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// C2SP's path of a tile; theirs has the height in it, as Go's has.
fn path(tile: &Tile) -> String {
    let width = if tile.width() == 256 { String::new() } else { format!(".p/{}", tile.width()) };
    format!("/tile/{}/{:03}{width}", tile.level(), tile.level_index())
}

pub(crate) async fn fetch(node: &HttpClient, path: &str) -> Vec<u8> {
    node.get_bytes(path).await.unwrap_or_else(|error| panic!("{path}: {error}")).body.to_vec()
}

/// The checkpoint, its signature checked with the log's key out of the C2SP policy file.
pub(crate) async fn checkpoint(node: &HttpClient, folder: &Path) -> Checkpoint {
    let policy = std::fs::read_to_string(folder.join("network.policy")).unwrap();
    let key = policy.lines().find_map(|line| line.strip_prefix("log ")).unwrap();
    let bytes = fetch(node, "/checkpoint").await;
    let signed = signed_note::Note::from_bytes(&bytes).unwrap();
    let verifiers = VerifierList::new(vec![Box::new(StandardVerifier::new(key.trim()).unwrap())]);
    let (verified, _) = signed.verify(&verifiers).unwrap();
    assert_eq!(verified.len(), 1);
    Checkpoint::from_bytes(signed.text()).unwrap()
}

pub(crate) async fn tiles(node: &HttpClient, size: u64) -> Tiles {
    let mut all = HashMap::new();
    for tile in Tile::new_tiles(8, 0, size) {
        let path = path(&tile);
        all.insert(path.clone(), fetch(node, &path).await);
    }
    Tiles(all)
}

pub(crate) async fn post(demo: &Demo, node: &HttpClient, numbers: std::ops::Range<u16>) {
    let network = Network::parse(&std::fs::read(demo.folder.join("network.json")).unwrap()).unwrap();
    let key = std::fs::read(demo.folder.join("aggregator/signing.key")).unwrap();
    let key = SubmitterKey::from_seed(key.try_into().unwrap());
    let transactions = numbers
        .map(|number| {
            let hash = ImageHash::of(&number.to_be_bytes());
            let entry = Entry { level: Level::Raw, kind: Kind::File, hash, parent: Parent::None };
            let entries = Entries::new(vec![entry], None, None).unwrap();
            let body = Body { authority: AuthorityId::new("SIMULATED_MFG_001").unwrap(), entries };
            Transaction::new(Assurance::Attested, vec![], body).unwrap()
        })
        .collect();
    let batch = Batch::sign(network.network_id(), SubmitterNumber(1), &key, transactions);
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("prefer", "wait=30".parse().unwrap());
    let answer = node
        .send(axum::http::Method::POST, "/api/v1/transactions", headers, Bytes::from(batch.encode()))
        .await
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(answer["results"].as_array().unwrap().iter().all(|result| result["status"] == "recorded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_programs_find_our_log_consistent_and_every_leaf_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let node = demo.client("node");
    post(&demo, &node, 0..200).await;
    let before = checkpoint(&node, &demo.folder).await;
    post(&demo, &node, 200..400).await;
    let after = checkpoint(&node, &demo.folder).await;
    assert!(before.size() < 256 && after.size() > 400, "{} {}", before.size(), after.size());

    let (size, root) = (after.size(), *after.hash());
    let served = tiles(&node, size).await;
    let reader = TileHashReader::new(size, root, &served);
    assert_eq!(tree_hash(size, &reader).unwrap(), root);
    let consistency = prove_tree(size, before.size(), &reader).unwrap();
    check_tree(&consistency, size, root, before.size(), *before.hash()).unwrap();

    let mut leaf_index = 0;
    for bundle in ["/tile/entries/000".to_owned(), format!("/tile/entries/001.p/{}", size - 256)] {
        let mut bundle = fetch(&node, &bundle).await;
        while let Some((length, _)) = bundle.split_first_chunk::<2>() {
            let end = 2 + usize::from(u16::from_be_bytes(*length));
            let leaf: Vec<u8> = bundle.drain(..end).skip(2).collect();
            let proof = prove_record(size, leaf_index, &reader).unwrap();
            check_record(&proof, size, root, leaf_index, record_hash(&leaf)).unwrap();
            leaf_index += 1;
        }
    }
    assert_eq!(leaf_index, size);
}

/// A demo with some records, an older checkpoint of it in a file, and the log's verifier key.
async fn grown(folder: &Path) -> (Demo, std::path::PathBuf, String) {
    let mut demo = Demo::start(&folder.join("demo"), &[]);
    demo.result();
    let node = demo.client("node");
    post(&demo, &node, 0..150).await;
    let older = folder.join("older");
    std::fs::write(&older, fetch(&node, "/checkpoint").await).unwrap();
    post(&demo, &node, 150..300).await;
    let policy = std::fs::read_to_string(demo.folder.join("network.policy")).unwrap();
    let key = policy.lines().find_map(|line| line.strip_prefix("log ")).unwrap().trim().to_owned();
    (demo, older, key)
}

/// What a checker says when it is content.
fn content(checker: &mut Command, name: &str) {
    let output = checker.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("leaves, consistent since"), "{said}");
    print!("{said}");
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/independent").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn aics_tlog_finds_our_log_right() {
    let Some(python) = std::env::var_os("BIRTHMARK_AICS_PYTHON").filter(|python| !python.is_empty()) else {
        println!("skipped: BIRTHMARK_AICS_PYTHON names no Python that has aics-tlog; ./test sets it where it can");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (demo, older, _) = grown(folder.path()).await;
    let mut checker = Command::new(python);
    checker.arg(script("aics.py")).arg(demo.client("node").origin()).arg(demo.folder.join("network.policy")).arg(older);
    content(&mut checker, "aics-tlog");
}

#[tokio::test(flavor = "multi_thread")]
async fn go_sumdb_finds_our_log_right() {
    let Some(sumdb) = std::env::var_os("BIRTHMARK_SUMDB").filter(|sumdb| !sumdb.is_empty()) else {
        println!("skipped: BIRTHMARK_SUMDB names no checker built with golang.org/x/mod; ./test sets it where it can");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (demo, older, key) = grown(folder.path()).await;
    let mut checker = Command::new(sumdb);
    checker.arg(demo.client("node").origin()).arg(key).arg(older);
    content(&mut checker, "sumdb");
}
