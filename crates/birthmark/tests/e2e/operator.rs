//! The services set up by hand, as an operator does it: with credentials, with the seed's settings from
//! a `.env` file, and a camera provisioned on the command line.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::installation::{birthmark, json_lines, stderr};

/// A server that runs until dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) url: String,
}

impl Service {
    /// Starts a role in `folder`, where its `.env` lies, and waits until its log says where it listens.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let fixed = ["--log-format", "json"];
        let mut command = birthmark(&[arguments, &fixed, &["--listen", "127.0.0.1:0"]].concat());
        let mut child = command.current_dir(folder).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let url = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let url = serde_json::from_str::<Value>(&line).ok().and_then(|line| Some(line["url"].as_str()?.to_owned()));
            said.push(line);
            url
        });
        let url = url.unwrap_or_else(|| panic!("{arguments:?} did not start: {said:?}"));
        // Somebody has to read on, or the server would stand still at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs a command in `folder` to its successful end; gives its standard output.
pub(crate) fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = birthmark(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn settings(folder: &Path, lines: &[String]) {
    std::fs::write(folder.join(".env"), lines.join("\n")).unwrap();
}

#[test]
fn services_set_up_by_hand_with_the_seeds_settings_register_a_photograph() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["network", "init", "--out", "net", "--origin", "log.example/1"]);
    let data_dir = format!("SMA_DATA_DIR={}", folder.join("net/sma").display());

    settings(folder, std::slice::from_ref(&data_dir));
    done(folder, &["sma", "init"]);
    let nuc_hash = "ab".repeat(32);
    let provision = ["sma", "provision", "--serial", "PI_CAMERA_001", "--device-family", "Raspberry Pi HQ Camera"];
    let printed = done(folder, &[provision.as_slice(), &["--nuc-hash", &nuc_hash]].concat());
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["device_serial"], "PI_CAMERA_001");

    let credentials = ["--credentials", "credentials"];
    for (name, role) in [("aggregator", "aggregator"), ("operator", "admin")] {
        let file = ["credential", "--file", "credentials", "--name", name, "--role", role];
        let token = done(folder, &file);
        std::fs::write(folder.join(format!("{name}.token")), token).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.join(format!("{name}.token")), private).unwrap();
    }
    let sma = Service::start(folder, &[["sma", "serve"].as_slice(), &credentials].concat());
    let node = ["node", "serve", "--data", "net/node-0", "--network", "net/network.json"];
    let p2p = ["--p2p-listen", "127.0.0.1:0"];
    let node = Service::start(folder, &[node.as_slice(), &p2p, &credentials].concat());

    settings(
        folder,
        &[
            format!("SMA_VALIDATION_ENDPOINT={}/validate", sma.url),
            format!("BLOCKCHAIN_ENDPOINT={}/api/v1/blockchain/submit", node.url),
            "AGGREGATOR_NODE_ID=aggregator_node_001".to_owned(),
        ],
    );
    let aggregator = ["aggregator", "serve", "--data", "net/aggregator", "--network", "net/network.json"];
    let more = ["--sma-token", "aggregator.token", "--mix-delay", "0"];
    let aggregator = Service::start(folder, &[aggregator.as_slice(), &more].concat());

    let config = folder.join("camera/device_config.json");
    let fingerprint = done(folder, &["camera", "init", "--config", config.to_str().unwrap()]);
    let fingerprint = fingerprint.trim();
    assert_eq!(done(folder, &["camera", "init", "--config", config.to_str().unwrap()]).trim(), fingerprint);
    let token = std::fs::read_to_string(folder.join("operator.token")).unwrap();
    let provisioned = crate::submissions::provision_with_token(&sma.url, token.trim(), "PI_CAMERA_002", fingerprint);
    birthmark_service::secret_file::create(&config, provisioned.as_bytes()).unwrap();

    settings(folder, &[format!("AGGREGATOR_URL={}", aggregator.url)]);
    let config = config.to_str().unwrap();
    // The seed's tokens: this network file was made without the authority's keys.
    let capture = ["camera", "capture", "--once", "--wait", "--json", "--sensor-size", "64x48", "--token", "v1"];
    let capture = [capture.as_slice(), &["--config", config]].concat();
    let output = birthmark(&capture).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json_lines(&output).pop().unwrap()["confirmed"], 1);
    done(folder, &["verify", "camera/photos/IMG_000001.jpg", "--policy", "net/network.json"]);
}

#[test]
fn an_env_file_never_chooses_what_verify_trusts() {
    let folder = tempfile::tempdir().unwrap();
    settings(folder.path(), &["BIRTHMARK_POLICY=network.json".to_owned(), "this is not a setting".to_owned()]);
    std::fs::write(folder.path().join("photo.jpg"), b"x").unwrap();
    let output = birthmark(&["verify", "photo.jpg"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("no policy"), "{}", stderr(&output));
    let output = birthmark(&["camera", "capture", "--once"]).current_dir(folder.path()).output().unwrap();
    assert!(stderr(&output).contains(".env"), "a role reads it, and names what is wrong: {}", stderr(&output));
}
