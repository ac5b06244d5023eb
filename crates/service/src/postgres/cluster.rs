//! A real PostgreSQL of one's own: a cluster in a temporary folder, reached by its socket alone.
//!
//! For: measuring beside PostgreSQL itself, and tests: one cluster each, which may be stopped and started under load
//! (feature `testing`). Not for: production, where an operator gives a URL.

#[cfg(feature = "testing")]
mod testing;

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader};
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
    settings: Vec<String>,
    server: Mutex<Option<Child>>,
}

/// Why there is no PostgreSQL, or why it did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Not installed.
    #[error("no PostgreSQL under {}: install its programs (apt-get install postgresql)", PROGRAMS)]
    NotInstalled,
    /// It refuses to run as root, and there is nobody else.
    #[error("there is no account `{ACCOUNT}` to run PostgreSQL, which refuses to run as root")]
    NoAccount,
    /// The system's cause.
    #[error("PostgreSQL could not be run: {0}")]
    Io(#[from] io::Error),
    /// What the program said.
    #[error("{program} failed: {said}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// Its error output.
        said: String,
    },
}

impl Cluster {
    /// Makes and starts one in a new folder within `parent`, which the server's account must be able to reach;
    /// `settings` as for `postgres -c`.
    pub fn launch(parent: &Path, settings: &[&str]) -> Result<Self, ClusterError> {
        let folder = tempfile::Builder::new().prefix("birthmark-pg-").tempdir_in(parent)?;
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let cluster = Self { folder, programs: programs()?, settings, server: Mutex::new(None) };
        if let Some((user, group)) = server_account()? {
            chown(cluster.folder.path(), Some(user), Some(group))?;
        }
        let data = cluster.data();
        let arguments = ["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        cluster.run("initdb", &arguments)?;
        cluster.start_server()?;
        // As it should be in earnest: one that owns its databases and nothing else.
        cluster.execute("postgres", "CREATE ROLE birthmark LOGIN")?;
        Ok(cluster)
    }

    /// A fresh database and its URL.
    pub fn create_database(&self, name: &str) -> Result<String, ClusterError> {
        self.execute("postgres", &format!("CREATE DATABASE {name} OWNER birthmark"))?;
        Ok(format!("postgresql:///{name}?host={}&user=birthmark", self.folder.path().display()))
    }

    /// Runs statements as the superuser.
    pub fn execute(&self, database: &str, statements: &str) -> Result<String, ClusterError> {
        let host = self.folder.path().display().to_string();
        let arguments =
            ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", &host, "-d", database];
        self.run("psql", &[&arguments[..], &["-c", statements]].concat())
    }

    /// As if the power failed: no connection is told, nothing is finished.
    fn stop_server(&self) -> Result<(), ClusterError> {
        self.run("pg_ctl", &["stop", "-D", &self.data(), "-m", "immediate", "-w"])?;
        if let Some(mut server) = self.server.lock().take() {
            server.wait()?;
        }
        Ok(())
    }

    /// Starts it and waits until it takes connections.
    fn start_server(&self) -> Result<(), ClusterError> {
        let (data, sockets) = (self.data(), self.folder.path().display().to_string());
        let mut command = self.command("postgres")?;
        command.args(["-D", &data, "-k", &sockets, "-c", "listen_addresses=", "-c", "max_connections=50"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut server = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let said = server.stderr.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let mut log = BufReader::new(said).lines();
        let mut seen = String::new();
        loop {
            let Some(line) = log.next() else {
                server.wait()?;
                return Err(ClusterError::Failed { program: "postgres", said: seen });
            };
            let line = line?;
            if line.contains("ready to accept connections") {
                break;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        // Read on, so that the server never waits for its log to be taken.
        std::thread::spawn(move || log.for_each(drop));
        *self.server.lock() = Some(server);
        Ok(())
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &'static str, arguments: &[&str]) -> Result<String, ClusterError> {
        let output = self.command(program)?.args(arguments).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(ClusterError::Failed { program, said: text(&output.stderr) })
        }
    }

    /// PostgreSQL refuses to run as root; there its own account does.
    fn command(&self, program: &str) -> Result<Command, ClusterError> {
        let path = self.programs.join(program);
        let mut command = if server_account()?.is_some() {
            let mut command = Command::new("runuser");
            command.args(["-u", ACCOUNT, "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/").stdin(Stdio::null());
        Ok(command)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.get_mut().is_some()
            && let Err(error) = self.stop_server()
        {
            tracing::warn!(%error, "a PostgreSQL of our own did not stop");
        }
    }
}

/// The newest installed.
fn programs() -> Result<PathBuf, ClusterError> {
    let version = |name: &OsString| name.to_str()?.parse::<u32>().ok();
    let Ok(installed) = std::fs::read_dir(PROGRAMS) else { return Err(ClusterError::NotInstalled) };
    let installed = installed.filter_map(|entry| Some(entry.ok()?.file_name()));
    let complete = installed.filter(|name| Path::new(PROGRAMS).join(name).join("bin/initdb").exists());
    let newest = complete.max_by_key(version).ok_or(ClusterError::NotInstalled)?;
    Ok(Path::new(PROGRAMS).join(newest).join("bin"))
}

/// User and group of the server's account if this is root.
fn server_account() -> Result<Option<(u32, u32)>, ClusterError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let line = accounts.lines().find_map(|line| line.strip_prefix(&format!("{ACCOUNT}:")));
    let mut fields = line.ok_or(ClusterError::NoAccount)?.split(':').skip(1).map(str::parse);
    let (Some(Ok(user)), Some(Ok(group))) = (fields.next(), fields.next()) else {
        return Err(ClusterError::NoAccount);
    };
    Ok(Some((user, group)))
}

const PROGRAMS: &str = "/usr/lib/postgresql";
const ACCOUNT: &str = "postgres";
