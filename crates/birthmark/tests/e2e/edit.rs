//! An edit, from the credential to its proven lineage: services set up by hand, real processes.

use std::path::Path;

use serde_json::Value;

use crate::installation::{birthmark, json_lines, stderr};
use crate::operator::{Service, done};

/// A file that only its owner reads.
fn secret(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Runs a command that prints one JSON object; gives its exit code too.
fn said(folder: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = birthmark(arguments).current_dir(folder).output().unwrap();
    let said = json_lines(&output).pop();
    (output.status.code(), said.unwrap_or_else(|| panic!("{arguments:?}: {}", stderr(&output))))
}

#[test]
fn edit_is_registered_by_its_software_and_proven_back_to_the_sensor() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["network", "init", "--out", "net", "--origin", "log.example/1", "--software", "EDITOR_001"]);
    done(folder, &["sma", "init", "--data", "net/sma"]);
    let issue = |file: &str, name: &str, more: &[&str]| {
        let token = done(folder, &[&["credential", "--file", file, "--name", name][..], more].concat());
        secret(&folder.join(format!("{name}.token")), &token);
    };
    issue("credentials", "aggregator", &["--role", "aggregator"]);
    issue("editors", "editor", &["--role", "software", "--authority", "EDITOR_001", "--limit", "50"]);
    issue("editors", "stranger", &["--role", "software", "--authority", "ANOTHER"]);
    let config = "camera/device_config.json";
    let fingerprint = done(folder, &["camera", "init", "--config", config]);
    let provision = ["sma", "provision", "--data", "net/sma", "--serial", "CAM1", "--nuc-hash", fingerprint.trim()];
    let provisioned = done(folder, &provision);
    secret(&folder.join(config), &provisioned);
    let sma = Service::start(folder, &["sma", "serve", "--data", "net/sma", "--credentials", "credentials"]);
    let node = ["node", "serve", "--data", "net/node-0", "--network", "net/network.json"];
    let node =
        Service::start(folder, &[&node[..], &["--p2p-listen", "127.0.0.1:0", "--credentials", "credentials"]].concat());
    let aggregator = ["aggregator", "serve", "--data", "net/aggregator", "--network", "net/network.json"];
    let more = ["--sma-token", "aggregator.token", "--mix-delay", "0", "--credentials", "editors"];
    let places = ["--sma-url", &sma.url, "--node-url", &node.url];
    let aggregator = Service::start(folder, &[&aggregator[..], &more, &places].concat());

    let capture = ["camera", "capture", "--once", "--wait", "--json", "--sensor-size", "64x48", "--token", "v1"];
    let output = birthmark(&[&capture[..], &["--config", config]].concat())
        .current_dir(folder)
        .env("AGGREGATOR_URL", &aggregator.url)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));

    let photo = "camera/photos/IMG_000001.jpg";
    std::fs::write(folder.join("edited.jpg"), b"what an editor made of it").unwrap();
    std::fs::write(folder.join("smaller.jpg"), b"and a smaller copy").unwrap();
    let edit = |file: &str, parent: &str, token: &str| {
        let what =
            ["edit", file, "--parent", parent, "--authority-id", "EDITOR_001", "--json", "--url", &aggregator.url];
        let arguments: Vec<&str> = [&what[..], &["--credential", token]].concat();
        birthmark(&arguments).current_dir(folder).output().unwrap()
    };
    for (file, parent, token, cause) in [
        ("edited.jpg", photo, "stranger.token", "403"),
        ("smaller.jpg", "edited.jpg", "editor.token", "not on record"),
        (photo, photo, "editor.token", "is the file that it was made from"),
    ] {
        let output = edit(file, parent, token);
        let cause_is_said = stderr(&output).contains(cause) || stderr(&output).contains("software_authority_required");
        assert!(output.status.code() == Some(1) && cause_is_said, "{file}: {}", stderr(&output));
    }
    for (file, parent) in [("edited.jpg", photo), ("smaller.jpg", "edited.jpg"), ("smaller.jpg", "edited.jpg")] {
        let output = edit(file, parent, "editor.token");
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(json_lines(&output)[0]["status"], "confirmed");
    }

    let verify = ["verify", "smaller.jpg", "--policy", "net/network.json", "--json"];
    let levels = |answer: &Value| {
        let chain = answer["provenance_chain"].as_array().unwrap();
        chain.iter().map(|link| (link["modification_level"].as_u64(), link["proven"] == true)).collect::<Vec<_>>()
    };
    let (code, offline) = said(folder, &verify);
    assert_eq!(
        (code, &offline["authority_id"], &offline["modification_level"]),
        (Some(0), &"EDITOR_001".into(), &2.into())
    );
    assert_eq!(levels(&offline), [(None, false)], "the parent is named; its record is asked of nobody");
    for server in [&node.url, &aggregator.url] {
        let (code, private) = said(folder, &[&verify[..], &["--url", server, "--private"]].concat());
        assert_eq!((code, levels(&private)), (Some(0), vec![(None, false)]), "its parent would give the file away");
        for more in [&[][..], &["--private", "--lineage"]] {
            let (code, answer) = said(folder, &[&verify[..], &["--url", server], more].concat());
            assert_eq!((code, levels(&answer)), (Some(0), vec![(Some(2), true), (Some(1), true), (Some(0), true)]));
            let authorities: Vec<_> =
                answer["provenance_chain"].as_array().unwrap().iter().map(|link| &link["authority_id"]).collect();
            assert_eq!(answer["provenance_chain"][0]["assurance"], "attested");
            assert_eq!(authorities, ["EDITOR_001", "SIMULATED_MFG_001", "SIMULATED_MFG_001"]);
        }
    }
    let words = birthmark(&["verify", "smaller.jpg", "--policy", "net/network.json", "--url", &node.url]);
    let words = { words }.current_dir(folder).output().unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("says that EDITOR_001 registered it as an edit."), "{words}");
    assert!(words.contains("Comes from:") && words.contains("proven: validated raw, by SIMULATED_MFG_001"), "{words}");
}
