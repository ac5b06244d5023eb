//! What a camera meets in the field: a full card, a card that can only be read, a clock that starts in 1970.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use birthmark_core::ImageHash;

use crate::daemon::{Daemon, camera_of, rows};
use crate::full_disk::SmallDisk;
use crate::installation::{Demo, birthmark, run, stderr};

/// Fills a disk but for so many bytes.
fn fill_but_for(folder: &Path, bytes: usize) {
    let keep = folder.join("keep");
    fs::write(&keep, vec![1; bytes]).unwrap();
    let mut filler = fs::File::create(folder.join("filler")).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
    fs::remove_file(keep).unwrap();
}

fn capture(config: &Path) -> Output {
    run(&["camera", "capture", "--once", "--wait", "--sensor-size", "64x48", "--config", config.to_str().unwrap()])
}

/// Every pair of files in the folder has its row, and every row its files as they were hashed.
fn check(config: &Path) -> usize {
    let rows = rows(config);
    let data = config.parent().unwrap();
    for row in &rows {
        let jpeg = fs::read(data.join(row["jpeg"].as_str().unwrap())).unwrap();
        assert_eq!(row["processed_hash"], ImageHash::of(&jpeg).to_string());
        assert!(data.join(row["dng"].as_str().unwrap()).exists(), "{row}");
    }
    let jpegs = fs::read_dir(data.join("photos")).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|end| end == "jpg") && path.with_extension("dng").exists()
    });
    assert_eq!(jpegs.count(), rows.len(), "each pair has its row");
    rows.len()
}

#[test]
fn on_a_full_card_photographs_fail_by_name_none_is_lost_and_with_room_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = camera_of(&demo);
    let data = config.parent().unwrap();
    let Some(_disk) = SmallDisk::over(data) else {
        println!("skipped: this machine lets nobody mount a small file system");
        return;
    };
    let mut daemon = Daemon::start(&config, &["--sensor-size", "64x48", "--stdin"]);
    let (mut kept, mut failed) = (0, 0);
    // With room for nothing, for one of the files, for both but not the row, and so on.
    for pages in 0..24 {
        fill_but_for(data, pages * 4096);
        daemon.pull("\n");
        match daemon.either("captured", "failed") {
            ("captured", _) => kept += 1,
            (_, event) => {
                let error = event["error"].as_str().unwrap();
                assert!(error.contains("full") || error.contains("No space"), "{error}");
                failed += 1;
            }
        }
        fs::remove_file(data.join("filler")).unwrap();
    }
    assert!(failed >= 3, "{kept} kept, {failed} failed");
    daemon.pull("\n");
    daemon.event("captured");
    daemon.terminate();
    assert_eq!(daemon.exit_code(), Some(0));
    assert!(check(&config) >= kept + 2, "the demo's own, those with room, and the last");
    let output = capture(&config);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = rows(&config);
    assert!(rows.iter().all(|row| row["state"] == "confirmed"), "{rows:?}");
}

#[test]
fn on_a_card_that_can_only_be_read_nothing_is_called_captured() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = camera_of(&demo);
    let data = config.parent().unwrap();
    let Some(_disk) = SmallDisk::over(data) else {
        println!("skipped: this machine lets nobody mount a small file system");
        return;
    };
    let remount = |how: &str| {
        let options = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &options, data.to_str().unwrap()]).status().unwrap().success());
    };
    remount("ro");
    let output = capture(&config);
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("Captured"));
    assert!(stderr(&output).to_lowercase().contains("read-only"), "{}", stderr(&output));
    remount("rw");
    assert_eq!(check(&config), 1);
    let output = capture(&config);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(check(&config), 2);
}

#[test]
fn with_a_clock_of_1970_photographs_are_taken_and_recorded_without_a_claim_of_time() {
    if Command::new("faketime").arg("--version").output().is_err() {
        println!("skipped: faketime is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = camera_of(&demo);
    let program = birthmark(&[]).get_program().to_owned();
    let at = |time: &str| {
        Command::new("faketime")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .args(["-f", time])
            .arg(&program)
            .args(["camera", "capture", "--once", "--wait", "--sensor-size", "64x48", "--config"])
            .arg(&config)
            .env_remove("AGGREGATOR_URL")
            .output()
            .unwrap()
    };
    let output = at("@1970-01-01 00:00:07");
    assert!(output.status.success(), "{}", stderr(&output));
    // And set back, after rows were written under the right time.
    assert!(capture(&config).status.success());
    assert!(at("@1970-01-01 00:00:03").status.success());
    let rows = rows(&config);
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["state"] == "confirmed"), "{rows:?}");
    assert!(rows[1]["taken_at"].as_u64().unwrap() < 1000, "{}", rows[1]);
}
