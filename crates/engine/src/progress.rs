//! How far the ledger is behind what is final, so that nobody builds or judges on an ancestry too long for memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Finalized blocks that the ledger may lag behind before proposing and judging wait for it.
///
/// Every one of them may be held in memory by each pending proposal and judgement.
const MAX_LAG: u64 = 32;

/// Heights that the applier and the engine report, and waiting for them to be close.
///
/// Not a `watch`: that one wakes several waiters in random order, and a simulated run must be repeatable.
#[derive(Debug)]
pub(crate) struct Progress {
    position: Mutex<Position>,
    moved: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    ready: bool,
    turn: bool,
    tip: u64,
    applied: u64,
}

impl Progress {
    /// Starts at the ledger's height, not yet compared with the archive.
    pub(crate) fn new(applied: u64) -> Self {
        let position = Mutex::new(Position { ready: false, turn: false, tip: applied, applied });
        Self { position, moved: Notify::new() }
    }

    /// A block at `height` is final.
    pub(crate) fn final_at(&self, height: u64) {
        self.update(|at| at.tip = at.tip.max(height));
    }

    /// The ledger has applied everything up to `height`.
    pub(crate) fn applied(&self, height: u64) {
        self.update(|at| {
            at.applied = at.applied.max(height);
            at.tip = at.tip.max(height);
        });
    }

    /// The ledger has everything that the archive held at the start.
    pub(crate) fn ready(&self) {
        self.update(|at| at.ready = true);
    }

    /// This validator has been asked for a block.
    pub(crate) fn has_turn(&self) {
        self.update(|at| at.turn = true);
    }

    /// Waits until this validator has been asked for a block.
    pub(crate) async fn turn(&self) {
        self.until(|at| at.turn).await;
    }

    /// Waits until the ledger is near the last final block.
    ///
    /// It cannot wait for ever: finalized blocks are applied without proposing or judging anything.
    pub(crate) async fn near_tip(&self) {
        self.until(|at| at.ready && at.tip.saturating_sub(at.applied) <= MAX_LAG).await;
    }

    fn update(&self, change: impl FnOnce(&mut Position)) {
        change(&mut self.position());
        self.moved.notify_waiters();
    }

    async fn until(&self, reached: impl Fn(&Position) -> bool) {
        loop {
            // Asked for before looking, so that no change between the two is missed.
            let moved = self.moved.notified();
            if reached(&self.position()) {
                return;
            }
            moved.await;
        }
    }

    // Plain numbers: whoever panicked cannot have left them half changed.
    fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{FutureExt as _, poll};

    use super::*;

    #[test]
    fn waits_until_the_archive_was_compared_and_the_lag_is_small() {
        let progress = Progress::new(5);
        assert!(progress.near_tip().now_or_never().is_none(), "not compared yet");
        progress.ready();
        assert!(progress.near_tip().now_or_never().is_some());
        progress.final_at(5 + MAX_LAG + 1);
        assert!(progress.near_tip().now_or_never().is_none(), "too far behind");
        progress.applied(6);
        assert!(progress.near_tip().now_or_never().is_some());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let progress = Progress::new(0);
        let mut waiting = pin!(progress.turn());
        assert!(poll!(&mut waiting).is_pending());
        progress.final_at(1);
        assert!(poll!(&mut waiting).is_pending());
        progress.has_turn();
        assert!(poll!(&mut waiting).is_ready());
    }
}
