//! Index, bodies and endorsements against the leaves that they follow from.

use std::collections::BTreeMap;

use birthmark_core::body::Body;
use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::{AuthorityId, TxId};
use birthmark_core::index::IndexRecord;
use birthmark_core::leaf::{Leaf, RecordLeaf};

use super::{Check, Progress, Stop, damage};
use crate::index;
use crate::ledger::{Head, record_leaf};
use crate::store::{Section, StoreError, body_key, pack_list};

impl Check {
    /// All lists of records, computed anew piece by piece so that memory stays bounded, and the index root
    /// in the last block's leaf. Gives the number of keys.
    pub(super) fn index(&self, head: &Head, progress: &mut dyn FnMut(Progress)) -> Result<u64, Stop> {
        let pieces = (self.reader.about_keys() / KEYS_A_PIECE + 1).min(u64::from(u16::MAX));
        let mut images = 0;
        for piece in 0..pieces {
            let bound = |piece: u64| u32::try_from((piece * 65_536).div_ceil(pieces)).unwrap_or(65_536);
            let (from, to) = (bound(piece), bound(piece + 1));
            let mut lists = BTreeMap::<Digest, Vec<IndexRecord>>::new();
            self.each_record(|tx_id, record| {
                for (entry, image) in (1u8..).zip(record.entries.as_slice()) {
                    let key = image.hash.index_key();
                    if (from..to).contains(&first_16_bits(key.as_bytes())) {
                        let new = IndexRecord { tx_id, entry, assurance: record.assurance };
                        let list = lists.entry(key).or_default();
                        let submitter_of = |tx_id| Ok(record_leaf(&self.reader.leaf(tx_id)?)?.submitter);
                        let filed = index::insert(list, new, record.submitter, submitter_of);
                        self.in_place::<()>(Section::Leaves, &tx_id.0.to_be_bytes(), filed)?;
                    }
                }
                if tx_id.0.is_multiple_of(1024) {
                    progress(Progress {
                        stage: "index",
                        done: (piece * head.size + tx_id.0) / pieces,
                        total: head.size,
                    });
                }
                Ok(())
            })?;
            images += lists.len() as u64;
            self.same_lists((from, to), lists)?;
        }
        let last = head.size.saturating_sub(1).to_be_bytes();
        match self.reader.checked_trie(head) {
            Err(StoreError::IndexRoot { height }) => {
                let found = format!("the leaf of block {}, with another index root", height.0);
                Err(damage(Section::Leaves, &last, found, "one with the root of the index that the leaves give"))
            }
            checked => self.in_place(Section::Index, &[], checked).map(|_| images),
        }
    }

    /// What is stored in this piece is exactly these lists.
    fn same_lists(&self, (from, to): (u32, u32), lists: BTreeMap<Digest, Vec<IndexRecord>>) -> Result<(), Stop> {
        let Ok(from) = u16::try_from(from) else { return Ok(()) };
        let mut last = from.to_be_bytes().to_vec();
        let mut stored = self.reader.from(Section::Index, &from.to_be_bytes());
        for (key, list) in lists {
            let should = pack_list(&list);
            let entry = stored.next().transpose();
            match self.in_place(Section::Index, &last, entry)? {
                Some((found, value)) if *found == *key.as_bytes() => {
                    if *value != *should {
                        return Err(damage(Section::Index, &found, hex::encode(&value), hex::encode(&should)));
                    }
                    last = found.to_vec();
                }
                Some((found, value)) if *found < key.as_bytes()[..] => return Err(no_image(&found, &value)),
                Some(_) | None => {
                    return Err(damage(Section::Index, key.as_bytes(), "missing", hex::encode(&should)));
                }
            }
        }
        match self.in_place(Section::Index, &last, stored.next().transpose())? {
            Some((found, value)) if first_16_bits(&found) < to => Err(no_image(&found, &value)),
            Some(_) | None => Ok(()),
        }
    }

    /// Every record's body is known at its assurance or a better one, and every known body is a record's.
    pub(super) fn bodies(&self, head: &Head, progress: &mut dyn FnMut(Progress)) -> Result<(), Stop> {
        self.each_record(|tx_id, record| {
            let digest = self.digest_of(tx_id, record)?;
            let known = self.in_place(Section::Bodies, &digest, self.reader.body_at(&digest))?;
            let fits = known.is_some_and(|(at, assurance)| {
                if at == tx_id { assurance == record.assurance } else { assurance >= record.assurance }
            });
            if tx_id.0.is_multiple_of(1024) {
                progress(Progress { stage: "bodies", done: tx_id.0, total: head.size });
            }
            if fits {
                return Ok(());
            }
            let found =
                known.map_or_else(|| "missing".to_owned(), |(at, assurance)| format!("{} at {assurance:?}", at.0));
            Err(damage(Section::Bodies, &digest, found, format!("{} at {:?}, or better", tx_id.0, record.assurance)))
        })?;
        for entry in self.all(Section::Bodies) {
            let (key, value) = entry?;
            let known = self.in_place(Section::Bodies, &key, self.reader.body_at(&key))?;
            let Some((tx_id, assurance)) = known else { continue };
            let record = self.reader.leaf(tx_id).and_then(|leaf| record_leaf(&leaf));
            let is_its = match record {
                Ok(record) => record.assurance == assurance && self.digest_of(tx_id, &record)? == *key,
                Err(StoreError::Damaged { .. }) => false,
                Err(cause) => self.in_place(Section::Leaves, &tx_id.0.to_be_bytes(), Err(cause))?,
            };
            if !is_its {
                return Err(damage(
                    Section::Bodies,
                    &key,
                    hex::encode(&value),
                    "the place of the record with this body",
                ));
            }
        }
        Ok(())
    }

    /// Under which key a record's body is known.
    fn digest_of(&self, tx_id: TxId, record: &RecordLeaf) -> Result<[u8; 16], Stop> {
        let name = self.network.authority_name(record.authority).and_then(|name| AuthorityId::new(name).ok());
        let unknown =
            || damage(Section::Leaves, &tx_id.0.to_be_bytes(), "an unknown authority", "one of the network's");
        let authority = name.ok_or_else(unknown)?;
        Ok(body_key(Body { authority, entries: record.entries.clone() }.digest().as_bytes()))
    }

    /// Endorsements may be dropped; those that are kept are the ones that the leaves name. Gives their number.
    pub(super) fn endorsements(&self) -> Result<u64, Stop> {
        let mut kept = 0;
        for entry in self.all(Section::Endorsements) {
            let (key, value) = entry?;
            let leaf = self.get(Section::Leaves, &key)?.and_then(|leaf| record_leaf(&leaf).ok());
            let Some(should) = leaf.and_then(|leaf| leaf.endorsement_hash) else {
                return Err(damage(Section::Endorsements, &key, "an endorsement", "nothing: the leaf names none"));
            };
            let found = Digest::of_parts(&[&value]);
            if found != should {
                let text = |hash: Digest| format!("an endorsement with hash {}", hex::encode(hash.as_bytes()));
                return Err(damage(Section::Endorsements, &key, text(found), text(should)));
            }
            kept += 1;
        }
        Ok(kept)
    }

    /// All records of the log, whose leaves have been checked.
    fn each_record(&self, mut each: impl FnMut(TxId, &RecordLeaf) -> Result<(), Stop>) -> Result<(), Stop> {
        for (tx_id, entry) in (0..).map(TxId).zip(self.all(Section::Leaves)) {
            if let Ok(Leaf::Record(record)) = Leaf::decode(&entry?.1) {
                each(tx_id, &record)?;
            }
        }
        Ok(())
    }
}

fn no_image(key: &[u8], value: &[u8]) -> Stop {
    damage(Section::Index, key, hex::encode(value), "nothing: no leaf has this image")
}

fn first_16_bits(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes)).into()
}

/// About 150 MB of lists.
const KEYS_A_PIECE: u64 = 1_000_000;
