//! A network that changes while it runs, by the command line alone: real processes, real files.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::installation::{birthmark, run, stderr};
use crate::operator::{Service, done};

/// Proposes, approves by these nodes' log keys, and enacts; gives what the node said.
fn enact(folder: &Path, node: &str, change: &[&str], by: &[&str]) -> Value {
    let act = folder.join("act.json");
    let _absent = std::fs::remove_file(&act).is_err();
    let place = ["--network", "net/network.json", "--node", node, "--out", "act.json"];
    done(folder, &[&["network", "propose"], change, &place].concat());
    for validator in by {
        done(folder, &["network", "approve", "act.json", "--key", &format!("{validator}/log.key")]);
    }
    let said = done(folder, &["network", "enact", "act.json", "--node", node, "--wait", "30", "--json"]);
    serde_json::from_str(&said).unwrap()
}

fn show(folder: &Path, node: &str) -> Value {
    let said = done(folder, &["network", "show", "--network", "net/network.json", "--node", node, "--json"]);
    serde_json::from_str(&said).unwrap()
}

/// Asks until it holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A file that only its owner reads.
fn secret(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn serve(folder: &Path, node: &str) -> Service {
    secret(&folder.join("credentials"), b"");
    let config = format!("{node}/node.toml");
    Service::start(folder, &["node", "serve", "--config", &config, "--credentials", "credentials"])
}

#[test]
fn one_validator_gets_a_submitter_an_authority_and_a_second_validator() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["network", "init", "--out", "net", "--origin", "log.example/gov"]);
    let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().to_string()).collect();
    drop(sockets);
    let first = folder.join("net/node-0/node.toml");
    let text = std::fs::read_to_string(&first).unwrap();
    std::fs::write(&first, text.replace("127.0.0.1:8547", &ports[0])).unwrap();
    let node = serve(folder, "net/node-0");

    secret(&folder.join("second.key"), &[7; 32]);
    let key = done(folder, &["network", "public-key", "second.key"]);
    let said = enact(folder, &node.url, &["add-submitter", "--name", "second", "--key", key.trim()], &["net/node-0"]);
    assert_eq!((&said["status"], &said["number"]), (&"enacted".into(), &1.into()));
    let said = enact(folder, &node.url, &["add-authority", "--id", "OTHER_MFG"], &["net/node-0"]);
    assert_eq!(said["status"], "enacted");
    let network = show(folder, &node.url);
    assert_eq!(network["submitters"][2]["name"], "second");
    assert_eq!(network["authorities"][1]["id"], "OTHER_MFG");

    // The same act again is no news; another one in its place is refused, and so is one without approval.
    let again = done(folder, &["network", "enact", "act.json", "--node", &node.url, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["status"], "enacted");
    let propose = ["network", "propose", "remove-authority", "--id", "OTHER_MFG", "--network", "net/network.json"];
    let late = birthmark(&propose).current_dir(folder).args(["--out", "late.json"]).output().unwrap();
    assert!(!late.status.success() && stderr(&late).contains("no authority"), "the file has not followed yet");
    done(folder, &["network", "follow", "--network", "net/network.json", "--node", &node.url]);
    done(folder, &[&propose[..], &["--out", "late.json"]].concat());
    let unapproved = ["network", "enact", "late.json", "--node", &node.url];
    let refused = birthmark(&unapproved).current_dir(folder).output().unwrap();
    assert!(!refused.status.success() && stderr(&refused).contains("too_few_approvals"), "{}", stderr(&refused));

    let first_key = show(folder, &node.url)["validators"][0]["consensus_key"].as_str().unwrap().to_owned();

    // A second validator: its folder, its act, its file, its process.
    let join = ["--network", "net/network.json", "--p2p-address", &ports[1], "--p2p-listen", &ports[1]];
    done(folder, &[&["network", "new-validator", "--out", "node-1", "--listen", &ports[2]], &join[..]].concat());
    let said = enact(folder, &node.url, &["add-validator", "--validator", "node-1/validator.json"], &["net/node-0"]);
    assert!(said["status"] == "scheduled" || said["status"] == "enacted", "{said}");
    until("the second epoch begins", || show(folder, &node.url)["epoch"] == 1);
    done(folder, &["network", "follow", "--network", "node-1/network.json", "--node", &node.url]);
    // The file of a network that began with one validator does not say where that one is.
    let settings = folder.join("node-1/node.toml");
    let own = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{own}\"{first_key}\" = \"{}\"\n", ports[0])).unwrap();
    let second = serve(folder, "node-1");
    let asked = ["network", "show", "--network", "net/network.json", "--node", &second.url];
    until("the second one has caught up", || birthmark(&asked).current_dir(folder).output().unwrap().status.success());
    let said = enact(folder, &second.url, &["remove-authority", "--id", "OTHER_MFG"], &["net/node-0", "node-1"]);
    assert_eq!(said["status"], "enacted", "both decide together");
    assert_eq!(show(folder, &node.url)["validators"].as_array().unwrap().len(), 2);

    let last = done(folder, &["network", "show", "--network", "net/network.json", "--node", &second.url]);
    assert!(last.contains("epoch 1, 4 acts") && last.contains("OTHER_MFG (removed)"), "{last}");
    drop((node, second));
}

#[test]
fn proposals_that_contradict_the_network_are_refused_at_once() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_str().unwrap().to_owned();
    let network = format!("{folder}/net/network.json");
    assert!(run(&["network", "init", "--out", &format!("{folder}/net"), "--origin", "log.example/x"]).status.success());
    let shown = run(&["network", "show", "--network", &network, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let validator = shown["validators"][0]["consensus_key"].as_str().unwrap();
    let key = shown["submitters"][0]["key"].as_str().unwrap();
    let out = format!("{folder}/act.json");
    let cases: [(&[&str], &str); 5] = [
        (&["remove-validator", "--key", validator], "last validator"),
        (&["remove-validator", "--key", key], "no validator has that consensus key"),
        (&["add-submitter", "--name", "again", "--key", key], "has that name or key"),
        (&["remove-submitter", "--name", "nobody"], "no submitter nobody"),
        (&["add-submitter", "--name", "x", "--key", "12"], "64 hex digits"),
    ];
    for (change, cause) in cases {
        let refused = run(&[&["network", "propose"], change, &["--network", &network, "--out", &out]].concat());
        assert!(!refused.status.success() && stderr(&refused).contains(cause), "{change:?}: {}", stderr(&refused));
    }
    assert!(!Path::new(&out).exists());
}
