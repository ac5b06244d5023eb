//! Secrets that are handed out once: nothing is changed where they could not be written, and what is lost all
//! the same is said.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::installation::{birthmark, stderr};
use crate::operator::done;

const NUC: &str = "abababababababababababababababababababababababababababababababab";

fn provision(folder: &Path, more: &[&str], stdout: Stdio) -> Output {
    let fixed = ["sma", "provision", "--data", "sma", "--serial", "CAM1", "--nuc-hash", NUC];
    birthmark(&[fixed.as_slice(), more].concat()).current_dir(folder).stdout(stdout).output().unwrap()
}

fn reprovision(folder: &Path, more: &[&str], stdout: Stdio) -> Output {
    let fixed = ["sma", "device", "reprovision", "CAM1", "--data", "sma", "--nuc-hash", NUC];
    birthmark(&[fixed.as_slice(), more].concat()).current_dir(folder).stdout(stdout).output().unwrap()
}

fn generation(folder: &Path) -> Option<u64> {
    let output = birthmark(&["sma", "device", "show", "CAM1", "--data", "sma", "--json"]).current_dir(folder).output();
    let shown: Value = serde_json::from_slice(&output.unwrap().stdout).ok()?;
    shown["key_generation"].as_u64()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn place_that_cannot_be_written_is_found_before_anything_is_changed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["sma", "init", "--data", "sma"]);
    symlink("nowhere/else", folder.join("dangling")).unwrap();
    let bad = ["missing/camera.json", "/proc/camera.json", "dangling", "sma/master.key"];
    for out in bad {
        let output = provision(folder, &["--out", out], Stdio::piped());
        assert_eq!(output.status.code(), Some(1), "{out}");
        assert!(stderr(&output).contains(out), "{}", stderr(&output));
    }
    assert_eq!(generation(folder), None, "nothing was registered");
    assert!(provision(folder, &["--out", "camera.json"], Stdio::piped()).status.success());
    for out in bad {
        assert_eq!(reprovision(folder, &["--out", out], Stdio::piped()).status.code(), Some(1), "{out}");
    }
    assert_eq!(generation(folder), Some(0), "what the camera has still works");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn secret_that_was_not_printed_is_not_taken_for_handed_out() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["sma", "init", "--data", "sma"]);
    for output in [provision(folder, &[], full()), reprovision(folder, &[], full())] {
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("sma device reprovision CAM1"), "{}", stderr(&output));
    }
    let credential = ["credential", "--file", "tokens", "--name", "op", "--role", "admin"];
    let output = birthmark(&credential).current_dir(folder).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("take the line of op out of tokens"), "{}", stderr(&output));
    let output =
        birthmark(&["sma", "device", "show", "CAM1", "--data", "sma"]).current_dir(folder).stdout(full()).output();
    assert_eq!(output.unwrap().status.code(), Some(1), "no result is a success that nobody could read");
}

#[test]
fn settings_that_cannot_be_read_are_not_repeated() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join(".env"), "SMA_DATABASE_URL postgresql://u:SECRETPW@h/db\n").unwrap();
    let output = birthmark(&["sma", "keys", "show"]).current_dir(temporary.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("a line that is not NAME=value") && !said.contains("SECRETPW"), "{said}");
}

#[test]
fn camera_for_version_2_needs_a_network() {
    let temporary = tempfile::tempdir().unwrap();
    done(temporary.path(), &["sma", "init", "--data", "sma"]);
    let output = provision(temporary.path(), &["--min-token-version", "2"], Stdio::piped());
    assert!(stderr(&output).contains("--network"), "{}", stderr(&output));
    assert_eq!(generation(temporary.path()), None);
}
