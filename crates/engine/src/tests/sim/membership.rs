//! Who decides when, who is linked with whom, and how a validator goes from one epoch into the next, as the node does:
//! it ends its engine when it keeps how the epoch has ended, and starts another one on the same storage.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use commonware_p2p::simulated::Link;
use zeroize::Zeroizing;

use super::{
    plan::{Event, Plan},
    traps::Moment,
    world::Stage,
};
use crate::{EngineConfig, Network as Peers, PastEpoch, Timing, Validator, config::Setup, public_key_of};

impl Stage {
    /// The epoch in which a validator decides, by what it keeps of earlier ones.
    pub(super) fn epoch_of(&self, number: usize) -> Option<u64> {
        let mut found = None;
        for (epoch, set) in (0..).zip(&self.world.plan.sets) {
            if set.contains(&number) {
                found = Some(epoch);
            }
            if self.world.disks[number].closing(epoch).is_none() {
                break;
            }
        }
        found
    }

    /// The first heights of all epochs up to this one.
    pub(super) fn firsts(&self, number: usize, epoch: u64) -> Vec<u64> {
        let after = |epoch| self.world.disks[number].closing(epoch).unwrap().0 + 1;
        std::iter::once(0).chain((0..epoch).map(after)).collect()
    }

    /// Tells a validator of all epochs that have ended.
    pub(super) fn give_file(&self, number: usize) {
        for epoch in 0..self.world.plan.last_epoch() {
            if let Some(closing) = self.world.truth.closing(epoch) {
                self.world.disks[number].keep_closing(epoch, closing);
            }
        }
    }

    /// A validator keeps how its epoch has ended, and goes on into the next one if it belongs there.
    pub(super) fn exchange(&mut self, number: usize) {
        let Some(before) = self.running.get(&number).map(|running| running.epoch) else { return };
        if self.world.lookout.reach(number, before, Moment::Closed) || self.epoch_of(number) == Some(before) {
            return;
        }
        self.stop(number);
        self.world.truth.saw(|seen| seen.exchanged += 1);
        self.schedule(self.now(), &[(self.world.plan.exchange, Event::Exchange(number))]);
    }

    /// New validators start when the epoch before theirs has ended.
    pub(super) fn invite(&mut self) {
        let world = self.world.clone();
        for number in world.plan.honest() {
            let first = world.plan.first_epoch(number);
            let begins = first.and_then(|epoch| epoch.checked_sub(1)).is_some_and(|e| world.truth.closing(e).is_some());
            if begins && self.epoch_of(number).is_none() && self.invited.insert(number) {
                self.schedule(self.now(), &[(world.plan.join_after, Event::Join(number))]);
            }
        }
    }

    /// Who was away for more than one end of an epoch needs a newer network file.
    pub(super) async fn help_stragglers(&mut self) {
        let world = self.world.clone();
        let lost: Vec<_> = self.running.iter().filter(|(_, r)| world.truth.closing(r.epoch + 1).is_some()).collect();
        let lost: Vec<_> = lost.into_iter().map(|(number, _)| *number).filter(|v| *v < world.plan.validators).collect();
        for number in lost {
            let before = self.epoch_of(number);
            self.give_file(number);
            if self.epoch_of(number) != before {
                self.stop(number);
                self.start(number).await;
            }
        }
    }

    /// Whether a validator decides in the last epoch and has applied a block of it.
    pub(super) fn has_arrived(&self, number: usize) -> bool {
        let last = self.world.plan.last_epoch();
        let begun = last.checked_sub(1).is_none_or(|before| {
            self.world.truth.closing(before).is_some_and(|(end, _)| self.world.disks[number].height() > end)
        });
        begun && self.running.get(&number).is_some_and(|running| running.epoch == last)
    }

    /// Makes the links what they should be now.
    pub(super) async fn link(&mut self) {
        for a in 0..self.keys.len() {
            for b in (0..self.keys.len()).filter(|b| *b != a) {
                let wanted = self.apart.contains(&a) == self.apart.contains(&b) && self.knows(a, b) && self.knows(b, a);
                let (from, to) = (self.keys[a].clone(), self.keys[b].clone());
                if wanted && self.links.insert((a, b)) {
                    self.oracle.add_link(from, to, self.quality(a, b)).await.unwrap();
                } else if !wanted && self.links.remove(&(a, b)) {
                    self.oracle.remove_link(from, to).await.unwrap();
                }
            }
        }
    }

    /// A validator talks to those of its epoch only.
    fn knows(&self, who: usize, other: usize) -> bool {
        let epoch = self.running.get(&who).map(|running| running.epoch);
        epoch.is_none_or(|epoch| self.world.plan.set(epoch).unwrap().contains(&other))
    }

    fn quality(&self, a: usize, b: usize) -> Link {
        let plan = &self.world.plan;
        let extra = plan.far.filter(|(far, _)| *far == a || *far == b).map_or(Duration::ZERO, |(_, extra)| extra);
        Link { latency: plan.latency + extra, jitter: plan.jitter, success_rate: plan.delivered }
    }
}

pub(super) fn seed(number: usize) -> [u8; 32] {
    [u8::try_from(number).unwrap() + 1; 32]
}

/// What a validator's engine is given in `epoch`, with the first heights of all epochs up to that.
pub(super) fn setup(plan: &Plan, number: usize, prefix: &'static str, epoch: u64, firsts: &[u64]) -> Setup {
    let address = |number: usize| SocketAddr::from(([127, 0, 0, 1], 10_000 + u16::try_from(number).unwrap()));
    let key = |number: &usize| public_key_of(&seed(*number));
    let set = plan.set(epoch).unwrap();
    let validators = set.iter().map(|v| Validator { key: key(v), address: address(*v) }).collect();
    let past = (0..epoch).zip(firsts).map(|(epoch, first_height)| PastEpoch {
        epoch,
        first_height: *first_height,
        validators: plan.set(epoch).unwrap().iter().map(key).collect(),
    });
    let config = EngineConfig {
        storage_dir: "unused".into(),
        namespace: b"a simulated network".to_vec(),
        validator_seed: Zeroizing::new(seed(number)),
        validators,
        listen: address(number),
        genesis_header: Bytes::new(),
        epoch,
        first_height: firsts.last().copied().unwrap_or(0),
        past: past.collect(),
        max_header_bytes: 24,
        max_payload_bytes: 256,
        max_gossip_bytes: 64,
        timing: Timing::lan(),
        network: Peers::Local,
        worker_threads: 1,
    };
    Setup { prefix, ..Setup::new(config).unwrap() }
}
