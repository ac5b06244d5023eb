//! The device registry: which cameras there are and what they were given.
//!
//! For: the words of a device's row, and the decision whom a registration admits.
//! Not for: judging tokens (`rules`), storing rows (`store`), or fingerprints in the clear: rows hold keyed
//! digests (`keys`), so a stolen database neither names a sensor nor lets a guess be tested.

mod registration;

use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::time::Minute;
use serde::{Deserialize, Serialize};

use crate::counters::Highest;
use crate::keys::{KeyGeneration, NucDigest};
use crate::quota::{QuotaOverride, Tally};
use crate::tables::AssignedTables;

pub(crate) use registration::{Admission, Admitted, Known};

/// A device's number: from 1, without gaps, so the greatest one is their count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceId(pub(crate) i64);

/// The oldest token that is accepted from a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TokenVersion {
    One,
    Two,
}

/// Whether a device's tokens may pass at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// They may.
    Active,
    /// They may not, and nothing is handed out for the device.
    Revoked,
}

/// A camera to register.
#[derive(Clone, Debug)]
pub(crate) struct NewDevice {
    pub(crate) serial: DeviceSerial,
    pub(crate) family: DeviceFamily,
    pub(crate) nuc_digest: NucDigest,
    pub(crate) min_token_version: TokenVersion,
    pub(crate) created: Minute,
    /// Those of another installation, taken over; drawn if there are none.
    pub(crate) tables: Option<AssignedTables>,
    /// Its TPM's evidence, which holds, as JSON.
    pub(crate) tpm: Option<String>,
}

/// What a camera got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) tables: AssignedTables,
    pub(crate) generation: KeyGeneration,
}

/// A device's whole row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) serial: DeviceSerial,
    pub(crate) family: DeviceFamily,
    pub(crate) nuc_digest: NucDigest,
    pub(crate) tables: AssignedTables,
    pub(crate) min_token_version: TokenVersion,
    pub(crate) status: Status,
    pub(crate) created: Minute,
    pub(crate) generation: KeyGeneration,
    pub(crate) quota: QuotaOverride,
    pub(crate) tally: Tally,
    pub(crate) highest: Highest,
}

/// What a verdict depends on. Does not say which camera it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) id: DeviceId,
    pub(crate) status: Status,
    pub(crate) tables: AssignedTables,
    pub(crate) min_token_version: TokenVersion,
    pub(crate) generation: KeyGeneration,
    pub(crate) quota: QuotaOverride,
    pub(crate) tally: Tally,
    pub(crate) highest: Highest,
}

/// A camera that is provisioned once more, with new secrets.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    pub(crate) serial: DeviceSerial,
    /// Must be the one that it was registered with.
    pub(crate) nuc_digest: NucDigest,
    pub(crate) min_token_version: TokenVersion,
}

/// Why a camera was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duplicate {
    Serial,
    NucHash,
}

/// Why a camera was not provisioned once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRenewed {
    Unknown,
    /// It has another sensor than the one registered.
    OtherSensor,
    Revoked,
}

/// What became of a change to one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Yes,
    /// It was so already; nothing was written, not even in the audit log.
    Already,
    Unknown,
}

/// A part of the registry, in the order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) which: Which,
    /// The last device of the page before.
    pub(crate) after: Option<DeviceId>,
    pub(crate) limit: u32,
}

/// Which devices a page lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    Revoked,
}

impl TokenVersion {
    /// None for a version that does not exist.
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

impl Status {
    /// None for a word that is no status.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        match text {
            "active" => Some(Self::Active),
            "revoked" => Some(Self::Revoked),
            _ => None,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

impl Device {
    /// The device as a renewal leaves it, but for its tables.
    pub(crate) fn renewable(mut self, renewal: &Renewal) -> Result<Self, NotRenewed> {
        if self.nuc_digest != renewal.nuc_digest {
            return Err(NotRenewed::OtherSensor);
        }
        if self.status == Status::Revoked {
            return Err(NotRenewed::Revoked);
        }
        self.generation = KeyGeneration(self.generation.0.saturating_add(1));
        self.min_token_version = renewal.min_token_version;
        Ok(self)
    }
}
