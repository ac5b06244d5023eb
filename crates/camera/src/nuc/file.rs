//! The map as a file.
//!
//! For: keeping a map beside the configuration, so that nobody else can read it and damage is seen.
//! Not for: giving it to anybody.
//!
//! ```text
//! "birthmark/nuc-map/v1" ‖ mode ‖ u8 origin (0 sensor, 1 simulated)
//!   ‖ be16 darks ‖ be16 flats ‖ be32 PRNU ‖ be32 reliability (both in millionths)
//!   ‖ gain ‖ offset ‖ be32 n ‖ n × be32 defect, ascending ‖ SHA-256 of all before
//! ```
//! `mode`, `gain` and `offset` as in the NUC hash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use birthmark_core::hash::Digest;
use birthmark_service::secret_file::{self, FileMode, SecretFileError};
use zeroize::Zeroizing;

use super::{MAX_MODEL, Mode, NucMap, Strength};
use crate::raw_frame::{CfaOrder, FrameSize};
use crate::sensor::Origin;

/// Why a map was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum MapFileError {
    /// There is none.
    #[error("{}: no such file; enrol this camera first", path.display())]
    NotEnrolled {
        /// The file.
        path: PathBuf,
    },
    /// Not private (the remedy is `chmod 600`), there already, not writable.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Changed, cut off, or never a map.
    #[error("{}: damaged; enrol this camera anew, and provision it anew if its NUC hash came from this file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Where the map lies that belongs to a configuration.
pub fn map_path(config: &Path) -> PathBuf {
    config.with_file_name(FILE)
}

impl NucMap {
    /// Writes a new file with mode 0600; one that is there stays as it is.
    pub fn create(&self, path: &Path) -> Result<(), MapFileError> {
        Ok(secret_file::create(path, &Zeroizing::new(self.to_bytes()))?)
    }

    /// Writes the file with mode 0600, in place of one that may be there.
    pub fn replace(&self, path: &Path) -> Result<(), MapFileError> {
        Ok(secret_file::replace(path, &Zeroizing::new(self.to_bytes()), FileMode::Secret)?)
    }

    /// Reads a map that nobody else could have read or written.
    pub fn load(path: &Path) -> Result<Self, MapFileError> {
        let not_found = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let len = match fs::metadata(path) {
            Err(error) if not_found(&error) => return Err(MapFileError::NotEnrolled { path: path.to_owned() }),
            Err(source) => return Err(SecretFileError::Io { path: path.to_owned(), source }.into()),
            // The buffer for it is made in one piece, so it is not made larger than need be.
            Ok(metadata) => usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(MAX_LEN),
        };
        let bytes = secret_file::read(path, len)?;
        Self::from_bytes(&bytes).ok_or_else(|| MapFileError::Damaged { path: path.to_owned() })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Strength { prnu, reliability, darks, flats } = self.strength;
        let mut bytes = Vec::with_capacity(MAGIC.len() + 256 + 2 * self.gain.len() + 4 * self.defects.len());
        bytes.extend(MAGIC);
        bytes.extend(self.mode.to_bytes());
        bytes.push(u8::from(self.origin == Origin::Simulation));
        bytes.extend([darks, flats].map(u16::to_be_bytes).concat());
        bytes.extend([prnu, reliability].map(|share| millionths(share).to_be_bytes()).concat());
        bytes.extend(unsigned(&self.gain));
        bytes.extend(unsigned(&self.offset));
        bytes.extend(u32::try_from(self.defects.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(self.defects.iter().flat_map(|site| site.to_be_bytes()));
        let checksum = Digest::of_parts(&[&bytes]);
        bytes.extend(checksum.as_bytes());
        bytes
    }

    pub(super) fn from_bytes(file: &[u8]) -> Option<Self> {
        let (content, checksum) = file.split_last_chunk::<32>()?;
        if Digest::of_parts(&[content]).as_bytes() != checksum {
            return None;
        }
        let mut rest = Reader(content.strip_prefix(MAGIC)?);
        let mode = rest.mode()?;
        let origin = match rest.array()? {
            [0] => Origin::Hardware,
            [1] => Origin::Simulation,
            _ => return None,
        };
        let (darks, flats) = (rest.u16()?, rest.u16()?);
        let (prnu, reliability) = (rest.share()?, rest.share()?);
        let sites = mode.size.samples();
        let (gain, offset) = (rest.signed(sites)?, rest.signed(sites)?);
        let count = usize::try_from(rest.u32()?).ok().filter(|count| *count <= sites)?;
        let defects: Vec<u32> =
            rest.take(4 * count)?.as_chunks().0.iter().map(|site| u32::from_be_bytes(*site)).collect();
        let ascending = defects.is_sorted_by(|a, b| a < b);
        let inside = defects.last().is_none_or(|last| usize::try_from(*last).is_ok_and(|last| last < sites));
        let strength = Strength { prnu, reliability, darks, flats };
        (rest.0.is_empty() && ascending && inside).then_some(Self { mode, origin, strength, gain, offset, defects })
    }
}

/// What is left of the file.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn share(&mut self) -> Option<f32> {
        let millionths = self.u32().filter(|value| *value <= 1_000_000)?;
        #[expect(clippy::cast_possible_truncation, reason = "seven digits, as single precision has")]
        let share = (f64::from(millionths) / 1e6) as f32;
        Some(share)
    }

    fn signed(&mut self, len: usize) -> Option<Vec<i8>> {
        self.take(len).map(|bytes| bytes.iter().map(|byte| byte.cast_signed()).collect())
    }

    fn mode(&mut self) -> Option<Mode> {
        let [len] = self.array()?;
        let model = self.take(usize::from(len))?;
        let model = String::from_utf8(model.to_vec()).ok().filter(|text| text.is_ascii() && text.len() <= MAX_MODEL)?;
        let size = FrameSize::new(self.u16()?.into(), self.u16()?.into()).ok()?;
        let cfa = CfaOrder::from_pattern(self.take(4)?)?;
        Some(Mode { model, size, cfa, white: self.u16()?, iso: self.u16()? })
    }
}

/// The same bits.
pub(super) fn unsigned(values: &[i8]) -> Vec<u8> {
    values.iter().map(|value| value.cast_unsigned()).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is clamped first")]
fn millionths(share: f32) -> u32 {
    (f64::from(share).clamp(0.0, 1.0) * 1e6).round() as u32
}

const FILE: &str = "nuc_map";
const MAGIC: &[u8] = b"birthmark/nuc-map/v1";
/// Two bytes for each of the most sites, a hundredth of them defective, and a head.
const MAX_LEN: usize = 8192 * 8192 * 2 + 8192 * 8192 / 25 + 1024;
