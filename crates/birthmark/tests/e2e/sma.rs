//! The authority under its administrator: a list of cameras, revocation, keys, the log, the seed's files;
//! in its folder and at a running server.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use birthmark_service::client::{ClientOptions, HttpClient};
use serde_json::{Value, json};

use crate::installation::{birthmark, stderr};
use crate::operator::{Service, done};

/// Runs a command in `folder`, whatever becomes of it.
fn tried(folder: &Path, arguments: &[&str]) -> Output {
    birthmark(arguments).current_dir(folder).output().unwrap()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

fn hash(number: u32) -> String {
    format!("{number:064x}")
}

fn list(numbers: std::ops::RangeInclusive<u32>) -> String {
    let mut text = "device_serial,device_family,nuc_hash,min_token_version\n".to_owned();
    for number in numbers {
        writeln!(text, "CAM/{number},\"Maker, Model\",{},2", hash(number)).unwrap();
    }
    text
}

fn get(url: &str, path: &str) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = HttpClient::new(url, &ClientOptions::default()).unwrap();
    runtime.block_on(client.get_json::<Value>(path)).unwrap().body
}

fn key_states(statement: &Value) -> Vec<&str> {
    statement["endorsement_keys"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect()
}

const PROVISION: [&str; 8] = ["sma", "provision", "--data", "sma", "--csv", "list.csv", "--out", "cameras"];

#[test]
fn ten_thousand_cameras_are_provisioned_from_a_list_that_can_be_resumed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["sma", "init", "--data", "sma"]);

    let bad = list(1..=3).replace(&hash(3), "zz").replace("CAM/2,", "CAM/1,");
    std::fs::write(folder.join("list.csv"), bad).unwrap();
    let output = tried(folder, &PROVISION);
    assert_eq!(output.status.code(), Some(1));
    for said in ["line 3: has the serial of line 2", "line 4: nuc_hash", "nothing was provisioned"] {
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert_eq!(std::fs::read_dir(folder.join("cameras")).unwrap().count(), 0);

    std::fs::write(folder.join("list.csv"), list(1..=300)).unwrap();
    done(folder, &PROVISION);
    std::fs::write(folder.join("list.csv"), list(1..=10_000)).unwrap();
    let output = tried(folder, &PROVISION);
    assert!(
        stderr(&output).contains("line 2: a camera with this serial is provisioned already"),
        "{}",
        stderr(&output)
    );
    std::fs::remove_file(folder.join("cameras/CAM%2F7.json")).unwrap();
    let report = json_of(&done(folder, &[PROVISION.as_slice(), &["--skip-existing", "--json"]].concat()));
    assert_eq!(report, json!({"provisioned": 9700, "skipped": 300, "without_file": ["CAM/7"], "refused": []}));

    let mut tables = std::collections::BTreeSet::new();
    for number in (1..=10_000).filter(|number| *number != 7) {
        let path = folder.join(format!("cameras/CAM%2F{number}.json"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let config = json_of(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(config["device_serial"], format!("CAM/{number}"));
        tables.insert(config["table_id"].as_u64().unwrap());
        assert!(config["device_key"].is_string() && config["device_certificate"].is_string());
    }
    assert!((3..=10).contains(&tables.len()), "of ten active ones at most: {tables:?}");
    let check = json_of(&done(folder, &["sma", "audit", "--data", "sma", "--check", "--json"]));
    assert_eq!(check["intact"]["rows"], 10_001, "a key and ten thousand cameras");

    // The camera whose file is lost gets new secrets.
    let nuc_hash = hash(7);
    let reprovision = ["sma", "device", "reprovision", "CAM/7", "--data", "sma", "--nuc-hash", &nuc_hash];
    done(folder, &[reprovision.as_slice(), &["--out", "cameras/CAM%2F7.json"]].concat());
    let show = json_of(&done(folder, &["sma", "device", "show", "CAM/7", "--data", "sma", "--json"]));
    assert_eq!((&show["key_generation"], &show["min_token_version"]), (&json!(1), &json!(2)));
    let output = tried(folder, &[reprovision.as_slice(), &["--out", "cameras/CAM%2F7.json"]].concat());
    assert!(stderr(&output).contains("exists already"), "{}", stderr(&output));
}

#[test]
fn an_administrator_does_the_same_in_the_folder_and_at_a_running_server() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["sma", "init", "--data", "sma"]);
    let token = done(folder, &["credential", "--file", "credentials", "--name", "office", "--role", "admin"]);
    birthmark_service::secret_file::create(&folder.join("token"), token.as_bytes()).unwrap();
    let nuc_hash = hash(1);
    let here = ["--data", "sma"];
    done(folder, &[["sma", "provision", "--serial", "CAM 1", "--nuc-hash", &nuc_hash].as_slice(), &here].concat());
    let shown = done(folder, &[["sma", "device", "revoke", "CAM 1"].as_slice(), &here].concat());
    assert!(shown.starts_with("CAM 1: revoked\n"), "{shown}");

    let server = Service::start(folder, &["sma", "serve", "--data", "sma", "--credentials", "credentials"]);
    let there = ["--url", &server.url, "--token-file", "token"];
    let at = |command: &[&str]| json_of(&done(folder, &[["sma"].as_slice(), command, &there, &["--json"]].concat()));
    let revoked = get(&server.url, "/api/v1/revocations");
    assert_eq!(revoked["revoked"].as_array().unwrap().len(), 1);
    assert!(!revoked.to_string().contains("CAM"));
    assert_eq!(at(&["device", "restore", "CAM 1"])["status"], "active");
    assert!(get(&server.url, "/api/v1/revocations")["revoked"].as_array().unwrap().is_empty());
    assert_eq!(at(&["device", "revoke", "CAM 1"])["status"], "revoked");
    assert_eq!(at(&["device", "quota", "CAM 1", "--stop", "5"])["quota"], json!({"warn": 8000, "stop": 5}));
    assert_eq!(at(&["device", "show", "CAM 1"])["own_quota"], json!({"warn": null, "stop": 5}));
    let rotated = at(&["keys", "rotate"]);
    assert_eq!(key_states(&rotated["authority"]), ["previous", "current"]);
    assert_eq!(at(&["keys", "show"]), rotated["authority"]);
    let old = rotated["authority"]["endorsement_keys"][0]["key_id"].as_str().unwrap().to_owned();
    assert_eq!(key_states(&at(&["keys", "revoke", &old])["authority"]), ["revoked", "current"]);

    std::fs::write(folder.join("list.csv"), list(2..=12)).unwrap();
    let provision = ["sma", "provision", "--csv", "list.csv", "--out", "cameras"];
    done(folder, &[provision.as_slice(), &there].concat());
    assert_eq!(std::fs::read_dir(folder.join("cameras")).unwrap().count(), 11);

    let busy = tried(folder, &[["sma", "device", "show", "CAM 1"].as_slice(), &here].concat());
    assert!(stderr(&busy).contains("--url"), "it says what works: {}", stderr(&busy));
    let unknown = tried(folder, &[["sma", "device", "show", "NOBODY"].as_slice(), &there].concat());
    assert!(stderr(&unknown).contains("unknown_device"), "{}", stderr(&unknown));
    let rows = done(folder, &[["sma", "audit", "--json"].as_slice(), &there].concat());
    let acts: Vec<(String, String)> = rows
        .lines()
        .map(json_of)
        .map(|row| (row["actor"].as_str().unwrap().to_owned(), row["act"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [
        ("local", "key.rotate"),
        ("local", "device.provision"),
        ("local", "device.revoke"),
        ("office", "device.restore"),
        ("office", "device.revoke"),
        ("office", "device.quota"),
        ("office", "key.rotate"),
        ("office", "key.revoke"),
        ("office", "device.provision"),
    ];
    let acts: Vec<_> = acts.iter().map(|(actor, act)| (actor.as_str(), act.as_str())).take(9).collect();
    assert_eq!(acts, expected);
    let check = at(&["audit", "--check"]);
    assert_eq!(check["intact"]["rows"], 19);
    drop(server);
    assert_eq!(json_of(&done(folder, &[["sma", "audit", "--check", "--json"].as_slice(), &here].concat())), check);
}

#[test]
fn a_new_endorsement_key_gets_into_the_network_file() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["sma", "init", "--data", "sma"]);
    let init = ["network", "init", "--out", "net", "--origin", "log.example/1", "--authority", "sma/authority.json"];
    done(folder, &init);
    let read = |path: &str| {
        let bytes = std::fs::read(folder.join(path)).unwrap();
        birthmark_core::network::Network::parse(&bytes).unwrap()
    };
    let before = read("net/network.json");
    let changed = json_of(&done(folder, &["sma", "keys", "rotate", "--data", "sma", "--bits", "3072", "--json"]));
    let file = json_of(&std::fs::read_to_string(folder.join("sma/authority.json")).unwrap());
    assert_eq!(changed["authority"], file);
    let update = ["network", "update", "--network", "net/network.json", "--authority", "sma/authority.json"];
    done(folder, &[update.as_slice(), &["--log-key", "net/node-0/log.key"]].concat());
    let after = read("net/network.json");
    assert!(before.is_succeeded_by(&after));
    let authority = after.authority(birthmark_core::ids::AuthorityNumber(1)).unwrap();
    assert_eq!(authority.endorsement_keys.len(), 2);
    assert_eq!(json!(authority.endorsement_keys[1].key_id), changed["key_id"]);
    assert_eq!(json!(authority.endorsement_keys[1].state), "current");
}

#[test]
fn the_seeds_files_are_imported_at_the_start_and_can_be_exported() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let tables: Vec<_> = (0..10).map(|id| json!({"table_id": id, "master_key": hash(id)})).collect();
    let tables = json!({"total_tables": 10, "tables_per_device": 3, "key_tables": tables, "assigned_tables": {}});
    let device = |number: u32, is_blacklisted: bool| {
        json!({"device_serial": format!("SEED_{number}"), "table_assignments": [4, 5, 7], "device_family": "Pi",
               "is_blacklisted": is_blacklisted, "nuc_hash": hash(number)})
    };
    let registry = json!({"devices": [device(1, false), device(2, true)], "total_devices": 2});
    for (name, content) in [("key_tables.json", &tables), ("device_registry.json", &registry)] {
        birthmark_service::secret_file::create(&folder.join(name), content.to_string().as_bytes()).unwrap();
    }
    let seeds = ["SMA_DATA_DIR=sma", "KEY_TABLES_PATH=key_tables.json", "DEVICE_REGISTRY_PATH=device_registry.json"];
    std::fs::write(folder.join(".env"), seeds.join("\n")).unwrap();
    done(folder, &["sma", "init"]);
    assert_eq!(json_of(&done(folder, &["sma", "device", "show", "SEED_1", "--json"]))["status"], "active");
    assert_eq!(json_of(&done(folder, &["sma", "device", "show", "SEED_2", "--json"]))["status"], "revoked");
    done(folder, &["sma", "export", "--key-tables", "tables.out", "--device-registry", "registry.out"]);
    for name in ["tables.out", "registry.out"] {
        assert_eq!(std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    let written = json_of(&std::fs::read_to_string(folder.join("tables.out")).unwrap());
    assert_eq!(written["key_tables"].as_array().unwrap().len(), 2500);
    assert_eq!(written["key_tables"][7], tables["key_tables"][7]);
    let written = json_of(&std::fs::read_to_string(folder.join("registry.out")).unwrap());
    assert_eq!(written["devices"][0]["device_serial"], "SEED_2", "what is revoked comes first");
    assert_eq!(written["devices"][1]["key_table_indices"], json!([4, 5, 7]));
    assert!(!written.to_string().contains(&hash(1)));
    // Again: what is there stays.
    let again = json_of(&done(folder, &["sma", "import", "--json"]));
    assert_eq!(again, json!({"tables": 10, "devices": 0, "existing": 2, "revoked": 0}));
}
