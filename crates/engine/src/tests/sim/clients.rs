//! Clients, who hand in transactions until they are recorded, and the end that every run must come to.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use commonware_cryptography::ed25519::PublicKey;
use commonware_runtime::Clock as _;

use super::{plan::Event, world::Stage};

/// When a client has last handed in what.
#[derive(Default)]
pub(super) struct Client {
    sent: BTreeMap<u64, Duration>,
    turn: usize,
}

impl Stage {
    pub(super) fn recorded_everywhere(&self) -> usize {
        let plan = &self.world.plan;
        let everywhere = |t: u64| plan.honest().all(|number| self.world.disks[number].height_of(t).is_some());
        plan.transactions.iter().filter(|(_, t)| everywhere(*t)).count()
    }

    /// Everything works again, but for those that are down for good: all must come to the same end.
    pub(super) async fn finish(&mut self, client: &mut Client) {
        self.world.lookout.disarm();
        while let Ok(notice) = self.notices.try_recv() {
            self.heed(&notice);
        }
        self.happenings().await;
        self.events.clear();
        self.invited.clear();
        self.happen(&Event::Heal).await;
        let world = Arc::clone(&self.world);
        for number in world.plan.honest() {
            self.happen(&Event::Restart(number, 0)).await;
        }
        let last = world.plan.set(world.plan.last_epoch()).unwrap();
        let up: Vec<_> = world.plan.honest().filter(|v| last.contains(v) && !world.plan.down.contains(v)).collect();
        let began = self.context.current();
        let (_, transactions): (Vec<_>, Vec<_>) = world.plan.transactions.iter().copied().unzip();
        while up.iter().any(|number| {
            transactions.iter().any(|t| world.disks[*number].height_of(*t).is_none()) || !self.has_arrived(*number)
        }) {
            let elapsed = self.context.current().duration_since(began).unwrap();
            assert!(
                elapsed < LONGEST_END,
                "no progress: {:?}, {} transactions handed in",
                up.iter()
                    .map(|v| (v, self.running.get(v).map(|r| r.epoch), world.disks[*v].height()))
                    .collect::<Vec<_>>(),
                world.truth.accepted().len()
            );
            self.happenings().await;
            self.help_stragglers().await;
            self.submit(client, Duration::MAX);
            self.pass_time().await;
        }
        assert!(world.truth.accepted().is_subset(&transactions.iter().copied().collect()));
        for (from, to) in self.oracle.blocked().await.unwrap() {
            let honest = |key: &PublicKey| world.truth.honest(crate::config::raw(key));
            if honest(&from).is_some() {
                assert!(honest(&to).is_none(), "an honest validator cut off an honest one");
                world.truth.saw(|seen| seen.cut_off += 1);
            }
        }
    }

    /// Clients hand in what is due, and again what nobody has recorded after a while, always to another validator.
    pub(super) fn submit(&self, client: &mut Client, elapsed: Duration) {
        let now = self.context.current().duration_since(std::time::UNIX_EPOCH).unwrap();
        for (at, transaction) in &self.world.plan.transactions {
            let waited = client.sent.get(transaction).is_none_or(|sent| now.saturating_sub(*sent) > CLIENT_PATIENCE);
            let early = *at > elapsed || !self.world.truth.may_come(*transaction);
            if early || !waited || self.world.truth.height_of(*transaction).is_some() || self.running.is_empty() {
                continue;
            }
            client.turn += 1;
            let target = self.running.values().nth(client.turn % self.running.len());
            if target.is_some_and(|running| running.ledger.submit(*transaction)) {
                client.sent.insert(*transaction, now);
            }
        }
    }
}

/// After this much simulated time without an end a run has failed.
const LONGEST_END: Duration = Duration::from_mins(10);
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);
