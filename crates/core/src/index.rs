//! What the registry's index says about one image hash: the list of its records.
//!
//! For: the value format, which auditors hash and the ledger stores.
//!
//! Not for: the rule by which a list takes up another record and where it is kept
//! (`birthmark_ledger`), nor the tree over all keys ([`trie`]).
//!
//! Format: `docs/PROTOCOL.md` section 9:
//! ```text
//! key   = SHA-256("birthmark/index/v1" ‖ image_hash)             ImageHash::index_key
//! value = u8 count (1..16) ‖ count × (be64 tx_id ‖ u8 entry ‖ u8 assurance)
//! ```

pub mod trie;

use serde::{Deserialize, Serialize};

use crate::batch::Assurance;
use crate::codec::{DecodeError, Reader};
use crate::ids::TxId;

/// Most records listed for one hash.
pub const MAX_RECORDS: usize = 16;

/// One record of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IndexRecord {
    /// The leaf.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub tx_id: TxId,
    /// Which of the leaf's entries, counted from 1.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub entry: u8,
    /// How much the record is worth.
    pub assurance: Assurance,
}

/// Encodes a list of 1 to [`MAX_RECORDS`].
pub fn encode_value(records: &[IndexRecord]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 10 * records.len());
    out.push(u8::try_from(records.len()).unwrap_or(u8::MAX));
    for record in records {
        out.extend_from_slice(&record.tx_id.0.to_be_bytes());
        out.extend_from_slice(&[record.entry, record.assurance as u8]);
    }
    out
}

/// Reads exactly one list.
pub fn decode_value(bytes: &[u8]) -> Result<Vec<IndexRecord>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = reader.u8("record count")?;
    if count == 0 || usize::from(count) > MAX_RECORDS {
        return Err(DecodeError::Value { field: "record count", value: count.into() });
    }
    let records = (0..count)
        .map(|_| {
            let tx_id = TxId(reader.be64("tx_id")?);
            let entry = reader.u8("entry")?;
            if entry == 0 {
                return Err(DecodeError::Value { field: "entry", value: 0 });
            }
            Ok(IndexRecord { tx_id, entry, assurance: Assurance::from_number(reader.u8("assurance")?)? })
        })
        .collect::<Result<_, DecodeError>>()?;
    reader.finish()?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(tx_id: u64, entry: u8, assurance: u8) -> IndexRecord {
        IndexRecord { tx_id: TxId(tx_id), entry, assurance: Assurance::from_number(assurance).unwrap() }
    }

    #[test]
    fn malformed_values_are_refused() {
        let good = encode_value(&[record(1, 1, 1)]);
        for cut in 0..good.len() {
            assert!(decode_value(&good[..cut]).is_err());
        }
        let patched = |at: usize, value: u8| {
            let mut bad = good.clone();
            bad[at] = value;
            bad
        };
        let longer = [good.as_slice(), &[0]].concat();
        let many = [&[17][..], &good[1..].repeat(17)].concat();
        for bad in [vec![0], longer, many, patched(0, 2), patched(9, 0), patched(10, 3)] {
            assert!(decode_value(&bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_list_round_trips(list in prop::collection::vec((any::<u64>(), 1u8.., 0u8..3), 1..=16)) {
            let list: Vec<_> = list.into_iter().map(|(id, entry, assurance)| record(id, entry, assurance)).collect();
            prop_assert_eq!(decode_value(&encode_value(&list)), Ok(list));
        }
    }
}
