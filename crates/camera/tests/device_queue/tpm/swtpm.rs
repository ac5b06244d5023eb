//! A real TPM 2.0 in software, with a folder and two ports of its own.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Ends with its process when dropped; its seeds and its memory are in a folder that goes with it.
pub(crate) struct Swtpm {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Swtpm {
    /// A new chip as it comes from its maker, but for a certificate. Without swtpm on this machine there is
    /// none, and the test says so.
    pub(crate) fn start() -> Option<Self> {
        for program in ["swtpm", "tpm2_getcap"] {
            if Command::new(program).arg("--version").output().is_err() {
                println!("skipped: {program} is not installed (Debian: swtpm, tpm2-tools)");
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let (port, child) = spawn(&folder);
        Some(Self { folder, port, child })
    }

    /// As [`Swtpm::start`], with an endorsement certificate.
    pub(crate) fn certified() -> Option<Self> {
        let mut tpm = Self::start()?;
        tpm.halt();
        let state = tpm.folder.path().to_str().unwrap();
        let fixed = ["--tpm2", "--create-ek-cert", "--lock-nvram", "--overwrite", "--pcr-banks", "sha256"];
        let made = Command::new("swtpm_setup").args(fixed).args(["--tpm-state", state]).output().unwrap();
        assert!(made.status.success(), "{}{}", text(&made.stdout), text(&made.stderr));
        tpm.power_on();
        Some(tpm)
    }

    /// How programs reach it.
    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// A power cut, and power again.
    pub(crate) fn power_cycle(&mut self) {
        self.halt();
        self.power_on();
    }

    /// A power cut.
    pub(crate) fn halt(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn power_on(&mut self) {
        (self.port, self.child) = spawn(&self.folder);
    }

    /// Runs a program of tpm2-tools.
    pub(crate) fn try_tool(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env("TPM2TOOLS_TCTI", self.tcti());
        command.output().unwrap()
    }

    /// The same, which must succeed.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.try_tool(program, arguments);
        assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The TCTI wants the control port right above the other.
fn spawn(folder: &tempfile::TempDir) -> (u16, Child) {
    for _ in 0..50 {
        let Some(port) = free_pair() else { continue };
        let state = format!("dir={}", folder.path().display());
        let server = format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let control = format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1);
        let mut child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &state, "--server", &server, "--ctrl", &control])
            .args(["--flags", "not-need-init,startup-clear"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if answers(port, &mut child) {
            return (port, child);
        }
    }
    panic!("swtpm does not start");
}

fn free_pair() -> Option<u16> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port.checked_add(1)?)).ok().map(|_| port)
}

/// False if it ended, such as over a port that somebody else was faster to take.
fn answers(port: u16, child: &mut Child) -> bool {
    for _ in 0..TRIES {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return true,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::thread::sleep(BETWEEN_TRIES);
            }
            Err(error) => panic!("{error}"),
        }
    }
    false
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Twenty seconds: a machine under load is slow, not broken.
const TRIES: u32 = 4000;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);
