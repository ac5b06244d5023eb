//! `birthmark camera enroll` and `selfcheck`, on the simulated sensor.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;

use crate::installation::{Demo, json_lines, run, stderr};

fn camera(command: &str, config: &Path, arguments: &[&str]) -> std::process::Output {
    let fixed = ["camera", command, "--sensor-size", "512x384", "--config", config.to_str().unwrap()];
    run(&[fixed.as_slice(), arguments].concat())
}

fn enroll(config: &Path, arguments: &[&str]) -> std::process::Output {
    camera("enroll", config, &[&["--darks", "8", "--flats", "20"], arguments].concat())
}

fn selfcheck(config: &Path) -> (Value, Option<i32>) {
    let output = camera("selfcheck", config, &["--json"]);
    (json_lines(&output).pop().unwrap(), output.status.code())
}

fn status<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|found| found["check"] == check).unwrap()["status"].as_str().unwrap()
}

#[test]
fn own_sensor_is_the_same_and_an_exchanged_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("device_config.json");
    let output = enroll(&config, &["--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let enrolled = json_lines(&output).pop().unwrap();
    let init = run(&["camera", "init", "--config", config.to_str().unwrap()]);
    assert_eq!(
        enrolled["nuc_hash"],
        String::from_utf8(init.stdout).unwrap().trim(),
        "a simulated sensor keeps its hash"
    );
    assert_ne!(enrolled["nuc_hash"], enrolled["map_hash"]);
    assert!((enrolled["prnu"].as_f64().unwrap() - 0.006).abs() < 0.001, "{enrolled}");
    for secret in ["map", "picture"] {
        let path = Path::new(enrolled[secret].as_str().unwrap());
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600, "{secret}");
    }
    assert!(fs::read(enrolled["picture"].as_str().unwrap()).unwrap().starts_with(b"\x89PNG"));

    let (report, code) = selfcheck(&config);
    assert_eq!((report["sensor"]["verdict"].as_str(), status(&report, "sensor")), (Some("same"), "ok"), "{report}");
    assert!(report["sensor"]["z"].as_f64().unwrap() > 24.0, "{report}");
    assert_eq!((status(&report, "network"), code), ("unknown", Some(3)), "not provisioned: {report}");

    let seed = folder.path().join("sensor_seed");
    fs::write(&seed, [7; 32]).unwrap();
    let (report, code) = selfcheck(&config);
    assert_eq!((report["sensor"]["verdict"].as_str(), code), (Some("another"), Some(1)), "{report}");
    assert!(report["sensor"]["z"].as_f64().unwrap() < 4.0, "{report}");
    let output = camera("selfcheck", &config, &[]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("✗ sensor: another"));
}

#[test]
fn map_is_measured_once_and_checked_when_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("device_config.json");
    let output = enroll(&config, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.trim().len() == 64 && said.lines().count() == 1, "the hash alone, for scripts: {said}");
    let map = folder.path().join("nuc_map");
    let first = fs::read(&map).unwrap();
    let again = enroll(&config, &[]);
    assert!(!again.status.success() && stderr(&again).contains("--replace"), "{}", stderr(&again));
    assert_eq!(fs::read(&map).unwrap(), first);
    let output = camera("enroll", &config, &["--replace", "--darks", "8", "--flats", "21"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_ne!(fs::read(&map).unwrap(), first);

    let mut damaged = first.clone();
    damaged[5000] ^= 1;
    fs::write(&map, damaged).unwrap();
    let (report, code) = selfcheck(&config);
    assert_eq!((status(&report, "sensor"), code), ("failed", Some(1)), "{report}");
    fs::write(&map, first).unwrap();
    fs::set_permissions(&map, fs::Permissions::from_mode(0o644)).unwrap();
    let output = camera("selfcheck", &config, &[]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("chmod 600"));
    fs::remove_file(&map).unwrap();
    let (report, code) = selfcheck(&config);
    assert_eq!((status(&report, "sensor"), code), ("unknown", Some(3)), "{report}");
}

#[test]
fn provisioned_camera_beside_its_aggregator_has_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = demo.folder.join("camera/device_config.json");
    assert!(enroll(&config, &[]).status.success());
    let (report, code) = selfcheck(&config);
    for (check, expected) in [("sensor", "ok"), ("network", "ok"), ("queue", "ok"), ("secure element", "warning")] {
        assert_eq!(status(&report, check), expected, "{check}: {report}");
    }
    assert_eq!(code, Some(0), "{report}");
    // Its photographs still pass: the fingerprint is the one that its authority knows.
    let capture =
        ["camera", "capture", "--once", "--wait", "--sensor-size", "64x48", "--config", config.to_str().unwrap()];
    let output = run(&capture);
    assert!(output.status.success(), "{}", stderr(&output));
    let alone = camera("selfcheck", &config, &["--json", "--aggregator-url", "http://127.0.0.1:1"]);
    assert_eq!(alone.status.code(), Some(3), "nobody answers");
}

#[test]
fn camera_program_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("device_config.json");
    let output = enroll(&config, &["--sensor", "rpicam", "--rpicam-still", "/nowhere/rpicam-still"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("/nowhere/rpicam-still: no such program"), "{}", stderr(&output));
    assert!(!folder.path().join("nuc_map").exists());
    fs::write(&config, b"{}").unwrap();
    let output = enroll(&config, &["--sensor", "rpicam"]);
    assert!(stderr(&output).contains("provisioned already"), "{}", stderr(&output));
}
