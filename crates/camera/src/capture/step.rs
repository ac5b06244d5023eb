//! What a person sees of a photograph's way, step by step.
//!
//! For: one line for each step that has really happened, in the words of the seed's tests.
//! Not for: printing, or ticks before the lines (the command line's).

use std::fmt;

use birthmark_core::ImageHash;
use birthmark_core::ids::{KeyIndex, TableId};
use uuid::Uuid;

use crate::device::{ElementKind, TokenVersion};
use crate::queue::Recorded;
use crate::raw_frame::FrameSize;
use crate::sensor::Origin;

/// A step that has been done. Shown, it is one line without a line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The shutter has closed.
    RawCaptured {
        /// Columns and rows.
        size: FrameSize,
        /// Whether there was light.
        origin: Origin,
    },
    /// The canonical raw has its hash.
    RawHashed {
        /// The raw hash.
        hash: ImageHash,
        /// Where the keys are that will vouch for it.
        element: ElementKind,
    },
    /// The JPEG is made, with its EXIF.
    JpegProcessed {
        /// Its length.
        bytes: usize,
    },
    /// The bytes of the JPEG file have their hash.
    ProcessedHashed {
        /// The processed hash.
        hash: ImageHash,
    },
    /// Files and row are on disk: the photograph is captured.
    Queued,
    /// A token is sealed and stored.
    TokenSealed {
        /// Which form it has.
        version: TokenVersion,
        /// Under a key of this table.
        table: TableId,
        /// Which key.
        key_index: KeyIndex,
        /// Where the keys are kept.
        element: ElementKind,
    },
    /// The aggregator has taken the submission in.
    Submitted,
    /// The authority passed the token.
    SmaPassed,
    /// The registry has it for good.
    Recorded(Recorded),
    /// The receipt of the submission that was recorded.
    ReceiptId(Uuid),
    /// The proof is on disk beside the JPEG.
    ProofStored,
    /// A token was used up; another is sealed.
    Resealing {
        /// The authority's word for it.
        reason: String,
    },
    /// It did not work this time, and will be tried again.
    Waiting {
        /// Why not.
        reason: String,
    },
    /// It was refused for good.
    Parked {
        /// Why.
        reason: String,
    },
}

impl Step {
    /// Whether it brought the photograph forward; the others say what stands in its way.
    pub const fn is_progress(&self) -> bool {
        !matches!(self, Self::Resealing { .. } | Self::Waiting { .. } | Self::Parked { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RawCaptured { size, origin } => {
                write!(f, "Raw Bayer captured ({}, {size}", Megapixels(*size))?;
                match origin {
                    Origin::Hardware => f.write_str(")"),
                    Origin::Simulation => f.write_str(", simulated sensor)"),
                    Origin::OtherProgram => f.write_str(", from another program)"),
                }
            }
            Self::RawHashed { hash, element } => write!(f, "Raw hash computed on the CPU ({element}): {hash}"),
            Self::JpegProcessed { bytes } => write!(f, "JPEG processed ({bytes} bytes)"),
            Self::ProcessedHashed { hash } => write!(f, "Processed hash computed: {hash}"),
            Self::Queued => f.write_str("Captured: files and queue row are on disk"),
            Self::TokenSealed { version, table, key_index, element } => {
                write!(f, "Camera token generated (version {version}, table {table}, key {key_index}; {element})")
            }
            Self::Submitted => f.write_str("Submitted to aggregator"),
            Self::SmaPassed => f.write_str("SMA validation PASSED"),
            Self::Recorded(Recorded { tx_id, block_height }) => {
                write!(f, "Blockchain submission successful (tx_id {tx_id}, block {block_height})")
            }
            Self::ReceiptId(receipt) => write!(f, "Receipt ID received: {receipt}"),
            Self::ProofStored => f.write_str("Proof stored beside the JPEG"),
            Self::Resealing { reason } => write!(f, "Token was not accepted ({reason}); sealing another"),
            Self::Waiting { reason } => write!(f, "Not done yet, will be tried again: {reason}"),
            Self::Parked { reason } => write!(f, "Refused for good, parked: {reason}"),
        }
    }
}

/// `12MP`, below ten with one decimal.
struct Megapixels(FrameSize);

impl fmt::Display for Megapixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0.samples() + 50_000) / 100_000;
        if tenths >= 100 { write!(f, "{}MP", tenths / 10) } else { write!(f, "{}.{}MP", tenths / 10, tenths % 10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_seeds_and_say_what_is_simulated_or_software() {
        let line = |width, height, origin| {
            Step::RawCaptured { size: FrameSize::new(width, height).unwrap(), origin }.to_string()
        };
        assert_eq!(line(4056, 3040, Origin::Simulation), "Raw Bayer captured (12MP, 4056x3040, simulated sensor)");
        assert_eq!(line(640, 480, Origin::Hardware), "Raw Bayer captured (0.3MP, 640x480)");
        let hashed = |element| Step::RawHashed { hash: ImageHash::of(b"abc"), element }.to_string();
        assert!(hashed(ElementKind::Software).contains("software key, no TPM"));
        assert!(hashed(ElementKind::Tpm).contains("keys sealed in the TPM"));
        let (table, key_index) = (TableId::new(42).unwrap(), KeyIndex::new(7).unwrap());
        let element = ElementKind::Software;
        let sealed = Step::TokenSealed { version: TokenVersion::V2, table, key_index, element }.to_string();
        assert_eq!(sealed, "Camera token generated (version 2, table 42, key 7; software key, no TPM)");
    }
}
