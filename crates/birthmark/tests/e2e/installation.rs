//! Running the binary and a whole demo in a folder of its own.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use birthmark_core::network::{Network, Trust};
use birthmark_service::client::{ClientOptions, HttpClient};
use serde_json::Value;

/// The binary with an environment of its own.
pub(crate) fn birthmark(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_birthmark"));
    command.args(arguments).env_remove("AGGREGATOR_URL").env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    birthmark(arguments).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

/// A demo that runs in a process group of its own, with ports that nobody else has.
pub(crate) struct Demo {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    pub(crate) folder: PathBuf,
    pub(crate) ready: Value,
}

impl Demo {
    /// Starts a demo in `folder` and waits until its services answer.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let ports = ["--sma-port", "0", "--aggregator-port", "0", "--node-port", "0", "--p2p-port", "0"];
        let mut command = birthmark(&["demo", "--json", "--samples", "0", "--sensor-size", "64x48"]);
        command.args(ports).args(arguments).arg("--data").arg(folder);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).process_group(0).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = next_event(&mut lines, "ready");
        Self { child, lines, folder: folder.to_owned(), ready }
    }

    /// Waits until the demo's own photograph is verified.
    pub(crate) fn result(&mut self) -> Value {
        next_event(&mut self.lines, "result")
    }

    /// Waits until the demo says that something has happened.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        next_event(&mut self.lines, name)
    }

    pub(crate) fn client(&self, service: &str) -> HttpClient {
        HttpClient::new(self.ready[service].as_str().unwrap(), &ClientOptions::default()).unwrap()
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Network(Box::new(Network::parse(&std::fs::read(self.folder.join("network.json")).unwrap()).unwrap()))
    }

    /// SIGKILL to the demo and its services at once, as a power cut would.
    pub(crate) fn kill_group(&mut self) {
        signal("-KILL", &format!("-{}", self.child.id()));
        self.child.wait().unwrap();
    }

    /// SIGKILL to the demo alone: its services must notice.
    pub(crate) fn kill_parent(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ctrl-C, as a terminal sends it to the whole group.
    pub(crate) fn interrupt(&mut self) -> std::process::ExitStatus {
        signal("-INT", &format!("-{}", self.child.id()));
        self.child.wait().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill_group();
        }
    }
}

pub(crate) fn signal(signal: &str, target: &str) {
    let status = Command::new("kill").args([signal, "--", target]).status().unwrap();
    assert!(status.success(), "kill {signal} {target}");
}

fn next_event(lines: &mut std::io::Lines<BufReader<ChildStdout>>, name: &str) -> Value {
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == name {
            return event;
        }
    }
    panic!("the demo ended before its event `{name}`");
}
