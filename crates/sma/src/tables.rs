//! Which tables are in use, and which of them a camera gets.
//!
//! For: a draw in which a table never stands for one camera: of 2,500 tables only as many are active
//! as have about a thousand cameras each to hide among, and three at least.
//! Not for: their keys (`keys`), or storing who got which (`devices`).
//!
//! Format: `docs/PROTOCOL.md` section 4. The active tables are the first of a permutation that is fixed
//! with the master key, so an installation needs no list of them and a restored one has the same.

use birthmark_core::ids::TableId;
use rand_core::CryptoRng;

use crate::keys;

/// Tables of one camera.
pub(crate) const TABLES_PER_DEVICE: usize = 3;

/// All tables in the order in which they come into use.
#[derive(Debug)]
pub(crate) struct TableOrder(Vec<TableId>);

/// One camera's tables: one at least, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssignedTables {
    first: TableId,
    others: Vec<TableId>,
}

impl TableOrder {
    /// Sorts the tables by a pseudo-random key of each.
    pub(crate) fn by(sort_key: impl FnMut(&TableId) -> [u8; 32]) -> Self {
        let mut order: Vec<TableId> = keys::all_tables().collect();
        order.sort_by_cached_key(sort_key);
        Self(order)
    }

    /// The tables in use when there are so many devices: three at least.
    pub(crate) fn active(&self, devices: u64) -> &[TableId] {
        let wanted = usize::try_from(devices / DEVICES_PER_TABLE).unwrap_or(usize::MAX).max(TABLES_PER_DEVICE);
        self.0.get(..wanted).unwrap_or(&self.0)
    }
}

/// Three distinct tables, each set of three as likely as any other. `active` has three at least.
pub(crate) fn draw(active: &[TableId], rng: &mut impl CryptoRng) -> AssignedTables {
    let mut pool = active.to_vec();
    let mut take = || pool.swap_remove(below(pool.len(), rng));
    AssignedTables { first: take(), others: (1..TABLES_PER_DEVICE).map(|_| take()).collect() }
}

/// Uniform in 0..n, for n from 1 to 2,500.
fn below(n: usize, rng: &mut impl CryptoRng) -> usize {
    let n = u32::try_from(n).unwrap_or(u32::MAX).max(1);
    // The values above the greatest multiple of n would favour the small remainders.
    let end = u32::MAX - u32::MAX % n;
    loop {
        let value = rng.next_u32();
        if value < end {
            return usize::try_from(value % n).unwrap_or(0);
        }
    }
}

impl AssignedTables {
    /// The one whose key is the seed's `encryption_key`.
    pub(crate) const fn first(&self) -> TableId {
        self.first
    }

    /// All, the first among them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TableId> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// Whether the table is one of them.
    pub(crate) fn contains(&self, table: TableId) -> bool {
        self.iter().any(|id| id == table)
    }

    /// Their numbers if they are three.
    pub(crate) fn as_three(&self) -> Option<[u16; 3]> {
        match self.others.as_slice() {
            [second, third] => Some([self.first, *second, *third].map(TableId::value)),
            _ => None,
        }
    }

    /// The tables of these numbers; `None` if one is no table's.
    pub(crate) fn of_three(numbers: [u16; 3]) -> Option<Self> {
        let [first, others @ ..] = numbers.map(|number| TableId::new(number).ok());
        Some(Self { first: first?, others: others.into_iter().collect::<Option<_>>()? })
    }

    /// n × be16.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|id| id.value().to_be_bytes()).collect()
    }

    /// None if these bytes are no list of tables.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let mut ids = pairs.iter().map(|pair| TableId::new(u16::from_be_bytes(*pair)).ok());
        let tables = Self { first: ids.next()??, others: ids.collect::<Option<_>>()? };
        rest.is_empty().then_some(tables)
    }
}

const DEVICES_PER_TABLE: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::keys::{Keys, MasterKey};

    fn order() -> TableOrder {
        TableOrder::by(|id| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&(id.value() ^ 0x0555).to_be_bytes());
            key
        })
    }

    #[test]
    fn a_thousand_cameras_share_each_active_table_and_three_are_always_active() {
        let order = order();
        for (devices, active) in
            [(0, 3), (1, 3), (3999, 3), (4000, 4), (1_000_000, 1000), (2_500_000, 2500), (u64::MAX, 2500)]
        {
            assert_eq!(order.active(devices).len(), active, "{devices} devices");
        }
    }

    #[test]
    fn order_is_a_permutation_and_depends_on_the_master_key() {
        let of = |byte| {
            let keys = Keys::derive(&MasterKey::from_slice(&[byte; 32]).unwrap());
            keys.order().active(u64::MAX).to_vec()
        };
        let (one, other) = (of(1), of(2));
        assert_eq!(one.iter().collect::<HashSet<_>>().len(), 2500);
        assert_ne!(one, other);
        assert_eq!(one, of(1));
    }

    #[test]
    fn every_active_table_is_drawn_equally_often_and_in_every_place() {
        let mut rng = StdRng::seed_from_u64(42);
        let order = order();
        let active = order.active(5000);
        let mut counts = [[0u32; 5]; 3];
        for _ in 0..10_000 {
            for (place, id) in draw(active, &mut rng).iter().enumerate() {
                let table = active.iter().position(|a| *a == id).unwrap();
                counts[place][table] += 1;
            }
        }
        // 2,000 expected, standard deviation 40.
        assert!(counts.iter().flatten().all(|n| (1800..2200).contains(n)), "{counts:?}");
    }

    #[test]
    fn bytes_that_are_no_list_of_tables_are_none() {
        for bad in [&[][..], &[0], &[0, 1, 0], &[0x09, 0xc4], &[0, 1, 0xff, 0xff]] {
            assert_eq!(AssignedTables::from_bytes(bad), None, "{bad:?}");
        }
        let one = AssignedTables::from_bytes(&[0x09, 0xc3]).unwrap();
        assert_eq!((one.first().value(), one.iter().count(), one.as_three()), (2499, 1, None));
        assert_eq!(AssignedTables::of_three([0, 1, 2500]), None);
    }

    proptest! {
        #[test]
        fn three_distinct_active_tables_are_drawn(seed: u64, devices in 0u64..3_000_000) {
            let order = order();
            let active = order.active(devices);
            let drawn = draw(active, &mut StdRng::seed_from_u64(seed));
            let distinct: HashSet<_> = drawn.iter().collect();
            prop_assert_eq!(distinct.len(), TABLES_PER_DEVICE);
            prop_assert!(distinct.iter().all(|id| active.contains(id)));
            prop_assert_eq!(AssignedTables::from_bytes(&drawn.to_bytes()), Some(drawn.clone()));
            prop_assert_eq!(drawn.as_three().and_then(AssignedTables::of_three), Some(drawn.clone()));
            for id in keys::all_tables() {
                prop_assert_eq!(drawn.contains(id), distinct.contains(&id));
            }
        }
    }
}
