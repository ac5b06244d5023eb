//! Files that hold secrets, and files that must never be seen half written.
//!
//! For: creating a key file so that no one else can read it and a crash leaves it whole or absent;
//! reading one only if nobody else could have; replacing an ordinary file durably.
//! Not for: encryption at rest (the file system's), locks (`lock`), databases (`sqlite`).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand_core::Rng;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use zeroize::Zeroizing;

use crate::random::OsRng;

/// Why a file could not be created, read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// A secret is never overwritten by creation.
    #[error("{}: already exists, and a secret is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A folder, a device or a pipe stands where the secret should be.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// The group or everyone can read or write it.
    #[error("{}: mode {mode:04o} lets others at it; run chmod 600 on it, and replace the secret if it may have been read", path.display())]
    LaxMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user than the one that runs this process.
    #[error("{}: belongs to user {owner}, but this process runs as user {user}", path.display())]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// The file's user id.
        owner: u32,
        /// The process's effective user id.
        user: u32,
    },
    /// It is longer than this secret can be.
    #[error("{}: longer than the {max} bytes that it may have", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: usize,
    },
}

/// Who may read a file that [`replace`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// Its owner alone: 0600.
    Secret,
    /// Everyone: 0644.
    Public,
}

impl FileMode {
    const fn bits(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Creates a secret file with mode 0600, durably and all at once; refuses if anything stands there.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), SecretFileError> {
    let temporary = write_temporary(path, bytes, FileMode::Secret)?;
    rustix::fs::renameat_with(CWD, &temporary.path, CWD, path, RenameFlags::NOREPLACE).map_err(|errno| {
        let source = io::Error::from(errno);
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::AlreadyExists => SecretFileError::Exists { path },
            _ => SecretFileError::Io { path, source },
        }
    })?;
    temporary.keep();
    sync_folder_of(path)
}

/// A place where [`create`] would succeed now, held by a temporary file beside it. Gone when dropped.
#[derive(Debug)]
pub struct Reserved {
    path: PathBuf,
    temporary: Temporary,
}

/// Makes sure that a secret can be created here, before it is made: nothing stands here, and the folder
/// takes files.
pub fn reserve(path: &Path) -> Result<Reserved, SecretFileError> {
    if path.symlink_metadata().is_ok() {
        return Err(SecretFileError::Exists { path: path.to_owned() });
    }
    let temporary = write_temporary(path, &[], FileMode::Secret)?;
    Ok(Reserved { path: path.to_owned(), temporary })
}

impl Reserved {
    /// Creates the file with this content, as [`create`] does.
    pub fn fill(self, bytes: &[u8]) -> Result<(), SecretFileError> {
        drop(self.temporary);
        create(&self.path, bytes)
    }
}

/// Reads a secret of at most `max` bytes. The owner must be this process's user and alone able to
/// read it; the checks are made on the opened file, so that it cannot be swapped in between.
pub fn read(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let io_error = |source: io::Error| SecretFileError::Io { path: path.to_owned(), source };
    // NONBLOCK: opening a pipe that someone placed here must not hang; it is refused just below.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| io_error(errno.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(io_error)?;
    if !metadata.is_file() {
        return Err(SecretFileError::NotAFile { path: path.to_owned() });
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(SecretFileError::WrongOwner { path: path.to_owned(), owner: metadata.uid(), user });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::LaxMode { path: path.to_owned(), mode });
    }
    read_bounded(file, max).map_err(io_error)?.ok_or_else(|| SecretFileError::TooLong { path: path.to_owned(), max })
}

/// Replaces an ordinary file (or creates it): after a crash it is the old one or the new one, whole.
pub fn replace(path: &Path, bytes: &[u8], mode: FileMode) -> Result<(), SecretFileError> {
    let temporary = write_temporary(path, bytes, mode)?;
    fs::rename(&temporary.path, path).map_err(|source| SecretFileError::Io { path: path.to_owned(), source })?;
    temporary.keep();
    sync_folder_of(path)
}

/// Makes the names in a folder durable: a new file's content may survive a crash and its name not.
pub fn sync_folder(folder: &Path) -> Result<(), SecretFileError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| SecretFileError::Io { path: folder.to_owned(), source })
}

/// The same for the folder that the file is in.
pub fn sync_folder_of(path: &Path) -> Result<(), SecretFileError> {
    sync_folder(parent(path))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The content of the file if it is at most `max` bytes. The buffer never grows: growing would leave
/// unwiped copies of the secret behind.
fn read_bounded(file: File, max: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(vec![0; max.saturating_add(1)]);
    let mut file = file;
    let mut filled = 0;
    while let Some(free) = bytes.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if filled > max {
        return Ok(None);
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

/// A synced file beside its target; removed on drop unless it was renamed away.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn keep(mut self) {
        self.renamed = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write_temporary(path: &Path, bytes: &[u8], mode: FileMode) -> Result<Temporary, SecretFileError> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.tmp", OsRng.next_u64()));
    let temporary = Temporary { path: parent(path).join(name), renamed: false };
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode.bits()).open(&temporary.path).and_then(|mut file| {
            // The umask may have taken bits away from a public file.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode.bits()))?;
            file.write_all(bytes)?;
            file.sync_all()
        });
    match written {
        Ok(()) => Ok(temporary),
        Err(source) => Err(SecretFileError::Io { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn names_in(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn created_secret_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"secret").unwrap();
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(read(&path, 6).unwrap().as_slice(), b"secret");
        assert_eq!(names_in(folder.path()), ["a.key"]);
    }

    #[test]
    fn reserved_place_is_free_until_it_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        drop(reserve(&path).unwrap());
        assert_eq!(names_in(folder.path()), [""; 0]);
        let reserved = reserve(&path).unwrap();
        assert!(!path.exists());
        reserved.fill(b"secret").unwrap();
        assert_eq!(read(&path, 6).unwrap().as_slice(), b"secret");
        assert!(matches!(reserve(&path), Err(SecretFileError::Exists { .. })));
        assert!(matches!(reserve(&folder.path().join("no/a.key")), Err(SecretFileError::Io { .. })));
        let overtaken = reserve(&folder.path().join("b.key")).unwrap();
        create(&folder.path().join("b.key"), b"other").unwrap();
        assert!(matches!(overtaken.fill(b"secret"), Err(SecretFileError::Exists { .. })));
    }

    #[test]
    fn existing_secret_is_never_overwritten_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"first").unwrap();
        assert!(matches!(create(&path, b"second"), Err(SecretFileError::Exists { .. })));
        assert_eq!(read(&path, 64).unwrap().as_slice(), b"first");
        assert_eq!(names_in(folder.path()), ["a.key"]);
    }

    #[test]
    fn laxer_modes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"secret").unwrap();
        for lax in [0o640, 0o604, 0o620, 0o601, 0o644, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(lax)).unwrap();
            assert!(matches!(read(&path, 64), Err(SecretFileError::LaxMode { mode, .. }) if mode == lax), "{lax:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read(&path, 64).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn overlong_missing_and_irregular_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"secret").unwrap();
        assert!(matches!(read(&path, 5), Err(SecretFileError::TooLong { max: 5, .. })));
        assert!(matches!(read(folder.path(), 5), Err(SecretFileError::NotAFile { .. })));
        assert!(matches!(read(&folder.path().join("none"), 5), Err(SecretFileError::Io { .. })));
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(matches!(read(&pipe, 5), Err(SecretFileError::NotAFile { .. })));
    }

    #[test]
    fn anothers_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"secret").unwrap();
        if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
            // Only root can give a file away; without root, root's own files serve.
            assert!(read(Path::new("/etc/shadow"), 1 << 20).is_err());
            return;
        }
        assert!(matches!(read(&path, 64), Err(SecretFileError::WrongOwner { owner: 12345, .. })));
    }

    #[test]
    fn replacing_keeps_one_whole_file_with_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, b"one", FileMode::Public).unwrap();
        assert_eq!(mode_of(&path), 0o644);
        replace(&path, b"second", FileMode::Secret).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode_of(&path)), (&b"second"[..], 0o600));
        assert_eq!(names_in(folder.path()), ["state"]);
    }

    #[test]
    fn failure_names_the_file() {
        let error = create(Path::new("/proc/none/a.key"), b"x").unwrap_err();
        assert!(error.to_string().contains("/proc/none/a.key"), "{error}");
    }
}
