//! Bundles of leaves: `n × (be16 len ‖ leaf)`.

use super::TileError;
use crate::codec::{DecodeError, Reader};

/// Writes leaves one after the other. The caller gives those of one bundle, 256 at most.
pub fn encode_entries<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, TileError> {
    let mut out = Vec::new();
    for leaf in leaves {
        let len = u16::try_from(leaf.len()).map_err(|_| TileError::EntryLength(leaf.len()))?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(leaf);
    }
    Ok(out)
}

/// Reads exactly `width` leaves.
pub fn decode_entries(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    let mut reader = Reader::new(bytes);
    let mut leaves = Vec::with_capacity(usize::from(width));
    for _ in 0..width {
        if reader.rest().is_empty() {
            return Err(TileError::EntryCount { expected: width });
        }
        leaves.push(reader.prefixed16("leaf", usize::from(u16::MAX)).map_err(|error| match error {
            DecodeError::Truncated { .. }
            | DecodeError::Trailing(_)
            | DecodeError::Value { .. }
            | DecodeError::Text(_) => TileError::Truncated,
        })?);
    }
    reader.finish().map_err(|_| TileError::EntryCount { expected: width })?;
    Ok(leaves)
}
