//! In which epoch this node decides, and what the engine needs to know for it.
//!
//! For: [`running`], asked at the start and whenever the last checkpoint of an epoch is kept. Not for: ending an
//! epoch, which the ledger does, nor for collecting that checkpoint (`committee`).
//!
//! A node goes on into the next epoch once it keeps the last checkpoint of the one before, signed by that
//! epoch's quorum: without it nobody outside could follow. Until then its engine stays, so that those who are
//! to leave are still there to sign. Who is no validator of the next epoch stays in its last one, and answers.

use std::sync::Arc;

use birthmark_core::ids::Epoch;
use birthmark_core::leaf::Leaf;
use birthmark_core::network::{Network, NetworkEpoch, validator_set_hash};
use birthmark_core::proof::ProofBundle;
use birthmark_engine::{EngineConfig, PastEpoch, Timing, Validator};
use birthmark_ledger::block::{HEADER_LEN, Header, MAX_PAYLOAD};
use birthmark_ledger::{Ledger, LedgerError};
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::config::{NodeConfig, NodeError};
use crate::peers::PeerNetwork;

/// The network as the ledger has it, or as the network file has it if that has more acts.
pub(crate) fn newest(given: &Arc<Network>, ledger: &Ledger) -> Arc<Network> {
    let own = ledger.network();
    if given.act_count() > own.act_count() { Arc::clone(given) } else { own }
}

/// Keeps the last checkpoints of epochs that these proofs of acts, which are checked, show to be over.
pub(crate) fn keep_proven(proofs: &[String], ledger: &Ledger) -> Result<(), LedgerError> {
    for proof in proofs.iter().filter_map(|proof| ProofBundle::parse(proof).ok()) {
        let Ok(Leaf::Act(leaf)) = Leaf::decode(&proof.leaf) else { continue };
        let act = leaf.approved.act();
        if act.change.ends_epoch() && ledger.closing(act.number)?.is_none() {
            ledger.keep_closing(act.number, &proof.checkpoint)?;
        }
    }
    Ok(())
}

/// The epoch in which the validator with this consensus key decides now.
pub(crate) fn running(network: &Network, ledger: &Ledger, own: &[u8; 32]) -> Result<Epoch, NodeError> {
    let mut found = None;
    for epoch in network.epochs() {
        if epoch.validators().iter().any(|validator| validator.consensus_key.as_bytes() == own) {
            found = Some(epoch.number());
        }
        let Some(number) = epoch.ended_by() else { break };
        if ledger.closing(number)?.is_none() {
            break;
        }
    }
    found.ok_or(NodeError::NotAValidator)
}

/// An epoch by its number.
pub(crate) fn of(network: &Network, number: Epoch) -> Result<&NetworkEpoch, NodeError> {
    network.epochs().find(|epoch| epoch.number() == number).ok_or(NodeError::NotAValidator)
}

/// What the engine is given for an epoch whose validators are at these addresses.
pub(crate) fn engine_config(
    config: &NodeConfig,
    seed: Zeroizing<[u8; 32]>,
    network: &Network,
    epoch: &NetworkEpoch,
    validators: Vec<Validator>,
) -> EngineConfig {
    let genesis = network.genesis();
    let genesis_header = Header {
        minute: genesis.minute(),
        epoch: Epoch(0),
        validator_set_hash: validator_set_hash(Epoch(0), genesis.validators()),
    };
    let past = network.epochs().take_while(|past| past.number() < epoch.number()).map(|past| PastEpoch {
        epoch: past.number().0.into(),
        first_height: past.first_height().0,
        validators: past.validators().iter().map(|validator| *validator.consensus_key.as_bytes()).collect(),
    });
    let peers = config.p2p_network.connections();
    let timing = Timing::for_validators(validators.len(), &peers);
    // Validators on one machine share its cores.
    let worker_threads = if validators.len() == 1 || config.p2p_network == PeerNetwork::Local { 1 } else { 2 };
    EngineConfig {
        storage_dir: config.data_dir.join(CONSENSUS),
        namespace: network.network_id().as_bytes().to_vec(),
        validator_seed: seed,
        validators,
        listen: config.p2p_listen,
        genesis_header: Bytes::copy_from_slice(&genesis_header.encode()),
        epoch: epoch.number().0.into(),
        first_height: epoch.first_height().0,
        past: past.collect(),
        max_header_bytes: u32::try_from(HEADER_LEN).unwrap_or(u32::MAX),
        max_payload_bytes: u32::try_from(MAX_PAYLOAD).unwrap_or(u32::MAX),
        max_gossip_bytes: MAX_GOSSIP,
        timing,
        network: peers,
        worker_threads,
    }
}

/// The engine's folder.
pub(crate) const CONSENSUS: &str = "consensus";
pub(crate) const MAX_GOSSIP: u32 = 1024 * 1024;
