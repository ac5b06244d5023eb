//! Which bytes on disk a block of the store is that does not have its checksum.
//!
//! The store names the checksum alone. It stands in the block's header, so the files of the keyspace are
//! searched for it:
//! ```text
//! magic 4 ‖ u8 type ‖ checksum 16 ‖ le32 length ‖ le32 unpacked length ‖ header checksum 4 ‖ data
//! ```

use std::path::{Path, PathBuf};

/// A range of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// Its first byte.
    pub from: u64,
    /// The byte after its last one.
    pub to: u64,
}

/// The block whose header holds one of these checksums, if there is one.
pub(super) fn of_block(folder: &Path, checksums: &[u128]) -> Option<Location> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some((from, to)) = std::fs::read(&path).ok().and_then(|file| range(&file, checksums)) {
                return Some(Location { file: path, from, to });
            }
        }
    }
    None
}

fn range(file: &[u8], checksums: &[u128]) -> Option<(u64, u64)> {
    let wanted = |bytes: &[u8]| checksums.iter().any(|sum| bytes == sum.to_le_bytes());
    let at = file.windows(SUM_LEN).position(wanted)?;
    let from = at.checked_sub(BEFORE_SUM)?;
    let length = file.get(at + SUM_LEN..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
    let from = u64::try_from(from).ok()?;
    Some((from, from + HEADER_LEN + u64::from(length)))
}

const BEFORE_SUM: usize = 5;
const SUM_LEN: usize = 16;
const HEADER_LEN: u64 = 33;
