//! `sma init`: a new authority.
//!
//! For: making the master key and the database, once. Not for: running it (`authority`).
//!
//! The key file comes last and is what makes an installation: whatever an interrupted `init` left is
//! an unused database, which the next one takes over. A database in use, or a key without one, is
//! never touched: losing the record of used tokens would let them pass again.

use std::path::Path;

use birthmark_core::time::Clock;
use birthmark_service::lock::FolderLock;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file;

use crate::authority::SmaError;
use crate::config::InitOptions;
use crate::keys::MasterKey;
use crate::store;

/// True if there is a master key in the folder.
pub fn is_installed(data_dir: &Path) -> bool {
    store::master_key_path(data_dir).exists()
}

/// Makes a new authority in the folder, which is created if missing. Blocks.
///
/// Refused where one exists, or where half of one does.
pub fn init(data_dir: &Path, options: InitOptions, clock: &dyn Clock) -> Result<(), SmaError> {
    std::fs::create_dir_all(data_dir).map_err(|source| SmaError::Folder { path: data_dir.to_owned(), source })?;
    let _lock = FolderLock::acquire(data_dir)?;
    if is_installed(data_dir) {
        return Err(SmaError::AlreadyInstalled { path: data_dir.to_owned() });
    }
    let database = store::open(data_dir)?;
    if !database.read_blocking(store::is_unused)? {
        return Err(SmaError::NoMasterKey { path: data_dir.to_owned() });
    }
    let master = MasterKey::generate(&mut OsRng);
    let (check, created) = (master.check(), clock.now().minute());
    database.write_blocking(move |connection| {
        store::write_installation(connection, &options.authority_id, check, created)
    })?;
    futures::executor::block_on(database.close());
    secret_file::create(&store::master_key_path(data_dir), master.expose())?;
    tracing::info!(folder = %data_dir.display(), "authority created");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use birthmark_core::ids::AuthorityId;
    use birthmark_core::time::UnixSeconds;
    use birthmark_service::clock::ManualClock;

    use super::*;
    use crate::authority::Sma;
    use crate::testing;

    fn init_as(folder: &Path, name: &str) -> Result<(), SmaError> {
        let options = InitOptions { authority_id: AuthorityId::new(name).unwrap() };
        init(folder, options, &ManualClock::at(UnixSeconds(60)))
    }

    fn open(folder: &Path) -> Result<Sma, SmaError> {
        Sma::open(folder, testing::config(), testing::clock())
    }

    #[test]
    fn key_is_private_and_no_second_init_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/b");
        assert!(!is_installed(&data));
        init_as(&data, "MFG").unwrap();
        assert!(is_installed(&data));
        let key = std::fs::read(data.join("master.key")).unwrap();
        assert_eq!(key.len(), 32);
        for file in ["master.key", "sma.db"] {
            assert_eq!(std::fs::metadata(data.join(file)).unwrap().permissions().mode() & 0o7777, 0o600, "{file}");
        }
        let error = init_as(&data, "MFG").unwrap_err();
        assert!(matches!(error, SmaError::AlreadyInstalled { .. }));
        assert!(error.to_string().contains(data.to_str().unwrap()), "{error}");
        assert_eq!(std::fs::read(data.join("master.key")).unwrap(), key);
    }

    #[test]
    fn interrupted_init_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        init_as(folder.path(), "FIRST").unwrap();
        // As a kill between the two files leaves it.
        std::fs::remove_file(folder.path().join("master.key")).unwrap();
        init_as(folder.path(), "SECOND").unwrap();
        assert_eq!(open(folder.path()).unwrap().authority_id().as_str(), "SECOND");
    }

    #[test]
    fn database_in_use_is_never_given_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        init_as(folder.path(), "MFG").unwrap();
        let sma = open(folder.path()).unwrap();
        futures::executor::block_on(sma.provision(testing::camera_request(1))).unwrap();
        futures::executor::block_on(sma.close());
        std::fs::remove_file(folder.path().join("master.key")).unwrap();
        assert!(matches!(init_as(folder.path(), "MFG").unwrap_err(), SmaError::NoMasterKey { .. }));
        assert!(!is_installed(folder.path()));
    }

    #[test]
    fn folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = init_as(&file.join("sma"), "MFG").unwrap_err();
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
}
