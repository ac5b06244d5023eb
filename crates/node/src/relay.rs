//! Transactions between validators, so that whoever leads next can record them.
//!
//! For: telling the others what clients have posted here, once at once and again until it is recorded, and
//! hearing what they tell. Not for: passing on what was heard, since all validators are connected; nor for
//! keeping anything (`mempool`).
//!
//! A message is one batch as `POST /api/v1/transactions` takes it (`docs/PROTOCOL.md` section 7), or an act of
//! governance with its approvals behind a byte of 2, which no batch begins with (section 14). It is
//! judged like any other before it is taken. Each peer has its own bounded place in the queue, so that none
//! can crowd the others out, and one that sends what no submitter signed is heard less and less.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::batch::{Batch, MAX_WIRE};
use birthmark_core::governance::ApprovedAct;
use birthmark_engine::Topic;
use birthmark_ledger::LedgerError;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, warn};

use crate::admission;
use crate::allowance::Allowance;
use crate::chain::NodeChain;
use crate::config::NodeError;
use crate::mempool::{Full, Origin};
use crate::offer::Offer;

type Peer = [u8; 32];

/// What other validators have passed on and nobody has looked at yet.
#[derive(Debug)]
pub(crate) struct Relay {
    queue: mpsc::Sender<(Peer, Bytes)>,
    /// Taken up again when another epoch begins.
    inbox: tokio::sync::Mutex<mpsc::Receiver<(Peer, Bytes)>>,
    peers: Mutex<HashMap<Peer, Conduct>>,
}

#[derive(Debug)]
struct Conduct {
    /// Bytes of its messages in the queue.
    queued: usize,
    /// Messages that no honest validator sends.
    bad: Allowance,
    /// It has used up its allowance; then only now and then a message of it is looked at.
    ignored: bool,
    /// Whether the log has said so.
    named: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It waits for a block.
    Waits,
    /// It is known, on record, or may not be recorded as this node sees it.
    Nothing,
    /// There is no room for more of this peer's.
    NoRoom,
    /// No honest validator sends this.
    Bad,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let (queue, inbox) = mpsc::channel(MAX_QUEUED);
        Self { queue, inbox: tokio::sync::Mutex::new(inbox), peers: Mutex::default() }
    }

    /// Hears a message of another validator. Returns at once.
    pub(crate) fn hear(&self, from: Peer, message: Bytes) {
        let mut peers = self.peers.lock();
        // Only validators are connected, so there are few of them.
        let conduct = peers.entry(from).or_insert_with(Conduct::new);
        if conduct.ignored {
            conduct.ignored = !conduct.bad.take(Instant::now());
        }
        if conduct.ignored || conduct.queued + message.len() > MAX_PEER_BYTES {
            debug!("a message of another validator is dropped");
            return;
        }
        let len = message.len();
        if self.queue.try_send((from, message)).is_ok() {
            conduct.queued += len;
        }
    }

    /// Takes what was heard, and tells again what is not recorded; ends with an error only.
    pub(crate) async fn run(&self, chain: NodeChain) -> Result<(), NodeError> {
        if chain.committee().is_alone() {
            return std::future::pending().await;
        }
        let mut inbox = self.inbox.lock().await;
        let mut repeat = tokio::time::interval(TELL_CHECK);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Vec::new();
        loop {
            tokio::select! {
                _ = inbox.recv_many(&mut heard, AT_ONCE) => {
                    let (chain, messages) = (chain.clone(), std::mem::take(&mut heard));
                    tokio::task::spawn_blocking(move || chain.relay.take_all(&chain, messages)).await?;
                }
                _ = repeat.tick() => {
                    let due = chain.mempool.to_tell_again(Instant::now(), TELL_AGAIN, TELL_BYTES);
                    for batch in due {
                        tell(&chain, batch.batch().encode().into());
                    }
                    if let Some(act) = chain.mempool.act_to_tell_again(Instant::now(), TELL_AGAIN) {
                        tell_act(&chain, &act);
                    }
                }
            }
        }
    }

    fn take_all(&self, chain: &NodeChain, messages: Vec<(Peer, Bytes)>) {
        for (from, message) in messages {
            let taken = take(chain, from, &message).unwrap_or_else(|cause| {
                // It comes again: its sender keeps it until it is recorded.
                error!(error = %cause, "the ledger cannot be read to judge transactions");
                Taken::Nothing
            });
            let mut peers = self.peers.lock();
            let Some(conduct) = peers.get_mut(&from) else { continue };
            conduct.queued = conduct.queued.saturating_sub(message.len());
            if taken == Taken::Bad {
                conduct.ignored |= !conduct.bad.take(Instant::now());
                if !std::mem::replace(&mut conduct.named, true) {
                    let validator = birthmark_core::hex::encode(from);
                    warn!(validator, "a validator passes on what no submitter has signed");
                }
            }
        }
    }
}

impl Conduct {
    const fn new() -> Self {
        Self { queued: 0, bad: Allowance::new(32, 1), ignored: false, named: false }
    }
}

/// Tells all others of a batch that a client has posted here.
pub(crate) fn tell(chain: &NodeChain, batch: Bytes) {
    let told = chain.gossip.load().as_deref().map(|gossip| gossip.broadcast(Topic::Transactions, batch));
    if let Some(Err(error)) = told {
        debug!(%error, "transactions were not told; they will be again");
    }
}

/// Tells all others of an act that a client has posted here.
pub(crate) fn tell_act(chain: &NodeChain, act: &ApprovedAct) {
    tell(chain, [&[ACT], act.encode().as_slice()].concat().into());
}

/// An act is judged by what holds here and now; one that does not fit may be late or early.
fn take_act(chain: &NodeChain, from: Peer, bytes: &[u8]) -> Taken {
    let Ok(act) = ApprovedAct::decode(bytes) else { return Taken::Bad };
    if chain.ledger.constitution().check(&act).is_err() {
        return Taken::Nothing;
    }
    chain.mempool.offer_act(act, Origin::Peer(from));
    Taken::Waits
}

/// Judges and takes one message. What costs little comes first.
pub(crate) fn take(chain: &NodeChain, from: Peer, message: &[u8]) -> Result<Taken, LedgerError> {
    let (ledger, mempool) = (&chain.ledger, &chain.mempool);
    if message.len() > MAX_WIRE {
        return Ok(Taken::Bad);
    }
    if let Some((&ACT, act)) = message.split_first() {
        return Ok(take_act(chain, from, act));
    }
    if message.last_chunk().is_some_and(|signature| mempool.holds(signature)) {
        return Ok(Taken::Nothing);
    }
    let Ok(batch) = Batch::decode(message) else { return Ok(Taken::Bad) };
    if admission::check_signature(ledger, &batch).is_err() {
        return Ok(Taken::Bad);
    }
    let offer = Arc::new(Offer::new(batch));
    let recorded = admission::recorded(ledger, &offer)?;
    if !recorded.contains(&false) {
        return Ok(Taken::Nothing);
    }
    // Not the sender's fault: its network file or its ledger may be newer than ours.
    if admission::refusals(ledger, &offer.batch().transactions)?.iter().any(Option::is_some) {
        return Ok(Taken::Nothing);
    }
    if let Err(Full) = mempool.add(Arc::clone(&offer), &recorded, Origin::Peer(from)) {
        return Ok(Taken::NoRoom);
    }
    admission::settle_late(ledger, mempool, &offer)?;
    Ok(Taken::Waits)
}

/// What a message of an act begins with.
const ACT: u8 = 2;
/// Messages in the queue, of all validators together.
const MAX_QUEUED: usize = 4_096;
/// Bytes in the queue of one validator.
const MAX_PEER_BYTES: usize = 4 << 20;
/// Messages that are judged in one go.
const AT_ONCE: usize = 64;
/// How often to look for what was told and is not recorded,
const TELL_CHECK: Duration = Duration::from_millis(500);
/// after how long to tell it again,
const TELL_AGAIN: Duration = Duration::from_secs(2);
/// and how many bytes of it at once.
const TELL_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
