//! The first bits of a key.

use std::ops::RangeInclusive;

use birthmark_core::hash::Digest;
use birthmark_core::index::trie;

/// The first bits of a key: where a subtree stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The bits, then zeros.
    pub(super) bits: [u8; 32],
    pub(super) len: usize,
}

impl Prefix {
    pub(super) const ALL: Self = Self { bits: [0; 32], len: 0 };

    /// From the first to the last key that may stand there.
    pub(crate) fn range(&self) -> RangeInclusive<[u8; 32]> {
        let mut last = self.bits;
        for (at, byte) in last.iter_mut().enumerate() {
            let fixed = self.len.saturating_sub(8 * at).min(8);
            *byte |= u8::try_from(0xff_u16 >> fixed).unwrap_or_default();
        }
        self.bits..=last
    }

    /// The first key that may stand there.
    pub(crate) const fn first(&self) -> Digest {
        Digest::from_bytes(self.bits)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The first key behind all that may stand there.
    pub(crate) fn next(&self) -> Option<Digest> {
        let (mut next, mut at) = (self.bits, self.len);
        // Adds one to the last of its bits.
        while let Some(before) = at.checked_sub(1) {
            at = before;
            let (byte, bit) = (next.get_mut(at / 8)?, 0x80 >> (at % 8));
            *byte ^= bit;
            if *byte & bit != 0 {
                return Some(Digest::from_bytes(next));
            }
        }
        None
    }

    /// One bit more, that of a key below.
    pub(super) fn below(self, key: &Digest) -> Self {
        let [left, right] = self.halves();
        if trie::is_right(key, self.len) { right } else { left }
    }

    pub(super) fn halves(self) -> [Self; 2] {
        let left = Self { bits: self.bits, len: self.len + 1 };
        let mut right = left;
        if let Some(byte) = right.bits.get_mut(self.len / 8) {
            *byte |= 0x80 >> (self.len % 8);
        }
        [left, right]
    }
}
