//! A real PostgreSQL for tests: a cluster of its own in a temporary folder, reached by its socket alone.
//!
//! For: one cluster a test, which may be stopped and started under load. Not for: machines without
//! PostgreSQL; a test that needs it fails there and says so.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "only tests use it, and what fails here is their failure"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parking_lot::Mutex;
use tempfile::TempDir;

/// A server with its data; stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    server: Mutex<Option<Child>>,
}

impl Cluster {
    /// Makes and starts one.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("birthmark-pg-").tempdir_in("/tmp").unwrap();
        let cluster = Self { folder, programs: programs(), server: Mutex::new(None) };
        if let Some((user, group)) = server_account() {
            chown(cluster.folder.path(), Some(user), Some(group)).unwrap();
        }
        let data = cluster.data();
        cluster.run("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        cluster.resume();
        // As it should be in earnest: one that owns its databases and nothing else.
        cluster.sql("postgres", "CREATE ROLE birthmark LOGIN");
        cluster
    }

    /// A fresh database and its URL.
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER birthmark"));
        format!("postgresql:///{name}?host={}&user=birthmark", self.folder.path().display())
    }

    /// Runs statements as the superuser; fails the test if they fail.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        self.try_sql(database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// Runs statements as the superuser.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let host = self.folder.path().display().to_string();
        let arguments =
            ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", &host, "-d", database];
        let output = self.command("psql").args(arguments).args(["-c", statements]).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// As if the power failed: no connection is told, nothing is finished.
    pub fn stop_at_once(&self) {
        let data = self.data();
        self.run("pg_ctl", &["stop", "-D", &data, "-m", "immediate", "-w"]);
        if let Some(mut server) = self.server.lock().take() {
            server.wait().unwrap();
        }
    }

    /// Starts it and waits until it takes connections.
    pub fn resume(&self) {
        let (data, sockets) = (self.data(), self.folder.path().display().to_string());
        let mut server = self
            .command("postgres")
            .args(["-D", &data, "-k", &sockets, "-c", "listen_addresses=", "-c", "max_connections=50"])
            // Processes are killed here, not machines, and the disk is shared with other tests.
            .args(["-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        loop {
            let line = log.next().unwrap_or_else(|| panic!("PostgreSQL did not start: {seen}")).unwrap();
            if line.contains("ready to accept connections") {
                break;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        // Read on, so that the server never waits for its log to be taken.
        std::thread::spawn(move || log.for_each(drop));
        *self.server.lock() = Some(server);
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// PostgreSQL refuses to run as root; there its own account does.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = if server_account().is_some() {
            let mut command = Command::new("runuser");
            command.args(["-u", ACCOUNT, "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/").stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.lock().is_some() {
            self.stop_at_once();
        }
    }
}

/// The newest installed.
fn programs() -> PathBuf {
    let root = Path::new("/usr/lib/postgresql");
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = std::fs::read_dir(root).into_iter().flatten().map(|entry| entry.unwrap().path());
    installed
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(version)
        .unwrap_or_else(|| {
            panic!("no PostgreSQL under {}: these tests need its programs (apt-get install postgresql)", root.display())
        })
        .join("bin")
}

/// User and group of the server's account if this is root.
fn server_account() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    // The owner of this process.
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find_map(|line| line.strip_prefix(&format!("{ACCOUNT}:")));
    let mut fields = line.unwrap_or_else(|| panic!("there is no account {ACCOUNT} to run PostgreSQL")).split(':');
    let mut number = |skip| fields.nth(skip).unwrap().parse().unwrap();
    Some((number(1), number(0)))
}

const ACCOUNT: &str = "postgres";
