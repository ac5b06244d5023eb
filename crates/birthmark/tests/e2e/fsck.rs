//! `birthmark node fsck` and `rebuild-index` on the folder of a node that has recorded a photograph.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::installation::{Demo, json_lines, run, stderr};

fn fsck(data: &Path) -> (Option<i32>, Value, String) {
    let output = run(&["node", "fsck", "--json", "--data", data.to_str().unwrap()]);
    (output.status.code(), json_lines(&output).pop().unwrap_or_default(), stderr(&output))
}

fn rebuild(data: &Path) -> Output {
    run(&["node", "rebuild-index", "--data", data.to_str().unwrap()])
}

/// The journal that holds everything as long as it is little.
fn journal(data: &Path) -> PathBuf {
    let files = std::fs::read_dir(data.join("ledger")).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|end| end == "jnl")).unwrap()
}

#[test]
fn a_damaged_byte_is_named_by_fsck_refused_by_the_node_and_mended_from_the_consensus_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo");
    let mut demo = Demo::start(&path, &[]);
    assert_eq!(demo.result()["verified"], true);
    let data = path.join("node-0");
    let (code, _, said) = fsck(&data);
    assert_eq!(code, Some(3), "a running node cannot be checked: {said}");
    assert!(said.contains("another process"), "{said}");
    assert!(demo.interrupt().success());

    let (code, sound, said) = fsck(&data);
    assert_eq!((code, &sound["sound"]), (Some(0), &true.into()), "{sound} {said}");
    assert_eq!(
        (&sound["leaves"], &sound["images"], &sound["endorsements"]),
        (&3.into(), &3.into(), &1.into()),
        "{sound}"
    );
    let rebuilt = rebuild(&data);
    assert!(rebuilt.status.success(), "{}", stderr(&rebuilt));
    assert_eq!(fsck(&data).1, sound, "the index is what it was");

    // In the middle of the block with the photograph.
    let journal = journal(&data);
    let mut bytes = std::fs::read(&journal).unwrap();
    assert!(bytes.iter().rposition(|byte| *byte != 0).unwrap() > 1000);
    bytes[1000] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let (code, damage, said) = fsck(&data);
    assert_eq!((code, &damage["sound"]), (Some(1), &false.into()), "{damage} {said}");
    assert!(!damage["should_be"].as_str().unwrap().is_empty(), "{damage}");

    let ports = ["--sma-port", "0", "--aggregator-port", "0", "--node-port", "0", "--p2p-port", "0"];
    let refused = run(&[&["demo", "--once", "--data", path.to_str().unwrap()], ports.as_slice()].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("the ledger's database failed"), "{}", stderr(&refused));

    // The blocks are still in the consensus folder, and a ledger that is lost is applied anew.
    std::fs::remove_dir_all(data.join("ledger")).unwrap();
    let mut demo = Demo::start(&path, &[]);
    assert_eq!(demo.result()["verified"], true);
    assert!(demo.interrupt().success());
    let (code, sound, said) = fsck(&data);
    assert_eq!((code, &sound["leaves"]), (Some(0), &5.into()), "the old photograph and the new one: {sound} {said}");
}

#[test]
fn a_damaged_cosign_state_is_named_and_a_folder_without_a_ledger_cannot_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo");
    let mut demo = Demo::start(&path, &[]);
    demo.result();
    assert!(demo.interrupt().success());
    let data = path.join("node-0");
    let state = std::fs::read(data.join("cosign.state")).unwrap();
    for wrong in [b"birthmark".to_vec(), String::from_utf8_lossy(&state).replace("\n3\n", "\n2\n").into_bytes()] {
        std::fs::write(data.join("cosign.state"), wrong).unwrap();
        let (code, damage, said) = fsck(&data);
        assert_eq!(code, Some(1), "{damage} {said}");
        assert!(damage.to_string().contains("cosign.state"), "{damage}");
    }
    for args in [["node", "fsck", "--data"], ["node", "rebuild-index", "--data"]] {
        let network = path.join("network.json");
        let output = run(&[
            args.as_slice(),
            &[folder.path().to_str().unwrap(), "--network", network.to_str().unwrap()],
        ]
        .concat());
        let expected = if args[1] == "fsck" { 3 } else { 1 };
        assert_eq!(output.status.code(), Some(expected));
        assert!(stderr(&output).contains("holds no ledger"), "{}", stderr(&output));
    }
    assert!(!folder.path().join("ledger").exists(), "nothing is made by a check");
}
