//! Exclusive locks between processes.
//!
//! For: one process per data folder, and short critical sections of several processes over one file.
//! Not for: tasks or threads of one process (a mutex). The system drops a lock when its holder dies, so
//! a stale lock file means nothing and is never removed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by another process{}; stop that one first", path.display(), holder.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    Held {
        /// The folder or file.
        path: PathBuf,
        /// The holder's process id, as far as it said.
        holder: Option<u32>,
    },
    /// The system refused.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
}

/// This process's sole use of a data folder, until dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
    folder: PathBuf,
}

impl FolderLock {
    /// Takes the lock (`.lock` in the folder, which must exist) or says who has it; never waits.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io { path: folder.to_owned(), source };
        let mut file = open(&folder.join(".lock")).map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: folder.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io_error)?;
        Ok(Self { _file: file, folder: folder.to_owned() })
    }

    /// The locked folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A lock on one file, for the moment that a counter or a state is read and written back.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits until no other process (or other `FileLock` here) holds it. Blocks the thread.
    ///
    /// The file is created if missing. Lock a file of its own (`x.lock` for `x`): a file that is
    /// replaced by rename would leave two holders with two files.
    pub fn wait(path: &Path) -> Result<Self, LockError> {
        let locked = open(path).and_then(|file| file.lock().map(|()| file));
        match locked {
            Ok(file) => Ok(Self { _file: file }),
            Err(source) => Err(LockError::Io { path: path.to_owned(), source }),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn second_holder_is_refused_and_told_who_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::acquire(folder.path()).unwrap();
        assert_eq!(first.folder(), folder.path());
        let error = FolderLock::acquire(folder.path()).unwrap_err();
        assert!(matches!(&error, LockError::Held { holder: Some(pid), .. } if *pid == std::process::id()));
        assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
        drop(first);
        FolderLock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn missing_folder_is_named() {
        let error = FolderLock::acquire(Path::new("/nonexistent/data")).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }));
        assert!(error.to_string().contains("/nonexistent/data"), "{error}");
    }

    #[test]
    fn file_lock_is_handed_over_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter.lock");
        let first = FileLock::wait(&path).unwrap();
        let (sender, receiver) = mpsc::channel();
        let waiter = std::thread::spawn(move || {
            sender.send("waiting").unwrap();
            let _second = FileLock::wait(&path).unwrap();
            sender.send("locked").unwrap();
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)).unwrap(), "waiting");
        assert!(receiver.try_recv().is_err());
        drop(first);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)).unwrap(), "locked");
        waiter.join().unwrap();
    }
}
