//! `sma init`: a new authority.
//!
//! For: making the master key and the database, once. Not for: running it (`authority`).
//!
//! In SQLite the key file comes last and is what makes an installation: whatever an interrupted `init`
//! left is an unused database, which the next one takes over. A database in use, or a key without one, is
//! never touched: losing the record of used tokens would let them pass again.
//!
//! A PostgreSQL may be shared with others, and an unused one be theirs, so there the key comes first and
//! nothing is ever taken over.

use std::path::Path;
use std::sync::Arc;

use birthmark_core::network::AuthorityStatement;
use birthmark_core::time::Clock;
use birthmark_service::clock::EARLIEST;
use birthmark_service::lock::FolderLock;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file;

use crate::audit::{self, Act};
use crate::authority::SmaError;
use crate::certificate::authority::CertificateAuthority;
use crate::config::InitOptions;
use crate::endorser::Endorser;
use crate::keys::{Keys, MasterKey};
use crate::quota::Quota;
use crate::rules::{Policy, Rules};
use crate::store::{self, Installation, Installed, Location};
use crate::{sealed, statement};

/// True if there is a master key in the folder.
pub fn is_installed(data_dir: &Path) -> bool {
    store::master_key_path(data_dir).exists()
}

/// Makes a new authority in the folder, which is created if missing. Blocks.
///
/// Refused where one exists, or where half of one does. Gives what also stands in `authority.json`.
pub fn init(data_dir: &Path, options: &InitOptions, clock: &dyn Clock) -> Result<AuthorityStatement, SmaError> {
    let now = clock.now();
    if now < EARLIEST {
        return Err(SmaError::Clock(now.0));
    }
    std::fs::create_dir_all(data_dir).map_err(|source| SmaError::Folder { path: data_dir.to_owned(), source })?;
    let _lock = FolderLock::acquire(data_dir)?;
    if is_installed(data_dir) {
        return Err(SmaError::AlreadyInstalled { path: data_dir.to_owned() });
    }
    let master = MasterKey::generate(&mut OsRng);
    let wrapping = options.wrapping.read()?;
    let file = wrapping.as_ref().map(|wrapping| sealed::seal_master(&master, wrapping, &mut OsRng));
    let file = file.as_ref().map_or(master.expose().as_slice(), |sealed| sealed);
    let location = Location::of(data_dir, options.database_url.as_deref());
    // Nothing is judged here; a store does not come without rules.
    let policy = Policy { accept_version_1: false, quota: Quota::default() };
    let keys = Arc::new(Keys::derive(&master));
    let store = location.open(Arc::new(Rules { keys: Arc::clone(&keys), policy }))?;
    let created = now.minute();
    let installation = Installation { authority_id: options.authority_id.clone(), key_check: master.check(), created };
    let key_file = store::master_key_path(data_dir);
    if location.is_shared() {
        secret_file::create(&key_file, file)?;
    }
    let installed = store::block_on(store.install(installation));
    match (installed?, location.is_shared()) {
        (Installed::Yes, true) => {}
        (Installed::Yes, false) => secret_file::create(&key_file, file)?,
        (Installed::InUse, false) => return Err(SmaError::NoMasterKey { path: data_dir.to_owned() }),
        (Installed::InUse, true) => {
            // Ours, a moment old, and of no use.
            let removed = std::fs::remove_file(&key_file);
            removed.map_err(|source| SmaError::Folder { path: data_dir.to_owned(), source })?;
            return Err(SmaError::DatabaseInUse { path: data_dir.to_owned() });
        }
    }
    // What is left is made good by the next start, if this is interrupted.
    let endorser = Endorser::new(Arc::clone(&store), Arc::clone(&keys), Vec::new());
    let act = Act { actor: audit::LOCAL.to_owned(), minute: created };
    let stated = store::block_on(async {
        let certificates = CertificateAuthority::new(keys.ca_seed(), &options.authority_id, created)?;
        statement::write_ca(data_dir, certificates.pem())?;
        endorser.ensure_current(options.endorsement_key, act).await?;
        statement::write(
            data_dir,
            &options.authority_id,
            &keys,
            &endorser.list().await?,
            options.accept_version_1,
            created,
        )
    });
    store::block_on(store.close());
    let stated = stated?;
    tracing::info!(folder = %data_dir.display(), sealed = wrapping.is_some(), "authority created");
    Ok(stated)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use birthmark_core::ids::AuthorityId;
    use birthmark_core::time::{Minute, UnixSeconds};
    use birthmark_service::clock::ManualClock;

    use super::*;
    use crate::authority::Sma;
    use crate::testing;

    fn init_as(folder: &Path, name: &str) -> Result<AuthorityStatement, SmaError> {
        let options = InitOptions::new(AuthorityId::new(name).unwrap());
        init(folder, &options, &*testing::clock())
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
        assert!(data.join("ca.pem").exists());
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
        // As a kill between the two files leaves it.
        let policy = Policy { accept_version_1: false, quota: Quota::default() };
        let master = MasterKey::generate(&mut OsRng);
        let rules = Arc::new(Rules { keys: Arc::new(Keys::derive(&master)), policy });
        let store = Location::of(folder.path(), None).open(rules).unwrap();
        let authority_id = AuthorityId::new("FIRST").unwrap();
        let installation = Installation { authority_id, key_check: master.check(), created: Minute(1) };
        assert_eq!(store::block_on(store.install(installation)).unwrap(), Installed::Yes);
        store::block_on(store.close());
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
    fn clock_that_was_never_set_makes_no_authority() {
        let folder = tempfile::tempdir().unwrap();
        let options = InitOptions::new(AuthorityId::new("MFG").unwrap());
        let clock = ManualClock::at(UnixSeconds(60));
        assert!(matches!(init(folder.path(), &options, &clock).unwrap_err(), SmaError::Clock(60)));
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
