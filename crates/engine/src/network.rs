//! Connections to the other validators: addresses, limits, channels.
//!
//! For: one authenticated and encrypted connection to each validator, rate-limited channels on it, and gossip.
//! Not for: what travels on the engine's own channels.
//!
//! Channels: 0 votes, 1 certificates, 2 requests for certificates, 3 blocks, 4 requests for blocks, 5 transactions,
//! 6 cosignatures.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use commonware_consensus::{
    marshal::{self, standard::Standard},
    simplex::{self, scheme::ed25519::Scheme},
};
use commonware_cryptography::{ChaCha20Poly1305, ed25519::PrivateKey, ed25519::PublicKey, sha256::Digest};
use commonware_p2p::{
    Address, AddressableManager as _, Receiver as _, Recipients, Sender as _,
    authenticated::{
        self,
        lookup::{self, Oracle, Receiver, Sender},
    },
};
use commonware_runtime::{Handle, Quota, Supervisor as _};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, ordered::Map, union};
use tokio::sync::mpsc;
use tracing::debug;

use crate::{
    application::Runtime,
    block::Block,
    chain::{Chain, Topic},
    config::{Network, Setup, raw},
};

type Handshake = Cups<Sake<PrivateKey>, ChaCha20Poly1305>;

/// Both ends of a channel.
pub(crate) type Channel = (Sender<PublicKey, Runtime>, Receiver<PublicKey>);

/// The running network and its channels.
pub(crate) struct Links {
    pub(crate) oracle: Oracle<PublicKey>,
    pub(crate) votes: Channel,
    pub(crate) certificates: Channel,
    pub(crate) certificate_requests: Channel,
    pub(crate) blocks: Channel,
    pub(crate) block_requests: Channel,
    pub(crate) transactions: Channel,
    pub(crate) cosignatures: Channel,
    pub(crate) task: Handle<()>,
}

/// Listens, dials all validators, and opens the channels.
pub(crate) fn open(runtime: &Runtime, setup: &Setup) -> Links {
    let (mut network, mut oracle) = lookup::Network::new(runtime.child("network"), settings(setup));
    let peers = setup.peers.iter().map(|(key, address)| (key.clone(), Address::from(*address)));
    oracle.track(0, Map::from_iter_dedup(peers));
    let mut channel = |number, rate| network.register(number, Quota::per_second(rate));
    let votes = channel(0, MESSAGE_RATE);
    let certificates = channel(1, MESSAGE_RATE);
    let certificate_requests = channel(2, MESSAGE_RATE);
    let blocks = channel(3, BLOCK_RATE);
    let block_requests = channel(4, BLOCK_RATE);
    let transactions = channel(5, GOSSIP_RATE);
    let cosignatures = channel(6, GOSSIP_RATE);
    let task = network.start();
    Links {
        oracle,
        votes,
        certificates,
        certificate_requests,
        blocks,
        block_requests,
        transactions,
        cosignatures,
        task,
    }
}

/// The largest message that any part sends; a larger one would bring the engine down.
fn largest_message(setup: &Setup) -> u32 {
    // At most `MAX_VALIDATORS`.
    let participants = u32::try_from(setup.peers.len()).unwrap_or(u32::MAX);
    commonware_p2p::max_message_size(&[
        simplex::max_payload_size::<Scheme, Digest>(participants),
        marshal::max_payload_size::<Standard<Block>, Scheme>(participants, &setup.limits),
        gossip_bound(setup),
    ])
}

/// The largest gossip message.
pub(crate) fn gossip_bound(setup: &Setup) -> usize {
    usize::try_from(setup.config.max_gossip_bytes).unwrap_or(usize::MAX)
}

fn settings(setup: &Setup) -> lookup::Config<Handshake> {
    let handshake = Cups::new(
        Sake {
            signer: setup.signer.clone(),
            synchrony_bound: Duration::from_secs(5),
            max_handshake_age: Duration::from_secs(10),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let namespace = union(&setup.config.namespace, b"_P2P");
    let peers = authenticated::peer_set_limit(&setup.validators, &setup.public_key);
    let listen = setup.config.listen;
    let largest = largest_message(setup);
    let mut settings = match setup.config.network {
        Network::Local => lookup::Config::local(handshake, &namespace, listen, peers, largest, NZUsize!(256)),
        Network::Lan => {
            let mut lan = lookup::Config::recommended(handshake, &namespace, listen, peers, largest, NZUsize!(256));
            // The library's defaults are for strangers on the internet: they refuse private addresses, redial a
            // restarted validator after a minute and take one handshake per address in five seconds.
            lan.allow_private_ips = true;
            lan.peer_connection_cooldown = Duration::from_secs(2);
            lan.allowed_handshake_rate_per_ip = Quota::per_second(NZU32!(8));
            lan.ping_frequency = Duration::from_secs(10);
            lan.block_duration = Duration::from_hours(1);
            lan
        }
    };
    settings.allow_dns = false;
    settings.tracked_peer_sets = NZUsize!(1);
    settings
}

/// Sends the node's own gossip.
pub(crate) async fn send_gossip(
    mut outgoing: mpsc::Receiver<(Topic, Bytes)>,
    mut transactions: Sender<PublicKey, Runtime>,
    mut cosignatures: Sender<PublicKey, Runtime>,
) {
    while let Some((topic, message)) = outgoing.recv().await {
        let sender = match topic {
            Topic::Transactions => &mut transactions,
            Topic::Cosignatures => &mut cosignatures,
        };
        let reached = sender.send(Recipients::All, message, false).len();
        debug!(?topic, reached, "gossip sent");
    }
}

/// Gives others' gossip to the chain.
pub(crate) async fn receive_gossip(
    mut incoming: Receiver<PublicKey>,
    topic: Topic,
    bound: usize,
    chain: Arc<dyn Chain>,
) {
    while let Ok((from, message)) = incoming.recv().await {
        let message: Bytes = message.into();
        if message.len() > bound {
            debug!(?topic, len = message.len(), "oversize gossip ignored");
            continue;
        }
        chain.gossip(topic, raw(&from), message);
    }
}

/// Votes and certificates: a few per view and validator.
const MESSAGE_RATE: NonZeroU32 = NZU32!(1_024);
/// Blocks and requests for them: more would only fill memory, a message may be as large as a block.
const BLOCK_RATE: NonZeroU32 = NZU32!(128);
/// Gossip of each kind.
const GOSSIP_RATE: NonZeroU32 = NZU32!(256);
