//! One epoch that spans all heights, because the validator set does not change while an engine runs.

use commonware_consensus::types::{Epoch, EpochInfo, Epocher, Height};

/// Says of every height that it is in the one epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SingleEpoch(pub(crate) Epoch);

/// One below the largest height: an epoch's length must fit into a `u64`.
const LAST: Height = Height::new(u64::MAX - 1);

impl Epocher for SingleEpoch {
    fn containing(&self, height: Height) -> Option<EpochInfo> {
        (height <= LAST).then(|| EpochInfo::new(self.0, height, Height::zero(), LAST))
    }

    fn first(&self, epoch: Epoch) -> Option<Height> {
        (epoch == self.0).then(Height::zero)
    }

    fn last(&self, epoch: Epoch) -> Option<Height> {
        (epoch == self.0).then_some(LAST)
    }
}
