//! The note of what has been taken from a watched folder.
//!
//! For: taking nothing twice, across restarts and power cuts. Not for: what became of it (`queue`).
//!
//! A line is added when a photograph has its row. A power cut between the two makes it a candidate
//! again: the registry then gets the same hashes once more, and no photograph is lost.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use birthmark_core::hex;
use birthmark_service::secret_file::{self, FileMode, SecretFileError};

use super::WatchError;
use super::folder::PairId;

/// What has been kept.
#[derive(Debug)]
pub(super) struct Done {
    path: PathBuf,
    ids: BTreeSet<PairId>,
    file: File,
}

impl Done {
    /// Reads the note and forgets pairs that are gone.
    pub(super) fn open(path: &Path, present: &BTreeSet<PairId>) -> Result<Self, WatchError> {
        let failed = |source| WatchError::Done { path: path.to_owned(), source };
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => file.take(MAX_LEN + 1).read_to_string(&mut text).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed(error)),
        };
        let bounded = Some(text.as_str()).filter(|text| text.len() as u64 <= MAX_LEN);
        let read = bounded.and_then(parse).ok_or_else(|| WatchError::DoneDamaged(path.to_owned()))?;
        let ids: BTreeSet<PairId> = read.intersection(present).copied().collect();
        let kept: String = ids.iter().map(line).collect();
        if kept != text {
            secret_file::replace(path, kept.as_bytes(), FileMode::Secret).map_err(|error| match error {
                SecretFileError::Io { path, source } => WatchError::Done { path, source },
                other => failed(io::Error::other(other)),
            })?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), ids, file })
    }

    pub(super) fn contains(&self, id: &PairId) -> bool {
        self.ids.contains(id)
    }

    /// Notes a pair; it is on disk when this returns. In this run it is not taken again in any case.
    pub(super) fn add(&mut self, id: PairId) -> Result<(), WatchError> {
        self.ids.insert(id);
        let written = self.file.write_all(line(&id).as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| WatchError::Done { path: self.path.clone(), source })
    }
}

fn line(PairId(id): &PairId) -> String {
    format!("{}\n", hex::encode(id))
}

/// All whole lines. A last line without its line feed was cut off by a power cut: its photograph is
/// taken again. Anything else is damage.
fn parse(text: &str) -> Option<BTreeSet<PairId>> {
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    if text.len() - whole.len() > 2 * 32 + 1 {
        return None;
    }
    whole.lines().map(|line| hex::decode_array(line).ok().map(PairId)).collect()
}

/// A million photographs in one run.
const MAX_LEN: u64 = 1_000_000 * 65;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::fs;

    use super::*;

    fn id(byte: u8) -> PairId {
        PairId([byte; 32])
    }

    #[test]
    fn notes_survive_and_those_of_gone_pairs_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watch_done");
        let all = BTreeSet::from([id(1), id(2), id(3)]);
        let mut done = Done::open(&path, &all).unwrap();
        done.add(id(1)).unwrap();
        done.add(id(2)).unwrap();
        let reopened = Done::open(&path, &all).unwrap();
        assert!(reopened.contains(&id(1)) && reopened.contains(&id(2)) && !reopened.contains(&id(3)));
        Done::open(&path, &BTreeSet::from([id(2)])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), line(&id(2)));
    }

    #[test]
    fn half_a_line_is_forgotten_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watch_done");
        let present = BTreeSet::from([id(1)]);
        fs::write(&path, format!("{}{}", line(&id(1)), "ab".repeat(20))).unwrap();
        assert!(Done::open(&path, &present).unwrap().contains(&id(1)));
        for damaged in
            ["x\n".to_owned(), "ab".repeat(40), format!("{}\n", "g".repeat(64)), "\n".to_owned() + &line(&id(1))]
        {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(Done::open(&path, &present), Err(WatchError::DoneDamaged(_))));
        }
        assert!(matches!(Done::open(Path::new("/proc/none/x"), &present), Err(WatchError::Done { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f\n ]{0,200}") {
            if let Some(ids) = parse(&text) {
                prop_assert!(ids.len() * 65 <= text.len());
            }
        }

        #[test]
        fn written_notes_come_back(ids in prop::collection::btree_set(any::<[u8; 32]>().prop_map(PairId), 0..9)) {
            let text: String = ids.iter().map(line).collect();
            prop_assert_eq!(parse(&text), Some(ids));
        }
    }
}
