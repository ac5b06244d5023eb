//! The system's time, behind `birthmark_core`'s trait.
//!
//! For: the one place that reads the system's clock, and a clock that is set by hand.
//! Not for: measuring how long something takes; async code uses `tokio::time::Instant`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use birthmark_core::time::{Clock, UnixSeconds};

/// No clock that is right shows an earlier time: 2024-01-01. A Raspberry Pi starts in 1970 or at its last stop.
pub const EARLIEST: UnixSeconds = UnixSeconds(1_704_067_200);

/// The system's clock in UTC. A clock set before 1970 reads as 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    fn now(&self) -> UnixSeconds {
        UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// A clock that stands still until it is told otherwise; clones share one time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Starts at this time.
    pub fn at(time: UnixSeconds) -> Self {
        Self(Arc::new(AtomicU64::new(time.0)))
    }

    /// Jumps to this time, forward or back.
    pub fn set(&self, time: UnixSeconds) {
        self.0.store(time.0, Ordering::SeqCst);
    }

    /// Moves forward by so many seconds.
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_agrees_with_the_time_stamp_of_a_new_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = file.as_file().metadata().unwrap().modified().unwrap();
        let written = written.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(SystemClock.now().0.abs_diff(written) <= 5);
    }

    #[test]
    fn clones_of_a_manual_clock_share_one_time() {
        let clock = ManualClock::at(UnixSeconds(100));
        let other = clock.clone();
        clock.advance(5);
        assert_eq!(other.now(), UnixSeconds(105));
        other.set(UnixSeconds(7));
        assert_eq!(clock.now(), UnixSeconds(7));
    }
}
