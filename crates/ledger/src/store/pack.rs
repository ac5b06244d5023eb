//! Lists of records and places of bodies as they lie on disk: the same facts as in `birthmark_core::index`, in a third of
//! the bytes.
//!
//! Not for: what hashes and proofs are made of; that is the encoding of `docs/PROTOCOL.md` section 9.
//!
//! ```text
//! list   = 1 to 16 × record
//! record = u8 (entry × 4 + assurance) ‖ varint tx_id
//! place  = u8 assurance ‖ varint tx_id
//! varint = 7 bits a byte, least significant first, the top bit set in all but the last; no needless bytes
//! ```

use birthmark_core::batch::Assurance;
use birthmark_core::hash::Digest;
use birthmark_core::ids::TxId;
use birthmark_core::index::{IndexRecord, MAX_RECORDS, encode_value};

use super::StoreError;

/// A list of 1 to 16 records.
pub(crate) fn pack_list(records: &[IndexRecord]) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 * records.len());
    for record in records {
        // A body has at most eight entries.
        out.push(record.entry << 2 | record.assurance as u8);
        put_varint(&mut out, record.tx_id.0);
    }
    out
}

/// Reads exactly one list.
pub(crate) fn unpack_list(mut bytes: &[u8]) -> Result<Vec<IndexRecord>, StoreError> {
    let mut records = Vec::with_capacity(1);
    while let Some(tag) = take_byte(&mut bytes) {
        let (entry, assurance) = (tag >> 2, Assurance::from_number(tag & 3)?);
        if entry == 0 || records.len() == MAX_RECORDS {
            return Err(DAMAGED);
        }
        records.push(IndexRecord { tx_id: TxId(take_varint(&mut bytes)?), entry, assurance });
    }
    if records.is_empty() { Err(DAMAGED) } else { Ok(records) }
}

/// The hash of a list that the index trie has.
pub(crate) fn value_hash(packed: &[u8]) -> Result<Digest, StoreError> {
    Ok(Digest::of_parts(&[&encode_value(&unpack_list(packed)?)]))
}

/// Where a body is recorded, and at what.
pub(crate) fn pack_place(tx_id: TxId, assurance: Assurance) -> Vec<u8> {
    let mut out = vec![assurance as u8];
    put_varint(&mut out, tx_id.0);
    out
}

/// Reads exactly one place.
pub(crate) fn unpack_place(mut bytes: &[u8]) -> Result<(TxId, Assurance), StoreError> {
    let assurance = Assurance::from_number(take_byte(&mut bytes).ok_or(DAMAGED)?)?;
    let tx_id = TxId(take_varint(&mut bytes)?);
    if bytes.is_empty() { Ok((tx_id, assurance)) } else { Err(DAMAGED) }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, StoreError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(bytes).ok_or(DAMAGED)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits || byte == 0 && shift > 0 {
            return Err(DAMAGED);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(DAMAGED)
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

const DAMAGED: StoreError = StoreError::Damaged { what: "a packed value" };

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(tx_id: u64, entry: u8, assurance: u8) -> IndexRecord {
        IndexRecord { tx_id: TxId(tx_id), entry, assurance: Assurance::from_number(assurance).unwrap() }
    }

    #[test]
    fn known_answers() {
        assert_eq!(pack_list(&[record(0, 1, 1)]), [0b101, 0]);
        assert_eq!(pack_list(&[record(300, 8, 2), record(1, 1, 0)]), [0b10_0010, 0xac, 2, 0b100, 1]);
        assert_eq!(pack_place(TxId(u64::MAX), Assurance::Endorsed).len(), 11);
        let digest = value_hash(&[0b101, 0]).unwrap();
        assert_eq!(digest, Digest::of_parts(&[&encode_value(&[record(0, 1, 1)])]));
    }

    #[test]
    fn what_no_ledger_writes_is_refused() {
        let many = [0b101, 0].repeat(MAX_RECORDS + 1);
        let beyond: &[u8] = &[5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        for bytes in [&[][..], &[5], &[1, 0], &[7, 0], &[5, 0x80], &[5, 0x80, 0], &many, beyond] {
            assert!(unpack_list(bytes).is_err(), "{bytes:?}");
        }
        for bytes in [&[][..], &[1], &[3, 0], &[1, 0x80, 0], &[1, 0, 0]] {
            assert!(unpack_place(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn lists_and_places_round_trip(
            records in proptest::collection::vec((any::<u64>(), 1u8..=8, 0u8..=2), 1..=MAX_RECORDS),
        ) {
            let records: Vec<_> = records.into_iter().map(|(tx_id, entry, a)| record(tx_id, entry, a)).collect();
            prop_assert_eq!(&unpack_list(&pack_list(&records)).unwrap(), &records);
            for IndexRecord { tx_id, assurance, .. } in records {
                prop_assert_eq!(unpack_place(&pack_place(tx_id, assurance)).unwrap(), (tx_id, assurance));
            }
        }

        #[test]
        fn nothing_else_reads_as_a_list(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(records) = unpack_list(&bytes) {
                prop_assert_eq!(pack_list(&records), bytes);
            }
        }
    }
}
