//! Whether an uploader gets on, for those who would start it anew if it did not.
//!
//! For: `upload` notes each look at the queue and each attempt. Not for: deciding how long is too long; a
//! server that answers nobody is no lack of progress, since every attempt at it ends.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::queue::PhotoId;

/// What was last done, and what is under way.
#[derive(Debug)]
pub(super) struct Pulse(Mutex<Beats>);

#[derive(Debug)]
struct Beats {
    looked: Instant,
    under_way: BTreeMap<PhotoId, Instant>,
}

/// An attempt under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pulse: &'a Pulse,
    id: PhotoId,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Beats { looked: now, under_way: BTreeMap::new() }))
    }

    /// The queue was looked at.
    pub(super) fn looked(&self, now: Instant) {
        self.0.lock().looked = now;
    }

    /// A photograph is being tried.
    pub(super) fn begin(&self, id: PhotoId, now: Instant) -> Attempt<'_> {
        self.0.lock().under_way.insert(id, now);
        Attempt { pulse: self, id }
    }

    /// The last look at the queue, or the start of the oldest attempt that has not ended.
    pub(super) fn last(&self) -> Instant {
        let beats = self.0.lock();
        beats.under_way.values().copied().chain([beats.looked]).min().unwrap_or(beats.looked)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.pulse.0.lock().under_way.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn neither_a_hanging_attempt_nor_a_loop_that_stands_still_is_progress() {
        let start = Instant::now();
        let later = start + Duration::from_mins(1);
        let pulse = Pulse::new(start);
        assert_eq!(pulse.last(), start);
        let hanging = pulse.begin(PhotoId(1), start);
        drop(pulse.begin(PhotoId(2), later));
        pulse.looked(later);
        assert_eq!(pulse.last(), start, "one of two has not ended");
        drop(hanging);
        assert_eq!(pulse.last(), later);
    }
}
