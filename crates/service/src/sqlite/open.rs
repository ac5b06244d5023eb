//! Opening: a private file, the settings of every connection, the schema.
//!
//! For: `sqlite`. Not for: anything after the first statement.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{Migration, OpenError, Options};
use crate::secret_file;

/// The writer's connection, with the schema up to date.
pub(super) fn writer(path: &Path, migrations: &[Migration], options: &Options) -> Result<Connection, OpenError> {
    make_private(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let sqlite_error = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let mut connection = connect(path, options).map_err(sqlite_error)?;
    set_up_writer(&connection, options).map_err(sqlite_error)?;
    migrate(&mut connection, migrations)
        .map_err(|source| OpenError::Migration { path: path.to_owned(), source: Box::new(source) })?;
    Ok(connection)
}

/// A connection that cannot change anything.
pub(super) fn reader(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    let open = || {
        let connection = connect(path, options)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        Ok(connection)
    };
    open().map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })
}

fn connect(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    // Not CREATE: the file exists by now, with its mode. NO_MUTEX: a connection is never shared.
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Sorting never writes rows to a temporary file that others may read.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

fn set_up_writer(connection: &Connection, options: &Options) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode only FULL flushes at every commit; NORMAL may lose the last ones.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    if let Some(pages) = options.max_pages {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(())
}

/// Applies what is missing, in one transaction; refuses a history that differs.
fn migrate(connection: &mut Connection, migrations: &[Migration]) -> Result<(), refinery::Error> {
    let steps = migrations
        .iter()
        .map(|Migration { name, sql }| refinery::Migration::unapplied(name, sql))
        .collect::<Result<Vec<_>, _>>()?;
    refinery::Runner::new(&steps).set_grouped(true).run(connection).map(drop)
}

/// Creates the file with mode 0600, or takes others' access to it away. SQLite gives its log and
/// shared memory the mode of the database; those of an earlier, laxer run are mended too.
fn make_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return secret_file::sync_folder(folder).map_err(io::Error::other);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                tracing::warn!(path = %file.display(), mode = format!("{:o}", metadata.mode() & 0o7777), "database file was open to others; set to 600");
                std::fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Prepared statements kept by each connection.
const STATEMENTS: usize = 64;
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const READER_CACHE_KIB: i64 = 4 * 1024;
/// The log is copied into the database at about 16 MiB: at SQLite's default of 4 MiB, the copying and
/// its two flushes come so often that they cost writes a good part of their rate.
const CHECKPOINT_PAGES: i64 = 4096;
/// A log that grew beyond this is cut when it starts over.
const WAL_BYTES: i64 = 64 * 1024 * 1024;
