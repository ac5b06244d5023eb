//! The main job: one photograph from the simulated sensor to a proof that holds on its own.

use std::path::{Path, PathBuf};

use birthmark_core::ImageHash;
use birthmark_core::api::submit::SubmissionStatus;
use serde_json::Value;

use crate::installation::{Demo, json_lines, run, stderr};
use crate::submissions::{Device, raw_hash, receipt, send};

/// A photograph of a real camera if the test script fetched one.
fn photo() -> Option<String> {
    std::env::var("BIRTHMARK_TEST_PHOTO").ok().filter(|path| !path.is_empty())
}

fn once(folder: &Path, arguments: &[&str]) -> Value {
    let data = folder.to_str().unwrap();
    let ports = ["--sma-port", "0", "--aggregator-port", "0", "--node-port", "0", "--p2p-port", "0"];
    let output = run(&[&["demo", "--once", "--json", "--data", data], arguments, &ports].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = json_lines(&output);
    assert_eq!(lines[0]["event"], "ready");
    for service in ["sma", "aggregator", "node"] {
        assert!(lines[0][service].as_str().unwrap().starts_with("http://127.0.0.1:"), "{service}");
    }
    lines.into_iter().find(|line| line["event"] == "result").expect("a result")
}

#[test]
fn a_photograph_is_captured_registered_and_verified_in_one_command() {
    let folder = tempfile::tempdir().unwrap();
    let photo = photo();
    let arguments: Vec<_> = photo.as_deref().into_iter().collect();
    let result = once(&folder.path().join("demo"), &arguments);
    assert_eq!(result["verified"], true);
    assert_eq!(result["assurance"], "endorsed");
    let path = |name: &str| PathBuf::from(result[name].as_str().unwrap());
    let jpeg = std::fs::read(path("jpeg")).unwrap();
    assert_eq!(result["processed_hash"], ImageHash::of(&jpeg).to_string(), "the hash of the bytes on disk");
    let dng = std::fs::read(path("dng")).unwrap();
    let frame = birthmark_camera::dng::read_canonical_raw(&dng).unwrap();
    assert_eq!(result["raw_hash"], frame.hash().to_string(), "recomputed from the DNG");
    assert_eq!((frame.format().size.width(), frame.format().size.height()), (4056, 3040));

    // No service runs any more.
    let (jpeg, proof, policy) = (path("jpeg"), path("proof"), path("policy"));
    for file in [&jpeg, &path("dng")] {
        let arguments = ["verify", file.to_str().unwrap(), "--proof", proof.to_str().unwrap(), "--policy"];
        let output = run(&[arguments.as_slice(), &[policy.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let c2sp = folder.path().join("demo/network.policy");
    let output = run(&["verify", jpeg.to_str().unwrap(), "--policy", c2sp.to_str().unwrap()]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "with the C2SP policy and the proof beside the file: {}",
        stderr(&output)
    );
}

#[test]
fn the_same_folder_resumes_with_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let small = ["--sensor-size", "64x48", "--samples", "2"];
    let first = once(&data, &small);
    let policy = std::fs::read(data.join("network.json")).unwrap();
    let second = once(&data, &small);
    assert_eq!(std::fs::read(data.join("network.json")).unwrap(), policy);
    assert_ne!(first["raw_hash"], second["raw_hash"], "another frame of the same sensor");
    assert!(second["tx_id"].as_u64() > first["tx_id"].as_u64());
    assert!(second["timings_ms"]["submit_to_proof_p50"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_start_interrupted_while_the_camera_was_provisioned_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let small = ["--sensor-size", "64x48", "--samples", "0"];
    once(&data, &small);
    // The authority had committed, the configuration was not written yet.
    std::fs::remove_file(data.join("camera/device_config.json")).unwrap();
    assert_eq!(once(&data, &small)["verified"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_end_with_the_demo_however_it_dies() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let mut demo = Demo::start(&data, &[]);
    demo.result();
    demo.kill_parent();
    // They hold the folder's locks until they have ended: the next start waits for them.
    let mut demo = Demo::start(&data, &[]);
    demo.result();
    assert!(demo.interrupt().success(), "Ctrl-C after the photograph is a clean end");
    assert!(std::fs::read_dir(&data).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_requests_are_answered_as_the_seed_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let (sma, aggregator, node) = (demo.client("sma"), demo.client("aggregator"), demo.client("node"));
    let device = Device::provision(&sma, "SEED_TEST").await;
    let submission = device.submission(1);
    let answer = send(&aggregator, &submission, 30).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["status"], "confirmed");
    assert!(answer.body["proof"].as_str().unwrap().starts_with("c2sp.org/tlog-proof@v1\n"));
    let id = answer.body["receipt_id"].as_str().unwrap();
    assert_eq!(receipt(&aggregator, id).await.status, SubmissionStatus::Confirmed);

    let again = send(&aggregator, &submission, 0).await.unwrap();
    assert_eq!((again.status.as_u16(), &again.body["receipt_id"]), (200, &answer.body["receipt_id"]));

    for client in [&aggregator, &node] {
        let path = format!("/api/v1/verify/{}", raw_hash(1));
        let verified = client.get_json::<Value>(&path).await.unwrap().body;
        assert_eq!(verified["verified"], true);
        assert_eq!(verified["tx_id"], answer.body["tx_id"]);
        assert_eq!(verified["block_height"], answer.body["block_height"]);
        assert_eq!(verified["timestamp"].as_u64().unwrap() % 60, 0);
        assert_eq!(verified["modification_display"], "Validated Raw");
        let missed = client.get_json::<Value>(&format!("/api/v1/verify/{}", raw_hash(2))).await.unwrap().body;
        assert_eq!((&missed["verified"], &missed["recorded"]), (&Value::Bool(false), &Value::Bool(false)));
    }

    let legacy = serde_json::json!({
        "image_hash": raw_hash(3), "timestamp": 1_733_259_600, "aggregator_id": "aggregator_node_001",
        "modification_level": 0, "parent_image_hash": null, "gps_hash": null,
    });
    let recorded = node.post_json::<Value>("/api/v1/blockchain/submit", &legacy).await.unwrap().body;
    let same = node.post_json::<Value>("/api/v1/blockchain/submit", &legacy).await.unwrap().body;
    assert_eq!(recorded["tx_id"], same["tx_id"], "repeating changes nothing");
    let path = format!("/api/v1/blockchain/verify/{}", raw_hash(3));
    let asserted = node.get_json::<Value>(&path).await.unwrap().body;
    assert_eq!((&asserted["verified"], &asserted["recorded"]), (&Value::Bool(false), &Value::Bool(true)));
    assert_eq!(asserted["assurance"], "asserted");
    let height = recorded["block_height"].as_u64().unwrap();
    let block = node.get_json::<Value>(&format!("/api/v1/block/{height}")).await.unwrap().body;
    assert_eq!(block["block_height"], height);
    assert_eq!(block["transaction_count"], 1);
}
