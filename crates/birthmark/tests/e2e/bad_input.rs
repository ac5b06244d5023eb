//! Bad input is refused with the cause, before harm, without a panic, and nothing is lost.

use std::net::TcpListener;
use std::path::Path;

use birthmark_service::client::{ClientError, HttpClient};
use bytes::Bytes;

use crate::installation::{Demo, run, stderr};
use crate::submissions::{Device, send};

fn refused(arguments: &[&str], cause: &str) {
    let output = run(arguments);
    let said = stderr(&output);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(said.contains(cause), "{arguments:?}: expected `{cause}`, got: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_photo_that_is_none_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("empty.jpg"), b"").unwrap();
    std::fs::write(path("text.jpg"), b"this is no picture").unwrap();
    std::fs::write(path("truncated.jpg"), [0xff, 0xd8, 0xff, 0xe0, 0, 16]).unwrap();
    for (photo, cause) in [
        (path("."), "not a regular file"),
        (path("empty.jpg"), "empty"),
        (path("text.jpg"), "JPEG"),
        (path("truncated.jpg"), "damaged or cut off"),
        (path("missing.jpg"), "missing.jpg"),
    ] {
        refused(&["demo", "--once", "--data", data.to_str().unwrap(), &photo], cause);
    }
    assert!(!data.exists());
}

#[test]
fn a_data_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    refused(&["demo", "--once", "--data", file.to_str().unwrap()], "file");
    // Even root cannot write here.
    refused(&["demo", "--once", "--data", "/proc/birthmark"], "/proc/birthmark");
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.odt"), b"x").unwrap();
    refused(&["demo", "--once", "--data", other.to_str().unwrap()], "other files");
    assert_eq!(
        std::fs::read_dir(&other).unwrap().filter(|e| e.as_ref().unwrap().file_name() == "thesis.odt").count(),
        1
    );
}

#[test]
fn a_busy_port_is_named_with_the_flag_that_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = folder.path().join("demo");
    for flag in ["--sma-port", "--aggregator-port", "--node-port", "--p2p-port"] {
        let mut arguments = vec!["demo", "--once", "--data", data.to_str().unwrap()];
        for other in ["--sma-port", "--aggregator-port", "--node-port", "--p2p-port"] {
            arguments.extend([other, if other == flag { &port } else { "0" }]);
        }
        refused(&arguments, &format!("port {port} cannot be used; choose another with {flag}"));
    }
}

#[test]
fn two_demos_in_one_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let _running = Demo::start(&data, &[]);
    refused(&["demo", "--once", "--data", data.to_str().unwrap()], "in use");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_get_their_status_and_code_and_the_next_one_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let (aggregator, sma, node) = (demo.client("aggregator"), demo.client("sma"), demo.client("node"));
    let hash = "٠".repeat(64);
    let cases: [(&str, &str, Vec<u8>, u16); 11] = [
        ("/api/v1/submit", "truncated JSON", br#"{"submission_type": "camera""#.to_vec(), 400),
        ("/api/v1/submit", "not UTF-8", b"{\"a\":\"\xff\"}".to_vec(), 400),
        ("/api/v1/submit", "duplicate keys", br#"{"timestamp":1,"timestamp":2}"#.to_vec(), 400),
        ("/api/v1/submit", "deep nesting", b"[".repeat(60_000), 400),
        ("/api/v1/submit", "above 64 KiB", vec![b' '; 70_000], 413),
        ("/api/v1/submit", "ten megabytes", vec![b' '; 10_000_000], 413),
        ("/api/v1/submit", "a float", br#"{"submission_type":"camera","image_hashes":[],"timestamp":1.5}"#.to_vec(), 422),
        (
            "/api/v1/submit",
            "Unicode digits",
            format!(r#"{{"submission_type":"camera","image_hashes":[{{"image_hash":"{hash}","modification_level":0}}],"manufacturer_cert":{{"authority_id":"SIMULATED_MFG_001"}}}}"#).into_bytes(),
            422,
        ),
        ("/api/v1/submit", "an array", b"[]".to_vec(), 422),
        ("/api/v1/submit", "null", b"null".to_vec(), 422),
        ("/api/v1/submit", "nothing", vec![], 400),
    ];
    for (path, what, body, status) in cases {
        assert_eq!(problem(&aggregator, path, body).await, Some(status), "{what}");
    }
    assert_eq!(problem(&sma, "/validate", b"{}".to_vec()).await, Some(422));
    assert_eq!(problem(&node, "/api/v1/blockchain/submit", b"{".to_vec()).await, Some(400));
    for path in ["/api/v1/verify/xyz", "/api/v1/verify/00", "/api/v1/block/-1", "/api/v1/block/99999999999999999999999"]
    {
        let error = node.get_json::<serde_json::Value>(path).await.unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(422), "{path}");
    }
    for path in ["/nothing/here", "/tile/0/999", "/tile/0/x", "/api/v1/block/123456789"] {
        let error = node.get_bytes(path).await.unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(404), "{path}");
    }
    let device = Device::provision(&sma, "AFTER_THE_STORM").await;
    let answer = send(&aggregator, &device.submission(7), 30).await.unwrap();
    assert_eq!(answer.body["status"], "confirmed");
}

/// The status with which a JSON body is refused, if it is, as a problem with a code.
async fn problem(client: &HttpClient, path: &str, body: Vec<u8>) -> Option<u16> {
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    let sent = client.send(axum::http::Method::POST, path, headers, Bytes::from(body)).await;
    match sent {
        Err(ClientError::Status { status, code, .. }) => {
            assert!(code.is_some(), "{path}: {status} without a code");
            Some(status.as_u16())
        }
        Ok(_) => None,
        Err(other) => panic!("{path}: {other}"),
    }
}

#[test]
fn settings_and_keys_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let data_text = data.to_str().unwrap();
    assert!(run(&["network", "init", "--out", data_text, "--origin", "log.example"]).status.success());
    refused(&["network", "init", "--out", data_text, "--origin", "log.example"], "not empty");
    refused(&["network", "init", "--out", "/proc/x", "--origin", "log.example"], "/proc/x");
    let network = data.join("network.json");
    let node = data.join("node-0");
    let serve = |data: &Path, network: &Path| {
        let arguments = ["node", "serve", "--listen", "127.0.0.1:0", "--p2p-listen", "127.0.0.1:0"];
        let credentials = folder.path().join("credentials");
        let arguments = arguments.map(str::to_owned).into_iter().chain([
            "--data".to_owned(),
            data.to_str().unwrap().to_owned(),
            "--network".to_owned(),
            network.to_str().unwrap().to_owned(),
            "--credentials".to_owned(),
            credentials.to_str().unwrap().to_owned(),
        ]);
        arguments.collect::<Vec<_>>()
    };
    let refused_owned = |arguments: Vec<String>, cause: &str| {
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), cause);
    };
    refused_owned(serve(&node, &network), "credentials");
    let token = run(&[
        "credential",
        "--file",
        folder.path().join("credentials").to_str().unwrap(),
        "--name",
        "a",
        "--role",
        "submitter",
    ]);
    assert!(token.status.success(), "{}", stderr(&token));
    refused_owned(serve(&node, &folder.path().join("absent.json")), "absent.json");
    std::fs::write(folder.path().join("bad.json"), b"{}").unwrap();
    refused_owned(serve(&node, &folder.path().join("bad.json")), "bad.json");
    refused_owned(serve(&data.join("aggregator"), &network), "validator.key");
    std::fs::remove_file(node.join("cosign.state")).unwrap();
    refused_owned(serve(&node, &network), "cosign.state");
}
