//! Files that are there completely or not at all, power cut or not.
//!
//! For: writing a photograph so that, once the call has returned, it survives whatever comes: to a
//! temporary file in the same folder, fsync, rename, fsync of the folder.
//!
//! Not for: the queue's rows (SQLite does its own), or for secrets (nothing is wiped, and the mode is the
//! process's default).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::fault;

/// What to do when the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfTaken {
    /// Leave what is there: photographs are never overwritten.
    Refuse,
    /// Put the new file in its place.
    Replace,
}

/// Why a file was not written. Nothing new stands under its name, unless it was the last step, the fsync
/// of the folder, that failed.
#[derive(Debug, thiserror::Error)]
pub enum DurableFileError {
    /// A path without a file name.
    #[error("{} names no file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The name is taken.
    #[error("{} exists already", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// The file system refused: full, read-only, no such folder.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Writes a file by `content`; when this returns, it is on the disk under its name.
pub fn write_durably(
    path: &Path,
    if_taken: IfTaken,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), DurableFileError> {
    let name = path.file_name().ok_or_else(|| DurableFileError::NoName { path: path.to_owned() })?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let partial = Partial(folder.join(partial_name(name)));
    let written = partial.fill(path, content).and_then(|()| partial.publish(path, if_taken)).and_then(|()| {
        fault::reached_with(path, "renamed");
        // Without this the new name may be lost with the power, though the bytes are not.
        File::open(folder)?.sync_all()?;
        fault::reached_with(path, "kept");
        Ok(())
    });
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => DurableFileError::Taken { path: path.to_owned() },
        _ => DurableFileError::Write { path: path.to_owned(), source },
    })
}

/// Removes what a killed process left behind in a folder, and says how many files that were. Call it
/// under the folder's lock only: it cannot tell a dead writer's file from a living one's.
pub fn remove_leftovers(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A temporary file, removed when it goes out of scope without having been published.
struct Partial(PathBuf);

impl Partial {
    fn fill(&self, path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).open(&self.0)?;
        let mut writer = BufWriter::with_capacity(1 << 18, file);
        content(&mut writer)?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        fault::reached_with(path, "written");
        file.sync_all()?;
        fault::reached_with(path, "synced");
        Ok(())
    }

    fn publish(&self, path: &Path, if_taken: IfTaken) -> io::Result<()> {
        match if_taken {
            IfTaken::Replace => fs::rename(&self.0, path),
            IfTaken::Refuse => match renameat_with(CWD, &self.0, CWD, path, RenameFlags::NOREPLACE) {
                // A file system that cannot refuse by itself; names come from counters under a lock.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if !path.try_exists()? => fs::rename(&self.0, path),
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::AlreadyExists.into()),
                other => Ok(other?),
            },
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After publishing there is nothing to remove, and a failure leaves a file for `remove_leftovers`.
        drop(fs::remove_file(&self.0));
    }
}

/// Unique among living writers; hidden, and recognisable by its end.
fn partial_name(name: &OsStr) -> OsString {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut partial = OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}-{}{SUFFIX}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    partial
}

const SUFFIX: &str = ".birthmark-partial";

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn file_appears_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("000001.jpg");
        write_durably(&path, IfTaken::Refuse, |file| file.write_all(b"photo")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"photo");
        assert_eq!(names(folder.path()), ["000001.jpg"]);
    }

    #[test]
    fn taken_name_is_refused_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_durably(&path, IfTaken::Refuse, |file| file.write_all(b"first")).unwrap();
        let second = write_durably(&path, IfTaken::Refuse, |file| file.write_all(b"second"));
        assert!(matches!(second, Err(DurableFileError::Taken { .. })), "{second:?}");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        write_durably(&path, IfTaken::Replace, |file| file.write_all(b"third")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn failed_writer_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let failed = write_durably(&folder.path().join("a"), IfTaken::Replace, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(failed, Err(DurableFileError::Write { .. })), "{failed:?}");
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn missing_folder_and_missing_name_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let gone = write_durably(&folder.path().join("gone/a"), IfTaken::Refuse, |_| Ok(()));
        assert!(gone.unwrap_err().to_string().contains("gone/a"));
        let nameless = write_durably(Path::new("/"), IfTaken::Refuse, |_| Ok(()));
        assert!(matches!(nameless, Err(DurableFileError::NoName { .. })));
    }

    #[test]
    fn only_leftovers_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jpg"), b"").unwrap();
        fs::write(folder.path().join(partial_name(OsStr::new("b.jpg"))), b"").unwrap();
        assert_eq!(remove_leftovers(folder.path()).unwrap(), 1);
        assert_eq!(names(folder.path()), ["a.jpg"]);
    }
}
