//! The numbers of version 2 tokens, for one process.
//!
//! For: `device::Sealer`, which needs one number a token and must not wait for the disk each time.
//! Not for: what the authority does with a number (`docs/PROTOCOL.md` section 5).

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Counter, CounterError};

/// Hands out a configuration's token numbers, in blocks from the counter that all processes share. What
/// is left of a block when the process ends is lost, which does no harm: numbers must only rise.
#[derive(Debug)]
pub struct TokenNumbers {
    source: Box<dyn NumberSource>,
    block: Mutex<Range<u64>>,
}

/// What counts for all processes: a file, or a TPM.
pub trait NumberSource: fmt::Debug + Send + Sync {
    /// Numbers that nobody else has or will have, above all given before. Blocks.
    fn reserve(&self) -> Result<Range<u64>, CounterError>;

    /// Leaves out so many numbers. Blocks.
    fn skip(&self, count: u64) -> Result<(), CounterError>;
}

impl NumberSource for Counter {
    fn reserve(&self) -> Result<Range<u64>, CounterError> {
        Self::reserve(self, BLOCK, 0)
    }

    fn skip(&self, count: u64) -> Result<(), CounterError> {
        Self::reserve(self, count, 0).map(drop)
    }
}

impl TokenNumbers {
    /// Those that go with a configuration file. Nothing is read or reserved yet.
    pub fn beside(config: &Path) -> Self {
        Self::of(Box::new(Counter::tokens(config)))
    }

    /// Those of this source. Nothing is read or reserved yet.
    pub fn of(source: Box<dyn NumberSource>) -> Self {
        Self { source, block: Mutex::new(0..0) }
    }

    /// A number that nobody else has or will have. Blocks for the disk once a block.
    pub fn take(&self) -> Result<u64, CounterError> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.is_empty() {
            *block = self.source.reserve()?;
        }
        let number = block.start;
        block.start += 1;
        Ok(number)
    }

    /// Leaves out 65,536 numbers, and what is left of the block: the authority has seen the next ones
    /// already, because the counter is an old copy of itself.
    pub fn skip(&self) -> Result<(), CounterError> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        *block = 0..0;
        self.source.skip(SKIP)
    }
}

/// Numbers reserved at a time.
pub(crate) const BLOCK: u64 = 64;
/// Numbers left out once one was used already.
const SKIP: u64 = 65_536;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("device_config.json");
        (folder, config)
    }

    #[test]
    fn numbers_rise_by_one_from_1_and_the_file_is_ahead_of_them() {
        let (folder, config) = folder();
        let numbers = TokenNumbers::beside(&config);
        for expected in 1..=200 {
            assert_eq!(numbers.take().unwrap(), expected);
            let stored = fs::read_to_string(folder.path().join("token_counter")).unwrap();
            assert!(stored.trim().parse::<u64>().unwrap() > expected, "{stored} after {expected}");
        }
        assert_eq!(TokenNumbers::beside(&config).take().unwrap(), 257, "the rest of a block is lost");
    }

    #[test]
    fn skipping_leaves_out_the_block_and_65536_more() {
        let (_folder, config) = folder();
        let numbers = TokenNumbers::beside(&config);
        assert_eq!(numbers.take().unwrap(), 1);
        numbers.skip().unwrap();
        assert_eq!(numbers.take().unwrap(), 65 + 65_536);
    }

    #[test]
    fn many_that_share_a_counter_never_get_the_same_number() {
        let (_folder, config) = folder();
        let taken: Vec<u64> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let numbers = TokenNumbers::beside(&config);
                        (0..150).map(|_| numbers.take().unwrap()).collect::<Vec<_>>()
                    })
                })
                .collect();
            takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
        });
        assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (600, 600));
    }

    #[test]
    fn number_that_could_not_be_stored_is_not_given() {
        let (folder, config) = folder();
        let numbers = TokenNumbers::beside(&config);
        fs::create_dir(folder.path().join("token_counter")).unwrap();
        assert!(numbers.take().unwrap_err().to_string().contains("token_counter"));
        fs::remove_dir(folder.path().join("token_counter")).unwrap();
        assert_eq!(numbers.take().unwrap(), 1);
    }
}
