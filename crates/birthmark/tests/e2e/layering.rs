//! The crates depend on each other as the table in `ARCHITECTURE.md` says, and in no other way.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

type Layers = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Rows of the table under the heading `Layering`: `| crate | may depend on |`.
fn promised() -> Layers {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("## Layering").nth(1).expect("a heading `Layering`");
    let section = section.split("\n## ").next().unwrap();
    let full_name = |name: &str| match name.trim().trim_matches('`') {
        "birthmark" => "birthmark".to_owned(),
        name if name.starts_with("birthmark-") => name.to_owned(),
        name => format!("birthmark-{name}"),
    };
    section
        .lines()
        .filter(|line| line.starts_with('|') && line.contains('`'))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').collect();
            let allowed = cells[1].split(',').filter(|cell| cell.contains('`')).map(full_name).collect();
            (full_name(cells[0]), allowed)
        })
        .collect()
}

fn direct_dependencies(of: &str) -> BTreeSet<String> {
    let arguments =
        ["tree", "--offline", "-p", of, "--edges", "normal", "--depth", "1", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let names = names.lines().skip(1).filter_map(|line| line.split(' ').next());
    names.filter(|name| *name == "birthmark" || name.starts_with("birthmark-")).map(str::to_owned).collect()
}

#[test]
fn crates_depend_on_each_other_only_as_the_architecture_says() {
    let promised = promised();
    let crates: BTreeSet<_> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| match entry.unwrap().file_name().to_str().unwrap() {
            "birthmark" => "birthmark".to_owned(),
            name => format!("birthmark-{name}"),
        })
        .collect();
    assert_eq!(promised.keys().cloned().collect::<BTreeSet<_>>(), crates, "the table names every crate");
    for (name, allowed) in &promised {
        assert_eq!(&direct_dependencies(name), allowed, "dependencies of {name}");
    }
}

#[test]
fn a_cameras_program_holds_no_engine_ledger_or_server_role() {
    for features in ["camera", "camera,tpm"] {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "-p", "birthmark", "--no-default-features", "--features", features])
            .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
            .current_dir(root())
            .output()
            .unwrap();
        let tree = String::from_utf8(output.stdout).unwrap();
        assert!(tree.contains("birthmark-camera "), "{}", String::from_utf8_lossy(&output.stderr));
        for banned in ["engine", "ledger", "node", "sma", "aggregator"] {
            let name = format!("birthmark-{banned} ");
            assert!(!tree.lines().any(|line| line.starts_with(&name)), "{features} holds {name}");
        }
        assert!(!tree.lines().any(|line| line.starts_with("commonware-") || line.starts_with("fjall ")), "{features}");
        let has_tpm = tree.lines().any(|line| line.starts_with("tss-esapi "));
        assert_eq!(has_tpm, features.contains("tpm"), "{features}");
    }
}

#[test]
fn core_reads_no_file_clock_socket_or_randomness() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "birthmark-core", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("sha2"), "{}", String::from_utf8_lossy(&output.stderr));
    for banned in ["tokio ", "axum ", "rusqlite ", "reqwest ", "commonware-"] {
        assert!(!tree.lines().any(|line| line.starts_with(banned)), "core reaches {banned}");
    }
    // blind-rsa-signatures links the system's randomness for calls that take no generator. Core makes none of
    // them, and has no way of its own.
    let manifest = std::fs::read_to_string(root().join("crates/core/Cargo.toml")).unwrap();
    let (dependencies, _) = manifest.split_once("[dev-dependencies]").unwrap();
    for banned in ["getrandom", "\nrand.", "birthmark-service"] {
        assert!(!dependencies.contains(banned), "core depends on {banned}");
    }
    for file in ["endorsement.rs", "token.rs", "token/v1.rs", "token/v2.rs"] {
        let source = std::fs::read_to_string(root().join("crates/core/src").join(file)).unwrap();
        for banned in ["DefaultRng", "OsRng", "SysRng", "blind_sign(", "setup_sender:"] {
            assert!(!source.contains(banned), "{file} calls {banned}");
        }
    }
}
