//! Pages of all images under a prefix of their index keys, each with its proof.
//!
//! For: whoever does not want to tell which image is asked about. Not for: the page's form and what is concluded from
//! it (`birthmark_core::prefix`).

use std::collections::HashMap;

use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::TxId;
use birthmark_core::index::encode_value;
use birthmark_core::index::trie;
use birthmark_core::merkle::{self, TreeHash};
use birthmark_core::prefix::{KeyPrefix, MAX_IMAGES, PrefixImage, PrefixPage};
use birthmark_core::proof::ProofBundle;

use super::{LedgerError, Reading, record_leaf};
use crate::store::StoreError;
use crate::trie::Part;

impl Reading {
    /// The page that begins at `from`, a key under the prefix, under the checkpoint that covers this state and no
    /// more. Nothing if no page begins there.
    pub fn page(
        &self,
        prefix: &KeyPrefix,
        from: Option<&Digest>,
        checkpoint: &str,
    ) -> Result<Option<PrefixPage>, LedgerError> {
        let first = prefix.first();
        let from = from.unwrap_or(&first);
        if !prefix.covers(from) {
            return Ok(None);
        }
        let Some(Part { at, siblings, hash }) = self.trie.part(prefix, from, MAX_IMAGES) else { return Ok(None) };
        let filed = self.store.index_records(&at)?;
        let leaf = |(key, records): &(Digest, Vec<_>)| trie::Leaf {
            key: *key,
            value_hash: Digest::of_parts(&[&encode_value(records)]),
        };
        // A damaged store must not turn into a wrong proof.
        if trie::root_of(&filed.iter().map(leaf).collect::<Vec<_>>(), at.len()) != hash {
            return Err(StoreError::Damaged { what: "the index is not the one that its root was made of" }.into());
        }
        let mut known = HashMap::new();
        let images = filed.into_iter().map(|(key, records)| {
            let best =
                records.first().ok_or(StoreError::Damaged { what: "the index names an image without records" })?;
            let proof = self.proof(best.tx_id, &mut known)?;
            Ok(PrefixImage::new(key, records, &proof))
        });
        let images = images.collect::<Result<_, LedgerError>>()?;
        let (leaf, inclusion) = self.last_leaf()?;
        let ends_here = at.len() < prefix.bits();
        Ok(Some(PrefixPage {
            prefix: *prefix,
            from: at.first(),
            checkpoint: checkpoint.to_owned(),
            leaf: hex::encode(leaf),
            inclusion: inclusion.iter().map(|hash| Digest::from_bytes(*hash.as_bytes())).collect(),
            siblings,
            images,
            next: at.next().filter(|next| !ends_here && prefix.covers(next)),
        }))
    }

    /// A record's proof without its checkpoint. Many of a page share hashes, which are kept in `known`.
    fn proof(&self, tx_id: TxId, known: &mut HashMap<(u8, u64), TreeHash>) -> Result<ProofBundle, LedgerError> {
        let leaf = self.store.leaf(tx_id)?;
        let endorsement = match record_leaf(&leaf)?.endorsement_hash {
            Some(_) => self.store.endorsement(tx_id)?,
            None => None,
        };
        let path = merkle::prove_inclusion(tx_id.0, self.head.size, &mut |level, index| {
            if let Some(hash) = known.get(&(level, index)) {
                return Ok(*hash);
            }
            let peak = self.peaks.iter().find(|(place, _)| *place == (level, index));
            let hash = peak.map_or_else(|| self.store.subtree(level, index), |(_, hash)| Ok(*hash))?;
            known.insert((level, index), hash);
            Ok::<_, StoreError>(hash)
        })?;
        Ok(ProofBundle { leaf, endorsement, index: tx_id.0, path, checkpoint: String::new() })
    }
}
