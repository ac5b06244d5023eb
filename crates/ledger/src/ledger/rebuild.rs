//! Computing the index anew from the log, for a store whose index is damaged.
//!
//! Not for: starting a node; that reads the index and computes its root only ([`Ledger::open`]).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use birthmark_core::hash::Digest;
use birthmark_core::ids::{NetworkId, TxId};
use birthmark_core::index::{IndexRecord, encode_value, trie};
use birthmark_core::leaf::Leaf;

use super::{Ledger, LedgerError, record_leaf};
use crate::index;
use crate::store::{Store, StoreError, StoreReader};
use crate::trie::Trie;

/// What a rebuild found in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Blocks with records, genesis included.
    pub blocks: u64,
    /// Image hashes on record.
    pub images: u64,
}

/// New lists of records by index key.
type Lists = BTreeMap<Digest, Vec<IndexRecord>>;

impl Ledger {
    /// Deletes the index of the ledger in `folder` and computes it anew, block by block, each time with
    /// the root that the block's leaf has. No other process may have the ledger open. If it is cut short,
    /// the ledger does not open until a rebuild has come to its end.
    pub fn rebuild_index(folder: &Path, network: NetworkId) -> Result<Rebuilt, LedgerError> {
        let store = Arc::new(Store::open(folder)?);
        store.claim(network)?;
        let size = store.reader().head()?.map_or(0, |head| head.size);
        store.begin_rebuild()?;
        let (mut trie, mut first, mut blocks) = (Trie::empty(), 0, 0);
        while first < size {
            let reader = store.reader();
            let height = reader.height_of(TxId(first))?;
            let count = reader.block(height)?.map_or(0, |block| block.count.into());
            let (lists, index_root) = block_lists(&reader, first, count)?;
            let leaves: Vec<_> = lists.iter().map(trie_leaf).collect();
            trie = trie.updated(&leaves, &|prefix: &_| reader.index_leaves(prefix))?;
            if trie.root() != index_root {
                return Err(LedgerError::LogRoot { height });
            }
            store.put_lists(&lists)?;
            first += count;
            blocks += 1;
        }
        store.end_rebuild()?;
        Ok(Rebuilt { blocks, images: trie.keys() })
    }
}

/// What one block changes in the index, out of its leaves, and the root that it says follows from that.
fn block_lists(reader: &StoreReader, first: u64, count: u64) -> Result<(Lists, Digest), StoreError> {
    let leaves = reader.leaves(first, count)?;
    let no_end = StoreError::Damaged { what: "a block does not end in its own leaf" };
    let Some((end, records)) = leaves.split_last() else { return Err(no_end) };
    let Ok(Leaf::Block(end)) = Leaf::decode(end) else { return Err(no_end) };
    // An act's leaf is the last one before the block's own.
    let is_act = |leaf: &Vec<u8>| matches!(Leaf::decode(leaf), Ok(Leaf::Act(_)));
    let records = records.split_last().filter(|(last, _)| is_act(last)).map_or(records, |(_, records)| records);
    let records: Vec<_> = records.iter().map(|leaf| record_leaf(leaf)).collect::<Result<_, _>>()?;
    let submitter_of = |tx_id: TxId| -> Result<_, StoreError> {
        let own = tx_id.0.checked_sub(first).and_then(|at| records.get(usize::try_from(at).ok()?));
        match own {
            Some(record) => Ok(record.submitter),
            None => Ok(record_leaf(&reader.leaf(tx_id)?)?.submitter),
        }
    };
    let mut lists = Lists::new();
    for (tx_id, record) in (first..).map(TxId).zip(&records) {
        for (entry, image) in (1u8..).zip(record.entries.as_slice()) {
            let key = image.hash.index_key();
            let mut list = match lists.remove(&key) {
                Some(list) => list,
                None => reader.records(&key)?,
            };
            let new = IndexRecord { tx_id, entry, assurance: record.assurance };
            index::insert(&mut list, new, record.submitter, submitter_of)?;
            lists.insert(key, list);
        }
    }
    Ok((lists, end.index_root))
}

fn trie_leaf((key, list): (&Digest, &Vec<IndexRecord>)) -> trie::Leaf {
    trie::Leaf { key: *key, value_hash: Digest::of_parts(&[&encode_value(list)]) }
}
