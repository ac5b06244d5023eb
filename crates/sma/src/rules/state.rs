//! What the rules look at, and what they leave to be written.
//!
//! For: a store loads [`Loaded`] for a batch, the rules fill in what each pass changes, the store writes
//! the [`Pass`]es. Not for: the rules themselves.

use std::collections::BTreeMap;

use birthmark_core::network::{EndorsementKeyId, EndorsementKeyState};
use birthmark_core::time::Minute;
use foldhash::HashMap;

use crate::counters::{Highest, Slot, UsedCounter};
use crate::devices::{DeviceId, Standing};
use crate::keys::NucDigest;
use crate::quota::{Notice, Tally};
use crate::replay::{Day, FirstUse, UseId};

/// All that a batch of questions touches, as it is in the database.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    devices: HashMap<[u8; 32], Standing>,
    uses: HashMap<UseId, FirstUse>,
    slots: HashMap<(DeviceId, Slot), UsedCounter>,
    signing: Vec<SigningKey>,
}

/// An endorsement key as far as a verdict depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SigningKey {
    pub(crate) key_id: EndorsementKeyId,
    pub(crate) state: EndorsementKeyState,
    /// When it stopped being current.
    pub(crate) replaced: Option<Minute>,
}

/// A token that passes now, to be written before anyone is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) device: DeviceId,
    /// The device's count with this pass.
    pub(crate) tally: Tally,
    /// The device's highest counter with this pass.
    pub(crate) highest: Highest,
    pub(crate) used: Used,
    /// What the operator is to be told of it.
    pub(crate) notice: Option<Notice>,
}

/// What passes no second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    /// Version 1.
    Token { id: UseId, first: FirstUse, day: Day },
    /// Version 2.
    Counter(UsedCounter),
}

impl Loaded {
    pub(crate) fn add_device(&mut self, nuc_digest: &NucDigest, device: Standing) {
        self.devices.insert(nuc_digest.0, device);
    }

    pub(crate) fn add_use(&mut self, id: UseId, first: FirstUse) {
        self.uses.insert(id, first);
    }

    pub(crate) fn add_slot(&mut self, device: DeviceId, used: UsedCounter) {
        self.slots.insert((device, used.counter.slot()), used);
    }

    pub(crate) fn set_signing_keys(&mut self, keys: Vec<SigningKey>) {
        self.signing = keys;
    }

    pub(crate) fn device(&self, nuc_digest: &NucDigest) -> Option<&Standing> {
        self.devices.get(&nuc_digest.0)
    }

    pub(super) fn first_use(&self, id: UseId) -> Option<FirstUse> {
        self.uses.get(&id).copied()
    }

    /// What the slot holds; looked up also where there is no device.
    pub(super) fn slot(&self, device: Option<DeviceId>, slot: Slot) -> Option<UsedCounter> {
        self.slots.get(&(device.unwrap_or(DeviceId(0)), slot)).copied()
    }

    pub(super) fn may_sign(&self, key_id: EndorsementKeyId, now: Minute) -> bool {
        self.signing.iter().any(|key| key.key_id == key_id && key.signs(now))
    }

    pub(super) fn apply(&mut self, nuc_digest: &NucDigest, pass: &Pass) {
        if let Some(device) = self.devices.get_mut(&nuc_digest.0) {
            device.tally = pass.tally;
            device.highest = pass.highest;
        }
        match pass.used {
            Used::Token { id, first, .. } => self.add_use(id, first),
            Used::Counter(used) => self.add_slot(pass.device, used),
        }
    }
}

impl SigningKey {
    /// As `endorsement_keys::life` has it, without the public halves.
    pub(crate) fn signs(&self, now: Minute) -> bool {
        match self.state {
            EndorsementKeyState::Current => true,
            EndorsementKeyState::Previous => {
                self.replaced.is_some_and(|replaced| now.0 < replaced.0.saturating_add(PREVIOUS_MINUTES))
            }
            EndorsementKeyState::Retired | EndorsementKeyState::Revoked => false,
        }
    }
}

/// How long a replaced key still signs: 90 days.
const PREVIOUS_MINUTES: u32 = 90 * 24 * 60;

/// Each device's state after all passes, in the order of their numbers.
pub(crate) fn last_of_each_device(passes: &[Pass]) -> BTreeMap<DeviceId, (Tally, Highest)> {
    passes.iter().map(|pass| (pass.device, (pass.tally, pass.highest))).collect()
}

/// What each slot holds after all passes: within one batch a later counter may take an earlier one's.
pub(crate) fn last_of_each_slot(passes: &[Pass]) -> BTreeMap<(DeviceId, Slot), UsedCounter> {
    passes
        .iter()
        .filter_map(|pass| match pass.used {
            Used::Counter(used) => Some(((pass.device, used.counter.slot()), used)),
            Used::Token { .. } => None,
        })
        .collect()
}

/// The version 1 tokens, in the order of their bytes.
pub(crate) fn tokens(passes: &[Pass]) -> BTreeMap<UseId, (FirstUse, Day)> {
    passes
        .iter()
        .filter_map(|pass| match pass.used {
            Used::Token { id, first, day } => Some((id, (first, day))),
            Used::Counter(_) => None,
        })
        .collect()
}
