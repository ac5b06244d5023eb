//! From a URL to connections.
//!
//! For: what is accepted as an address, and how every connection is set up. Not for: the schema (`migrate`).
//!
//! Connections are not encrypted: only a Unix socket, loopback, or a network that the operator has said to
//! trust (`sslmode=disable`).

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, NoTls};

use super::error::{PostgresError, PostgresOpenError, closed, text};

/// A database that may be connected to.
pub(super) struct Target {
    config: Config,
}

impl Target {
    /// Takes what PostgreSQL's own programs take.
    pub(super) fn parse(url: &str, application: &str) -> Result<Self, PostgresOpenError> {
        if url.is_empty() {
            return Err(PostgresOpenError::Url("it is empty".to_owned()));
        }
        let mut config: Config = url.parse().map_err(|error| PostgresOpenError::Url(text(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host_path(Path::new("/var/run/postgresql"));
        }
        match config.get_ssl_mode() {
            SslMode::Disable => {}
            SslMode::Prefer => refuse_remote(&config)?,
            _ => return Err(PostgresOpenError::TlsRequired),
        }
        if config.get_application_name().is_none() {
            config.application_name(application);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        Ok(Self { config })
    }

    /// For messages: server and database, nothing secret.
    pub(super) fn name(&self) -> String {
        let database = self.config.get_dbname().unwrap_or("its default database");
        format!("PostgreSQL at {}, {database}", servers(&self.config).join(", "))
    }

    /// Connects as needed, from within a runtime; each connection is tried before it is used again.
    pub(super) fn pool(self, size: usize, session: &'static str) -> Result<Pool, PostgresOpenError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_config(self.config, NoTls, recycling);
        let set_up = Hook::async_fn(move |client, _| {
            Box::pin(async move {
                client.batch_execute(SESSION).await.map_err(HookError::Backend)?;
                client.batch_execute(session).await.map_err(HookError::Backend)
            })
        });
        Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .post_create(set_up)
            .build()
            .map_err(|error| PostgresOpenError::Runtime(io::Error::other(error)))
    }
}

/// A connection that works, or worked a moment ago.
pub(super) async fn get(pool: &Pool) -> Result<Object, PostgresError> {
    let unreachable = |text: String| PostgresError::Unreachable(Arc::from(text));
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => unreachable(text(&error)),
        PoolError::Closed => closed(),
        PoolError::Timeout(kind) => unreachable(format!("{kind:?} took too long")),
        PoolError::PostCreateHook(HookError::Message(text)) => unreachable(text.into_owned()),
        PoolError::NoRuntimeSpecified => unreachable("there is no runtime".to_owned()),
    })
}

fn refuse_remote(config: &Config) -> Result<(), PostgresOpenError> {
    let is_local = |host: &&String| match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => *host == "localhost" || host.starts_with('/'),
    };
    match servers(config).iter().find(|host| !is_local(host)) {
        None => Ok(()),
        Some(host) => Err(PostgresOpenError::NotLocal { host: host.clone() }),
    }
}

/// Where connections go: addresses override names.
fn servers(config: &Config) -> Vec<String> {
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    let name = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    config.get_hosts().iter().map(name).collect()
}

/// An answer must mean that it is on disk, whatever the server's default; and a client that died must not
/// hold its locks for ever.
const SESSION: &str = "
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
    SET idle_in_transaction_session_timeout = '15s';
    SET lock_timeout = '10s';
    SET statement_timeout = '15s';
";
/// For a connection, or for a sign of life from one.
const CONNECT: Duration = Duration::from_secs(5);
/// For a free connection.
const WAIT: Duration = Duration::from_secs(10);
/// After which sent and unacknowledged data means that the server is gone.
const SILENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> PostgresOpenError {
        Target::parse(url, "test").err().unwrap()
    }

    #[test]
    fn socket_and_loopback_need_nothing_and_other_hosts_a_word_of_trust() {
        for url in [
            "postgresql:///sma?host=/run/postgresql",
            "postgresql://%2Frun%2Fpostgresql/sma",
            "postgres://sma:secret@localhost:5433/sma",
            "postgresql://127.0.0.1,[::1]/sma",
            "host=/tmp/x dbname=sma user=me",
            "postgresql://10.0.0.1/sma?sslmode=disable",
            "postgresql://db.example/sma?hostaddr=127.0.0.1",
        ] {
            Target::parse(url, "test").unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        for url in ["postgresql://10.0.0.1/sma", "postgresql://localhost,db.example/sma", "host=db.example"] {
            assert!(matches!(refused(url), PostgresOpenError::NotLocal { .. }), "{url}");
        }
        assert!(matches!(refused("postgresql://localhost/sma?sslmode=require"), PostgresOpenError::TlsRequired));
    }

    #[test]
    fn other_addresses_are_refused_and_no_password_is_repeated() {
        for url in ["", "sma.db", "mysql://root:hunter2@localhost/x", "postgresql://localhost:port/x"] {
            let error = refused(url);
            assert!(matches!(error, PostgresOpenError::Url(_)), "{url}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let target = Target::parse("postgresql://sma:hunter2@localhost/registry", "test").unwrap();
        assert_eq!(target.name(), "PostgreSQL at localhost, registry");
        assert_eq!(Target::parse("dbname=x", "test").unwrap().name(), "PostgreSQL at /var/run/postgresql, x");
    }
}
