//! Time as the protocol has it. A [`Clock`] is passed in; nothing here reads one.

use serde::{Deserialize, Serialize};

/// Seconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

/// Minutes since 1970 in UTC: the ledger's time, coarse on purpose (`docs/PROTOCOL.md` section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub u32);

impl UnixSeconds {
    /// The minute that this second lies in.
    pub fn minute(self) -> Minute {
        Minute(u32::try_from(self.0 / 60).unwrap_or(u32::MAX))
    }
}

impl Minute {
    /// The minute's first second.
    pub const fn start(self) -> UnixSeconds {
        UnixSeconds(self.0 as u64 * 60)
    }
}

/// Where a component learns the time. The system's is in `birthmark_service::clock`.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now.
    fn now(&self) -> UnixSeconds;
}
