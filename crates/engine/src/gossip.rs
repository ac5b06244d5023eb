//! What validators tell each other beside consensus: waiting transactions and cosignatures.
//!
//! For: [`Gossip`], the sending end, and the tasks behind it. Every topic has a channel, a queue and a rate of its own,
//! so that a flood of transactions holds up neither votes nor cosignatures. Small messages that wait at the same time
//! travel in one packet, which keeps their number within the rate.
//!
//! Not for: what a message means, repeating what was lost, or leaving out what a peer has already (the node, behind
//! [`Chain::gossip`]). Connections are authenticated, so the sender of a message is certain.
//!
//! ```text
//! packet = n × (be32 length ‖ message), at most 4 + max_gossip_bytes bytes
//! ```

use std::{fmt, sync::Arc};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{CheckedSender as _, Receiver, Recipients, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};
use tracing::debug;

use crate::{
    chain::{Chain, Topic},
    config::{key_from, raw},
    parts::Platform,
};

/// Sends gossip. Clones share the queues.
#[derive(Clone)]
pub struct Gossip {
    // None if there is nobody to talk to.
    queues: Option<Queues>,
    bound: usize,
}

/// Why a message was not handed to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    /// Above [`EngineConfig::max_gossip_bytes`](crate::EngineConfig::max_gossip_bytes).
    #[error("a gossip message of {len} bytes exceeds the bound of {bound}")]
    TooLarge {
        /// The message's size.
        len: usize,
        /// The bound.
        bound: usize,
    },
    /// More messages than the network takes; try again later.
    #[error("too many gossip messages are waiting")]
    Busy,
    /// The engine has ended.
    #[error("the engine has ended")]
    Ended,
}

/// What waits to be sent on one topic, bounded in number and bytes.
#[derive(Clone)]
struct Queue {
    messages: mpsc::Sender<Outgoing>,
    bytes: Arc<Semaphore>,
}

#[derive(Clone)]
struct Queues {
    transactions: Queue,
    cosignatures: Queue,
}

/// The other end of a queue.
pub(crate) type Outbox = mpsc::Receiver<Outgoing>;

/// The other ends of both queues.
pub(crate) struct Outboxes {
    pub(crate) transactions: Outbox,
    pub(crate) cosignatures: Outbox,
}

/// One message on its way.
pub(crate) struct Outgoing {
    // None for everyone.
    to: Option<PublicKey>,
    message: Bytes,
    // Gives its bytes back to the queue when it has been sent.
    _room: OwnedSemaphorePermit,
}

impl Gossip {
    /// For a validator that is alone.
    pub(crate) const fn none(bound: usize) -> Self {
        Self { queues: None, bound }
    }

    /// For a validator with peers: the sending end, and what [`send`] takes from.
    pub(crate) fn new(bound: usize) -> (Self, Outboxes) {
        let (transactions, transactions_out) = Queue::new();
        let (cosignatures, cosignatures_out) = Queue::new();
        let queues = Some(Queues { transactions, cosignatures });
        (Self { queues, bound }, Outboxes { transactions: transactions_out, cosignatures: cosignatures_out })
    }

    /// Sends a message to all connected validators, once, without a promise that it arrives. Does nothing if there
    /// are no others.
    pub fn broadcast(&self, topic: Topic, message: Bytes) -> Result<(), BroadcastError> {
        self.queue(topic, None, message)
    }

    /// The same for one validator; does nothing if `to` is not one that is connected.
    pub fn tell(&self, to: [u8; 32], topic: Topic, message: Bytes) -> Result<(), BroadcastError> {
        match key_from(&to) {
            Some(to) => self.queue(topic, Some(to), message),
            None => Ok(()),
        }
    }

    fn queue(&self, topic: Topic, to: Option<PublicKey>, message: Bytes) -> Result<(), BroadcastError> {
        if message.len() > self.bound {
            return Err(BroadcastError::TooLarge { len: message.len(), bound: self.bound });
        }
        let Some(queues) = &self.queues else { return Ok(()) };
        match topic {
            Topic::Transactions => queues.transactions.push(to, message),
            Topic::Cosignatures => queues.cosignatures.push(to, message),
        }
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip").field("alone", &self.queues.is_none()).finish_non_exhaustive()
    }
}

impl Queue {
    fn new() -> (Self, Outbox) {
        let (messages, outbox) = mpsc::channel(QUEUED_MESSAGES);
        (Self { messages, bytes: Arc::new(Semaphore::new(QUEUED_BYTES)) }, outbox)
    }

    fn push(&self, to: Option<PublicKey>, message: Bytes) -> Result<(), BroadcastError> {
        let bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|error| match error {
            TryAcquireError::NoPermits => BroadcastError::Busy,
            TryAcquireError::Closed => BroadcastError::Ended,
        })?;
        self.messages.try_send(Outgoing { to, message, _room: room }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => BroadcastError::Busy,
            mpsc::error::TrySendError::Closed(_) => BroadcastError::Ended,
        })
    }
}

/// The largest packet that holds messages up to `bound`.
pub(crate) const fn packet_bound(bound: usize) -> usize {
    bound.saturating_add(LENGTH)
}

/// Sends what comes out of `outbox`, as fast as the channel's rate allows.
pub(crate) async fn send<E: Platform>(
    runtime: E,
    topic: Topic,
    bound: usize,
    mut outbox: Outbox,
    mut sender: impl Sender<PublicKey = PublicKey>,
) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(held) => held,
            None => match outbox.recv().await {
                Some(outgoing) => outgoing,
                None => return,
            },
        };
        let recipients = first.to.clone().map_or(Recipients::All, Recipients::One);
        loop {
            // Above the rate a message would be dropped; waiting lets more messages join the packet.
            match sender.check(recipients.clone()) {
                Ok(admitted) => {
                    let (packet, held) = pack(&first, &mut outbox, bound);
                    next = held;
                    let _fed_back = admitted.send(packet, false);
                    break;
                }
                Err(free_at) => runtime.sleep_until(free_at).await,
            }
        }
        debug!(?topic, "gossip sent");
    }
}

/// A packet of `first` and what waits behind it for the same recipient; and the message that did not go in.
fn pack(first: &Outgoing, outbox: &mut Outbox, bound: usize) -> (Bytes, Option<Outgoing>) {
    let mut packet = BytesMut::with_capacity(packet_bound(first.message.len()));
    append(&mut packet, &first.message);
    while let Ok(outgoing) = outbox.try_recv() {
        let len = packet_bound(packet.len()).saturating_add(outgoing.message.len());
        if outgoing.to != first.to || len > packet_bound(bound) {
            return (packet.freeze(), Some(outgoing));
        }
        append(&mut packet, &outgoing.message);
    }
    (packet.freeze(), None)
}

fn append(packet: &mut BytesMut, message: &Bytes) {
    // Messages are bounded by a `u32`.
    packet.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    packet.put_slice(message);
}

/// The messages of a packet, up to the first one that is malformed or too large.
fn unpack(mut packet: Bytes, bound: usize) -> impl Iterator<Item = Result<Bytes, Malformed>> {
    std::iter::from_fn(move || {
        if packet.is_empty() {
            return None;
        }
        let length = packet.try_get_u32().ok().and_then(|length| usize::try_from(length).ok());
        let message = length.filter(|length| *length <= bound.min(packet.len())).map(|length| packet.split_to(length));
        if message.is_none() {
            packet.clear();
        }
        Some(message.ok_or(Malformed))
    })
}

/// A packet is not a sequence of messages within their bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// Gives others' gossip to the chain.
pub(crate) async fn receive(
    mut incoming: impl Receiver<PublicKey = PublicKey>,
    topic: Topic,
    bound: usize,
    chain: Arc<dyn Chain>,
) {
    while let Ok((from, packet)) = incoming.recv().await {
        for message in unpack(packet.into(), bound) {
            if let Ok(message) = message {
                chain.gossip(topic, raw(&from), message);
            } else {
                debug!(?topic, ?from, "malformed gossip ignored");
            }
        }
    }
}

const LENGTH: usize = 4;
/// Messages of one topic that may wait to be sent.
const QUEUED_MESSAGES: usize = 4_096;
/// Their bytes.
const QUEUED_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests;
