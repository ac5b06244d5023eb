//! `birthmark camera capture` against a running demo, and without anybody to answer.

use std::path::Path;

use serde_json::Value;

use crate::installation::{Demo, json_lines, run, stderr};

fn capture(config: &Path, arguments: &[&str]) -> std::process::Output {
    let fixed = ["camera", "capture", "--sensor-size", "64x48", "--config", config.to_str().unwrap()];
    run(&[fixed.as_slice(), arguments].concat())
}

fn config(demo: &Demo) -> std::path::PathBuf {
    demo.folder.join("camera/device_config.json")
}

/// The proof's record and the file it is for, as `verify` sees them.
fn is_proven(file: &Path, policy: &Path) -> bool {
    let arguments = ["verify", file.to_str().unwrap(), "--policy", policy.to_str().unwrap()];
    run(&arguments).status.code() == Some(0)
}

#[test]
fn the_seeds_first_test_prints_its_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let output = capture(&config(&demo), &["--capture-once"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    for step in [
        "✓ Raw Bayer captured",
        "✓ Raw hash computed",
        "✓ JPEG processed",
        "✓ Processed hash computed",
        "✓ Camera token generated",
        "✓ Submitted to aggregator",
        "✓ SMA validation PASSED",
        "✓ Blockchain submission successful",
        "✓ Receipt ID received",
    ] {
        assert!(said.contains(step), "{step} is missing in:\n{said}");
    }
    assert!(said.contains("software key, no TPM") && said.contains("simulated"), "{said}");
}

#[test]
fn ten_captures_are_confirmed_and_each_file_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let output = capture(&config(&demo), &["--continuous", "10", "--wait", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json_lines(&output).pop().unwrap();
    assert_eq!((&report["captured"], &report["confirmed"]), (&Value::from(10), &Value::from(10)));
    assert_eq!(report["per_capture_ms"].as_array().unwrap().len(), 10);
    assert!(report["peak_rss_mb"].as_u64().unwrap() > 0);
    for number in 2..=11 {
        let jpeg = demo.folder.join(format!("camera/photos/IMG_{number:06}.jpg"));
        assert!(is_proven(&jpeg, &demo.folder.join("network.json")), "{}", jpeg.display());
    }
}

#[test]
fn without_an_aggregator_photographs_are_queued_and_go_out_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = config(&demo);
    let alone = ["--aggregator-url", "http://127.0.0.1:1"];
    let output = capture(&config, &[&["--once", "--json"], alone.as_slice()].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json_lines(&output).pop().unwrap();
    assert_eq!((&report["captured"], &report["confirmed"]), (&Value::from(1), &Value::from(0)));
    let output = capture(&config, &[&["--once"], alone.as_slice()].concat());
    assert!(stderr(&output).contains("queued"), "{}", stderr(&output));

    let output = capture(&config, &["--once", "--wait"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for number in 2..=4 {
        let jpeg = demo.folder.join(format!("camera/photos/IMG_{number:06}.jpg"));
        assert!(is_proven(&jpeg, &demo.folder.join("network.json")), "{} was left behind", jpeg.display());
    }
}

#[test]
fn next_aggregator_is_used_when_the_first_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = config(&demo);
    let both = format!("http://127.0.0.1:1,{}", demo.ready["aggregator"].as_str().unwrap());
    let output = capture(&config, &["--continuous", "3", "--wait", "--json", "--aggregator-url", &both]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json_lines(&output).pop().unwrap()["confirmed"], 3);
}

#[test]
fn waiting_for_nobody_ends_with_3_and_keeps_the_photograph() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let output = capture(&config(&demo), &["--once", "--wait", "--aggregator-url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("queued"));
    assert!(demo.folder.join("camera/photos/IMG_000002.jpg").exists());
}

#[test]
fn a_configuration_that_others_can_read_is_refused_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("device_config.json");
    std::fs::write(&config, b"{}").unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = capture(&config, &["--once"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("chmod 600"), "{}", stderr(&output));
    for arguments in [&[][..], &["--once", "--continuous", "2"], &["--continuous", "0"]] {
        assert_eq!(capture(&config, arguments).status.code(), Some(2), "{arguments:?}");
    }
}
