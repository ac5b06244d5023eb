//! Why a database did not answer, or could not be opened. No message holds a password or a row's values.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

/// Why nothing was done, or it is not known what was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PostgresError {
    /// A statement or a commit failed, or the connection was lost.
    #[error("PostgreSQL: {0}")]
    Statement(StatementError),
    /// There is no connection to be had.
    #[error("PostgreSQL cannot be reached: {0}")]
    Unreachable(Arc<str>),
    /// It neither answered nor failed.
    #[error("PostgreSQL has not answered for {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// We closed it.
    #[error("the database is closed: {0}")]
    Closed(Arc<str>),
    /// A bug of ours; what was not committed is undone.
    #[error("the work on the database panicked")]
    Panicked,
}

/// PostgreSQL's error with its causes in one line: its own text is only "db error".
#[derive(Clone, Debug)]
pub struct StatementError(Arc<tokio_postgres::Error>);

/// Why a database could not be opened. Names the server, never a password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// Not a URL that PostgreSQL's own programs would take.
    #[error("the database URL is none of PostgreSQL's (postgresql://user@host/database): {0}")]
    Url(String),
    /// Encryption on the way is not built in.
    #[error(
        "connections to PostgreSQL are not encrypted here, so sslmode=require cannot be met: use its Unix socket, \
         loopback or a tunnel"
    )]
    TlsRequired,
    /// Passwords and data would cross the network in the clear.
    #[error(
        "connections to PostgreSQL are not encrypted here: reach {host} through a tunnel, or add sslmode=disable if \
         the network between is trusted"
    )]
    NotLocal {
        /// The server.
        host: String,
    },
    /// No connection, or a failed statement.
    #[error("{database}: {cause}")]
    Postgres {
        /// The server and the database.
        database: String,
        /// Why.
        cause: PostgresError,
    },
    /// It holds a table that belongs to another role.
    #[error("{database} is not for this program: it has the table {table} of another")]
    Foreign {
        /// The server and the database.
        database: String,
        /// The table.
        table: &'static str,
    },
    /// A later program's, or another's.
    #[error("{database} has a schema that this program does not know: step {version} \"{name}\"")]
    Schema {
        /// The server and the database.
        database: String,
        /// The first step that differs.
        version: i64,
        /// Its name there.
        name: String,
    },
    /// The system gave no thread or timer for the connections.
    #[error("cannot start the threads for PostgreSQL: {0}")]
    Runtime(io::Error),
}

impl StatementError {
    /// The five-character code, where the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        self.0.code()
    }
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.0))
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(StatementError(Arc::new(error)))
    }
}

/// The error with its causes in one line.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    // The server's detail and hint may quote a row's values; its message names only columns and rules.
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

pub(super) fn closed() -> PostgresError {
    PostgresError::Closed(Arc::from("it was closed"))
}
