//! How many keys a trie may hold in memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is left of it to one version of the trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    keys: u64,
}

/// The same while a new version is made, by several threads maybe.
pub(super) struct SharedRoom {
    keys: AtomicU64,
}

impl Room {
    pub(super) const fn of(keys: u64) -> Self {
        Self { keys }
    }

    /// Makes something, and tells what is left afterwards.
    pub(super) fn shared<T>(self, make: impl FnOnce(&SharedRoom) -> T) -> (T, Self) {
        let shared = SharedRoom { keys: AtomicU64::new(self.keys) };
        let result = make(&shared);
        (result, Self { keys: shared.keys.into_inner() })
    }
}

impl SharedRoom {
    /// True if there was room for so many, which is taken now.
    pub(super) fn take(&self, keys: u64) -> bool {
        self.keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(keys)).is_ok()
    }

    /// So many are not held any more.
    pub(super) fn give(&self, keys: u64) {
        self.keys.fetch_add(keys, Ordering::Relaxed);
    }
}
