//! `birthmark bench` measures every row that it promises. How quick anything is, no test can say.

use std::os::unix::fs::PermissionsExt;

use crate::installation::{json_lines, run, stderr};

#[test]
fn every_row_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL has an account of its own.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let small =
        ["--seconds", "1", "--devices", "500", "--records", "512", "--samples", "3", "--sensor-size", "640x480"];
    let within = ["bench", "--json", "--folder", folder.path().to_str().unwrap()];
    // Four have a test of their own.
    let output = run(&[within.as_slice(), &["--validators", "1"], &small].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let objects = json_lines(&output);
    assert_eq!(objects.len(), 1, "one object");
    let rows = objects[0]["rows"].as_object().unwrap();
    let system = ["sha2", "capture", "verify_hit", "verify_miss", "verify_proof", "durable_submit"];
    let authority = ["sma_validate", "sma_validate_v2", "sma_validate_batch", "sma_validate_v2_batch", "sma_endorse"];
    let compared: Vec<_> = system.into_iter().chain(authority).collect();
    let alone = ["sensor", "proof", "disk", "submit_to_proof", "memory"];
    for name in compared.iter().chain(&alone) {
        let row = &rows[*name];
        assert!(row["ours"].as_f64().is_some_and(f64::is_finite), "{name}: {row}");
        assert!(!row["goals"].as_array().unwrap().is_empty(), "{name} has a goal");
    }
    for name in &compared {
        assert!(rows[*name]["ratio"].as_f64().is_some_and(f64::is_finite), "{name}: {}", rows[*name]);
    }
    for name in ["validate_per_s", "validate_ratio", "validate_v2_ratio", "endorse_per_s", "endorse_ratio"] {
        assert!(objects[0][name].as_f64().is_some_and(f64::is_finite), "{name}");
    }
    let aggregator = ["confirmed", "chain", "endorsed", "verify", "postgres"].map(|name| format!("aggregator_{name}"));
    for name in &aggregator {
        assert!(
            rows[name]["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0 && ratio.is_finite()),
            "{name}: {}",
            rows[name]
        );
    }
    let lifted = ["confirmed_per_s", "confirmed_ratio", "chain_ratio", "verify_ratio", "postgres_ratio"];
    for name in lifted.iter().chain(&["endorsed_per_s", "endorsed_ratio"]) {
        assert!(objects[0][name].as_f64().is_some_and(f64::is_finite), "{name}");
    }
    let registry = ["records", "finality", "disk", "proof", "absence", "reopen"];
    for name in registry.map(|name| format!("registry_{name}")) {
        assert!(rows[&name]["ours"].as_f64().is_some_and(f64::is_finite), "{name}: {}", rows[&name]);
    }
    assert_eq!(rows.len(), compared.len() + alone.len() + aggregator.len() + registry.len(), "{rows:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn four_validators_give_the_figures_that_programs_look_for() {
    let folder = tempfile::tempdir().unwrap();
    let within = ["bench", "registry", "--validators", "4", "--json", "--folder", folder.path().to_str().unwrap()];
    let output = run(&[within.as_slice(), &["--records", "700", "--samples", "3"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let objects = json_lines(&output);
    assert_eq!(objects.len(), 1, "one object");
    let figures = ["/records_per_s", "/finality_ms/p50", "/finality_ms/p99", "/bytes_per_hash", "/proof_bytes"];
    for name in figures.iter().chain(&["/verify_us", "/absence_proof_bytes", "/reopen_ms"]) {
        let figure = objects[0].pointer(name).and_then(serde_json::Value::as_f64);
        assert!(figure.is_some_and(|figure| figure > 0.0 && figure.is_finite()), "{name}: {}", objects[0]);
    }
    assert_eq!(objects[0]["validators"], 4);
    let row = &objects[0]["rows"]["registry_records"];
    assert!(row["ratio"].as_f64().is_some_and(f64::is_finite), "beside a network of one: {row}");
    assert_eq!(row["details"]["recorded"], 700.0, "all of them, the last batch a part of one");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_row_that_cannot_be_measured_fails_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let arguments = ["bench", "camera", "--json", "--samples", "1", "--sensor-size", "64x48", "--folder"];
    let output = run(&[arguments.as_slice(), &[missing.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    let rows = &json_lines(&output)[0]["rows"];
    assert!(rows["capture"]["failed"].as_str().unwrap().contains("missing"), "{rows}");
    assert!(rows["sha2"]["ours"].as_f64().is_some(), "the others are measured all the same");
}
