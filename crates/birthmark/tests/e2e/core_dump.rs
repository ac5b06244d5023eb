//! A camera that crashes leaves no file with its memory, in which its keys are.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::installation::{Demo, birthmark};

/// Runs a program that may write core files, kills it once it has said so many lines in the way that writes
/// one, and says whether the system did. Before the program's own there is one line of the shell's.
fn dumps_core(folder: &Path, program: &str, arguments: &[&str], lines: usize) -> bool {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -c unlimited && echo ready && exec \"$@\"", "sh", program])
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().take(lines).count();
    assert_eq!(said, lines, "{program} ended before");
    assert!(Command::new("kill").args(["-ABRT", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    status.core_dumped()
}

#[test]
fn a_crash_leaves_no_keys_in_a_core_file() {
    let folder = tempfile::tempdir().unwrap();
    if !dumps_core(folder.path(), "sleep", &["60"], 1) {
        println!("skipped: this system writes no core files");
        return;
    }
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = demo.folder.join("camera/device_config.json");
    let program = birthmark(&[]).get_program().to_str().unwrap().to_owned();
    let capture = ["camera", "capture", "--continuous", "1000000", "--sensor-size", "64x48", "--config"];
    // With its first step the keys are in memory.
    let dumped = dumps_core(folder.path(), &program, &[&capture[..], &[config.to_str().unwrap()]].concat(), 2);
    assert!(!dumped, "the keys are in a core file");
}
