//! Blocks against their leaves, leaves against tiles, and the tree against all that has signed it.

use std::collections::BTreeMap;

use birthmark_core::hex;
use birthmark_core::ids::Height;
use birthmark_core::leaf::Leaf;
use birthmark_core::merkle::{self, TreeHash};
use birthmark_core::time::Minute;

use super::{Check, Progress, SignedTree, Stop, damage};
use crate::ledger::{BlockInfo, Head};
use crate::store::{Edge, Section, tile_key};

/// The right edge of the tree so far, and its tiles that are not complete yet.
struct Growing {
    edge: Edge,
    unfinished: BTreeMap<u8, (u64, Vec<u8>)>,
}

impl Check {
    pub(super) fn log(
        &self,
        head: &Head,
        signed: &[SignedTree],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Stop> {
        let (mut blocks, mut starts) = (self.all(Section::Blocks), self.all(Section::Starts));
        let mut leaves = self.all(Section::Leaves);
        let mut tree = Growing { edge: Edge::empty(), unfinished: BTreeMap::new() };
        let mut before: Option<BlockInfo> = None;
        for height in 0..=head.height.0 {
            let row = due(Section::Blocks, &height.to_be_bytes(), blocks.next())?;
            let first = tree.edge.frontier().size();
            let block = self.block(Height(height), &row, before.as_ref(), first)?;
            if block.count > 0 {
                let start = due(Section::Starts, &first.to_be_bytes(), starts.next())?;
                same(Section::Starts, &first.to_be_bytes(), &start, &height.to_be_bytes())?;
                let mut own = Vec::new();
                for tx_id in first..first.saturating_add(block.count.into()) {
                    let leaf = due(Section::Leaves, &tx_id.to_be_bytes(), leaves.next())?;
                    let is_last = tx_id + 1 == first + u64::from(block.count);
                    self.leaf(tx_id, &leaf, &block, is_last)?;
                    own.push(leaf.to_vec());
                }
                self.grow(&mut tree, &own)?;
            }
            before = Some(block);
            progress(Progress { stage: "log", done: tree.edge.frontier().size().min(head.size), total: head.size });
        }
        nothing_left(Section::Blocks, blocks.next())?;
        nothing_left(Section::Starts, starts.next())?;
        nothing_left(Section::Leaves, leaves.next())?;
        self.edge(head, &tree)?;
        self.no_other_tiles(head.size)?;
        let last = before.map(|block| (block.digest, block.minute));
        if (tree.edge.frontier().size(), tree.edge.frontier().root()) != (head.size, head.root)
            || last != Some((head.digest, head.minute))
        {
            let should = tree_text(tree.edge.frontier().size(), &tree.edge.frontier().root());
            return Err(damage(Section::Meta, b"head", tree_text(head.size, &head.root), should));
        }
        self.signed(head, signed)
    }

    fn block(&self, height: Height, row: &[u8], before: Option<&BlockInfo>, first: u64) -> Result<BlockInfo, Stop> {
        let key = height.0.to_be_bytes();
        let block = self.in_place(Section::Blocks, &key, BlockInfo::decode(height, row))?;
        let wrong = |found: String, should: String| Err(damage(Section::Blocks, &key, found, should));
        // The first block's parent is the engine's own genesis, which the ledger does not know.
        if let Some(before) = before.filter(|before| before.height.0 > 0 && before.digest != block.parent) {
            return wrong(
                format!("parent {}", hex::encode(block.parent)),
                format!("parent {}", hex::encode(before.digest)),
            );
        }
        if block.first.0 != first {
            return wrong(format!("first leaf {}", block.first.0), format!("first leaf {first}"));
        }
        let least = before.map_or(Minute(0), |before| before.minute);
        if block.minute < least {
            return wrong(format!("minute {}", block.minute.0), format!("minute {} or later", least.0));
        }
        Ok(block)
    }

    fn leaf(&self, tx_id: u64, bytes: &[u8], block: &BlockInfo, is_last: bool) -> Result<(), Stop> {
        let fits = match Leaf::decode(bytes) {
            Ok(Leaf::Record(record)) => !is_last && record.minute == block.minute,
            Ok(Leaf::Act(act)) => !is_last && (act.height, act.minute) == (block.height, block.minute),
            Ok(Leaf::Block(end)) => is_last && (end.height, end.minute) == (block.height, block.minute),
            Err(_) => false,
        };
        if fits { Ok(()) } else { Err(self.wrong_leaf(tx_id, bytes)) }
    }

    fn wrong_leaf(&self, tx_id: u64, bytes: &[u8]) -> Stop {
        let at = usize::try_from(tx_id % 256).unwrap_or_default();
        let tile = self.get(Section::Tiles, &tile_key(0, tx_id / 256));
        let hash = tile.ok().flatten().and_then(|tile| tile.as_chunks::<32>().0.get(at).map(hex::encode));
        let should = hash.map_or_else(|| "a leaf of its block".to_owned(), |hash| format!("a leaf with hash {hash}"));
        let found = format!("a leaf with hash {}", hex::encode(merkle::leaf_hash(bytes).as_bytes()));
        damage(Section::Leaves, &tx_id.to_be_bytes(), found, should)
    }

    /// Appends a block's leaves and holds every tile that they complete against the stored one.
    fn grow(&self, tree: &mut Growing, leaves: &[Vec<u8>]) -> Result<(), Stop> {
        let mut complete = Vec::new();
        let unfinished = &mut tree.unfinished;
        let grown = tree.edge.append(leaves.iter().map(Vec::as_slice), |level, index, hashes| {
            if hashes.len() > FULL {
                unfinished.remove(&level);
                complete.push((level, index, hashes.to_vec()));
            } else {
                unfinished.insert(level, (index, hashes.to_vec()));
            }
        });
        let key = tree.edge.frontier().size().to_be_bytes();
        self.in_place(Section::Leaves, &key, grown.map_err(Into::into))?;
        complete.into_iter().try_for_each(|(level, index, hashes)| {
            self.tile(level, index, &hashes, |stored| {
                // The hash that the level above has of this tile says whether tile or leaf is wrong.
                let above = self.get(Section::Tiles, &tile_key(level + 1, index / 256)).ok().flatten();
                let at = usize::try_from(index % 256).unwrap_or_default();
                let above = above.and_then(|above| above.as_chunks::<32>().0.get(at).copied());
                above.is_some_and(|above| above == *root_of(stored).as_bytes())
            })
        })
    }

    /// The tiles at the right edge, which are not complete.
    fn edge(&self, head: &Head, tree: &Growing) -> Result<(), Stop> {
        let as_signed = tree.edge.frontier().root() == head.root;
        tree.unfinished
            .iter()
            .try_for_each(|(level, (index, hashes))| self.tile(*level, *index, hashes, |_| !as_signed))
    }

    /// Holds a tile against the stored one. Where they differ, `is_right` tells whether the stored one is
    /// right after all, and a leaf wrong.
    fn tile(&self, level: u8, index: u64, hashes: &[u8], is_right: impl Fn(&[u8]) -> bool) -> Result<(), Stop> {
        let key = tile_key(level, index);
        let stored = self.get(Section::Tiles, &key)?;
        let Some(stored) = stored else {
            return Err(damage(Section::Tiles, &key, "missing", format!("{} bytes of hashes", hashes.len())));
        };
        if *stored == *hashes {
            return Ok(());
        }
        let (ours, theirs) = (hashes.as_chunks::<32>().0, stored.as_chunks::<32>().0);
        let at = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
        let tx_id = index * 256 + at as u64;
        if level == 0
            && at < 256.min(ours.len())
            && is_right(&stored)
            && let Some(leaf) = self.get(Section::Leaves, &tx_id.to_be_bytes())?
        {
            return Err(self.wrong_leaf(tx_id, &leaf));
        }
        let hash = |hashes: &[[u8; 32]]| hashes.get(at).map_or_else(|| "nothing".to_owned(), hex::encode);
        let text = |hashes: &[[u8; 32]]| format!("hash {at} {}", hash(hashes));
        Err(damage(Section::Tiles, &key, text(theirs), text(ours)))
    }

    fn no_other_tiles(&self, size: u64) -> Result<(), Stop> {
        for entry in self.all(Section::Tiles) {
            let (key, _) = entry?;
            let known = key.split_first().and_then(|(level, index)| {
                let index = u64::from_be_bytes(index.try_into().ok()?);
                let items = size.checked_shr(8 * u32::from(*level)).unwrap_or_default();
                (index < items.div_ceil(256)).then_some(())
            });
            known.ok_or_else(|| damage(Section::Tiles, &key, "a tile", "nothing: the tree has no such tile"))?;
        }
        Ok(())
    }

    /// The kept checkpoint and all other signed trees are the log's.
    fn signed(&self, head: &Head, signed: &[SignedTree]) -> Result<(), Stop> {
        let mut trees = signed.to_vec();
        if let Some(note) = self.in_place(Section::Meta, b"checkpoint", self.reader.checkpoint())? {
            let verified = self.network.verify_checkpoint(&note);
            let known = verified.map_err(|cause| {
                damage(Section::Meta, b"checkpoint", cause.to_string(), "a checkpoint that a quorum has signed")
            })?;
            let (size, root) = (known.checkpoint.size, known.checkpoint.root);
            trees.push(SignedTree { place: "the checkpoint", size, root });
        }
        for SignedTree { place, size, root } in trees {
            let should = format!("{}, which {place} has", tree_text(size, &root));
            if size > head.size {
                return Err(damage(Section::Meta, b"head", tree_text(head.size, &head.root), should));
            }
            let source = &mut |level, index| self.reader.subtree(level, index);
            let own = self.in_place(Section::Tiles, &[], merkle::root(size, source))?;
            if own != root {
                return Err(damage(Section::Meta, b"head", tree_text(size, &own), should));
            }
        }
        Ok(())
    }
}

pub(super) type Next = Option<Result<(fjall::UserKey, fjall::UserValue), Stop>>;

/// The value of the key that must come next.
pub(super) fn due(section: Section, key: &[u8], next: Next) -> Result<fjall::UserValue, Stop> {
    match next.transpose()? {
        Some((found, value)) if *found == *key => Ok(value),
        Some((found, _)) if *found < *key => Err(damage(section, &found, "a value", "nothing")),
        Some(_) | None => Err(damage(section, key, "missing", "a value, for the log goes on")),
    }
}

fn same(section: Section, key: &[u8], found: &[u8], should: &[u8]) -> Result<(), Stop> {
    if found == should { Ok(()) } else { Err(damage(section, key, hex::encode(found), hex::encode(should))) }
}

pub(super) fn nothing_left(section: Section, next: Next) -> Result<(), Stop> {
    match next.transpose()? {
        None => Ok(()),
        Some((key, _)) => {
            Err(damage(section, &key, "a value", "nothing: it lies beyond the last block, which meta's head names"))
        }
    }
}

fn tree_text(size: u64, root: &TreeHash) -> String {
    format!("{size} leaves with root {}", hex::encode(root.as_bytes()))
}

/// The root of a complete tile.
fn root_of(tile: &[u8]) -> TreeHash {
    let hashes: Vec<_> = tile.as_chunks().0.iter().take(256).map(|hash| TreeHash::from_bytes(*hash)).collect();
    merkle::root_of(&hashes)
}

/// A complete tile has its middle hashes besides.
const FULL: usize = 256 * 32;
