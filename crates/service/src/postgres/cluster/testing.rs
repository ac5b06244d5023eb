//! What tests do with a cluster. What fails here is their failure.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "only tests use it, and what fails here is their failure"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Cluster;

impl Cluster {
    /// Makes and starts one.
    pub fn start() -> Self {
        // Processes are killed here, not machines, and the disk is shared with other tests.
        Self::launch(Path::new("/tmp"), &["fsync=off"]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A fresh database and its URL.
    pub fn database(&self, name: &str) -> String {
        self.create_database(name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs statements as the superuser; fails the test if they fail.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        self.execute(database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// Runs statements as the superuser.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        self.execute(database, statements).map_err(|error| error.to_string())
    }

    /// As if the power failed: no connection is told, nothing is finished.
    pub fn stop_at_once(&self) {
        self.stop_server().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts it and waits until it takes connections.
    pub fn resume(&self) {
        self.start_server().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Sends a signal to all its processes, such as `-STOP` and later `-CONT`.
    pub fn signal(&self, signal: &str) {
        let first = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap();
        let first = first.lines().next().unwrap().to_owned();
        // The first one's children come and go; it makes none while it stands still.
        let mut programs = vec![("kill", vec![signal, &first]), ("pkill", vec![signal, "-P", &first])];
        // What started it under another account stops itself with it, and would not go on with it.
        let starter = self.server.lock().as_ref().unwrap().id().to_string();
        if signal == "-CONT" {
            programs.push(("kill", vec![signal, &starter]));
        }
        for (program, arguments) in programs {
            assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {signal}");
        }
    }

    /// Where it takes connections.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }
}
