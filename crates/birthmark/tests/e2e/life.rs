//! The life of a node among others, as real processes: following, snapshots, and a damaged store that is mended
//! from those who have what it lost.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use birthmark_core::api::verify::VerifyAnswer;
use birthmark_service::client::{ClientOptions, HttpClient};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::installation::{json_lines, run, stderr};
use crate::operator::Service;
use crate::validators::{Four, PATIENCE};

/// The journal that holds everything as long as it is little.
fn journal(data: &Path) -> PathBuf {
    let files = std::fs::read_dir(data.join("ledger")).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|end| end == "jnl")).unwrap()
}

fn flip_a_byte(data: &Path) {
    let journal = journal(data);
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[2_000] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
}

async fn loaded(four: &mut Arc<Four>, more: usize) {
    let mut load = JoinSet::new();
    four.load_until(&mut load, more).await;
    while load.join_next().await.is_some() {}
}

fn fsck(data: &Path, more: &[&str]) -> (Output, Vec<Value>) {
    let output = run(&[&["fsck", "--json", "--data", data.to_str().unwrap()], more].concat());
    let lines = json_lines(&output);
    (output, lines)
}

async fn shows(client: &HttpClient, note: &[u8]) -> bool {
    client.get_bytes("/checkpoint").await.is_ok_and(|answer| {
        // Cosignatures may differ between nodes; size and root do not.
        let tree = |note: &[u8]| note.split(|byte| *byte == b'\n').take(3).map(<[u8]>::to_vec).collect::<Vec<_>>();
        tree(&answer.body) == tree(note)
    })
}

async fn until_it_shows(client: &HttpClient, note: &[u8]) {
    let deadline = Instant::now() + PATIENCE;
    while !shows(client, note).await {
        assert!(Instant::now() < deadline, "not the same tree in time");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_byte_stops_the_node_and_is_mended_from_its_peers_with_nothing_lost() {
    let mut four = Arc::new(Four::start());
    loaded(&mut four, 50).await;
    four.settle().await;
    let urls: Vec<_> = four.nodes.iter().map(|node| node.client.origin().to_owned()).collect();
    let data = four.nodes[1].folder.clone();
    Arc::get_mut(&mut four).unwrap().nodes[1].kill();
    flip_a_byte(&data);
    loaded(&mut four, 20).await;

    let refused = run(&["node", "serve", "--config", data.join("node.toml").to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("the ledger's database failed"), "{}", stderr(&refused));
    let (output, lines) = fsck(&data, &[]);
    assert_eq!((output.status.code(), &lines[0]["sound"]), (Some(1), &false.into()), "{}", stderr(&output));

    // The first does not answer, and the repair goes on to the next.
    let sources = ["--repair", "--from", "http://127.0.0.1:1", "--from", &urls[2], "--from", &urls[3]];
    let (output, lines) = fsck(&data, &sources);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!((&lines[0]["sound"], &lines[1]["sound"]), (&false.into(), &true.into()));
    assert_eq!(lines[1]["source"], urls[2]);
    assert!(Path::new(lines[1]["kept"].as_str().unwrap()).join(journal(&data).file_name().unwrap()).exists());
    assert_eq!(fsck(&data, &[]).1[0]["sound"], true);

    Arc::get_mut(&mut four).unwrap().nodes[1].start();
    loaded(&mut four, 10).await;
    four.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_serves_what_validators_do_goes_on_without_one_and_starts_others_by_its_snapshot() {
    let mut four = Arc::new(Four::start());
    loaded(&mut four, 30).await;
    let folder = four.folder.path().to_owned();
    let network = folder.join("net/network.json");
    let network = network.to_str().unwrap();
    let urls: Vec<_> = four.nodes.iter().map(|node| node.client.origin().to_owned()).collect();
    let follow = ["node", "follow", "--data", "follower", "--network", network, "--from", &urls[0], "--from", &urls[1]];
    let follower = Service::start(&folder, &follow);
    let client = HttpClient::new(&follower.url, &ClientOptions::default()).unwrap();
    four.settle().await;
    until_it_shows(&client, &four.nodes[2].client.get_bytes("/checkpoint").await.unwrap().body).await;

    Arc::get_mut(&mut four).unwrap().nodes[0].kill();
    loaded(&mut four, 20).await;
    let note = four.nodes[2].client.get_bytes("/checkpoint").await.unwrap().body;
    until_it_shows(&client, &note).await;
    for (hash, tx_id) in four.recorded() {
        let answer = client.get_json::<VerifyAnswer>(&format!("/api/v1/verify/{hash}")).await.unwrap().body;
        assert_eq!(answer.record.unwrap().tx_id.0, tx_id);
    }
    drop(follower);

    let data = folder.join("follower");
    let out = folder.join("ledger.snapshot");
    let call = |words: &[&str], data: &Path, file: &[&str]| {
        let place = ["--data", data.to_str().unwrap(), "--network", network, "--json"];
        let output = run(&[words, &place, file].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        json_lines(&output).remove(0)
    };
    let exported = call(&["node", "snapshot", "export"], &data, &["--out", out.to_str().unwrap()]);
    let second = folder.join("second");
    let imported = call(&["node", "snapshot", "import"], &second, &[out.to_str().unwrap()]);
    assert_eq!((&exported["root"], &exported["leaves"]), (&imported["root"], &imported["leaves"]));
    let (output, lines) = fsck(&second, &["--network", network]);
    assert_eq!((output.status.code(), &lines[0]["root"]), (Some(0), &imported["root"]), "{}", stderr(&output));
    // It answers at once, with nobody to ask.
    let nobody = ["node", "follow", "--data", "second", "--network", network, "--from", "http://127.0.0.1:1"];
    let follower = Service::start(&folder, &nobody);
    let client = HttpClient::new(&follower.url, &ClientOptions::default()).unwrap();
    until_it_shows(&client, &note).await;

    // A validator whose ledger is lost starts from it as well.
    let data = four.nodes[3].folder.clone();
    Arc::get_mut(&mut four).unwrap().nodes[3].kill();
    std::fs::remove_dir_all(data.join("ledger")).unwrap();
    call(&["node", "snapshot", "import"], &data, &[out.to_str().unwrap()]);
    for node in [0, 3] {
        Arc::get_mut(&mut four).unwrap().nodes[node].start();
    }
    loaded(&mut four, 10).await;
    four.check().await;
}
