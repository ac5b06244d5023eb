//! What the consensus engine orders: a block's header and payload.
//!
//! Not for: the engine's own envelope around them (round, parent digest), which the log never sees.
//!
//! Format: `docs/PROTOCOL.md` section 7:
//! ```text
//! header  = u8 version (1) ‖ be32 minute ‖ be32 epoch ‖ validator set hash 32        41 bytes
//! payload = be16 n ‖ n × batch (the block form of section 7) ‖ [approved act]        empty: no bytes at all
//! ```

use birthmark_core::batch::{BatchError, BlockBatch, MAX_BLOCK_BATCH};
use birthmark_core::codec::{DecodeError, Reader};
use birthmark_core::governance::{ActError, ApprovedAct, MAX_APPROVED};
use birthmark_core::hash::Digest;
use birthmark_core::ids::Epoch;
use birthmark_core::time::Minute;

/// Bytes of a header.
pub const HEADER_LEN: usize = 41;
/// Most bytes of a payload. Never to be made smaller: old blocks must still be read.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

// A payload holds at least one batch, whatever its size.
const _: () = assert!(MAX_BLOCK_BATCH + 2 + MAX_APPROVED <= MAX_PAYLOAD);

/// What a block says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The proposer's clock, never before the parent's.
    pub minute: Minute,
    /// Which validator set decides.
    pub epoch: Epoch,
    /// That set's hash.
    pub validator_set_hash: Digest,
}

/// What a block holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Batches of transactions.
    pub batches: Vec<BlockBatch>,
    /// An act of governance.
    pub act: Option<ApprovedAct>,
}

/// Why bytes are no header or payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The bytes do not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A batch in it does not decode.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The act in it does not decode.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The payload is too long.
    #[error("a payload of {0} bytes is longer than {MAX_PAYLOAD}")]
    TooLong(usize),
}

impl Header {
    /// The one encoding.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let parts: [&[u8]; 4] =
            [&[VERSION], &self.minute.0.to_be_bytes(), &self.epoch.0.to_be_bytes(), self.validator_set_hash.as_bytes()];
        let mut rest = out.as_mut_slice();
        for part in parts {
            let (head, tail) = rest.split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        }
        out
    }

    /// Reads exactly one header.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("header version")?;
        if version != VERSION {
            return Err(DecodeError::Value { field: "header version", value: version.into() }.into());
        }
        let header = Self {
            minute: Minute(reader.be32("minute")?),
            epoch: Epoch(reader.be32("epoch")?),
            validator_set_hash: Digest::from_bytes(reader.array("validator set hash")?),
        };
        reader.finish()?;
        Ok(header)
    }
}

impl Payload {
    /// The one encoding; nothing at all gives no bytes. The caller keeps to [`MAX_PAYLOAD`].
    pub fn encode(&self) -> Vec<u8> {
        if self.batches.is_empty() && self.act.is_none() {
            return Vec::new();
        }
        let mut out = u16::try_from(self.batches.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
        for batch in &self.batches {
            batch.encode_into(&mut out);
        }
        if let Some(act) = &self.act {
            out.extend_from_slice(&act.encode());
        }
        out
    }

    /// Reads exactly one payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        if bytes.len() > MAX_PAYLOAD {
            return Err(BlockError::TooLong(bytes.len()));
        }
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(bytes);
        let count = reader.be16("batch count")?;
        let batches = (0..count).map(|_| BlockBatch::decode_from(&mut reader)).collect::<Result<_, _>>()?;
        if reader.rest().is_empty() && count > 0 {
            return Ok(Self { batches, act: None });
        }
        let act = ApprovedAct::decode_from(&mut reader)?;
        reader.finish()?;
        Ok(Self { batches, act: Some(act) })
    }
}

/// A payload of batches alone.
pub fn encode_payload(batches: &[BlockBatch]) -> Vec<u8> {
    Payload { batches: batches.to_vec(), act: None }.encode()
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips_and_other_lengths_or_versions_are_refused() {
        let header = Header { minute: Minute(7), epoch: Epoch(1), validator_set_hash: Digest::from_bytes([3; 32]) };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        assert!(Header::decode(&bytes[..40]).is_err());
        assert!(Header::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        let mut other = bytes;
        other[0] = 2;
        assert!(Header::decode(&other).is_err());
    }

    #[test]
    fn an_empty_payload_has_one_encoding() {
        assert_eq!(encode_payload(&[]), b"");
        assert_eq!(Payload::decode(b""), Ok(Payload::default()));
        assert!(Payload::decode(&[0, 0]).is_err());
        assert!(Payload::decode(&[0, 1]).is_err());
    }
}
