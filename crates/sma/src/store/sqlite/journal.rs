//! The journal of passes: one row a batch, written before anyone is told.
//!
//! For: its rows and their bytes. Not for: what is remembered of them in memory (`tail`), or moving them to
//! where they stay (`merge`).
//!
//! Format:
//! ```text
//! passes  = be32 n ‖ n × token ‖ be32 n ‖ n × counter ‖ be32 n ‖ n × device     each list sorted
//! token   = id (16) ‖ be32 day ‖ u8 named ‖ [repeat digest (16), if named is 1]
//! counter = be64 device ‖ be64 counter ‖ digest (8)
//! device  = be64 number ‖ be32 day ‖ be32 passes of that day ‖ be64 highest counter
//! ```
//! Sorted by themselves, so that in a row no version 1 token stands beside the camera that it came from. A
//! device's day, count and counter are those after the batch, so a row may be read again and again.

use rusqlite::{Connection, params};

use super::part::Part;
use crate::counters::{Counter, CounterDigest, Highest, UsedCounter};
use crate::devices::DeviceId;
use crate::quota::Tally;
use crate::replay::{Day, FirstUse, RepeatDigest, UseId};
use crate::rules::{self, Pass};
use crate::store::StoreError;

/// The first and the last row; `None` if there is none.
pub(super) type Ends = Option<(i64, i64)>;

pub(super) fn append(connection: &Connection, number: i64, passes: &[Pass]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO pass (number, passes) VALUES (?1, ?2)")?
        .execute(params![number, encode(passes)])
        .map(drop)
}

pub(super) fn ends(connection: &Connection) -> rusqlite::Result<Ends> {
    // Two look-ups; asked for together, they would be a scan.
    let (first, last): (Option<i64>, Option<i64>) = connection
        .prepare_cached("SELECT (SELECT min(number) FROM pass), (SELECT max(number) FROM pass)")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(first.zip(last))
}

/// Hands every row to `each`, oldest first; gives the ends.
pub(super) fn read(connection: &Connection, mut each: impl FnMut(Part)) -> Result<Ends, StoreError> {
    let mut statement = connection.prepare_cached("SELECT number, passes FROM pass ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut ends: Ends = None;
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        ends = Some((ends.map_or(number, |(first, _)| first), number));
        each(decode(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?).ok_or(StoreError::Damaged(WHAT))?);
    }
    Ok(ends)
}

/// Deletes rows up to this one, some at a time; true if none is left of them.
pub(super) fn delete(connection: &Connection, through: i64, most: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("DELETE FROM pass WHERE number <= min(?1, (SELECT min(number) FROM pass) + ?2 - 1)")?
        .execute([through, most])?;
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM pass WHERE number <= ?1)")?
        .query_row([through], |row| row.get(0))
}

fn encode(passes: &[Pass]) -> Vec<u8> {
    let (tokens, counters) = (rules::tokens(passes), rules::last_of_each_slot(passes));
    let devices = rules::last_of_each_device(passes);
    let mut bytes = Vec::with_capacity(12 + tokens.len() * TOKEN + (counters.len() + devices.len()) * OTHERS);
    put_count(&mut bytes, tokens.len());
    for (id, (first, day)) in tokens {
        bytes.extend(id.0);
        bytes.extend(day.0.to_be_bytes());
        bytes.push(u8::from(first.0.is_some()));
        bytes.extend(first.0.iter().flat_map(|digest| digest.0));
    }
    put_count(&mut bytes, counters.len());
    for ((device, _), used) in counters {
        bytes.extend(device.0.to_be_bytes());
        bytes.extend(used.counter.value().to_be_bytes());
        bytes.extend(used.digest.as_bytes());
    }
    put_count(&mut bytes, devices.len());
    for (device, (tally, highest)) in devices {
        bytes.extend(device.0.to_be_bytes());
        bytes.extend(tally.day.0.to_be_bytes());
        bytes.extend(tally.count.to_be_bytes());
        bytes.extend(highest.value().to_be_bytes());
    }
    bytes
}

/// A batch has no more than fits a few megabytes.
fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

/// None if these bytes are none that [`encode`] makes.
fn decode(mut bytes: &[u8]) -> Option<Part> {
    let (bytes, mut part) = (&mut bytes, Part::default());
    for _ in 0..take_count(bytes)? {
        let (id, day) = (UseId(take(bytes)?), Day(u32::from_be_bytes(take(bytes)?)));
        let first = match take(bytes)? {
            [0] => FirstUse(None),
            [1] => FirstUse(Some(RepeatDigest(take(bytes)?))),
            _ => return None,
        };
        part.tokens.insert(id, (first, day));
    }
    for _ in 0..take_count(bytes)? {
        let device = DeviceId(i64::from_be_bytes(take(bytes)?));
        let counter = Counter::new(u64::from_be_bytes(take(bytes)?))?;
        let used = UsedCounter { counter, digest: CounterDigest::from_bytes(take(bytes)?) };
        part.counters.insert((device, counter.slot()), used);
    }
    for _ in 0..take_count(bytes)? {
        let device = DeviceId(i64::from_be_bytes(take(bytes)?));
        let (day, count) = (Day(u32::from_be_bytes(take(bytes)?)), u32::from_be_bytes(take(bytes)?));
        let highest = Highest::from_value(u64::from_be_bytes(take(bytes)?))?;
        part.devices.insert(device, (Tally { day, count }, highest));
    }
    bytes.is_empty().then_some(part)
}

/// What is taken next is there or not, whatever the count says: nothing is made room for beforehand.
fn take_count(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_be_bytes)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// The longest token, and a counter or a device.
const TOKEN: usize = 37;
const OTHERS: usize = 24;
const WHAT: &str = "the journal of passes";

#[cfg(test)]
mod tests {
    use birthmark_core::hex;
    use proptest::prelude::*;

    use super::*;
    use crate::rules::Used;

    fn pass(device: i64, used: Used) -> Pass {
        let tally = Tally { day: Day(20_061), count: 7 };
        Pass { device: DeviceId(device), tally, highest: Highest::from_value(9).unwrap(), used, notice: None }
    }

    fn token(byte: u8, named: bool) -> Used {
        let first = FirstUse(named.then_some(RepeatDigest([0xbb; 16])));
        Used::Token { id: UseId([byte; 16]), first, day: Day(20_060) }
    }

    fn counter(value: u64) -> Used {
        let (counter, digest) = (Counter::new(value).unwrap(), CounterDigest::from_bytes([0xcc; 8]));
        Used::Counter(UsedCounter { counter, digest })
    }

    fn batch() -> Vec<Pass> {
        vec![pass(2, token(0xab, false)), pass(3, token(0xaa, true)), pass(2, counter(0x1122))]
    }

    #[test]
    fn bytes_are_those_of_the_format() {
        let tokens = ["00000002", &"aa".repeat(16), "00004e5c01", &"bb".repeat(16), &"ab".repeat(16), "00004e5c00"];
        let counters = ["00000001", "0000000000000002", "0000000000001122", &"cc".repeat(8)];
        let usage = "00004e5d000000070000000000000009";
        let devices = ["00000002", "0000000000000002", usage, "0000000000000003", usage];
        assert_eq!(hex::encode(encode(&batch())), [tokens.concat(), counters.concat(), devices.concat()].concat());
        assert_eq!(encode(&[]), [0; 12]);
    }

    #[test]
    fn bytes_that_were_never_written_are_refused() {
        let whole = encode(&batch());
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(decode(&[whole.as_slice(), &[0]].concat()), None, "one byte more");
        // The count of tokens, `named` of the first, the count of counters, the highest counter of the last.
        for (place, byte) in [(0, 0xff), (24, 2), (65, 9), (whole.len() - 8, 0x80)] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            assert_eq!(decode(&bytes), None, "byte {place}");
        }
        let mut zero = encode(&[pass(2, counter(1))]);
        zero[16..24].fill(0);
        assert_eq!(decode(&zero), None, "counter 0");
    }

    proptest! {
        #[test]
        fn passes_come_back_as_they_were_written(
            given in proptest::collection::vec(any::<(i64, u32, u32, [u8; 16], Option<[u8; 16]>, u64, bool)>(), 0..20),
        ) {
            let passes: Vec<_> = given.into_iter().map(|(device, day, count, bytes, repeat, number, bound)| {
                let number = (number >> 1).max(1);
                let used = if bound {
                    let digest = CounterDigest::from_bytes(*bytes.first_chunk().unwrap());
                    Used::Counter(UsedCounter { counter: Counter::new(number).unwrap(), digest })
                } else {
                    Used::Token { id: UseId(bytes), first: FirstUse(repeat.map(RepeatDigest)), day: Day(day) }
                };
                let tally = Tally { day: Day(day), count };
                let highest = Highest::from_value(number - 1).unwrap();
                Pass { device: DeviceId(device % 4), tally, highest, used, notice: None }
            }).collect();
            let mut expected = Part::default();
            expected.add(&passes);
            prop_assert_eq!(decode(&encode(&passes)), Some(expected));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
