//! What a camera's package is made of: each file is there, and the service calls the program as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installation::{birthmark, stderr};

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(file)
}

#[test]
fn every_file_of_the_package_is_there() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let (_, assets) = manifest.split_once("assets = [").unwrap();
    let sources: Vec<&str> =
        assets.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next()).collect();
    assert_eq!(sources.len(), 5, "{sources:?}");
    for source in sources.into_iter().filter(|source| !source.starts_with("target/")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).is_file(), "{source}");
    }
}

#[test]
fn service_calls_the_program_with_flags_that_it_has_and_systemd_understands_it() {
    let unit = std::fs::read_to_string(packaging("birthmark-camera.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/birthmark ")).unwrap();
    let nowhere = ["--config", "/nonexistent/device_config.json", "--sensor", "rpicam"];
    let arguments: Vec<&str> = start.split(' ').chain(nowhere).collect();
    let output = birthmark(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "understood, and not enrolled: {}", stderr(&output));
    assert!(stderr(&output).contains("camera enroll"), "{}", stderr(&output));

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("birthmark-camera.service");
    std::fs::write(&copy, unit.replace("/usr/bin/birthmark", "/bin/true")).unwrap();
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output();
    let Ok(verify) = verify else {
        println!("skipped: systemd-analyze is not installed");
        return;
    };
    let complaints = String::from_utf8(verify.stderr).unwrap();
    assert!(!complaints.lines().any(|line| line.contains("birthmark-camera.service:")), "{complaints}");
}
