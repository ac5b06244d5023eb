//! Which version 1 tokens are certainly not among those that ever passed.
//!
//! For: leaving out the look-up of a token that is new, as nearly all are: in a table of millions it costs more than
//! the token's cryptography. Not for: saying that a token was used; only the table knows.
//!
//! A Bloom filter in blocks of one cache line, each with one bit in every word (the "split block" filter of Apache
//! Parquet), ten bits a token. It is filled from the table in its order, some rows in each job, and says nothing
//! about what it has not read. When it is full it begins anew, twice as large; when it may not grow any more it knows
//! the first part of the table, and begins anew with a smaller one once twice as much came as it has room for.
//! Whoever chooses tokens so that they meet here gets his look-ups as they were without it, and nothing else.

use rusqlite::Connection;

use crate::replay::UseId;

/// Tokens that may be in the table.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// A power of two of them, or none before the first row is read.
    blocks: Vec<[u64; 8]>,
    tokens: usize,
    read: Read,
}

/// How far the table was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Read {
    #[default]
    Nothing,
    /// Up to this token.
    To(UseId),
    Everything,
}

impl Seen {
    /// False only if the token is not in the table.
    pub(super) fn may_have(&self, id: UseId) -> bool {
        !self.has_read(id) || self.blocks.get(self.place(id)).is_none_or(|block| holds(block, id))
    }

    /// A token that is put into the table.
    pub(super) fn add(&mut self, id: UseId) {
        // What is read later is taken in then.
        if self.has_read(id) {
            self.set(id);
        }
    }

    /// Reads up to so many further tokens, if there is room for them in `most_blocks`, a power of two.
    pub(super) fn read_more(
        &mut self,
        connection: &Connection,
        most: usize,
        most_blocks: usize,
    ) -> rusqlite::Result<()> {
        let room = self.blocks.len() * TOKENS_A_BLOCK;
        if self.tokens >= room {
            let blocks = (self.blocks.len() * 2).max(FIRST_BLOCKS).min(most_blocks);
            if blocks <= self.blocks.len() && self.tokens < 2 * room {
                return Ok(());
            }
            *self = Self { blocks: vec![[0; 8]; blocks], ..Self::default() };
        }
        let after = match self.read {
            Read::Everything => return Ok(()),
            Read::To(last) => Some(last.0),
            Read::Nothing => None,
        };
        let mut statement = connection
            .prepare_cached("SELECT token FROM used_token WHERE ?1 IS NULL OR token > ?1 ORDER BY token LIMIT ?2")?;
        let mut rows = statement.query((after, i64::try_from(most).unwrap_or(i64::MAX)))?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            let id = UseId(row.get(0)?);
            self.set(id);
            self.read = Read::To(id);
            read += 1;
        }
        if read < most {
            self.read = Read::Everything;
        }
        Ok(())
    }

    fn has_read(&self, id: UseId) -> bool {
        match self.read {
            Read::Nothing => false,
            Read::To(last) => id <= last,
            Read::Everything => true,
        }
    }

    fn set(&mut self, id: UseId) {
        let place = self.place(id);
        let Some(block) = self.blocks.get_mut(place) else { return };
        for (word, mask) in masks(id) {
            if let Some(word) = block.get_mut(word) {
                *word |= mask;
            }
        }
        self.tokens += 1;
    }

    fn place(&self, id: UseId) -> usize {
        usize::try_from(mixed(id)).unwrap_or(0) & self.blocks.len().wrapping_sub(1)
    }
}

fn holds(block: &[u64; 8], id: UseId) -> bool {
    masks(id).all(|(word, mask)| block.get(word).is_none_or(|word| word & mask != 0))
}

/// One bit in each of the eight words.
fn masks(id: UseId) -> impl Iterator<Item = (usize, u64)> {
    // Other bits than those that choose the block.
    let bits = mixed(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ id.nonce_end().rotate_left(23);
    (0..8).map(move |number| (number, 1 << ((bits >> (6 * number)) & 63)))
}

/// A nonce is random, and a forger's is his own loss.
fn mixed(id: UseId) -> u64 {
    let word = id.nonce_end() ^ id.start().wrapping_mul(0xff51_afd7_ed55_8ccd);
    (word ^ (word >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

impl UseId {
    fn start(self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn nonce_end(self) -> u64 {
        self.0.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// At ten bits each.
const TOKENS_A_BLOCK: usize = 51;
/// 1 MiB, for 835,000 tokens.
const FIRST_BLOCKS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first tokens of a sequence that never repeats.
    fn ids(count: u32) -> impl Iterator<Item = UseId> {
        (0..count).map(|number| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&(number % 2_500_000).to_be_bytes());
            id[4..12].copy_from_slice(&u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            id[12..].copy_from_slice(&number.to_le_bytes());
            UseId(id)
        })
    }

    fn table(ids: impl Iterator<Item = UseId>) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE used_token (token BLOB PRIMARY KEY) WITHOUT ROWID; BEGIN").unwrap();
        for id in ids {
            connection.prepare_cached("INSERT INTO used_token VALUES (?1)").unwrap().execute([id.0]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        connection
    }

    #[test]
    fn a_full_filter_is_wrong_about_one_token_in_fifty_at_most() {
        let mut seen = Seen { blocks: vec![[0; 8]; 1024], read: Read::Everything, ..Seen::default() };
        let count = 1024 * TOKENS_A_BLOCK;
        let mut ids = ids(u32::MAX);
        ids.by_ref().take(count).for_each(|id| seen.add(id));
        let others: Vec<_> = ids.take(2 * count).collect();
        let wrong = others.iter().filter(|id| seen.may_have(**id)).count();
        assert!(wrong * 50 <= others.len(), "{wrong} of {}", others.len());
    }

    #[test]
    fn what_was_not_read_may_be_there() {
        let connection = table(ids(2000).step_by(2));
        let (mut seen, new) = (Seen::default(), ids(2000).skip(1).step_by(2).collect::<Vec<_>>());
        let unsure = |seen: &Seen| new.iter().filter(|id| seen.may_have(**id)).count();
        assert_eq!(unsure(&seen), 1000);
        let mut before = 1000;
        for _ in 0..9 {
            seen.read_more(&connection, 100, FIRST_BLOCKS).unwrap();
            assert!(unsure(&seen) < before, "{before}");
            before = unsure(&seen);
        }
        assert!(before > 0 && seen.read != Read::Everything);
        seen.read_more(&connection, 101, FIRST_BLOCKS).unwrap();
        assert_eq!((unsure(&seen), seen.read), (0, Read::Everything));
    }

    #[test]
    fn a_full_filter_grows_and_then_begins_anew_with_a_part_of_the_table() {
        let count = 2 * FIRST_BLOCKS * TOKENS_A_BLOCK;
        let connection = table(ids(u32::MAX).take(count + 1000));
        let mut seen = Seen::default();
        let read = |seen: &mut Seen| seen.read_more(&connection, count / 2, FIRST_BLOCKS * 2).unwrap();
        for expected in [FIRST_BLOCKS, 2 * FIRST_BLOCKS, 2 * FIRST_BLOCKS, 2 * FIRST_BLOCKS] {
            read(&mut seen);
            assert_eq!(seen.blocks.len(), expected);
        }
        let Read::To(last) = seen.read else { panic!("{:?}", seen.read) };
        assert_eq!(seen.tokens, count, "what it has room for");
        // The table begins with the lowest.
        ids(u32::MAX).filter(|id| *id <= last).take(count).for_each(|id| seen.add(id));
        assert_eq!(seen.tokens, 2 * count);
        read(&mut seen);
        assert_eq!((seen.blocks.len(), seen.tokens), (2 * FIRST_BLOCKS, count / 2));
        ids(u32::MAX).take(count).for_each(|id| assert!(seen.may_have(id)));
    }

    proptest! {
        #[test]
        fn what_was_put_in_or_read_is_never_denied(
            stored in proptest::collection::btree_set(any::<[u8; 16]>(), 0..200),
            added in proptest::collection::vec(any::<[u8; 16]>(), 0..50),
            steps in proptest::collection::vec(1usize..60, 0..8),
        ) {
            let connection = table(stored.iter().copied().map(UseId));
            let mut seen = Seen::default();
            let mut later = added.iter();
            for step in steps {
                seen.read_more(&connection, step, FIRST_BLOCKS).unwrap();
                for id in later.by_ref().take(step) {
                    connection.execute("INSERT OR IGNORE INTO used_token VALUES (?1)", [id]).unwrap();
                    seen.add(UseId(*id));
                }
            }
            let left = later.len();
            for id in stored.iter().chain(added.iter().take(added.len() - left)) {
                prop_assert!(seen.may_have(UseId(*id)));
            }
        }
    }
}
