//! The numbers of exposures: each given once, whichever process asks.
//!
//! For: photo names and the simulated sensor's frame numbers. The same number twice would give the
//! simulated sensor the same samples, and two photographs one name.
//!
//! Not for: token counters, or ordering photographs in time.
//!
//! Format of `frame_counter`, beside the configuration, changed under `frame_counter.lock`:
//! ```text
//! <the next number, decimal>\n
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use birthmark_service::lock::{FileLock, LockError};
use birthmark_service::secret_file::{self, FileMode, SecretFileError};

/// The counter of one configuration.
#[derive(Clone, Debug)]
pub struct FrameCounter {
    path: PathBuf,
}

/// Why no number was given. None was used up.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// The lock was not had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// The file is damaged. Starting over would repeat numbers.
    #[error(
        "{}: not a frame number; write one above the highest ever used into it (photos are named by it), with a line feed",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The new number could not be stored.
    #[error(transparent)]
    Write(#[from] SecretFileError),
    /// There is no number left.
    #[error("{}: all frame numbers are used up", path.display())]
    Exhausted {
        /// The file.
        path: PathBuf,
    },
}

impl FrameCounter {
    /// The counter that goes with a configuration file.
    pub fn beside(config: &Path) -> Self {
        Self { path: config.with_file_name(FILE) }
    }

    /// Takes `count` numbers in a row, none of them below `at_least` (for a folder that already holds
    /// photographs while the counter is gone). They count as used once this returns. Blocks.
    pub fn reserve(&self, count: u64, at_least: u64) -> Result<Range<u64>, CounterError> {
        let _lock = FileLock::wait(&self.path.with_file_name(LOCK_FILE))?;
        let start = self.read()?.max(at_least).max(FIRST);
        // Numbers go into SQLite, whose integers are signed.
        let end = start.checked_add(count).filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or_else(|| CounterError::Exhausted { path: self.path.clone() })?;
        secret_file::replace(&self.path, format!("{end}\n").as_bytes(), FileMode::Secret)?;
        Ok(start..end)
    }

    fn read(&self) -> Result<u64, CounterError> {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
        match read {
            Ok(_) => parse(&text).ok_or_else(|| CounterError::Damaged { path: self.path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FIRST),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(CounterError::Damaged { path: self.path.clone() })
            }
            Err(source) => Err(CounterError::Read { path: self.path.clone(), source }),
        }
    }
}

/// A text without its line feed may have lost digits too.
fn parse(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('\n')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !(digits.len() > 1 && digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

const FILE: &str = "frame_counter";
const LOCK_FILE: &str = "frame_counter.lock";
const FIRST: u64 = 1;
/// Longer than any number with its line feed.
const MAX_FILE: u64 = 32;

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn counter() -> (tempfile::TempDir, FrameCounter) {
        let folder = tempfile::tempdir().unwrap();
        let counter = FrameCounter::beside(&folder.path().join("device_config.json"));
        (folder, counter)
    }

    #[test]
    fn numbers_follow_each_other_from_1() {
        let (_folder, counter) = counter();
        assert_eq!(counter.reserve(1, 0).unwrap(), 1..2);
        assert_eq!(counter.reserve(10, 0).unwrap(), 2..12);
        assert_eq!(counter.reserve(1, 0).unwrap(), 12..13);
    }

    #[test]
    fn floor_lifts_the_counter_and_never_lowers_it() {
        let (_folder, counter) = counter();
        assert_eq!(counter.reserve(1, 500).unwrap(), 500..501);
        assert_eq!(counter.reserve(1, 7).unwrap(), 501..502);
    }

    #[test]
    fn many_at_once_never_get_the_same_number() {
        let (_folder, counter) = counter();
        let taken = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..10).flat_map(|_| counter.reserve(2, 0).unwrap()).collect::<Vec<_>>()))
                .collect();
            let mut taken: Vec<u64> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
            taken.sort_unstable();
            taken
        });
        assert_eq!(taken, (1..=160).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_counters_are_refused_and_left_alone() {
        let (_folder, counter) = counter();
        for damaged in [
            "",
            "12",
            "\n",
            "-1\n",
            "+1\n",
            "1 \n",
            "01\n",
            "1\n2\n",
            "٣\n",
            "x\n",
            "99999999999999999999999\n",
            "1\0\n",
        ] {
            fs::write(&counter.path, damaged).unwrap();
            assert!(matches!(counter.reserve(1, 0), Err(CounterError::Damaged { .. })), "{damaged:?}");
            assert_eq!(fs::read(&counter.path).unwrap(), damaged.as_bytes());
        }
        fs::write(&counter.path, [0xff, b'\n']).unwrap();
        assert!(matches!(counter.reserve(1, 0), Err(CounterError::Damaged { .. })));
        fs::write(&counter.path, format!("{}\n", i64::MAX)).unwrap();
        assert!(matches!(counter.reserve(1, 0), Err(CounterError::Exhausted { .. })));
    }

    #[test]
    fn folder_in_its_place_and_missing_folder_are_named() {
        let (_folder, counter) = counter();
        fs::create_dir(&counter.path).unwrap();
        let error = counter.reserve(1, 0).unwrap_err().to_string();
        assert!(error.contains("frame_counter"), "{error}");
        let nowhere = FrameCounter::beside(Path::new("/nonexistent/device_config.json"));
        assert!(nowhere.reserve(1, 0).unwrap_err().to_string().contains("/nonexistent/"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64) {
            prop_assert_eq!(parse(&format!("{number}\n")), Some(number));
        }
    }
}
