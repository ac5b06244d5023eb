//! C2SP tlog-tiles: where the hashes and leaves of the log lie, and what is in them.
//!
//! For: the paths that a log serves, the widths of tiles in a tree of a given size, the hash of a
//! subtree out of a tile's bytes, and bundles of leaves.
//!
//! Not for: keeping tiles (`birthmark_ledger`) or serving them (`birthmark_node`), nor for the
//! meaning of a leaf (`leaf`).
//!
//! Format: C2SP tlog-tiles; `docs/PROTOCOL.md` section 8.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]        L 0..7, hashes of 32 bytes
//! tile/entries/<N>[.p/<W>]    entries of be16 len ‖ leaf
//! N: groups of three digits, all but the last behind an x: 1234067 is x001/x234/067
//! W: 1..255, only for a tile that is not full
//! ```

mod entries;
mod path;

pub use self::entries::{decode_entries, encode_entries};
use crate::merkle::{TreeHash, root_of};

/// Hashes in a full tile, leaves in a full bundle.
pub const FULL_WIDTH: u16 = 256;

/// Bytes of one hash.
const HASH_LEN: usize = 32;

/// Levels of the tree that one tile spans.
const HEIGHT: u8 = 8;

/// The highest level of a tile in a tree of fewer than 2^64 leaves.
const MAX_LEVEL: u8 = 7;

/// Why a path, a tile or a bundle was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// Not a path of the form given above, or a second spelling of one.
    #[error("not the path of a tile")]
    Path,
    /// Such a tile cannot exist in a tree of fewer than 2^64 leaves.
    #[error("no tree is large enough to have this tile")]
    OutOfRange,
    /// A tile's bytes are too few for the subtree, or no whole number of hashes.
    #[error("a tile of {0} bytes does not hold the subtree asked for")]
    TileLength(usize),
    /// A bundle does not hold exactly the leaves that it should.
    #[error("the bundle does not hold exactly {expected} leaves")]
    EntryCount {
        /// Leaves wanted.
        expected: u16,
    },
    /// A leaf is longer than its two-byte length can say.
    #[error("a leaf of {0} bytes is too long for a bundle")]
    EntryLength(usize),
    /// A bundle ends inside a leaf.
    #[error("the bundle ends inside a leaf")]
    Truncated,
}

/// The place of one tile: what follows `tile/` in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of complete subtrees of 256^level leaves.
    Hashes {
        /// 0 to 7.
        level: u8,
    },
    /// The leaves themselves, beside the tile of hashes at level 0.
    Entries,
}

impl TileKind {
    /// The level of the hashes that the tile holds or stands beside.
    pub const fn level(self) -> u8 {
        match self {
            Self::Hashes { level } => level,
            Self::Entries => 0,
        }
    }
}

impl Tile {
    /// A tile of `width` (1 to 256) items.
    pub fn new(kind: TileKind, index: u64, width: u16) -> Result<Self, TileError> {
        // Level l of the largest tree has 2^(64 - 8l) hashes, 256 to a tile.
        let fits = kind.level() <= MAX_LEVEL
            && index < 1 << (u8::BITS * u32::from(MAX_LEVEL - kind.level()))
            && (1..=FULL_WIDTH).contains(&width);
        if fits { Ok(Self { kind, index, width }) } else { Err(TileError::OutOfRange) }
    }

    /// The tile as it stands in a tree of `size` leaves; `None` where it would be empty.
    pub fn in_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let full = Self::new(kind, index, FULL_WIDTH).ok()?;
        let items = (size >> (kind.level() * HEIGHT)).checked_sub(full.first_item())?;
        let width = u16::try_from(items).unwrap_or(FULL_WIDTH).min(FULL_WIDTH);
        Self::new(kind, index, width).ok()
    }

    /// What it holds.
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its number among the tiles of its kind.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Items in it, 1 to 256.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// The number of its first hash among the hashes of its level, or of its first leaf.
    pub const fn first_item(&self) -> u64 {
        self.index << HEIGHT
    }

    /// Whether a log of `size` leaves has all of this tile's items.
    pub fn exists_in(&self, size: u64) -> bool {
        Self::in_tree(self.kind, self.index, size).is_some_and(|tile| tile.width >= self.width)
    }
}

/// The tiles of one kind and level that a tree has after growing from `old_size` to `new_size` and
/// did not have before, in order. Partial ones that the growth outdated are not among them.
pub fn new_tiles(kind: TileKind, old_size: u64, new_size: u64) -> impl Iterator<Item = Tile> {
    let shift = kind.level().min(MAX_LEVEL) * HEIGHT;
    let (old, new) = (old_size >> shift, new_size >> shift);
    let first = old >> HEIGHT;
    let end = if new > old { new.div_ceil(u64::from(FULL_WIDTH)) } else { first };
    (first..end).filter_map(move |index| Tile::in_tree(kind, index, new_size))
}

/// All kinds of tiles in a tree: leaves, then hashes from level 0 up.
pub fn kinds() -> impl Iterator<Item = TileKind> {
    std::iter::once(TileKind::Entries).chain((0..=MAX_LEVEL).map(|level| TileKind::Hashes { level }))
}

/// Where in the tiles the hash of a complete subtree comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubtreePlace {
    /// The level of the tile.
    pub tile_level: u8,
    /// The number of the tile in its level.
    pub tile_index: u64,
    start: usize,
    count: usize,
}

impl SubtreePlace {
    /// The place of the complete subtree `(level, index)` as `merkle` names it.
    pub fn of(level: u8, index: u64) -> Result<Self, TileError> {
        let bits_above = 64u32.checked_sub(u32::from(level)).ok_or(TileError::OutOfRange)?;
        if bits_above == 0 || (bits_above < 64 && index >> bits_above != 0) {
            return Err(TileError::OutOfRange);
        }
        let (tile_level, height) = (level / HEIGHT, level % HEIGHT);
        let first = index << height;
        let [start, ..] = first.to_le_bytes();
        Ok(Self { tile_level, tile_index: first >> HEIGHT, start: usize::from(start), count: 1 << height })
    }

    /// The narrowest tile that holds the subtree.
    pub fn min_tile(&self) -> Result<Tile, TileError> {
        let width = u16::try_from(self.start + self.count).map_err(|_| TileError::OutOfRange)?;
        Tile::new(TileKind::Hashes { level: self.tile_level }, self.tile_index, width)
    }

    /// The subtree's hash out of the bytes of that tile, which may be wider than needed.
    pub fn hash_in(&self, tile: &[u8]) -> Result<TreeHash, TileError> {
        let (hashes, []) = tile.as_chunks::<HASH_LEN>() else { return Err(TileError::TileLength(tile.len())) };
        let mine = hashes.get(self.start..self.start + self.count).ok_or(TileError::TileLength(tile.len()))?;
        let mine: Vec<TreeHash> = mine.iter().map(|bytes| TreeHash::from_bytes(*bytes)).collect();
        Ok(root_of(&mine))
    }
}

#[cfg(test)]
mod tests;
