//! The aggregator keeps to its own description: schemathesis, which knows nothing of Birthmark, reads it and sends
//! what it allows and what it does not.
//!
//! `./test` installs schemathesis and says where it is; where it cannot, this says that it is skipped.

use std::path::Path;
use std::process::Command;

use crate::installation::Demo;

#[test]
fn aggregator_keeps_to_its_description() {
    let Some(schemathesis) = std::env::var_os("BIRTHMARK_SCHEMATHESIS").filter(|path| !path.is_empty()) else {
        println!("skipped: schemathesis is not installed");
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&temporary.path().join("demo"), &["--rate-limit", "0"]);
    demo.result();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/schemathesis.toml");
    let description = format!("{}/openapi.json", demo.ready["aggregator"].as_str().unwrap());
    let output = Command::new(schemathesis)
        .arg("--config-file")
        .arg(config)
        .args(["run", &description])
        .current_dir(temporary.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert_eq!(demo.interrupt().code(), Some(0), "all services are still there");
}
