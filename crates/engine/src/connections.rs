//! What connections between validators are like: how often they are tried, what strangers may cost.
//!
//! For: values that an operator may change, with defaults for machines near each other and for one machine.
//! Not for: opening them (`network.rs`).

use std::{num::NonZeroU32, time::Duration};

use commonware_utils::NZU32;

/// What connections to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// All on one machine: quick redials, many handshakes from one address.
    Local,
    /// Machines near each other, which connect from the addresses that they listen on.
    Lan,
    /// Machines anywhere, which may connect from other addresses than they listen on.
    Public,
    /// Anything else.
    Custom(Connections),
}

/// Settings of connections. Private addresses are always allowed: addresses come from the network file, not from
/// strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// How long after an attempt the same validator is tried again. So much later, at most, one that was restarted is
    /// connected again.
    pub reconnect: Duration,
    /// Time between two attempts, whoever they go to.
    pub dial: Duration,
    /// How long an attempt may take, from its beginning to the end of the handshake.
    pub handshake: Duration,
    /// Handshakes that one address may begin in a second. A validator behind the same address as an attacker may have
    /// to wait.
    pub handshakes_per_address: NonZeroU32,
    /// Handshakes that may be unfinished at the same time.
    pub handshakes: NonZeroU32,
    /// How often an idle connection is used, so that its end is noticed.
    pub ping: Duration,
    /// By how much two validators' clocks may differ when they connect.
    pub clock_skew: Duration,
    /// How long a validator is cut off after it was proven to misbehave.
    pub cut_off: Duration,
    /// From which addresses validators may connect.
    pub sources: Sources,
}

/// From which addresses validators may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// From those they listen on; others are turned away before they cost anything.
    Listed,
    /// From any, for validators behind address translation. Only keys count then.
    Any,
}

impl Network {
    /// The settings.
    pub const fn connections(&self) -> Connections {
        match self {
            Self::Local => Connections::local(),
            Self::Lan => Connections::lan(),
            Self::Public => Connections::public(),
            Self::Custom(connections) => *connections,
        }
    }
}

impl Connections {
    /// For machines near each other.
    pub const fn lan() -> Self {
        Self {
            reconnect: Duration::from_secs(2),
            dial: Duration::from_millis(250),
            handshake: Duration::from_secs(5),
            handshakes_per_address: NZU32!(8),
            handshakes: NZU32!(64),
            ping: Duration::from_secs(10),
            clock_skew: Duration::from_secs(30),
            cut_off: Duration::from_hours(1),
            sources: Sources::Listed,
        }
    }

    /// For demonstrations and tests, where all validators and all attackers share one address.
    pub const fn local() -> Self {
        Self {
            reconnect: Duration::from_millis(500),
            dial: Duration::from_millis(100),
            handshakes_per_address: NZU32!(64),
            handshakes: NZU32!(256),
            ping: Duration::from_secs(5),
            ..Self::lan()
        }
    }

    /// For machines anywhere. Only keys count, so strangers may begin handshakes; few of them at a time.
    pub const fn public() -> Self {
        Self {
            reconnect: Duration::from_secs(5),
            dial: Duration::from_millis(500),
            handshake: Duration::from_secs(10),
            handshakes_per_address: NZU32!(4),
            ping: Duration::from_secs(20),
            sources: Sources::Any,
            ..Self::lan()
        }
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let times = [self.reconnect, self.dial, self.handshake, self.ping, self.clock_skew];
        if times.iter().any(|time| *time < SHORTEST) {
            return Err("a time is below a millisecond");
        }
        if times.iter().chain([&self.cut_off]).any(|time| *time > LONGEST) {
            return Err("a time is above a year");
        }
        Ok(())
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
/// Far enough from what cannot be added to a clock.
const LONGEST: Duration = Duration::from_hours(24 * 366);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_made_settings_are_usable_and_extremes_are_refused() {
        assert_eq!(Network::Local.connections().check(), Ok(()));
        assert_eq!(Network::Lan.connections().check(), Ok(()));
        assert_eq!(Network::Public.connections().check(), Ok(()));
        let none = Connections { dial: Duration::ZERO, ..Connections::lan() };
        assert_eq!(Network::Custom(none).connections().check(), Err("a time is below a millisecond"));
        let ever = Connections { cut_off: Duration::MAX, ..Connections::lan() };
        assert_eq!(Network::Custom(ever).connections().check(), Err("a time is above a year"));
    }
}
