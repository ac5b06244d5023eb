//! Whom a registration admits, and which tables each camera gets.
//!
//! For: one decision for both stores, for one camera as for thousands of a list. Not for: rows (`store`).

use std::collections::HashSet;

use birthmark_core::ids::DeviceSerial;
use rand_core::CryptoRng;

use super::{DeviceId, Duplicate, NewDevice, Registered};
use crate::keys::KeyGeneration;
use crate::tables::{self, AssignedTables, TableOrder};

/// What the registry has of the serials and fingerprints that are asked for.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) serials: HashSet<DeviceSerial>,
    pub(crate) nuc_digests: HashSet<[u8; 32]>,
}

/// A registration under way, in the transaction that stores it.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    known: Known,
    devices: i64,
    order: &'a TableOrder,
}

/// A camera with its number and tables, to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) id: DeviceId,
    pub(crate) device: NewDevice,
    pub(crate) tables: AssignedTables,
}

impl<'a> Admission<'a> {
    /// `devices`: how many are registered.
    pub(crate) const fn new(known: Known, devices: i64, order: &'a TableOrder) -> Self {
        Self { known, devices, order }
    }

    /// Admits the camera unless its serial or sensor is known, be it from this very list.
    pub(crate) fn admit(&mut self, device: NewDevice, rng: &mut impl CryptoRng) -> Result<Admitted, Duplicate> {
        if self.known.serials.contains(&device.serial) {
            return Err(Duplicate::Serial);
        }
        if self.known.nuc_digests.contains(&device.nuc_digest.0) {
            return Err(Duplicate::NucHash);
        }
        self.known.serials.insert(device.serial.clone());
        self.known.nuc_digests.insert(device.nuc_digest.0);
        let active = self.order.active(u64::try_from(self.devices).unwrap_or(0));
        let tables = device.tables.clone().unwrap_or_else(|| tables::draw(active, rng));
        self.devices = self.devices.saturating_add(1);
        Ok(Admitted { id: DeviceId(self.devices), device, tables })
    }
}

impl From<&Admitted> for Registered {
    fn from(admitted: &Admitted) -> Self {
        Self { tables: admitted.tables.clone(), generation: KeyGeneration::default() }
    }
}

#[cfg(test)]
mod tests {
    use birthmark_core::ids::DeviceFamily;
    use birthmark_core::time::Minute;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::devices::TokenVersion;
    use crate::keys::{Keys, MasterKey, NucDigest};

    fn device(serial: &str, nuc: u8) -> NewDevice {
        NewDevice {
            serial: DeviceSerial::new(serial).unwrap(),
            family: DeviceFamily::new("F").unwrap(),
            nuc_digest: NucDigest([nuc; 32]),
            min_token_version: TokenVersion::Two,
            created: Minute(1),
            tables: None,
            tpm: None,
        }
    }

    #[test]
    fn duplicates_of_the_registry_and_of_the_same_list_are_refused_and_take_no_number() {
        let keys = Keys::derive(&MasterKey::from_slice(&[7; 32]).unwrap());
        let mut rng = StdRng::seed_from_u64(1);
        let known = Known {
            serials: HashSet::from([DeviceSerial::new("OLD").unwrap()]),
            nuc_digests: HashSet::from([[9; 32]]),
        };
        let mut admission = Admission::new(known, 41, keys.order());
        let mut admit = |serial, nuc| admission.admit(device(serial, nuc), &mut rng).map(|admitted| admitted.id.0);
        assert_eq!(admit("OLD", 1), Err(Duplicate::Serial));
        assert_eq!(admit("NEW", 9), Err(Duplicate::NucHash));
        assert_eq!(admit("A", 1), Ok(42));
        assert_eq!(admit("A", 2), Err(Duplicate::Serial));
        assert_eq!(admit("B", 1), Err(Duplicate::NucHash));
        assert_eq!(admit("B", 2), Ok(43));
    }

    #[test]
    fn tables_are_drawn_from_those_active_at_that_number_or_taken_over() {
        let keys = Keys::derive(&MasterKey::from_slice(&[7; 32]).unwrap());
        let mut rng = StdRng::seed_from_u64(1);
        let mut admission = Admission::new(Known::default(), 0, keys.order());
        let first = admission.admit(device("A", 1), &mut rng).unwrap();
        assert!(first.tables.iter().all(|table| keys.order().active(0).contains(&table)));
        let given = AssignedTables::from_bytes(&[0, 5]).unwrap();
        let second = NewDevice { tables: Some(given.clone()), ..device("B", 2) };
        assert_eq!(admission.admit(second, &mut rng).unwrap().tables, given);
    }
}
