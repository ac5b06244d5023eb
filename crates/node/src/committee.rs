//! The validators' agreement on what is published: tells others what this one has signed, hears what
//! they have, and publishes what a quorum has.
//!
//! For: [`Committee`], between the cosigner, which signs, and the publisher, which shows.
//!
//! Not for: counting (`collector`), or the rule under which anything is signed (`cosigner`).
//!
//! Only trees of the own ledger are published, each with the snapshot that it covers. Statements that
//! were lost are repeated: a validator without a quorum for its newest tree tells it again and asks for
//! the others' own, and everyone signs anew once a minute.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::checkpoint::Checkpoint;
use birthmark_core::ids::Epoch;
use birthmark_core::merkle::TreeHash;
use birthmark_core::network::{Network, NetworkEpoch};
use birthmark_core::note::{KeyName, NoteSignature, VerifierKey};
use birthmark_core::policy::quorum_size;
use birthmark_core::time::UnixSeconds;
use birthmark_engine::{Gossip, Topic};
use birthmark_ledger::{Ledger, Reading};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, warn};

use crate::allowance::Allowance;
use crate::collector::{Collector, Heard};
use crate::config::NodeError;
use crate::cosigner::Signed;
use crate::publisher::Publisher;
use crate::statement::{Statement, Wish};

/// All validators of the epoch, seen from one of them.
#[derive(Debug)]
pub(crate) struct Committee {
    origin: KeyName,
    epoch: Epoch,
    /// Trees up to this size are for the validators of earlier epochs to sign.
    first_size: u64,
    members: Vec<Member>,
    own: usize,
    inner: Mutex<Inner>,
    heard: mpsc::Sender<(usize, Statement)>,
    inbox: Mutex<Option<mpsc::Receiver<(usize, Statement)>>>,
    signed: Notify,
}

#[derive(Debug)]
struct Member {
    consensus_key: [u8; 32],
    cosigner: VerifierKey,
}

#[derive(Debug)]
struct Inner {
    collector: Collector,
    /// Own trees without a quorum, rising.
    awaiting: VecDeque<Standing>,
    newest: Option<Statement>,
    published: Option<(u64, UnixSeconds)>,
    conduct: Vec<Conduct>,
}

/// How a validator has behaved since the start.
#[derive(Debug)]
struct Conduct {
    statements: Allowance,
    answers: Allowance,
    closings: Allowance,
    /// What was said about it in the log, so that it cannot fill the log.
    malformed: bool,
    diverged: bool,
}

/// A tree that this validator has signed, with the ledger as it covers it.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) log: NoteSignature,
    pub(crate) reading: Reading,
}

impl Committee {
    /// The validators of an epoch of the network; `own` is this one's consensus key.
    pub(crate) fn new(network: &Network, epoch: Epoch, own: &[u8; 32]) -> Result<Self, NodeError> {
        let origin = network.origin().clone();
        let found = network.epochs().find(|known| known.number() == epoch).ok_or(NodeError::NotAValidator)?;
        let before = network.epochs().take_while(|known| known.number() != epoch).last();
        let first_size = before.and_then(NetworkEpoch::last_checkpoint).map_or(0, |(size, _)| size);
        let members = found.cosigners(&origin)?;
        let members: Vec<_> =
            members.into_iter().map(|(key, cosigner)| Member { consensus_key: *key.as_bytes(), cosigner }).collect();
        let own = members.iter().position(|member| member.consensus_key == *own).ok_or(NodeError::NotAValidator)?;
        let (heard, inbox) = mpsc::channel(MAX_WAITING);
        let inner = Inner {
            collector: Collector::new(members.len(), quorum_size(members.len())),
            awaiting: VecDeque::new(),
            newest: None,
            published: None,
            conduct: members.iter().map(|_| Conduct::new()).collect(),
        };
        let (inner, inbox) = (Mutex::new(inner), Mutex::new(Some(inbox)));
        Ok(Self { origin, epoch, first_size, members, own, inner, heard, inbox, signed: Notify::new() })
    }

    /// In which epoch these are validators.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The end of the epoch before, which these validators do not sign; 0 in the first one.
    pub(crate) const fn first_size(&self) -> u64 {
        self.first_size
    }

    /// Whether a validator that is still in the epoch before may be told now how that has ended.
    pub(crate) fn may_tell_closing(&self, from: &[u8; 32]) -> bool {
        let place = self.members.iter().position(|member| member.consensus_key == *from);
        let mut inner = self.inner.lock();
        let conduct = place.and_then(|place| inner.conduct.get_mut(place));
        conduct.is_some_and(|conduct| conduct.closings.take(Instant::now()))
    }

    /// Whether there is nobody to wait for.
    pub(crate) fn is_alone(&self) -> bool {
        self.members.len() == 1
    }

    /// Begins with a checkpoint that an earlier run has published.
    pub(crate) fn resume(&self, size: u64, time: UnixSeconds) {
        self.inner.lock().note_published(size, time);
    }

    /// Takes what this validator has signed, rising; the last is the tree of `reading`. Tells the others.
    pub(crate) fn deposit(&self, signed: Vec<Signed>, reading: Reading, gossip: Option<&Gossip>) {
        let mut told = Vec::with_capacity(signed.len());
        let mut inner = self.inner.lock();
        let mut standing = None;
        for Signed { checkpoint, log, cosignature } in signed {
            let tree = (checkpoint.size, checkpoint.root);
            let Some(statement) = Statement::new(tree.0, tree.1, &cosignature) else { continue };
            inner.collector.insert(self.own, tree, statement.time(), cosignature);
            told.push(statement);
            standing = Some((checkpoint, log));
        }
        inner.newest = told.last().copied();
        if let Some((checkpoint, log)) = standing {
            inner.blame(&self.members, (checkpoint.size, checkpoint.root));
            inner.await_quorum(Standing { checkpoint, log, reading });
        }
        drop(inner);
        for statement in told {
            tell_all(gossip, &statement);
        }
        self.signed.notify_one();
    }

    /// Hears a message of another validator. Returns at once: what costs time waits in a bounded queue.
    pub(crate) fn hear(&self, from: &[u8; 32], message: &[u8], gossip: Option<&Gossip>) {
        let place = self.members.iter().position(|member| member.consensus_key == *from);
        let Some(place) = place.filter(|place| *place != self.own) else { return };
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let Some(conduct) = inner.conduct.get_mut(place) else { return };
        if !conduct.statements.take(now) {
            return;
        }
        let statement = match Statement::decode(message) {
            Ok(statement) => statement,
            Err(error) => {
                if !std::mem::replace(&mut conduct.malformed, true) {
                    warn!(cosigner = %self.name(place), %error, "a validator sends malformed cosignatures");
                }
                return;
            }
        };
        let answers = statement.wish == Wish::Answer && conduct.answers.take(now);
        let answer = inner.newest.filter(|_| answers);
        let news = inner.collector.is_news(place, (statement.size, statement.root), statement.time());
        drop(inner);
        if let (Some(answer), Some(gossip)) = (answer, gossip)
            && let Err(error) = gossip.tell(*from, Topic::Cosignatures, answer.encode())
        {
            debug!(%error, "a cosignature was not answered");
        }
        if news && self.heard.try_send((place, statement)).is_err() {
            debug!("too many cosignatures wait to be checked; one is dropped and will be repeated");
        }
    }

    /// Checks what was heard, repeats what was lost, and publishes; ends with an error only. Without others
    /// there is nothing to do.
    pub(crate) async fn run(
        self: Arc<Self>,
        ledger: Arc<Ledger>,
        publisher: Arc<Publisher>,
        gossip: Option<Gossip>,
    ) -> Result<(), NodeError> {
        let inbox = self.inbox.lock().take().filter(|_| !self.is_alone());
        let Some(mut inbox) = inbox else { return std::future::pending().await };
        let mut repeat = tokio::time::interval(REPEAT);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = inbox.recv() => {
                    let mut next = heard;
                    while let Some((place, statement)) = next {
                        self.consider(place, &statement);
                        next = inbox.try_recv().ok();
                    }
                }
                () = self.signed.notified() => {}
                _ = repeat.tick() => {
                    if let Some(newest) = self.inner.lock().unpublished() {
                        tell_all(gossip.as_ref(), &newest.with(Wish::Answer));
                    }
                    continue;
                }
            }
            if self.inner.lock().ready().is_some() {
                let (own, ledger, publisher) = (Arc::clone(&self), Arc::clone(&ledger), Arc::clone(&publisher));
                tokio::task::spawn_blocking(move || own.settle(&ledger, &publisher)).await??;
            }
        }
    }

    /// Publishes the newest tree that a quorum has signed, if it is newer than what is published. Never by
    /// two threads at once: validators with peers call it from [`Self::run`], one that is alone under the
    /// cosigner's lock.
    pub(crate) fn settle(&self, ledger: &Ledger, publisher: &Publisher) -> Result<(), NodeError> {
        let Some((standing, lines)) = self.inner.lock().take_ready() else { return Ok(()) };
        publisher.publish(ledger, standing, &lines)
    }

    fn consider(&self, place: usize, statement: &Statement) {
        let Some(member) = self.members.get(place) else { return };
        let (size, root) = (statement.size, statement.root);
        let line = statement.line(&member.cosigner);
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let Ok(time) = checkpoint.check_cosignature(&member.cosigner, &line) else {
            let mut inner = self.inner.lock();
            let known = inner.conduct.get_mut(place).is_none_or(|c| std::mem::replace(&mut c.malformed, true));
            if !known {
                warn!(cosigner = %self.name(place), size, "a validator sends cosignatures that do not hold");
            }
            return;
        };
        let mut inner = self.inner.lock();
        if inner.collector.insert(place, (size, root), time, line) == Heard::Equivocation {
            error!(
                cosigner = %self.name(place), size, %root,
                "a validator has signed two trees of one size; what it signs counts for nothing until this node starts again"
            );
        }
        let ours = inner.awaiting.iter().find(|standing| standing.checkpoint.size == size);
        if let Some(ours) = ours.map(|standing| standing.checkpoint.root) {
            inner.blame(&self.members, (size, ours));
        }
    }

    fn name(&self, place: usize) -> &str {
        self.members.get(place).map_or("", |member| member.cosigner.name().as_str())
    }
}

impl Inner {
    /// Names those who have signed another tree than ours.
    fn blame(&mut self, members: &[Member], (size, root): (u64, TreeHash)) {
        for place in self.collector.others((size, root)) {
            let known = self.conduct.get_mut(place).is_none_or(|c| std::mem::replace(&mut c.diverged, true));
            if let Some(member) = members.get(place).filter(|_| !known) {
                let cosigner = member.cosigner.name();
                error!(%cosigner, size, ours = %root, "a validator has signed another tree than this node's");
            }
        }
    }

    fn await_quorum(&mut self, standing: Standing) {
        let same = self.awaiting.back().is_some_and(|last| last.checkpoint.size == standing.checkpoint.size);
        // The oldest are the nearest to their quorum, the newest is the one that counts in the end.
        if same || self.awaiting.len() >= MAX_AWAITING {
            self.awaiting.pop_back();
        }
        self.awaiting.push_back(standing);
    }

    /// The place among `awaiting` of the newest that may be published.
    fn ready(&self) -> Option<usize> {
        let newer = |standing: &Standing| {
            let tree = (standing.checkpoint.size, standing.checkpoint.root);
            let quorum = self.collector.quorum(tree);
            quorum.is_some_and(|(time, _)| self.published.is_none_or(|published| (tree.0, time) > published))
        };
        self.awaiting.iter().rposition(newer)
    }

    fn take_ready(&mut self) -> Option<(Standing, Vec<NoteSignature>)> {
        let at = self.ready()?;
        let standing = self.awaiting.drain(..=at).next_back()?;
        let (time, lines) = self.collector.quorum((standing.checkpoint.size, standing.checkpoint.root))?;
        self.note_published(standing.checkpoint.size, time);
        Some((standing, lines))
    }

    fn note_published(&mut self, size: u64, time: UnixSeconds) {
        self.published = Some((size, time));
        self.collector.forget_below(size);
    }

    /// The newest own statement, if its tree is not published yet, or with times that are too old.
    fn unpublished(&self) -> Option<Statement> {
        self.newest.filter(|newest| {
            let late = |time: UnixSeconds| newest.time().0 > time.0.saturating_add(STALE);
            self.published.is_none_or(|(size, time)| newest.size > size || late(time))
        })
    }
}

impl Conduct {
    const fn new() -> Self {
        // One statement a block and validator, and a few blocks at once after a pause.
        Self {
            statements: Allowance::new(1_024, 256),
            answers: Allowance::new(2, 5),
            closings: Allowance::new(2, 2),
            malformed: false,
            diverged: false,
        }
    }
}

fn tell_all(gossip: Option<&Gossip>, statement: &Statement) {
    if let Some(Err(error)) = gossip.map(|gossip| gossip.broadcast(Topic::Cosignatures, statement.encode())) {
        debug!(%error, "a cosignature was not told; it will be repeated");
    }
}

/// Statements that may wait for their signature to be checked, of all validators together.
const MAX_WAITING: usize = 4_096;
/// Own trees that may wait for a quorum, each with a snapshot of the ledger.
const MAX_AWAITING: usize = 16;
/// Seconds by which a published checkpoint may be older than this validator's own signature.
const STALE: u64 = 60;
/// How often a tree without a quorum is told again.
const REPEAT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
