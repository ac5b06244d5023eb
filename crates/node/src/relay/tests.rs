use std::sync::Arc;

use birthmark_core::batch::{Assurance, SubmitterKey};
use birthmark_core::ids::SubmitterNumber;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::testing::{batch, chain, consensus_key, network, transaction};

fn start() -> (TempDir, NodeChain) {
    let folder = tempfile::tempdir().unwrap();
    let chain = chain(folder.path(), &network(4, &[]), 0);
    (folder, chain)
}

fn good(chain: &NodeChain, seed: u16) -> Vec<u8> {
    batch(&chain.ledger.network(), [seed]).encode()
}

fn heard(chain: &NodeChain, message: &[u8]) -> Taken {
    take(chain, consensus_key(1), message).unwrap()
}

#[test]
fn a_batch_is_taken_once() {
    let (_folder, chain) = start();
    assert_eq!(heard(&chain, &good(&chain, 1)), Taken::Waits);
    assert_eq!(heard(&chain, &good(&chain, 1)), Taken::Nothing);
    assert_eq!(chain.mempool.backlog().0, 1);
    let twice = batch(&chain.ledger.network(), [1, 1]).encode();
    assert_eq!(heard(&chain, &twice), Taken::Waits, "known bodies under another signature are no news, and kept out");
    assert_eq!(chain.mempool.backlog().0, 1);
}

#[test]
fn what_no_honest_validator_sends_is_refused() {
    let (_folder, chain) = start();
    let fine = batch(&chain.ledger.network(), [1]);
    let mut forged = fine.encode();
    *forged.last_mut().unwrap() ^= 1;
    let stranger = Batch { submitter: SubmitterNumber(99), ..fine.clone() };
    let id = chain.ledger.network().network_id();
    let impostor = Batch::sign(id, SubmitterNumber(1), &SubmitterKey::from_seed([77; 32]), vec![transaction(1)]);
    let long = vec![1; MAX_WIRE + 1];
    for (name, bad) in [
        ("nothing", &[][..]),
        ("garbage", b"garbage"),
        ("a flipped signature", &forged),
        ("an unknown submitter", &stranger.encode()),
        ("another's key", &impostor.encode()),
        ("too long", &long),
        ("a byte too many", &[fine.encode(), vec![0]].concat()),
    ] {
        assert_eq!(heard(&chain, bad), Taken::Bad, "{name}");
    }
    assert_eq!(chain.mempool.backlog().0, 0);
}

#[test]
fn what_may_not_be_recorded_is_left_and_a_full_share_takes_no_more() {
    let (_folder, chain) = start();
    let mut unknown = transaction(1).body().clone();
    unknown.authority = birthmark_core::ids::AuthorityId::new("NOBODY").unwrap();
    let unknown = birthmark_core::batch::Transaction::new(Assurance::Attested, vec![], unknown).unwrap();
    let key = SubmitterKey::from_seed([5; 32]);
    let batch_of = |transactions| {
        Batch::sign(chain.ledger.network().network_id(), SubmitterNumber(1), &key, transactions).encode()
    };
    assert_eq!(heard(&chain, &batch_of(vec![unknown, transaction(1)])), Taken::Nothing);
    let full = (0..).map(|round: u16| batch_of((0..250).map(|at| transaction(round * 250 + at)).collect()));
    let taken: Vec<_> =
        full.map(|message| heard(&chain, &message)).take_while(|taken| *taken == Taken::Waits).collect();
    assert!(taken.len() > 4, "{}", taken.len());
    assert_eq!(take(&chain, consensus_key(2), &good(&chain, 60_000)).unwrap(), Taken::Waits, "another's share is free");
}

#[tokio::test]
async fn a_peer_that_floods_garbage_is_ignored_and_others_are_heard() {
    let (_folder, chain) = start();
    let mut task = JoinSet::new();
    let own = chain.clone();
    task.spawn(async move { Arc::clone(&own.relay).run(own).await });
    for _ in 0..10_000 {
        chain.relay.hear(consensus_key(1), Bytes::from_static(b"garbage"));
        tokio::task::yield_now().await;
    }
    let message = good(&chain, 1);
    let changed = chain.mempool.changed();
    chain.relay.hear(consensus_key(2), message.into());
    tokio::time::timeout(Duration::from_secs(30), changed).await.expect("the honest one is heard");
    let peers = chain.relay.peers.lock();
    assert!(peers[&consensus_key(1)].ignored);
    assert!(!peers[&consensus_key(2)].ignored);
}
