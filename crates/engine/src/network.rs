//! Connections to the other validators: addresses, limits, channels.
//!
//! For: one authenticated and encrypted connection to each validator, and rate-limited channels on it.
//! Not for: which channels there are (`parts.rs`) and what travels on them.

use std::time::Duration;

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
};
use commonware_runtime::{Handle, Quota, Supervisor as _, tokio::Context};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, ordered::Map, union};

use crate::{
    block::Block,
    config::{Network, Setup},
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
    let peers = setup.peers.iter().map(|(key, address)| (key.clone(), Address::from(*address)));
    oracle.track(0, Map::from_iter_dedup(peers));
    let mut number = 0;
    let channels = CHANNELS.map(|rate| {
        let channel = network.register(number, rate);
        number += 1;
        channel
    });
    (Links::new(oracle.clone(), oracle, channels), network.start())
}

/// The largest message that any part sends; a larger one would bring the engine down.
pub(crate) fn largest_message(setup: &Setup) -> u32 {
    // At most `MAX_VALIDATORS`.
    let participants = u32::try_from(setup.peers.len()).unwrap_or(u32::MAX);
    commonware_p2p::max_message_size(&[
        simplex::max_payload_size::<Scheme, Digest>(participants),
        marshal::max_payload_size::<Standard<Block>, Scheme>(participants, &setup.limits),
        gossip::packet_bound(setup.gossip_bound()),
    ])
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
