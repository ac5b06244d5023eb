//! The folder in memory where the camera program puts its files.
//!
//! For: a place that no other user can read or prepare, that is empty for each run of the program, and
//! that does not stay behind: what a killed camera left is removed when the next one starts.
//!
//! Not for: photographs that are kept (`capture`).
//!
//! ```text
//! <base, /dev/shm>/birthmark-<user id>/   mode 0700
//!     .lock                               while folders come and go
//!     rpicam-<process>-<n>/.lock          held by the camera that uses the folder
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use birthmark_service::lock::{FileLock, FolderLock};
use rustix::fs::{Mode, OFlags};

use super::RpicamError;

/// A folder of our own, removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    _lock: FolderLock,
}

impl Scratch {
    /// Makes a new folder, after removing those that nobody uses any more.
    pub(super) fn create(base: &Path) -> Result<Self, RpicamError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let user = rustix::process::geteuid().as_raw();
        let own = base.join(format!("birthmark-{user}"));
        let in_own = |source| RpicamError::Scratch { path: own.clone(), source };
        make_private(&own).map_err(in_own)?;
        let metadata = fs::symlink_metadata(&own).map_err(in_own)?;
        if !metadata.is_dir() || metadata.uid() != user || metadata.mode() & 0o077 != 0 {
            return Err(RpicamError::ScratchNotOurs(own));
        }
        let _changing = FileLock::wait(&own.join(".lock"))?;
        remove_abandoned(&own).map_err(in_own)?;
        let folder = own.join(format!("{PREFIX}{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        make_private(&folder).map_err(in_own)?;
        let lock = FolderLock::acquire(&folder)?;
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes everything that a run of the program has left.
    pub(super) fn clear(&self) -> Result<(), RpicamError> {
        let clear = || {
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if entry.file_name() != LOCK {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        clear().map_err(|source| RpicamError::Scratch { path: self.folder.clone(), source })
    }

    /// A file of at most `max` bytes; nothing if it is not there.
    pub(super) fn read(&self, name: &str, max: usize) -> Result<Option<Vec<u8>>, RpicamError> {
        let path = self.folder.join(name);
        let failed = |source| RpicamError::Scratch { path: path.clone(), source };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        };
        let expected = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(expected.min(max) + 1);
        file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > max {
            return Err(RpicamError::TooLong { name: name.to_owned(), max });
        }
        Ok(Some(bytes))
    }

    /// Removes a file that is no longer needed. One that stays is removed before the next run.
    pub(super) fn remove(&self, name: &str) {
        drop(fs::remove_file(self.folder.join(name)));
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Folders whose lock can be had are nobody's. Memory is short: a shot is 30 MB.
fn remove_abandoned(own: &Path) -> io::Result<()> {
    for entry in fs::read_dir(own)? {
        let entry = entry?;
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if ours && entry.file_type()?.is_dir() && FolderLock::acquire(&entry.path()).is_ok() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

const PREFIX: &str = "rpicam-";
const LOCK: &str = ".lock";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn own(base: &Path) -> PathBuf {
        base.join(format!("birthmark-{}", rustix::process::geteuid().as_raw()))
    }

    #[test]
    fn folder_is_private_and_goes_with_its_camera() {
        let base = tempfile::tempdir().unwrap();
        let (one, two) = (Scratch::create(base.path()).unwrap(), Scratch::create(base.path()).unwrap());
        assert_ne!(one.folder(), two.folder());
        for folder in [one.folder(), &own(base.path())] {
            assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
        }
        fs::write(one.folder().join("a.jpg"), b"x").unwrap();
        assert_eq!(one.read("a.jpg", 1).unwrap(), Some(b"x".to_vec()));
        one.clear().unwrap();
        assert_eq!(one.read("a.jpg", 1).unwrap(), None);
        let folder = one.folder().to_owned();
        drop(one);
        assert!(!folder.exists() && two.folder().exists());
    }

    #[test]
    fn only_what_a_killed_camera_left_is_removed() {
        let base = tempfile::tempdir().unwrap();
        let living = Scratch::create(base.path()).unwrap();
        let left = own(base.path()).join("rpicam-1-0");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("000000.dng"), b"x").unwrap();
        let _second = Scratch::create(base.path()).unwrap();
        assert!(!left.exists() && living.folder().exists());
    }

    #[test]
    fn folder_that_somebody_else_prepared_is_refused() {
        for prepare in [
            |path: &Path| symlink("/tmp", path).unwrap(),
            |path: &Path| fs::write(path, b"").unwrap(),
            |path: &Path| {
                fs::create_dir(path).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
            },
        ] {
            let base = tempfile::tempdir().unwrap();
            prepare(&own(base.path()));
            let refused = Scratch::create(base.path());
            assert!(matches!(refused, Err(RpicamError::ScratchNotOurs(_))), "{refused:?}");
        }
        let gone = Scratch::create(Path::new("/nowhere"));
        assert!(gone.unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn long_files_and_links_are_not_read() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(base.path()).unwrap();
        fs::write(scratch.folder().join("a"), b"12345").unwrap();
        assert!(matches!(scratch.read("a", 4), Err(RpicamError::TooLong { max: 4, .. })));
        symlink("/etc/passwd", scratch.folder().join("b")).unwrap();
        assert!(matches!(scratch.read("b", 1 << 20), Err(RpicamError::Scratch { .. })));
    }
}
