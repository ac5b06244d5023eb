//! `birthmark camera queue`: a refused photograph is a person's to decide about, and none is lost.

use std::fs;
use std::path::Path;
use std::process::Output;

use birthmark_service::client::HttpClient;
use serde_json::Value;

use crate::installation::{Demo, json_lines, run, stderr};

fn camera(command: &[&str], config: &Path, more: &[&str]) -> Output {
    run(&[["camera"].as_slice(), command, &["--config", config.to_str().unwrap()], more].concat())
}

fn listed(config: &Path, more: &[&str]) -> Vec<Value> {
    let output = camera(&["queue", "list", "--json"], config, more);
    assert!(output.status.success(), "{}", stderr(&output));
    json_lines(&output)
}

fn capture(config: &Path) -> Option<i32> {
    camera(&["capture", "--once", "--wait", "--sensor-size", "64x48"], config, &[]).status.code()
}

/// As an administrator does it; the demo's authority lets this machine in.
fn set_status(authority: &HttpClient, serial: &str, act: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = format!("/api/v1/devices/{serial}/{act}");
    runtime.block_on(authority.post_json::<Value>(&path, &())).unwrap();
}

#[test]
fn photograph_of_a_camera_that_was_revoked_by_mistake_is_registered_after_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = demo.folder.join("camera/device_config.json");
    let provisioned: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let serial = provisioned["device_serial"].as_str().unwrap();
    set_status(&demo.client("sma"), serial, "revoke");
    assert_eq!(capture(&config), Some(3));
    let parked = listed(&config, &["--state", "parked"]);
    assert_eq!(parked.len(), 1);
    assert!(parked[0]["last_error"].as_str().unwrap().contains("token_invalid"), "{parked:?}");
    let number = parked[0]["number"].to_string();

    set_status(&demo.client("sma"), serial, "restore");
    let output = camera(&["queue", "retry", "4711"], &config, &[]);
    assert!(stderr(&output).contains("no photograph 4711"), "{}", stderr(&output));
    let output = camera(&["queue", "retry", &number], &config, &[]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("1 queued again"), "{}", stderr(&output));
    assert_eq!(capture(&config), Some(0));
    let photos = listed(&config, &[]);
    assert!(photos.len() == 3 && photos.iter().all(|photo| photo["state"] == "confirmed"), "{photos:?}");
    let output = camera(&["queue", "list"], &config, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().count() == 3 && text.contains("confirmed  photos/IMG_000002.jpg"), "{text}");
    assert!(!format!("{photos:?}{text}").contains("ciphertext"), "no token is shown");
}

#[test]
fn export_copies_whole_files_once_and_writes_over_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = demo.folder.join("camera/device_config.json");
    let out = folder.path().join("usb/stick");
    let export = || camera(&["queue", "export", "--out", out.to_str().unwrap()], &config, &[]);
    let output = export();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("3 files"), "{}", stderr(&output));
    let jpeg = out.join("IMG_000001.jpg");
    assert_eq!(fs::read(&jpeg).unwrap(), fs::read(demo.folder.join("camera/photos/IMG_000001.jpg")).unwrap());
    let policy = demo.folder.join("network.json");
    let verified = run(&["verify", jpeg.to_str().unwrap(), "--policy", policy.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "the proof came along: {}", stderr(&verified));
    let list: Vec<Value> = serde_json::from_slice(&fs::read(out.join("queue.json")).unwrap()).unwrap();
    assert_eq!(list[0]["tx_id"], 1);
    assert!(String::from_utf8_lossy(&export().stdout).starts_with("0 files"), "again, nothing to do");
    fs::write(&jpeg, "another").unwrap();
    let output = export();
    assert!(
        !output.status.success() && stderr(&output).contains("IMG_000001.jpg is another file"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read(&jpeg).unwrap(), b"another");
}

#[test]
fn queue_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let output = camera(&["queue", "list"], &folder.path().join("device_config.json"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no queue"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
