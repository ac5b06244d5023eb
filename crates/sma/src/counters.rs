//! The counters of version 2 tokens: each is used once, and the same token may come again.
//!
//! For: where a counter lies against a device's last 1,024, and whether a token under a used one is the
//! same token. Not for: storing them (`store`), or who gave the counter out (the camera).
//!
//! Format: `docs/PROTOCOL.md` section 5:
//! ```text
//! slot   = counter mod 1024
//! digest = first 8 bytes of HMAC-SHA256("counter-digest" key, be16 table ‖ be16 index ‖ enc (32) ‖ key_id (8) ‖
//!              blinded_message ‖ nonce (12) ‖ ciphertext (56) ‖ auth_tag (16))
//! ```

use subtle::ConstantTimeEq;

/// A device's number for a token: 1 to 2^63-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counter(u64);

/// The highest counter of a device that has passed, 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Highest(u64);

/// Where a counter is remembered: as many as the window is wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u16);

/// Which token it was, down to the last byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CounterDigest([u8; 8]);

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsedCounter {
    pub(crate) counter: Counter,
    pub(crate) digest: CounterDigest,
}

/// What is known of a counter from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterUse {
    /// It never passed.
    New,
    /// It passed with this very token.
    SameToken,
    /// It passed with another.
    Another,
    /// So old that nobody knows.
    Stale,
}

/// How many counters of a device are remembered.
pub(crate) const WINDOW: u64 = 1024;

impl Counter {
    /// None for 0 and for what a database's signed integer cannot hold.
    pub(crate) const fn new(value: u64) -> Option<Self> {
        if value == 0 || value > i64::MAX as u64 { None } else { Some(Self(value)) }
    }

    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    pub(crate) const fn slot(self) -> Slot {
        // Below 1024.
        Slot((self.0 % WINDOW) as u16)
    }
}

impl Slot {
    /// Looked up where there is no counter, so that every failure takes the same steps.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn number(self) -> u16 {
        self.0
    }
}

impl Highest {
    /// Before the first pass.
    pub(crate) const NONE: Self = Self(0);

    /// None for what no counter can be.
    pub(crate) const fn from_value(value: u64) -> Option<Self> {
        if value > i64::MAX as u64 { None } else { Some(Self(value)) }
    }

    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    pub(crate) fn with(self, counter: Counter) -> Self {
        Self(self.0.max(counter.0))
    }

    /// What is known of `counter`, given what its slot holds.
    pub(crate) fn judge(self, counter: Counter, digest: CounterDigest, slot: Option<UsedCounter>) -> CounterUse {
        let same_token = slot.is_some_and(|used| used.counter == counter && bool::from(used.digest.0.ct_eq(&digest.0)));
        if counter.0 > self.0 {
            CounterUse::New
        } else if counter.0.saturating_add(WINDOW) <= self.0 {
            CounterUse::Stale
        } else if same_token {
            CounterUse::SameToken
        } else if slot.is_some_and(|used| used.counter == counter) {
            CounterUse::Another
        } else {
            CounterUse::New
        }
    }
}

impl CounterDigest {
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl std::fmt::Debug for CounterDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CounterDigest(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn counter(value: u64) -> Counter {
        Counter::new(value).unwrap()
    }

    fn digest(byte: u8) -> CounterDigest {
        CounterDigest([byte; 8])
    }

    #[test]
    fn zero_and_what_does_not_fit_are_no_counters() {
        for bad in [0, 1 << 63, u64::MAX] {
            assert_eq!(Counter::new(bad), None);
        }
        assert_eq!(counter(i64::MAX as u64).slot(), Slot(1023));
        assert_eq!(Highest::from_value(1 << 63), None);
    }

    #[test]
    fn edges_of_the_window() {
        let highest = Highest(5000);
        let judge = |value, slot| highest.judge(counter(value), digest(1), slot);
        let used = |value, byte| Some(UsedCounter { counter: counter(value), digest: digest(byte) });
        assert_eq!(judge(5001, None), CounterUse::New);
        assert_eq!(judge(i64::MAX as u64, None), CounterUse::New);
        assert_eq!(judge(5000, used(5000, 1)), CounterUse::SameToken);
        assert_eq!(judge(5000, used(5000, 2)), CounterUse::Another);
        assert_eq!(judge(3977, None), CounterUse::New);
        assert_eq!(judge(3977, used(3977, 1)), CounterUse::SameToken);
        assert_eq!(judge(3977, used(3977 - 1024, 1)), CounterUse::New);
        assert_eq!(judge(3976, None), CounterUse::Stale);
        assert_eq!(judge(3976, used(3976, 1)), CounterUse::Stale);
        assert_eq!(judge(1, None), CounterUse::Stale);
        assert_eq!(Highest(0).judge(counter(1), digest(1), None), CounterUse::New);
        assert_eq!(Highest(1024).judge(counter(1), digest(1), None), CounterUse::New);
        assert_eq!(Highest(1025).judge(counter(1), digest(1), None), CounterUse::Stale);
    }

    /// The plain rule, by remembering everything.
    #[derive(Default)]
    struct Everything {
        used: HashMap<u64, u8>,
        highest: u64,
    }

    proptest! {
        #[test]
        fn slots_remember_as_much_as_a_full_memory_within_the_window(
            asked in proptest::collection::vec((1u64..4000, 0u8..2), 1..400), start in 0u64..10_000,
        ) {
            let mut everything = Everything::default();
            let mut slots: HashMap<Slot, UsedCounter> = HashMap::new();
            let mut highest = Highest::default();
            for (offset, byte) in asked {
                let counter = counter(start + offset);
                let expected = if counter.0 + WINDOW <= everything.highest {
                    CounterUse::Stale
                } else {
                    match everything.used.get(&counter.0) {
                        None => CounterUse::New,
                        Some(used) if *used == byte => CounterUse::SameToken,
                        Some(_) => CounterUse::Another,
                    }
                };
                let found = highest.judge(counter, digest(byte), slots.get(&counter.slot()).copied());
                prop_assert_eq!(found, expected, "counter {} after {}", counter.0, highest.0);
                if found == CounterUse::New {
                    everything.used.insert(counter.0, byte);
                    everything.highest = everything.highest.max(counter.0);
                    slots.insert(counter.slot(), UsedCounter { counter, digest: digest(byte) });
                    highest = highest.with(counter);
                }
            }
        }
    }
}
