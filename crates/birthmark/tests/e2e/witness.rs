//! A witness as a process of its own, of the log of a real node.

use std::fmt::Write as _;
use std::path::Path;

use birthmark_core::checkpoint::Checkpoint;
use birthmark_core::note::{Note, VerifierKey};
use birthmark_service::client::{ClientError, ClientOptions, HttpClient};
use bytes::Bytes;
use tlog_tiles::TileHashReader;
use tlog_tiles::tlog::prove_tree;

use crate::independent::{checkpoint, fetch, post, tiles};
use crate::installation::{Demo, run, stderr};
use crate::operator::{Service, done};

async fn ask(witness: &HttpClient, body: String) -> Result<String, ClientError> {
    let post = axum::http::Method::POST;
    let answer = witness.send(post, "/add-checkpoint", axum::http::HeaderMap::new(), Bytes::from(body)).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

fn start(folder: &Path) -> (Service, HttpClient) {
    let service = Service::start(folder, &["witness", "serve", "--data", "witness"]);
    let client = HttpClient::new(&service.url, &ClientOptions::default()).unwrap();
    (service, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_signs_for_a_log_that_grows_and_after_its_own_restart_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut demo = Demo::start(&folder.join("demo"), &[]);
    demo.result();
    let node = demo.client("node");
    let key = done(folder, &["witness", "init", "--data", "witness", "--name", "witness.example/w1"]);
    let again =
        run(&["witness", "init", "--data", folder.join("witness").to_str().unwrap(), "--name", "other.example"]);
    assert!(!again.status.success() && stderr(&again).contains("never overwritten"), "{}", stderr(&again));
    done(folder, &["witness", "add-log", "--data", "witness", "--policy", "demo/network.policy"]);

    let (service, witness) = start(folder);
    let before = checkpoint(&node, &demo.folder).await;
    let shown = String::from_utf8(fetch(&node, "/checkpoint").await).unwrap();
    let line = ask(&witness, format!("old 0\n\n{shown}")).await.unwrap();
    // Joined to the note it is a line like any other, by the key that `init` has printed.
    let joined = Note::parse(&format!("{shown}{line}")).unwrap();
    let key: VerifierKey = key.trim().parse().unwrap();
    let signed: Checkpoint = joined.text().parse().unwrap();
    assert!(signed.check_cosignature(&key, joined.signatures().last().unwrap()).is_ok());

    post(&demo, &node, 0..50).await;
    let after = checkpoint(&node, &demo.folder).await;
    let shown = String::from_utf8(fetch(&node, "/checkpoint").await).unwrap();
    let served = tiles(&node, after.size()).await;
    let reader = TileHashReader::new(after.size(), *after.hash(), &served);
    let mut proof = String::new();
    for hash in prove_tree(after.size(), before.size(), &reader).unwrap() {
        writeln!(proof, "{hash}").unwrap();
    }
    drop(service);
    let (_service, witness) = start(folder);
    let status = |answer: Result<String, ClientError>| match answer {
        Err(ClientError::Status { status, .. }) => status.as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(ask(&witness, format!("old 0\n\n{shown}")).await), 409, "it remembers");
    assert_eq!(status(ask(&witness, format!("old {}\n\n{shown}", before.size())).await), 422);
    assert!(ask(&witness, format!("old {}\n{proof}\n{shown}", before.size())).await.unwrap().starts_with('—'));
    assert_eq!(status(ask(&witness, format!("old {}\n{proof}\n{shown}", before.size())).await), 409);
}
