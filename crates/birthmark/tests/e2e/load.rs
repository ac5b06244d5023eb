//! The seed's load test: 250 captures, several at a time, every one of them on record at the end.

use std::path::Path;

use birthmark_service::postgres::cluster::Cluster;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::installation::{Demo, json_lines, run, stderr};
use crate::submissions::{Device, raw_hash, send};

const CAPTURES: u64 = 250;
const AT_A_TIME: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_fifty_captures_are_all_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let (aggregator, node) = (demo.client("aggregator"), demo.client("node"));
    let device = Device::provision(&demo.client("sma"), "LOAD_TEST").await;
    let submissions: Vec<_> = (0..CAPTURES).map(|number| device.submission(number)).collect();
    let answers = stream::iter(&submissions).map(|submission| send(&aggregator, submission, 30));
    let answers: Vec<_> = answers.buffer_unordered(AT_A_TIME).collect().await;
    for answer in answers {
        assert_eq!(answer.unwrap().body["status"], "confirmed");
    }
    for number in 0..CAPTURES {
        let path = format!("/api/v1/verify/{}?proof=0", raw_hash(number));
        assert_eq!(node.get_json::<Value>(&path).await.unwrap().body["verified"], true);
    }
}

/// `birthmark load` with the demo's camera.
fn load(folder: &Path, arguments: &[&str]) -> (Value, Option<i32>, String) {
    let config = folder.join("camera/device_config.json");
    let output = run(&[&["load", "--json", "--config", config.to_str().unwrap()], arguments].concat());
    let report = json_lines(&output).pop().unwrap_or_default();
    (report, output.status.code(), stderr(&output))
}

fn all_confirmed(report: &Value, captures: u64) {
    assert_eq!((&report["accepted"], &report["confirmed"]), (&json!(captures), &json!(captures)), "{report}");
    assert_eq!((&report["rejected"], &report["lost"]), (&json!(0), &json!(0)));
    for times in [&report["submit_ms"], &report["proof_ms"]] {
        let [p50, p99] = ["p50", "p99"].map(|name| times[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99, "{report}");
    }
}

#[test]
fn load_reports_every_capture_as_accepted_and_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let mut demo = Demo::start(&data, &[]);
    demo.result();
    let url = demo.ready["aggregator"].as_str().unwrap().to_owned();
    let (report, code, said) = load(&data, &["--captures", "250", "--url", &url]);
    assert_eq!(code, Some(0), "{said}");
    all_confirmed(&report, 250);

    // Nobody is there: nothing was accepted, so nothing is lost.
    let nowhere = ["--captures", "2", "--timeout", "1", "--url", "http://127.0.0.1:9"];
    let (report, code, said) = load(&data, &nowhere);
    assert_eq!((code, &report["accepted"], &report["lost"]), (Some(1), &json!(0), &json!(0)), "{said}");
    assert_eq!(report["submit_ms"], json!({"p50": null, "p99": null}));
    let (_, code, said) = load(&folder.path().join("none"), &[]);
    assert!(code == Some(1) && said.contains("none"), "{said}");
}

#[test]
fn load_on_postgres_is_all_confirmed_also_after_a_restart_and_limited_as_told() {
    let cluster = Cluster::start();
    let url = cluster.database("birthmark_dev");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    for round in 1..=2 {
        let mut demo = Demo::start(&data, &["--database-url", &url, "--rate-limit", "251"]);
        demo.result();
        let aggregator = demo.ready["aggregator"].as_str().unwrap().to_owned();
        let (report, code, said) = load(&data, &["--captures", "250", "--url", &aggregator]);
        assert_eq!(code, Some(0), "{said}");
        all_confirmed(&report, 250);
        // The photograph of the first start is on record; a resumed demo takes another.
        let recorded = cluster.sql("birthmark_dev", "SELECT count(*) FROM submission WHERE state = 2");
        assert_eq!(recorded, (round * 251).to_string());
        assert!(!data.join("aggregator/aggregator.db").exists());
        let (report, code, said) = load(&data, &["--captures", "1", "--timeout", "1", "--url", &aggregator]);
        assert!(code == Some(1) && said.contains("429"), "{report} {said}");
        assert!(demo.interrupt().success());
    }
}
