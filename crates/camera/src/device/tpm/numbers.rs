//! Token numbers that a TPM counts.
//!
//! For: [`TpmNumbers`], which never gives a number twice, be the camera's files put back to an earlier state
//! or the program killed at any moment. Not for: what a number is for (`docs/PROTOCOL.md` section 5).
//!
//! ```text
//! counter   NV index n, type counter: rises by one, and never falls, not even when it is removed and made anew
//! base      NV index n + 1, eight bytes, big-endian: raised where numbers are to be left out
//! numbers   base + 64 × counter ..+ 64, taken as a block with each step of the counter
//! ```
//! The counter steps before a number of its block is used. Processes of one configuration take turns by the
//! lock `token_counter.lock` beside it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use birthmark_service::lock::FileLock;
use tss_esapi::constants::NvIndexType;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::structures::MaxNvBuffer;

use super::Tpm;
use super::chip::Chip;
use super::refusal::{is_missing, is_taken, is_unwritten, refused};
use super::template;
use crate::counter::{BLOCK, Counter, CounterError, NumberSource};
use crate::device::TpmError;
use crate::device::element::{ElementError, SealedKeys};

/// The counter of one configuration.
#[derive(Debug)]
pub(super) struct TpmNumbers {
    tpm: Tpm,
    storage_key: String,
    endorsement_key: String,
    counter: NvCounter,
    config: PathBuf,
}

/// A counter and its base, by the counter's NV index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NvCounter(u32);

impl TpmNumbers {
    pub(super) fn new(tpm: Tpm, sealed: &SealedKeys, counter: NvCounter, config: &Path) -> Self {
        let SealedKeys { storage_key, endorsement_key, .. } = sealed.clone();
        Self { tpm, storage_key, endorsement_key, counter, config: config.to_owned() }
    }

    fn chip(&self) -> Result<Chip, TpmError> {
        let mut chip = Chip::open(&self.tpm)?;
        chip.require(&self.storage_key, &self.endorsement_key)?;
        Ok(chip)
    }
}

impl NumberSource for TpmNumbers {
    fn reserve(&self) -> Result<Range<u64>, CounterError> {
        let _lock = lock(&self.config)?;
        let mut chip = self.chip()?;
        let (step, base) = (self.counter.step(&mut chip)?, self.counter.base(&mut chip)?);
        Ok(block(base, step)?)
    }

    fn skip(&self, count: u64) -> Result<(), CounterError> {
        let _lock = lock(&self.config)?;
        let mut chip = self.chip()?;
        let base = self.counter.base(&mut chip)?.saturating_add(count);
        Ok(self.counter.set_base(&mut chip, base)?)
    }
}

impl NvCounter {
    /// Makes a counter at the first free place, whose numbers begin above `base`.
    pub(super) fn define(chip: &mut Chip, base: u64) -> Result<Self, TpmError> {
        for place in 0..PLACES {
            let counter = Self(FIRST_INDEX + 2 * place);
            match counter.define_here(chip) {
                Ok(true) => {
                    counter.set_base(chip, base)?;
                    return Ok(counter);
                }
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
        Err(TpmError::NvFull)
    }

    /// Makes both indices where they were, the counter going on above all steps that this TPM has ever
    /// counted.
    pub(super) fn restore(self, chip: &mut Chip, base: u64) -> Result<(), TpmError> {
        self.undefine(chip)?;
        if !self.define_here(chip)? {
            return Err(TpmError::NvFull);
        }
        self.set_base(chip, base)
    }

    /// Fails if it is not there.
    pub(super) fn require(self, chip: &mut Chip) -> Result<(), TpmError> {
        self.handle(chip, self.0)?;
        self.base(chip).map(drop)
    }

    /// Removes both indices, as far as they are there.
    pub(super) fn undefine(self, chip: &mut Chip) -> Result<(), TpmError> {
        for index in [self.0, self.0 + 1] {
            match self.handle(chip, index) {
                Ok(handle) => {
                    chip.privately("remove a counter", |context| context.nv_undefine_space(Provision::Owner, handle))?;
                }
                Err(TpmError::CounterGone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// False if a place is taken.
    fn define_here(self, chip: &mut Chip) -> Result<bool, TpmError> {
        let doing = "make a counter";
        for (index, kind) in [(self.0, NvIndexType::Counter), (self.0 + 1, NvIndexType::Ordinary)] {
            let mut taken = false;
            chip.privately(doing, |context| {
                match context.nv_define_space(Provision::Owner, None, template::nv(index, kind)?) {
                    Err(error) if is_taken(error) => {
                        taken = true;
                        Ok(())
                    }
                    other => other.map(drop),
                }
            })?;
            if taken {
                // Only the index beside it: this one is somebody else's.
                if index != self.0 {
                    let own = self.handle(chip, self.0)?;
                    chip.privately(doing, |context| context.nv_undefine_space(Provision::Owner, own))?;
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts one on, and says where it is then.
    fn step(self, chip: &mut Chip) -> Result<u64, TpmError> {
        let handle = self.handle(chip, self.0)?;
        chip.privately("count", |context| context.nv_increment(NvAuth::NvIndex(handle), handle))?;
        self.read(chip, handle)
    }

    fn base(self, chip: &mut Chip) -> Result<u64, TpmError> {
        let handle = self.handle(chip, self.0 + 1)?;
        self.read(chip, handle)
    }

    fn set_base(self, chip: &mut Chip, base: u64) -> Result<(), TpmError> {
        let handle = self.handle(chip, self.0 + 1)?;
        chip.privately("write the counter's base", |context| {
            let bytes = MaxNvBuffer::try_from(base.to_be_bytes().as_slice())?;
            context.nv_write(NvAuth::NvIndex(handle), handle, bytes, 0)
        })
    }

    fn read(self, chip: &mut Chip, handle: NvIndexHandle) -> Result<u64, TpmError> {
        let bytes = chip.privately("read a counter", |context| {
            match context.nv_read(NvAuth::NvIndex(handle), handle, 8, 0) {
                // The power was cut between making it and writing it.
                Err(error) if is_unwritten(error) => Ok(None),
                other => other.map(Some),
            }
        })?;
        let number = bytes.and_then(|bytes| bytes.value().try_into().ok()).map(u64::from_be_bytes);
        number.ok_or(TpmError::CounterGone { index: self.0 })
    }

    fn handle(self, chip: &mut Chip, index: u32) -> Result<NvIndexHandle, TpmError> {
        let found = chip.openly(|context| {
            let handle = TpmHandle::NvIndex(NvIndexTpmHandle::new(index)?);
            context.tr_from_tpm_public(handle)
        });
        match found {
            Ok(object) => Ok(NvIndexHandle::from(object)),
            Err(error) if is_missing(error) => Err(TpmError::CounterGone { index: self.0 }),
            Err(error) => Err(refused("find the counter")(error)),
        }
    }
}

/// Eight hex digits.
impl fmt::Display for NvCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for NvCounter {
    type Err = ElementError;

    fn from_str(text: &str) -> Result<Self, ElementError> {
        let index = u32::from_str_radix(text, 16).ok().map(Self).filter(|counter| counter.to_string() == text);
        let is_ours = |counter: &Self| {
            counter.0.checked_sub(FIRST_INDEX).is_some_and(|place| place % 2 == 0 && place / 2 < PLACES)
        };
        index.filter(is_ours).ok_or(ElementError::Form("the counter's NV index is none of a camera's"))
    }
}

/// Held while numbers are taken.
pub(super) fn lock(config: &Path) -> Result<FileLock, CounterError> {
    Counter::tokens(config).lock()
}

/// The authority takes no number beyond SQLite's integers, which are signed.
fn block(base: u64, step: u64) -> Result<Range<u64>, TpmError> {
    let start = step.checked_mul(BLOCK).and_then(|steps| steps.checked_add(base));
    let end = start.and_then(|start| start.checked_add(BLOCK)).filter(|end| i64::try_from(*end).is_ok());
    start.zip(end).map(|(start, end)| start..end).ok_or(TpmError::CounterExhausted)
}

/// In the range that is the owner's to give out (TCG registry of reserved handles).
const FIRST_INDEX: u32 = 0x0180_B100;
/// Cameras that can share a TPM.
const PLACES: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_counter_and_base_never_meet_and_end_with_the_authoritys_numbers() {
        let blocks: Vec<_> = (1..50).map(|step| block(1000, step).unwrap()).collect();
        assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(blocks[0], 1064..1128);
        for (base, step) in [(0, u64::MAX), (u64::MAX, 1), (i64::MAX as u64, 1), (0, u64::MAX / 64)] {
            assert!(matches!(block(base, step), Err(TpmError::CounterExhausted)), "{base} {step}");
        }
    }

    #[test]
    fn index_is_read_back_and_no_other_programs_is_taken() {
        let counter = NvCounter(FIRST_INDEX + 6);
        assert_eq!(counter.to_string(), "0180b106");
        assert_eq!("0180b106".parse::<NvCounter>().unwrap(), counter);
        for wrong in ["", "0180b107", "0180B106", "180b106", "01c00002", "0180b180", "0180b0fe", "zz"] {
            assert!(wrong.parse::<NvCounter>().is_err(), "{wrong}");
        }
    }
}
