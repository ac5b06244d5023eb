//! Why an authority could not be made or opened. Every text says what to do, or what to restore.

use std::io;
use std::path::PathBuf;

use birthmark_core::ids::AuthorityId;
use birthmark_service::lock::LockError;
use birthmark_service::secret_file::SecretFileError;

use crate::certificate::authority::IssueError;
use crate::config::UrlError;
use crate::endorser::{EndorseError, KeyError};
use crate::sealed::MasterFileError;
use crate::sealed::wrapping_key::WrappingKeyError;
use crate::store::{StoreError, StoreOpenError};

/// Why an authority could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum SmaError {
    /// The data folder could not be made.
    #[error("data folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// Another process has it, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// `init` is for new ones.
    #[error("{}: an authority is installed here already", path.display())]
    AlreadyInstalled {
        /// The folder.
        path: PathBuf,
    },
    /// `init` was never run here.
    #[error("{}: no authority is installed here; run `birthmark sma init`", path.display())]
    NotInstalled {
        /// The folder.
        path: PathBuf,
    },
    /// Without the key, no camera of this database can ever pass again.
    #[error("{}: sma.db is in use but master.key is missing; restore the key from a backup", path.display())]
    NoMasterKey {
        /// The folder.
        path: PathBuf,
    },
    /// A second key would make all that the database holds worthless.
    #[error(
        "the database is another authority's already; to run one more server of that authority, copy its master.key to \
         {}", path.display()
    )]
    DatabaseInUse {
        /// The folder.
        path: PathBuf,
    },
    /// Without the database, used tokens would pass again.
    #[error(
        "{}: master.key is there but its database is missing or empty; restore it from a backup, or give the URL that \
         init was given", path.display()
    )]
    NoDatabase {
        /// The folder.
        path: PathBuf,
    },
    /// The CA's certificate begins with the installation, and would be over before the first camera.
    #[error("this machine's clock shows {0} seconds since 1970, which is wrong; set it first")]
    Clock(u64),
    /// Cameras of this network are told that version 1 is refused.
    #[error(
        "the network file refuses tokens of version 1 for \"{0}\", and this authority is told to take them: start it \
         with --refuse-version-1"
    )]
    WeakerRules(AuthorityId),
    /// The key file.
    #[error("master key: {0}")]
    MasterKey(#[from] SecretFileError),
    /// It does not open, or is another file.
    #[error("{}: {cause}", path.display())]
    MasterFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: MasterFileError,
    },
    /// What it is to be sealed under.
    #[error(transparent)]
    Wrapping(#[from] WrappingKeyError),
    /// Every token would fail, and a verdict is final; so nothing is served.
    #[error("{}: master.key and the database are of different installations", path.display())]
    ForeignMasterKey {
        /// The folder.
        path: PathBuf,
    },
    /// The keys of imported tables; without them, their cameras' tokens would fail, and a verdict is final.
    #[error(
        "{}: missing, damaged or not what was imported into this authority; restore it from a backup, or copy it from \
         the authority's other server as you did master.key", path.display()
    )]
    ImportedTables {
        /// The file.
        path: PathBuf,
    },
    /// The configuration names another authority than the installation is.
    #[error("configured for authority \"{configured}\", but \"{installed}\" is installed")]
    WrongAuthority {
        /// As configured.
        configured: AuthorityId,
        /// As installed.
        installed: AuthorityId,
    },
    /// An address that cameras are to be told.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Cameras of this network would seal tokens that nobody can open.
    #[error("the network file lists another token key for \"{0}\" than this authority has")]
    ForeignTokenKey(AuthorityId),
    /// `authority.json` or `ca.pem` could not be written.
    #[error("public keys: {0}")]
    Statement(#[source] SecretFileError),
    /// The certificate authority of devices.
    #[error(transparent)]
    Certificates(#[from] IssueError),
    /// An endorsement key cannot be used.
    #[error(transparent)]
    Endorser(#[from] EndorseError),
    /// The endorsement keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    /// The database could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
