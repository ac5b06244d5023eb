//! The network as the ledger's state has it: its document, changed by all acts of governance so far.
//!
//! For: [`Constitution`], by which everything in the next block is judged. Not for: what an act changes
//! (`birthmark_core::network`), or where acts are stored (`store`).
//!
//! An act takes effect with the end of the block that holds it. A change of validators takes effect
//! [`NOTICE`] blocks later: consensus cannot exchange its voters in the middle of an argument, and by then
//! everyone knows that the act is final and so which block is the last of the epoch. Until then no other
//! act is taken. The leaf of an act stands in the block with whose end it takes effect.

use std::sync::Arc;

use birthmark_core::governance::{ApprovedAct, NOTICE};
use birthmark_core::ids::{Height, TxId};
use birthmark_core::leaf::Leaf;
use birthmark_core::merkle::{self, TreeHash};
use birthmark_core::network::{ActRefusal, Enactment, Network};

use crate::apply::InvalidBlock;
use crate::store::{StoreError, StoreReader};

/// Who runs the network and may speak in it, for the next block.
#[derive(Clone, Debug)]
pub struct Constitution {
    network: Arc<Network>,
    scheduled: Option<Scheduled>,
    /// The last block was the last of its epoch and is not final yet: nothing is built on it.
    over: bool,
}

/// A change of validators that waits for the end of its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// The block that holds it.
    pub height: Height,
    /// The act.
    pub approved: ApprovedAct,
}

/// What a block does about acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActChange {
    /// It holds a change of validators, for later.
    Scheduled(Scheduled),
    /// An act takes effect with its end.
    Enacted {
        /// The act's leaf, the last one before the block's own.
        tx_id: TxId,
        /// The act.
        approved: ApprovedAct,
    },
}

impl Scheduled {
    /// The last block of the epoch.
    pub const fn last_height(&self) -> Height {
        Height(self.height.0.saturating_add(NOTICE))
    }
}

impl Constitution {
    pub(crate) const fn new(network: Arc<Network>) -> Self {
        Self { network, scheduled: None, over: false }
    }

    /// Who runs the network and may speak in it.
    pub const fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The change of validators that waits.
    pub const fn scheduled(&self) -> Option<&Scheduled> {
        self.scheduled.as_ref()
    }

    /// Whether the next block may hold this act.
    pub fn check(&self, approved: &ApprovedAct) -> Result<(), InvalidBlock> {
        if self.scheduled.is_some() {
            return Err(InvalidBlock::ActWaits);
        }
        Ok(self.network.check_act(approved)?)
    }

    /// Whether any block may follow.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the block at this height is the first of its epoch, which then says so in the log.
    pub(crate) fn begins_at(&self, height: Height) -> bool {
        let epoch = self.network.current_epoch();
        epoch.number().0 > 0 && epoch.first_height() == height
    }

    /// The act that takes effect with the end of the block at this height.
    pub(crate) fn due(&self, height: Height) -> Option<&ApprovedAct> {
        self.scheduled.as_ref().filter(|scheduled| scheduled.last_height() == height).map(|due| &due.approved)
    }

    /// What holds after a block that is not on disk yet. Behind the last block of an epoch `log`, its leaves and
    /// root then, must be known: nothing follows it otherwise.
    pub(crate) fn after(
        &self,
        height: Height,
        change: &ActChange,
        log: Option<(u64, TreeHash)>,
    ) -> Result<Self, ActRefusal> {
        match change {
            ActChange::Scheduled(scheduled) => Ok(Self { scheduled: Some(scheduled.clone()), ..self.clone() }),
            ActChange::Enacted { approved, .. } if log.is_none() && approved.act().change.ends_epoch() => {
                Ok(Self { over: true, ..self.clone() })
            }
            ActChange::Enacted { tx_id, approved } => {
                // Of an act within an epoch nobody asks where the log stood.
                let (size, root) = log.unwrap_or((tx_id.0, TreeHash::from_bytes([0; 32])));
                let at = Enactment { height, size, root };
                Ok(Self::new(Arc::new(self.network.enact(approved, at)?)))
            }
        }
    }

    /// What holds in a state of the store; `before` is the same or an earlier state's.
    pub(crate) fn load(before: &Self, reader: &StoreReader) -> Result<Self, StoreError> {
        let (count, scheduled) = reader.acts()?;
        let mut network = Arc::clone(&before.network);
        if network.act_count() > count {
            return Err(StoreError::Damaged { what: "acts of governance are missing" });
        }
        while network.act_count() < count {
            let next = network.act_count().saturating_add(1);
            network = Arc::new(enacted(&network, reader, reader.act(next)?)?);
        }
        Ok(Self { network, scheduled, over: false })
    }
}

fn enacted(network: &Network, reader: &StoreReader, tx_id: TxId) -> Result<Network, StoreError> {
    let Ok(Leaf::Act(leaf)) = Leaf::decode(&reader.leaf(tx_id)?) else {
        return Err(StoreError::Damaged { what: "what should be an act's leaf is none" });
    };
    let size = tx_id.0.saturating_add(2);
    let root = merkle::root(size, &mut |level, index| reader.subtree(level, index))?;
    let at = Enactment { height: leaf.height, size, root };
    network.enact(&leaf.approved, at).map_err(|_| StoreError::OtherActs)
}
