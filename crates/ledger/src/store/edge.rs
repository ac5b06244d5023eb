//! The growing right edge of the log's tree: what has to be known to append to it.
//!
//! Not for: tiles that are complete; those are on disk.

use birthmark_core::merkle::{self, Frontier, MerkleError, TreeHash};
use birthmark_core::tile::{SubtreePlace, TileError};

use super::{StoreError, StoreReader};

/// The growing right edge of the tree, which only the writer holds.
#[derive(Debug)]
pub(crate) struct Edge {
    frontier: Frontier,
    /// Hashes of the last, unfinished tile of each level.
    tiles: Vec<Vec<u8>>,
}

impl Edge {
    /// The edge of the tree without leaves.
    pub(crate) const fn empty() -> Self {
        Self { frontier: Frontier::new(), tiles: Vec::new() }
    }

    /// That of the tree of `size` leaves, to go on from.
    pub(crate) fn load(reader: &StoreReader, size: u64) -> Result<Self, StoreError> {
        let frontier = Frontier::load(size, &mut |level, index| reader.subtree(level, index))?;
        let mut tiles = Vec::new();
        let mut items = size;
        for level in 0u8.. {
            if items == 0 {
                break;
            }
            let (index, width) = (items / TILE_WIDTH, items % TILE_WIDTH);
            let mut hashes = Vec::new();
            if width > 0 {
                let width = u16::try_from(width).unwrap_or(u16::MAX);
                let stored = reader.tile(level, index, width)?;
                hashes.extend_from_slice(stored.get(..usize::from(width) * HASH_LEN).unwrap_or_default());
            }
            tiles.push(hashes);
            items /= TILE_WIDTH;
        }
        Ok(Self { frontier, tiles })
    }

    pub(crate) const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Appends leaves and tells `write` of each tile that changed.
    pub(crate) fn append<'a>(
        &mut self,
        leaves: impl Iterator<Item = &'a [u8]>,
        mut write: impl FnMut(u8, u64, &[u8]),
    ) -> Result<(), MerkleError> {
        let tiles = &mut self.tiles;
        let mut unfinished: Vec<Option<u64>> = Vec::new();
        for leaf in leaves {
            let hash = merkle::leaf_hash(leaf);
            self.frontier.append(hash, |level, index, hash| {
                if level % 8 != 0 {
                    return;
                }
                let at = usize::from(level / 8);
                if tiles.len() <= at {
                    tiles.resize_with(at + 1, Vec::new);
                }
                if unfinished.len() <= at {
                    unfinished.resize(at + 1, None);
                }
                let (Some(tile), Some(changed)) = (tiles.get_mut(at), unfinished.get_mut(at)) else { return };
                tile.extend_from_slice(hash.as_bytes());
                *changed = Some(index / TILE_WIDTH);
                if index % TILE_WIDTH == TILE_WIDTH - 1 {
                    tile.extend(middle(tile));
                    write(level / 8, index / TILE_WIDTH, tile);
                    tile.clear();
                    *changed = None;
                }
            })?;
        }
        for (level, (tile, changed)) in (0u8..).zip(tiles.iter().zip(unfinished)) {
            if let Some(index) = changed {
                write(level, index, tile);
            }
        }
        Ok(())
    }
}

/// The hashes four levels above those of a complete tile.
fn middle(tile: &[u8]) -> Vec<u8> {
    let (hashes, _) = tile.as_chunks::<HASH_LEN>();
    let hashes: Vec<_> = hashes.iter().map(|hash| TreeHash::from_bytes(*hash)).collect();
    hashes.chunks(1 << MIDDLE).flat_map(|below| *merkle::root_of(below).as_bytes()).collect()
}

/// The hash of the complete subtree `(level, index)` out of the tile that it lies in, as stored. Of a
/// complete tile the upper half is known, so that a proof hashes 22 nodes a tile instead of 247.
pub(super) fn hash_in(tile: &[u8], place: &SubtreePlace, level: u8, index: u64) -> Result<TreeHash, TileError> {
    let (Some(above), Some(middle)) = ((level % 8).checked_sub(MIDDLE), tile.get(TILE_LEN..COMPLETE_LEN)) else {
        return place.hash_in(tile);
    };
    let (middle, _) = middle.as_chunks::<HASH_LEN>();
    let first = usize::try_from((index << above) % MIDDLES).unwrap_or_default();
    let below = middle.get(first..first + (1 << above)).unwrap_or_default();
    let below: Vec<_> = below.iter().map(|hash| TreeHash::from_bytes(*hash)).collect();
    Ok(merkle::root_of(&below))
}

pub(crate) fn tile_key(level: u8, index: u64) -> [u8; 9] {
    let mut key = [level; 9];
    if let Some(rest) = key.last_chunk_mut() {
        *rest = index.to_be_bytes();
    }
    key
}

pub(super) const HASH_LEN: usize = 32;
const TILE_WIDTH: u64 = 256;
const TILE_LEN: usize = 256 * HASH_LEN;
/// Half the height of a tile.
const MIDDLE: u8 = 4;
const MIDDLES: u64 = 16;
const COMPLETE_LEN: usize = TILE_LEN + 16 * HASH_LEN;
