//! What the manufacturer's authority gets to see of a photograph: nothing. Its folder, its log and every
//! byte that it was sent are searched for every hash of the photograph.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use birthmark_core::endorsement::CaptureDigest;
use birthmark_core::network::Network;
use birthmark_core::submission::Submission;
use birthmark_core::{base64, hex};
use serde_json::Value;

use crate::installation::{birthmark, json_lines, run, stderr};

/// Bytes of which nobody may find a trace.
struct Needle {
    name: String,
    bytes: Vec<u8>,
}

impl Needle {
    fn new(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), bytes: bytes.to_vec() }
    }

    fn of_hex(name: &str, text: &str) -> Self {
        Self::new(name, &hex::decode_bounded(text, 512).unwrap())
    }

    /// As the bytes themselves and in each of the usual ways to write them.
    fn is_in(&self, haystack: &[u8]) -> bool {
        let lower = hex::encode(&self.bytes);
        let standard = base64::encode(&self.bytes).trim_end_matches('=').to_owned();
        let forms = [
            self.bytes.clone(),
            lower.to_uppercase().into_bytes(),
            lower.into_bytes(),
            standard.replace('+', "-").replace('/', "_").into_bytes(),
            standard.into_bytes(),
        ];
        forms.iter().any(|form| haystack.windows(form.len()).any(|window| window == form))
    }
}

fn expect_no_trace(needles: &[Needle], place: &str, haystack: &[u8]) {
    for needle in needles {
        assert!(!needle.is_in(haystack), "the {} is in {place}", needle.name);
    }
}

/// Everything under a folder.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = std::fs::read(&path).unwrap();
            found.push((path, content));
        }
    }
    found
}

fn expect_folder_without_trace(needles: &[Needle], folder: &Path, serial: &str) {
    let found = files(folder);
    assert!(found.iter().any(|(path, _)| path.ends_with("sma.db")));
    let knows = |content: &[u8]| content.windows(serial.len()).any(|window| window == serial.as_bytes());
    assert!(found.iter().any(|(_, content)| knows(content)), "the search finds what is there");
    for (path, content) in found {
        expect_no_trace(needles, &path.display().to_string(), &content);
    }
}

/// Passes bytes on, and keeps those on their way to the server.
struct Tap {
    url: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn before(server: &str) -> Self {
        let server = server.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let (client_2, server_2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || pump(client, server, |bytes| kept.lock().unwrap().extend(bytes)));
                std::thread::spawn(move || pump(server_2, client_2, |_| {}));
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        // Kept first: whoever has the answer finds the question here.
        keep(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A server whose whole log is kept.
struct Service {
    child: Child,
    url: String,
    log: Option<JoinHandle<String>>,
    said: String,
}

impl Service {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let fixed = ["--log-format", "json", "--listen", "127.0.0.1:0"];
        let mut command = birthmark(&[arguments, &fixed].concat());
        command.current_dir(folder).env("BIRTHMARK_LOG", "trace").stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said = String::new();
        let url = lines.by_ref().find_map(|line| {
            let line_json = serde_json::from_str::<Value>(&line).unwrap_or_default();
            // Much else has a URL at this level of detail.
            let url = line_json["role"].as_str().and(line_json["url"].as_str()).map(str::to_owned);
            said.push_str(&line);
            url
        });
        let url = url.unwrap_or_else(|| panic!("{arguments:?} did not start: {said}"));
        let log = std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
        Self { child, url, log: Some(log), said }
    }

    /// Ends it; gives all that it has logged.
    fn log(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let rest = self.log.take().unwrap().join().unwrap();
        format!("{}\n{rest}", self.said)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = birthmark(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON of the first request to this path.
fn first_request(traffic: &[u8], path: &str) -> Value {
    let head = format!("POST {path} ").into_bytes();
    let at = traffic.windows(head.len()).position(|window| window == head).expect("a request");
    let body = traffic[at..].windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    serde_json::Deserializer::from_slice(&traffic[at + body..]).into_iter().next().unwrap().unwrap()
}

#[test]
fn demo_leaves_no_trace_of_the_photograph_at_the_authority() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let ports = ["--sma-port", "0", "--aggregator-port", "0", "--node-port", "0", "--p2p-port", "0"];
    let once = ["demo", "--once", "--json", "--sensor-size", "64x48", "--samples", "3", "--data"];
    let output = run(&[once.as_slice(), &[data.to_str().unwrap()], &ports].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let result = json_lines(&output).into_iter().find(|line| line["event"] == "result").expect("a result");
    let jpeg = std::fs::read(result["jpeg"].as_str().unwrap()).unwrap();
    let image_data = birthmark_core::image_data::jpeg_image_data(&jpeg).unwrap();
    let needles = [
        Needle::of_hex("raw hash", result["raw_hash"].as_str().unwrap()),
        Needle::of_hex("processed hash", result["processed_hash"].as_str().unwrap()),
        Needle::new("hash of the image data", image_data.as_bytes()),
    ];
    expect_folder_without_trace(&needles, &data.join("sma"), "PI_CAMERA_001");
    let log = std::fs::read(data.join("logs/sma.log")).unwrap();
    assert!(!log.is_empty());
    expect_no_trace(&needles, "the log", &log);
}

#[test]
fn authority_is_sent_keeps_and_logs_nothing_of_an_endorsed_photograph() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    done(folder, &["sma", "init", "--data", "sma"]);
    let network = ["network", "init", "--out", "net", "--origin", "log.example/1"];
    done(folder, &[network.as_slice(), &["--authority", "sma/authority.json"]].concat());
    for (name, role) in [("aggregator", "aggregator"), ("operator", "admin")] {
        let token = done(folder, &["credential", "--file", "credentials", "--name", name, "--role", role]);
        let file = folder.join(format!("{name}.token"));
        birthmark_service::secret_file::create(&file, token.as_bytes()).unwrap();
    }
    let shared = ["--network", "net/network.json", "--credentials", "credentials"];
    let sma = Service::start(folder, &[["sma", "serve", "--data", "sma"].as_slice(), &shared].concat());
    let node = ["node", "serve", "--data", "net/node-0", "--p2p-listen", "127.0.0.1:0"];
    let node = Service::start(folder, &[node.as_slice(), &shared].concat());
    let to_authority = Tap::before(&sma.url);
    let aggregator = ["aggregator", "serve", "--data", "net/aggregator", "--network", "net/network.json"];
    let between = ["--sma-url", &to_authority.url, "--node-url", &node.url];
    let more = ["--sma-token", "aggregator.token", "--mix-delay", "0"];
    let aggregator = Service::start(folder, &[aggregator.as_slice(), &between, &more].concat());
    let to_aggregator = Tap::before(&aggregator.url);

    let config = folder.join("camera/device_config.json");
    let config = config.to_str().unwrap();
    let provision = ["camera", "provision", "--serial", "PI_CAMERA_007", "--config", config, "--token", "v2"];
    done(folder, &[provision.as_slice(), &["--sma-url", &to_authority.url, "--sma-token", "operator.token"]].concat());
    let capture = ["camera", "capture", "--once", "--wait", "--json", "--sensor-size", "64x48", "--config", config];
    let report = done(folder, &[capture.as_slice(), &["--aggregator-url", &to_aggregator.url]].concat());
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["confirmed"], 1);

    let sent = first_request(&to_aggregator.seen(), "/api/v1/submit");
    let Submission::Camera(submission) = Submission::from_json(sent.to_string().as_bytes()).unwrap() else {
        panic!("no camera's submission: {sent}")
    };
    let binding = submission.binding.as_ref().expect("a version 2 token");
    let network = Network::parse(&std::fs::read(folder.join("net/network.json")).unwrap()).unwrap();
    let body = submission.body.encode();
    let digest = CaptureDigest::of(network.network_id(), binding.blinding.key_id, &body);
    let mut needles = vec![
        Needle::new("capture digest D", digest.as_bytes()),
        Needle::new("body's digest", submission.body.digest().as_bytes()),
        Needle::new("body", &body),
        Needle::new("inverse", &binding.inverse),
    ];
    let images = sent["image_hashes"].as_array().unwrap();
    assert!(images.len() >= 2, "{sent}");
    for image in images {
        needles.push(Needle::of_hex("image hash", image["image_hash"].as_str().unwrap()));
    }

    let traffic = to_authority.seen();
    let blinded = Needle::new("blinded message", &binding.blinding.blinded_message);
    assert!(blinded.is_in(&traffic), "the search finds what was sent");
    assert!(needles.iter().all(|needle| !needle.bytes.is_empty()));
    expect_no_trace(&needles, "the traffic to the authority", &traffic);
    // While it runs, and once killed: the write-ahead log is there both times.
    expect_folder_without_trace(&needles, &folder.join("sma"), "PI_CAMERA_007");
    let log = sma.log();
    expect_no_trace(&needles, "the log", log.as_bytes());
    expect_folder_without_trace(&needles, &folder.join("sma"), "PI_CAMERA_007");
}
