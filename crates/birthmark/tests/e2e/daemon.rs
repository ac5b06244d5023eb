//! `birthmark camera daemon` as systemd runs it: told by a socket, triggered, ended by SIGTERM.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::installation::{Demo, birthmark, json_lines, run, signal, stderr};

const DEADLINE: Duration = Duration::from_mins(1);

/// A running daemon, and the socket on which systemd would listen.
pub(crate) struct Daemon {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    manager: UnixDatagram,
    _sockets: tempfile::TempDir,
    pub(crate) ready: Value,
}

impl Daemon {
    pub(crate) fn start(config: &Path, arguments: &[&str]) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let socket = sockets.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut command = birthmark(&["camera", "daemon", "--json", "--config", config.to_str().unwrap()]);
        let mut child = command
            .args(arguments)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "300000")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut daemon = Self { child, lines, manager, _sockets: sockets, ready: Value::Null };
        daemon.ready = daemon.event("ready");
        daemon.told("READY=1");
        daemon
    }

    /// Waits until the daemon says that something has happened.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        for line in &mut self.lines {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if event["event"] == name {
                return event;
            }
        }
        panic!("the daemon ended before its event `{name}`");
    }

    /// Waits for one of two events; its name and the event.
    pub(crate) fn either<'a>(&mut self, one: &'a str, other: &'a str) -> (&'a str, Value) {
        for line in &mut self.lines {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if let Some(name) = [one, other].into_iter().find(|name| event["event"] == *name) {
                return (name, event);
            }
        }
        panic!("the daemon ended before its event `{one}` or `{other}`");
    }

    /// Waits for a step whose line begins so.
    fn step(&mut self, begin: &str) {
        while !self.event("step")["text"].as_str().unwrap().starts_with(begin) {}
    }

    /// Waits until systemd is told something.
    fn told(&self, what: &str) {
        let mut message = [0; 4096];
        loop {
            let length = self.manager.recv(&mut message).unwrap();
            if std::str::from_utf8(&message[..length]).unwrap().lines().any(|line| line == what) {
                return;
            }
        }
    }

    pub(crate) fn pull(&mut self, lines: &str) {
        self.child.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    pub(crate) fn terminate(&mut self) {
        signal("-TERM", &self.child.id().to_string());
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn address(&self) -> SocketAddr {
        self.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Sends a request as it is; its status and body.
    fn ask(&self, request: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")),
        )
    }

    fn post(&self, headers: &str) -> (u16, Value) {
        self.ask(&format!("POST /api/v1/capture HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

pub(crate) fn camera_of(demo: &Demo) -> PathBuf {
    demo.folder.join("camera/device_config.json")
}

/// The queue's rows, as they are on disk.
pub(crate) fn rows(config: &Path) -> Vec<Value> {
    let output = run(&["camera", "queue", "list", "--json", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    json_lines(&output)
}

#[test]
fn systemd_is_told_and_triggers_are_answered_with_photographs_that_get_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = camera_of(&demo);
    let mut daemon = Daemon::start(&config, &["--sensor-size", "64x48", "--http", "127.0.0.1:0", "--stdin"]);
    assert_eq!((&daemon.ready["token_version"], &daemon.ready["secure_element"]), (&json!(2), &json!("software")));
    daemon.told("WATCHDOG=1");
    let (status, answer) = daemon.post("Host: localhost\r\nContent-Length: 0\r\n");
    assert_eq!(status, 200, "{answer}");
    let jpeg = PathBuf::from(answer["jpeg"].as_str().unwrap());
    let on_disk = birthmark_core::ImageHash::of(&std::fs::read(&jpeg).unwrap()).to_string();
    assert_eq!(answer["processed_hash"], on_disk, "what is answered is on disk");
    assert_eq!(daemon.event("captured")["frame"], answer["frame"]);
    daemon.step("Proof stored");
    daemon.pull("\nagain\n");
    for _ in 0..2 {
        daemon.step("Proof stored");
    }
    daemon.told("STATUS=waiting for a trigger; 0 to submit, 4 on record, 0 refused");
    let (status, answer) = daemon.ask("GET /api/v1/status HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n");
    assert_eq!((status, &answer["captured"], &answer["confirmed"]), (200, &json!(3), &json!(4)));
    daemon.terminate();
    daemon.told("STOPPING=1");
    let stopped = daemon.event("stopped");
    assert_eq!((&stopped["captured"], &stopped["queued"], &stopped["confirmed"]), (&json!(3), &json!(0), &json!(4)));
    assert_eq!(daemon.exit_code(), Some(0));
    let frames: Vec<_> = rows(&config).iter().map(|row| row["jpeg"].clone()).collect();
    assert_eq!(frames.len(), 4);
    let policy = demo.folder.join("network.json");
    let verified = run(&["verify", jpeg.to_str().unwrap(), "--policy", policy.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
}

#[test]
fn only_this_machines_programs_take_photographs() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = camera_of(&demo);
    let daemon = Daemon::start(&config, &["--sensor-size", "64x48", "--http", "127.0.0.1:0"]);
    let code = |headers: &str| {
        let (status, problem) = daemon.post(headers);
        (status, problem["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(code("Host: evil.example\r\n"), (403, "wrong_host".to_owned()));
    assert_eq!(code("Host: localhost\r\nHost: evil.example\r\n"), (403, "wrong_host".to_owned()));
    assert_eq!(code("Host: localhost\r\nOrigin: http://localhost\r\n"), (403, "from_a_page".to_owned()));
    let body = "x".repeat(5000);
    let request =
        "POST /api/v1/capture HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n";
    assert_eq!(daemon.ask(&format!("{request}{body}")).0, 413);
    let (status, _) = daemon.ask("GET /api/v1/capture HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 405);
    assert_eq!(rows(&config).len(), 1, "only the demo's own");
    let output = run(&["camera", "daemon", "--http", "0.0.0.0:8547"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("loopback only"), "{}", stderr(&output));
}

#[test]
fn sigterm_lets_the_exposure_under_way_be_finished_and_leaves_the_rest_to_be_sent_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let config = camera_of(&demo);
    let nobody = ["--aggregator-url", "http://127.0.0.1:1"];
    let mut daemon = Daemon::start(&config, &[&["--stdin"], &nobody[..]].concat());
    daemon.pull("\n\n\n");
    daemon.step("Raw Bayer captured");
    daemon.terminate();
    let captured = daemon.event("captured");
    let stopped = daemon.event("stopped");
    assert_eq!(daemon.exit_code(), Some(0));
    let rows = rows(&config);
    assert_eq!(stopped["captured"], json!(rows.len() - 1), "with the demo's own: {rows:?}");
    assert!(rows.len() < 4, "nothing new is begun: {rows:?}");
    assert!(captured["jpeg"].as_str().unwrap().ends_with(rows[1]["jpeg"].as_str().unwrap()));
    // The next one takes up what was left.
    let mut daemon = Daemon::start(&config, &["--sensor-size", "64x48"]);
    for _ in 1..rows.len() {
        daemon.step("Proof stored");
    }
}
