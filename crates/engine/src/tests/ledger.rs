//! A ledger in memory: its blocks are lists of one payload, and a payload may be recorded only once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use crate::{Chain, ChainError, Judgement, OrderedBlock, Proposal, Topic};

pub(super) type Heard = (Topic, [u8; 32], Bytes);

pub(super) struct Ledger {
    shared: Arc<Shared>,
    heard: mpsc::UnboundedSender<Heard>,
}

struct Shared {
    state: Mutex<State>,
    work: Arc<Notify>,
    applied: watch::Sender<u64>,
    asked: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    blocks: Vec<OrderedBlock>,
    queue: VecDeque<Bytes>,
    oversize_once: bool,
    fail_at: Option<u64>,
    batches: usize,
    proposed: HashMap<Bytes, Instant>,
    latencies: Vec<Duration>,
}

impl Ledger {
    pub(super) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Heard>) {
        let (heard, hearing) = mpsc::unbounded_channel();
        let shared = Shared {
            state: Mutex::default(),
            work: Arc::default(),
            applied: watch::Sender::new(0),
            asked: watch::Sender::new(0),
        };
        (Arc::new(Self { shared: Arc::new(shared), heard }), hearing)
    }

    pub(super) fn submit(&self, payload: impl Into<Bytes>) {
        self.state().queue.push_back(payload.into());
        self.shared.work.notify_waiters();
    }

    /// Blocks from this height on cannot be applied.
    pub(super) fn fail_at(&self, height: Option<u64>) {
        self.state().fail_at = height;
    }

    /// The next proposal is one byte larger than a block may hold.
    pub(super) fn propose_oversize_once(&self) {
        self.state().oversize_once = true;
    }

    pub(super) fn blocks(&self) -> Vec<OrderedBlock> {
        self.state().blocks.clone()
    }

    /// Recorded payloads in order, without empty blocks.
    pub(super) fn payloads(&self) -> Vec<Bytes> {
        self.state().blocks.iter().filter(|block| !block.payload.is_empty()).map(|b| b.payload.clone()).collect()
    }

    pub(super) fn latencies(&self) -> Vec<Duration> {
        self.state().latencies.clone()
    }

    /// Waits, but not for ever, until `count` payloads are recorded.
    pub(super) async fn recorded(&self, count: usize) {
        let mut applied = self.shared.applied.subscribe();
        let done = applied.wait_for(|_| self.payloads().len() >= count);
        let in_time = tokio::time::timeout(DEADLINE, done).await.is_ok();
        assert!(in_time, "{} of {count} payloads recorded in time", self.payloads().len());
    }

    /// Waits, but not for ever, until block `height` is applied.
    pub(super) async fn reached(&self, height: u64) {
        let mut applied = self.shared.applied.subscribe();
        let done = applied.wait_for(|at| *at >= height);
        assert!(tokio::time::timeout(DEADLINE, done).await.is_ok(), "block {height} was not applied in time");
    }

    /// Waits until the engine asks for a block, and so is idle.
    pub(super) async fn asked(&self) {
        let mut asked = self.shared.asked.subscribe();
        let done = asked.wait_for(|count| *count > 0);
        assert!(tokio::time::timeout(DEADLINE, done).await.is_ok(), "no block was asked for in time");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Shared {
    fn next(&self, unapplied: &[OrderedBlock]) -> Option<Bytes> {
        let mut state = self.state.lock().unwrap();
        let found = state.queue.iter().find(|payload| !state.holds(payload, unapplied))?.clone();
        state.proposed.entry(found.clone()).or_insert_with(Instant::now);
        Some(found)
    }
}

impl State {
    fn holds(&self, payload: &Bytes, unapplied: &[OrderedBlock]) -> bool {
        self.blocks.iter().chain(unapplied).any(|block| block.payload == payload)
    }
}

impl Chain for Ledger {
    fn applied_height(&self) -> u64 {
        self.state().blocks.len() as u64
    }

    fn applied_digest(&self) -> Option<[u8; 32]> {
        self.state().blocks.last().map(|block| block.digest)
    }

    fn propose(
        &self,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
        patience: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, Option<Proposal>> {
        assert_eq!(unapplied.last(), Some(&parent));
        assert!(unapplied.is_sorted_by(|a, b| a.height + 1 == b.height && a.digest == b.parent));
        let shared = Arc::clone(&self.shared);
        let header = Bytes::from(format!("header {}", parent.height + 1));
        Box::pin(async move {
            shared.asked.send_modify(|count| *count += 1);
            if std::mem::take(&mut shared.state.lock().unwrap().oversize_once) {
                return Some(Proposal { header, payload: vec![7; super::MAX_PAYLOAD as usize + 1].into() });
            }
            let mut patience = patience;
            let payload = loop {
                let woken = shared.work.notified();
                if let Some(payload) = shared.next(&unapplied) {
                    break payload;
                }
                tokio::select! {
                    () = woken => {}
                    () = &mut patience => break Bytes::new(),
                }
            };
            Some(Proposal { header, payload })
        })
    }

    fn work(&self) -> (bool, BoxFuture<'static, ()>) {
        let changed = Arc::clone(&self.shared.work).notified_owned();
        (!self.state().queue.is_empty(), Box::pin(changed))
    }

    fn verify(
        &self,
        block: OrderedBlock,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
    ) -> BoxFuture<'static, Judgement> {
        assert_eq!(block.parent, parent.digest);
        let repeated = !block.payload.is_empty() && self.state().holds(&block.payload, &unapplied);
        let named = block.header == format!("header {}", parent.height + 1);
        Box::pin(async move { if named && !repeated { Judgement::Valid } else { Judgement::Invalid } })
    }

    fn finalized(&self, blocks: Vec<OrderedBlock>) -> BoxFuture<'static, Result<(), ChainError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let mut state = shared.state.lock().unwrap();
            state.batches += 1;
            for block in blocks {
                let height = block.height;
                if state.fail_at.is_some_and(|at| height >= at) {
                    return Err(ChainError::new(format!("the disk is full at {height}")));
                }
                assert_eq!(height, state.blocks.len() as u64 + 1, "blocks come in order and without a gap");
                if let Some(proposed) = state.proposed.get(&block.payload) {
                    let taken = proposed.elapsed();
                    state.latencies.push(taken);
                }
                state.queue.retain(|payload| *payload != block.payload);
                state.blocks.push(block);
            }
            let height = state.blocks.len() as u64;
            drop(state);
            shared.work.notify_waiters();
            shared.applied.send_replace(height);
            Ok(())
        })
    }

    fn gossip(&self, topic: Topic, from: [u8; 32], message: Bytes) {
        // A test that does not listen has dropped the other end.
        let _unheard = self.heard.send((topic, from, message)).is_err();
    }
}

pub(super) const DEADLINE: Duration = Duration::from_mins(3);
