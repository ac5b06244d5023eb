//! Connections to the other validators: addresses, limits, channels.
//!
//! For: one authenticated and encrypted connection to each validator, and rate-limited channels on it.
//! Not for: which channels there are (`parts.rs`) and what travels on them.

use std::{net::SocketAddr, num::NonZeroUsize};

use commonware_consensus::{
    marshal::{self, standard::Standard},
    simplex::{self, scheme::ed25519::Scheme},
};
use commonware_cryptography::{ChaCha20Poly1305, ed25519::PrivateKey, ed25519::PublicKey, sha256::Digest};
use commonware_p2p::{
    Address, AddressableManager as _,
    authenticated::{
        self,
        lookup::{self, Oracle, Receiver, Sender},
    },
    utils::mux::prefixed,
};
use commonware_runtime::{Handle, Quota, Supervisor as _, tokio::Context};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZUsize, ordered::Map, union};
use tokio::sync::watch;

use crate::{
    block::Block,
    config::{MAX_VALIDATORS, Setup},
    connections::Sources,
    gossip,
    parts::{CHANNELS, Fabric, Links},
};

type Handshake = Cups<Sake<PrivateKey>, ChaCha20Poly1305>;

/// Real connections.
pub(crate) struct Authenticated;

impl Fabric for Authenticated {
    type Sender = Sender<PublicKey, Context>;
    type Receiver = Receiver<PublicKey>;
    type Peers = Oracle<PublicKey>;
    type Blocker = Oracle<PublicKey>;
}

/// Listens, dials all validators, and opens the channels. The task ends if the network fails.
pub(crate) fn open(runtime: &Context, setup: &Setup) -> (Links<Authenticated>, Handle<()>) {
    let (mut network, mut oracle) = lookup::Network::new(runtime.child("network"), settings(setup));
    oracle.track(0, addressed(&setup.peers));
    let mut number = 0;
    let channels = CHANNELS.map(|rate| {
        let channel = network.register(number, rate);
        number += 1;
        channel
    });
    (Links::new(oracle.clone(), oracle, channels), network.start())
}

/// Where validators are.
pub(crate) type Addresses = Vec<(PublicKey, SocketAddr)>;

/// Tells the network of changed addresses, as long as there can be any.
pub(crate) async fn follow(mut addresses: watch::Receiver<Addresses>, mut peers: Oracle<PublicKey>) {
    while addresses.changed().await.is_ok() {
        let changed = addressed(&addresses.borrow_and_update());
        if !peers.overwrite(changed).accepted() {
            return;
        }
    }
}

fn addressed(addresses: &Addresses) -> Map<PublicKey, Address> {
    Map::from_iter_dedup(addresses.iter().map(|(key, address)| (key.clone(), Address::from(*address))))
}

/// The largest message that any part sends; a larger one would bring the engine down.
pub(crate) fn largest_message(setup: &Setup) -> u32 {
    // Whatever the epoch: certificates of earlier ones are exchanged too.
    let participants = u32::try_from(MAX_VALIDATORS).unwrap_or(u32::MAX);
    commonware_p2p::max_message_size(&[
        prefixed(simplex::max_payload_size::<Scheme, Digest>(participants)),
        marshal::max_payload_size::<Standard<Block>, Scheme>(participants, &setup.limits),
        gossip::packet_bound(setup.gossip_bound()),
    ])
}

fn settings(setup: &Setup) -> lookup::Config<Handshake> {
    let connections = setup.config.network.connections();
    let handshake = Cups::new(
        Sake {
            signer: setup.signer.clone(),
            synchrony_bound: connections.clock_skew,
            max_handshake_age: connections.clock_skew.saturating_add(connections.handshake),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    // The library's own sets of values are for strangers on the internet and for its demonstrations. The first refuses
    // private addresses, redials a restarted validator after a minute and takes one handshake per address in five
    // seconds.
    lookup::Config {
        handshake,
        namespace: union(&setup.config.namespace, b"_P2P"),
        listen: setup.config.listen,
        allow_private_ips: true,
        allow_dns: false,
        bypass_ip_check: connections.sources == Sources::Any,
        max_message_size: largest_message(setup),
        max_peers_per_set: authenticated::peer_set_limit(&setup.validators, &setup.public_key),
        mailbox_size: OUTGOING,
        send_batch_size: NZUsize!(8),
        handshake_timeout: connections.handshake,
        dial_timeout: connections.handshake,
        peer_connection_cooldown: connections.reconnect,
        max_concurrent_handshakes: connections.handshakes,
        allowed_handshake_rate_per_ip: Quota::per_second(connections.handshakes_per_address),
        allowed_handshake_rate_per_subnet: Quota::per_second(connections.handshakes),
        ping_frequency: connections.ping,
        dial_frequency: connections.dial,
        tracked_peer_sets: NZUsize!(1),
        block_duration: connections.cut_off,
    }
}

/// Messages that wait for one slow connection. More would only fill memory: behind them what is new is dropped, and
/// every part copes with loss.
const OUTGOING: NonZeroUsize = NZUsize!(128);
