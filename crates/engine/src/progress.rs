//! How far the ledger is behind what is final, so that nobody builds or judges on an ancestry too long for memory.

use tokio::sync::watch;

/// Finalized blocks that the ledger may lag behind before proposing and judging wait for it.
///
/// Every one of them may be held in memory by each pending proposal and judgement.
const MAX_LAG: u64 = 32;

/// Heights that the applier and the engine report, and waiting for them to be close.
#[derive(Debug)]
pub(crate) struct Progress(watch::Sender<Position>);

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
        Self(watch::Sender::new(Position { ready: false, turn: false, tip: applied, applied }))
    }

    /// A block at `height` is final.
    pub(crate) fn final_at(&self, height: u64) {
        self.0.send_modify(|at| at.tip = at.tip.max(height));
    }

    /// The ledger has applied everything up to `height`.
    pub(crate) fn applied(&self, height: u64) {
        self.0.send_modify(|at| {
            at.applied = at.applied.max(height);
            at.tip = at.tip.max(height);
        });
    }

    /// The ledger has everything that the archive held at the start.
    pub(crate) fn ready(&self) {
        self.0.send_modify(|at| at.ready = true);
    }

    /// This validator has been asked for a block.
    pub(crate) fn has_turn(&self) {
        self.0.send_if_modified(|at| !std::mem::replace(&mut at.turn, true));
    }

    /// Waits until this validator has been asked for a block.
    pub(crate) async fn turn(&self) {
        let mut position = self.0.subscribe();
        let _closed = position.wait_for(|at| at.turn).await.is_err();
    }

    /// Waits until the ledger is near the last final block.
    ///
    /// It cannot wait for ever: finalized blocks are applied without proposing or judging anything.
    pub(crate) async fn near_tip(&self) {
        let mut position = self.0.subscribe();
        // An error means that the sender is gone; it lives in `self`.
        let _closed = position.wait_for(|at| at.ready && at.tip.saturating_sub(at.applied) <= MAX_LAG).await.is_err();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

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
}
