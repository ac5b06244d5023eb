//! Cosignatures of what is applied, the quorum that publishes, and how an epoch ends, as the node does it.
//!
//! What an epoch's quorum has signed at its last block is its closing. A validator goes on into the next epoch when it
//! keeps that; who is further on tells it to those who still ask for the end of the epoch before.
//!
//! ```text
//! cosignature = be64 height ‖ digest (32)
//! closing     = be64 epoch ‖ be64 height ‖ digest (32)
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use bytes::{Buf as _, Bytes};

use super::{acts::quorum, disk::Tip, ledger::Shared};
use crate::Topic;

/// Who has signed what.
#[derive(Default)]
pub(super) struct Cosignatures {
    heard: Mutex<BTreeMap<Tip, BTreeSet<usize>>>,
    published: Mutex<u64>,
}

impl Shared {
    /// Signs what was applied last, and tells the others.
    pub(super) fn cosign(&self) {
        let Some(tip) = self.disk.last().filter(|(height, _)| *height >= self.owner.first_height) else { return };
        self.cosigned.heard.lock().unwrap().entry(tip).or_default().insert(self.owner.number);
        self.tell(tip);
        self.settle();
    }

    /// Says again what has no quorum.
    pub(super) fn repeat(&self) {
        let Some(tip) = self.disk.last() else { return };
        if tip.0 >= self.owner.first_height && tip.0 > *self.cosigned.published.lock().unwrap() {
            self.tell(tip);
        }
    }

    fn tell(&self, (height, digest): Tip) {
        self.broadcast(Topic::Cosignatures, [&height.to_be_bytes()[..], &digest].concat().into());
    }

    /// Hears what another validator has signed, or how an epoch has ended.
    pub(super) fn hear_cosignature(&self, from: [u8; 32], mut message: Bytes) {
        let Some(who) = self.truth.honest(from) else { return };
        match message.len() {
            40 => {
                let tip = (message.get_u64(), message[..].try_into().unwrap());
                self.truth.claimed(who, tip);
                if tip.0 < self.owner.first_height {
                    self.tell_closing(from);
                } else if self.owner.members.contains(&who) {
                    self.cosigned.heard.lock().unwrap().entry(tip).or_default().insert(who);
                    self.settle();
                }
            }
            48 => {
                let (epoch, height) = (message.get_u64(), message.get_u64());
                let tip = (height, message[..].try_into().unwrap());
                let waits = epoch == self.owner.epoch
                    && self.disk.acts().end(epoch).is_some_and(|end| self.disk.height() >= end);
                // Stands for checking the quorum's signatures.
                if waits && self.truth.closing(epoch) == Some(tip) {
                    self.close(epoch, tip);
                }
            }
            _ => {}
        }
    }

    fn tell_closing(&self, to: [u8; 32]) {
        let Some(before) = self.owner.epoch.checked_sub(1) else { return };
        if let (Some((height, digest)), Some(gossip)) = (self.disk.closing(before), self.gossip.get()) {
            let message = [&before.to_be_bytes()[..], &height.to_be_bytes(), &digest].concat();
            let _busy = gossip.tell(to, Topic::Cosignatures, message.into()).is_err();
        }
    }

    /// Publishes the newest of the own blocks that a quorum has signed.
    fn settle(&self) {
        let heard = self.cosigned.heard.lock().unwrap();
        let mut published = self.cosigned.published.lock().unwrap();
        let agreed =
            |tip: &Tip, who: &BTreeSet<usize>| who.len() >= quorum(self.owner.members.len()) && self.disk.has(*tip);
        let newest = heard.iter().rev().take_while(|(tip, _)| tip.0 > *published).find(|(tip, who)| agreed(tip, who));
        let Some((tip, _)) = newest else { return };
        *published = tip.0;
        if self.is_honest() {
            self.truth.published(self.owner.epoch, *tip);
        }
        if self.disk.acts().end(self.owner.epoch) == Some(tip.0) {
            self.close(self.owner.epoch, *tip);
        }
    }

    fn close(&self, epoch: u64, tip: Tip) {
        if self.disk.keep_closing(epoch, tip) && epoch == self.owner.epoch {
            self.stage.closed(self.owner.number);
        }
    }
}
