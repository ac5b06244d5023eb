//! What is in a watched folder.
//!
//! For: pairs of regular files with the same stem, and reading them within bounds. Links are not
//! followed: who can write to the folder must not make us read elsewhere.
//!
//! Not for: deciding what a pair is worth (`watch`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use birthmark_core::hash::Digest;
use rustix::fs::{Mode, OFlags};

use super::WatchError;

/// Two files that belong together by name.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) dng: Found,
    pub(super) jpeg: Found,
}

/// A file as it was when the folder was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    len: u64,
    /// Nanoseconds after 1970.
    changed: i128,
}

/// A pair in one state of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PairId(pub(super) [u8; 32]);

impl Pair {
    pub(super) fn id(&self) -> PairId {
        let part = |file: &Found| format!("{}\0{}\0{}\0", file.name, file.len, file.changed);
        let parts = [part(&self.dng), part(&self.jpeg)];
        let [dng, jpeg] = &parts;
        PairId(*Digest::of_parts(&[b"birthmark/watch/v1", dng.as_bytes(), jpeg.as_bytes()]).as_bytes())
    }
}

/// All pairs, the one whose files were changed first in front.
pub(super) fn pairs(folder: &Path) -> Result<Vec<Pair>, WatchError> {
    let failed = |source| WatchError::Folder { path: folder.to_owned(), source };
    let mut stems = BTreeMap::<String, [Option<Found>; 2]>::new();
    for (number, entry) in fs::read_dir(folder).map_err(failed)?.enumerate() {
        if number >= MAX_FILES {
            return Err(WatchError::TooMany { path: folder.to_owned(), max: MAX_FILES });
        }
        let entry = entry.map_err(failed)?;
        let Some((stem, end, name)) = name_of(&entry) else { continue };
        // A file that has gone in between belongs to no pair.
        if let Some(found) = look(&entry, name).map_err(failed)? {
            let [dng, jpeg] = stems.entry(stem).or_default();
            *(if end == End::Dng { dng } else { jpeg }) = Some(found);
        }
    }
    let mut pairs: Vec<Pair> = stems
        .into_values()
        .filter_map(|files| match files {
            [Some(dng), Some(jpeg)] => Some(Pair { dng, jpeg }),
            _ => None,
        })
        .collect();
    pairs.sort_by_key(|pair| pair.dng.changed.max(pair.jpeg.changed));
    Ok(pairs)
}

/// The file's bytes, if it is still the one that was found.
pub(super) fn read(folder: &Path, found: &Found) -> Result<Vec<u8>, WatchError> {
    let path = folder.join(&found.name);
    let failed = |source: io::Error| WatchError::Folder { path: path.clone(), source };
    if found.len > MAX_FILE {
        return Err(WatchError::TooLong { name: found.name.clone() });
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let mut bytes = Vec::with_capacity(usize::try_from(found.len).unwrap_or_default());
    File::from(file).take(found.len + 1).read_to_end(&mut bytes).map_err(failed)?;
    // It has been written to since: what was read may be neither the old nor the new file.
    if bytes.len() as u64 != found.len {
        return Err(failed(io::Error::other("it is being changed")));
    }
    Ok(bytes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Dng,
    Jpeg,
}

fn name_of(entry: &fs::DirEntry) -> Option<(String, End, String)> {
    let name = entry.file_name().into_string().ok()?;
    let (stem, end) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty() && !stem.starts_with('.'))?;
    let end = match end.to_ascii_lowercase().as_str() {
        "dng" => End::Dng,
        "jpg" | "jpeg" => End::Jpeg,
        _ => return None,
    };
    Some((stem.to_owned(), end, name))
}

fn look(entry: &fs::DirEntry, name: String) -> io::Result<Option<Found>> {
    // Not followed if it is a link.
    let metadata = match entry.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    let changed = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    Ok(Some(Found { name, len: metadata.len(), changed }))
}

/// Most files of any kind in the folder.
const MAX_FILES: usize = 20_000;
/// 8192 x 8192 samples with a preview.
const MAX_FILE: u64 = 2 * 8192 * 8192 + 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        pairs(folder).unwrap().into_iter().map(|pair| format!("{} {}", pair.dng.name, pair.jpeg.name)).collect()
    }

    #[test]
    fn only_regular_files_of_one_stem_are_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in
            ["b.DNG", "b.jpeg", "alone.dng", "c.jpg", "c.png", ".hidden.dng", ".hidden.jpg", "d.dng.tmp", "d.jpg"]
        {
            fs::write(path(name), b"x").unwrap();
        }
        fs::create_dir(path("e.dng")).unwrap();
        fs::write(path("e.jpg"), b"x").unwrap();
        fs::write(path("f.jpg"), b"x").unwrap();
        symlink("/etc/passwd", path("f.dng")).unwrap();
        assert_eq!(names(folder.path()), ["b.DNG b.jpeg"]);
        assert!(matches!(pairs(Path::new("/nowhere")), Err(WatchError::Folder { .. })));
    }

    #[test]
    fn changed_files_are_another_pair_and_the_oldest_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
        for name in ["z.dng", "z.jpg", "a.dng", "a.jpg"] {
            write(name, b"x");
            let file = File::options().write(true).open(folder.path().join(name)).unwrap();
            let second = if name.starts_with('z') { 1 } else { 2 };
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        }
        assert_eq!(names(folder.path()), ["z.dng z.jpg", "a.dng a.jpg"]);
        let before: Vec<PairId> = pairs(folder.path()).unwrap().iter().map(Pair::id).collect();
        write("z.jpg", b"xy");
        let after: Vec<PairId> = pairs(folder.path()).unwrap().iter().map(Pair::id).collect();
        assert_eq!(before[1], after[0], "a is now the oldest");
        assert_ne!(before[0], after[1]);
    }

    #[test]
    fn file_that_grows_while_it_is_read_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.dng", "a.jpg"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        let pair = pairs(folder.path()).unwrap().pop().unwrap();
        assert_eq!(read(folder.path(), &pair.jpeg).unwrap(), b"x");
        fs::write(folder.path().join("a.jpg"), b"xyz").unwrap();
        assert!(read(folder.path(), &pair.jpeg).is_err());
        let long = Found { len: MAX_FILE + 1, ..pair.jpeg };
        assert!(matches!(read(folder.path(), &long), Err(WatchError::TooLong { .. })));
    }
}
