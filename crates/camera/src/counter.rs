//! Numbers that are given once, whichever process asks.
//!
//! For: [`Counter::frames`], which photographs and the simulated sensor's exposures are named by: the
//! same number twice would give two photographs one name. [`Counter::tokens`], which version 2 tokens
//! carry: the authority refuses the second token of a number.
//!
//! Not for: ordering photographs in time, or handing out single numbers quickly
//! ([`TokenNumbers`] does, from blocks).
//!
//! Format of `frame_counter` and `token_counter`, beside the configuration, each changed under a lock
//! file of its own (`<name>.lock`) and durable before a number of it is used:
//! ```text
//! <the next number, decimal>\n
//! ```

mod token_numbers;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use birthmark_service::lock::{FileLock, LockError};
use birthmark_service::secret_file::{self, FileMode, SecretFileError};

use crate::device::TpmError;

#[cfg(feature = "tpm")]
pub(crate) use token_numbers::BLOCK;
pub use token_numbers::{NumberSource, TokenNumbers};

/// One of a configuration's counters.
#[derive(Clone, Debug)]
pub struct Counter {
    path: PathBuf,
    series: &'static Series,
}

/// What differs between the counters.
#[derive(Debug)]
struct Series {
    /// Its file. The lock's name follows from it.
    file: &'static str,
    /// One number of it, for a person.
    number: &'static str,
    /// What to do about a damaged file.
    remedy: &'static str,
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
    #[error("{}: not a {number}; {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What should stand in it.
        number: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The new number could not be stored.
    #[error(transparent)]
    Write(#[from] SecretFileError),
    /// The secure element that counts did not.
    #[error(transparent)]
    Element(#[from] TpmError),
    /// There is no number left.
    #[error("{}: every {number} is used up", path.display())]
    Exhausted {
        /// The file.
        path: PathBuf,
        /// What should stand in it.
        number: &'static str,
    },
}

impl Counter {
    /// The exposures' counter that goes with a configuration file.
    pub fn frames(config: &Path) -> Self {
        Self::beside(config, &FRAMES)
    }

    /// The version 2 tokens' counter that goes with a configuration file.
    pub fn tokens(config: &Path) -> Self {
        Self::beside(config, &TOKENS)
    }

    fn beside(config: &Path, series: &'static Series) -> Self {
        Self { path: config.with_file_name(series.file), series }
    }

    /// Takes `count` numbers in a row, none of them below `at_least` (for a folder that already holds
    /// photographs while the counter is gone). They count as used once this returns. Blocks.
    pub fn reserve(&self, count: u64, at_least: u64) -> Result<Range<u64>, CounterError> {
        let _lock = self.lock()?;
        let start = self.read()?.max(at_least).max(FIRST);
        // Frames go into SQLite, whose integers are signed, and the authority takes no token beyond that.
        let end = start.checked_add(count).filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or_else(|| CounterError::Exhausted { path: self.path.clone(), number: self.series.number })?;
        secret_file::replace(&self.path, format!("{end}\n").as_bytes(), FileMode::Secret)?;
        Ok(start..end)
    }

    /// The next number, without taking it.
    #[cfg(feature = "tpm")]
    pub(crate) fn next(&self) -> Result<u64, CounterError> {
        self.read()
    }

    /// Waits until no other process takes numbers, wherever they are counted.
    pub(crate) fn lock(&self) -> Result<FileLock, CounterError> {
        Ok(FileLock::wait(&self.path.with_added_extension("lock"))?)
    }

    fn read(&self) -> Result<u64, CounterError> {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
        match read {
            Ok(_) => parse(&text).ok_or_else(|| self.damaged()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FIRST),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(self.damaged()),
            Err(source) => Err(CounterError::Read { path: self.path.clone(), source }),
        }
    }

    fn damaged(&self) -> CounterError {
        CounterError::Damaged { path: self.path.clone(), number: self.series.number, remedy: self.series.remedy }
    }
}

/// A text without its line feed may have lost digits too.
fn parse(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('\n')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !(digits.len() > 1 && digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

static FRAMES: Series = Series {
    file: "frame_counter",
    number: "frame number",
    remedy: "write one above the highest ever used into it (photos are named by it), with a line feed",
};
/// Nobody knows the highest number used once the file is gone, but seconds since 1970 are above it: a
/// camera never makes a token a second for as long as that.
static TOKENS: Series = Series {
    file: "token_counter",
    number: "token number",
    remedy: "do not start again from 1, the authority would refuse every token; write the output of `date +%s` into it, which is above all numbers used",
};
const FIRST: u64 = 1;
/// Longer than any number with its line feed.
const MAX_FILE: u64 = 32;

#[cfg(test)]
mod tests;
