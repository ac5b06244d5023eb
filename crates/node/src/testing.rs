//! A network of several validators for tests, with keys from numbers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use birthmark_core::batch::{Assurance, Batch, SubmitterKey, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::hash::ImageHash;
use birthmark_core::ids::{AuthorityId, AuthorityNumber, SubmitterName, SubmitterNumber};
use birthmark_core::network::{Authority, Network, NetworkBuilder, Rules, Submitter, Validator, cosigner_name};
use birthmark_core::note::{KeyName, NoteSigner, PublicKey, SecretKey};
use birthmark_core::time::UnixSeconds;
use birthmark_service::clock::ManualClock;
use birthmark_service::secret_file;
use bytes::Bytes;

use crate::chain::NodeChain;
use crate::config::{KeyFiles, Keys, NodeConfig};
use crate::cosigner::create_state;
use crate::node::open;
use crate::peers::PeerNetwork;

pub(crate) const NOW: UnixSeconds = UnixSeconds(29_000_000 * 60);

fn secret(kind: u8, node: u8) -> SecretKey {
    SecretKey::from_seed(&seed(kind, node))
}

const fn seed(kind: u8, node: u8) -> [u8; 32] {
    [100 * kind + node + 1; 32]
}

pub(crate) fn origin() -> KeyName {
    KeyName::new("test.example/log").unwrap()
}

pub(crate) fn consensus_key(node: u8) -> [u8; 32] {
    *secret(0, node).public_key().as_bytes()
}

pub(crate) fn log_signer(node: u8) -> NoteSigner {
    NoteSigner::log(origin(), secret(1, node))
}

pub(crate) fn cosigner(node: u8) -> NoteSigner {
    let name = cosigner_name(&origin(), &secret(0, node).public_key()).unwrap();
    NoteSigner::cosigner(name, SecretKey::from_seed(&[200 + node; 32]))
}

fn submitter_key(node: u8) -> SubmitterKey {
    SubmitterKey::from_seed([230 + node; 32])
}

fn aggregator() -> SubmitterKey {
    SubmitterKey::from_seed([5; 32])
}

/// A network of so many validators, one authority `MFG`, and submitters `aggregator` (1) and `node-<n>`.
pub(crate) fn network(validators: u8, addresses: &[SocketAddr]) -> Arc<Network> {
    network_file(validators, addresses).1
}

/// What acts of governance say of a validator.
pub(crate) fn member(node: u8, address: Option<SocketAddr>) -> Validator {
    Validator {
        consensus_key: secret(0, node).public_key(),
        log_key: secret(1, node).public_key(),
        cosigning_key: *cosigner(node).verifier().public_key(),
        p2p_address: address.map(|address| address.to_string()),
    }
}

/// By which a validator approves acts of governance.
pub(crate) fn log_key(node: u8) -> SecretKey {
    secret(1, node)
}

/// The same network with its file.
pub(crate) fn network_file(validators: u8, addresses: &[SocketAddr]) -> (Bytes, Arc<Network>) {
    let mut network = NetworkBuilder::new(origin(), NOW.minute());
    network.validators = (0..validators).map(|node| member(node, addresses.get(usize::from(node)).copied())).collect();
    network.authorities = vec![Authority {
        number: AuthorityNumber(1),
        id: AuthorityId::new("MFG").unwrap(),
        token_key: None,
        rules: Rules::default(),
        endorsement_keys: Vec::new(),
    }];
    let submitter = |number, name: String, key: &SubmitterKey| Submitter {
        number: SubmitterNumber(number),
        name: SubmitterName::new(name).unwrap(),
        key: PublicKey::from_bytes(&key.public()).unwrap(),
    };
    let nodes =
        (0..validators).map(|node| submitter(u16::from(node) + 2, format!("node-{node}"), &submitter_key(node)));
    network.submitters = [submitter(1, "aggregator".to_owned(), &aggregator())].into_iter().chain(nodes).collect();
    let logs: Vec<_> = (0..validators).map(|node| secret(1, node)).collect();
    let (file, network) = network.build().unwrap().sign(&logs.iter().collect::<Vec<_>>()).unwrap();
    (file.into(), Arc::new(network))
}

/// Writes a node's folder and says how it is to be run.
pub(crate) fn install(folder: &Path, network: &Arc<Network>, node: u8, listen: SocketAddr) -> NodeConfig {
    let data_dir = folder.join(format!("node-{node}"));
    std::fs::create_dir_all(&data_dir).unwrap();
    let keys = [
        (KeyFiles::VALIDATOR, seed(0, node)),
        (KeyFiles::LOG, seed(1, node)),
        (KeyFiles::COSIGN, [200 + node; 32]),
        (KeyFiles::SUBMITTER, [230 + node; 32]),
    ];
    for (name, seed) in keys {
        secret_file::create(&data_dir.join(name), &seed).unwrap();
    }
    create_state(&data_dir).unwrap();
    NodeConfig {
        data_dir,
        network: Arc::clone(network),
        network_file: Bytes::new(),
        submitter: SubmitterName::new(format!("node-{node}")).unwrap(),
        p2p_listen: listen,
        p2p_network: PeerNetwork::Local,
        p2p_addresses: BTreeMap::new(),
        mempool_bytes: 8 << 20,
    }
}

/// A node's parts without an engine.
pub(crate) fn chain(folder: &Path, network: &Arc<Network>, node: u8) -> NodeChain {
    let config = install(folder, network, node, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let keys = Keys::load(&config).unwrap();
    open(&config, keys, Arc::new(ManualClock::at(NOW))).unwrap().chain
}

/// Addresses on loopback that nobody listens on: below the ports that the system gives to outgoing connections, and
/// each process begins elsewhere. All are held until the last one is known, so that they differ.
pub(crate) fn free_addresses(count: u8) -> Vec<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(89);
    let free = std::iter::repeat_with(|| {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        TcpListener::bind((Ipv4Addr::LOCALHOST, 10_000 + u16::try_from(number % 20_000).unwrap()))
    });
    let held: Vec<_> = free.flatten().take(count.into()).collect();
    held.iter().map(|socket| socket.local_addr().unwrap()).collect()
}

pub(crate) fn image(seed: u16) -> ImageHash {
    ImageHash::of(&seed.to_be_bytes())
}

/// A raw image that the aggregator says is attested.
pub(crate) fn transaction(seed: u16) -> Transaction {
    let entry = Entry { level: Level::Raw, kind: Kind::File, hash: image(seed), parent: Parent::None };
    let entries = Entries::new(vec![entry], None, None).unwrap();
    Transaction::new(Assurance::Attested, vec![], Body { authority: AuthorityId::new("MFG").unwrap(), entries })
        .unwrap()
}

/// The aggregator's batch of these images.
pub(crate) fn batch(network: &Network, seeds: impl IntoIterator<Item = u16>) -> Batch {
    let transactions = seeds.into_iter().map(transaction).collect();
    Batch::sign(network.network_id(), SubmitterNumber(1), &aggregator(), transactions)
}
