//! The text of a tile's path, read and written.

use std::fmt;
use std::str::FromStr;

use super::{FULL_WIDTH, Tile, TileError, TileKind};

/// Longer than any path of a tile.
const MAX_PATH_LEN: usize = 64;

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = Vec::with_capacity(7);
        let mut rest = self.index;
        loop {
            groups.push(rest % 1000);
            rest /= 1000;
            if rest == 0 {
                break;
            }
        }
        while let Some(group) = groups.pop() {
            let (x, slash) = if groups.is_empty() { ("", "") } else { ("x", "/") };
            write!(f, "{x}{group:03}{slash}")?;
        }
        if self.width < FULL_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for Tile {
    type Err = TileError;

    /// Reads a path without a leading slash. Each tile has exactly one spelling.
    fn from_str(path: &str) -> Result<Self, TileError> {
        if path.len() > MAX_PATH_LEN {
            return Err(TileError::Path);
        }
        let (kind, rest) = path.strip_prefix("tile/").and_then(|p| p.split_once('/')).ok_or(TileError::Path)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes { level: number(level, 63)?.to_le_bytes()[0] },
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, u16::try_from(number(width, 255)?).map_err(|_| TileError::Path)?),
            None => (rest, FULL_WIDTH),
        };
        let mut value = 0u64;
        for group in index.split('/') {
            let digits = number(group.strip_prefix('x').unwrap_or(group), 999)?;
            value = value.checked_mul(1000).and_then(|v| v.checked_add(digits)).ok_or(TileError::OutOfRange)?;
        }
        let tile = Self::new(kind, value, width)?;
        // Whatever is spelled otherwise than we spell it (a group too many, an x too few, a short
        // group, a leading zero) falls out here.
        if tile.to_string() == path { Ok(tile) } else { Err(TileError::Path) }
    }
}

/// ASCII digits of a value up to `max`.
fn number(text: &str, max: u64) -> Result<u64, TileError> {
    if text.is_empty() || text.len() > 3 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TileError::Path);
    }
    text.parse().ok().filter(|value| *value <= max).ok_or(TileError::Path)
}
