use birthmark_core::ImageHash;
use birthmark_core::batch::{Batch, SubmitterKey, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityId, NetworkId, SubmitterNumber};

use super::*;

fn body(seed: u8) -> Body {
    let hash = ImageHash::from_bytes([seed; 32]);
    let entry = Entry { level: Level::Raw, kind: Kind::File, hash, parent: Parent::None };
    Body { authority: AuthorityId::new("A").unwrap(), entries: Entries::new(vec![entry], None, None).unwrap() }
}

fn batch(seeds: &[u8]) -> Batch {
    let transactions =
        seeds.iter().map(|seed| Transaction::new(Assurance::Attested, vec![], body(*seed)).unwrap()).collect();
    let network = NetworkId(Digest::from_bytes([0; 32]));
    Batch::sign(network, SubmitterNumber(1), &SubmitterKey::from_seed([1; 32]), transactions)
}

fn offer(seeds: &[u8]) -> Arc<Offer> {
    Arc::new(Offer::new(batch(seeds)))
}

fn fill(pool: &Mempool) -> Vec<BlockBatch> {
    pool.fill::<()>(1 << 20, |_, _| Ok(false)).unwrap()
}

fn is_record(place: &Place) -> bool {
    matches!(place, Place::Record(_))
}

#[test]
fn what_stands_twice_is_recorded_once_and_every_batch_keeps_all_its_places() {
    let pool = Mempool::new(1 << 20, 1);
    pool.add(offer(&[1, 2]), &[false, false], Origin::Client).unwrap();
    pool.add(offer(&[2, 3]), &[false, false], Origin::Client).unwrap();
    let block = fill(&pool);
    let kept: Vec<Vec<bool>> = block.iter().map(|batch| batch.places.iter().map(is_record).collect()).collect();
    assert_eq!(kept, [vec![true, true], vec![false, true]]);
}

#[test]
fn a_batch_without_news_is_not_kept() {
    let pool = Mempool::new(1 << 20, 1);
    pool.add(offer(&[1, 2]), &[false, false], Origin::Client).unwrap();
    pool.add(offer(&[2, 1]), &[false, false], Origin::Client).unwrap();
    pool.add(offer(&[3]), &[true], Origin::Client).unwrap();
    assert_eq!(pool.backlog().0, 1);
}

#[test]
fn a_batch_goes_when_all_of_it_is_on_record() {
    let pool = Mempool::new(1 << 20, 1);
    pool.add(offer(&[1, 2]), &[false, false], Origin::Client).unwrap();
    pool.recorded(&[(body(1).digest(), Assurance::Attested)]);
    assert_eq!(pool.backlog().0, 1);
    pool.recorded(&[(body(2).digest(), Assurance::Asserted)]);
    assert_eq!(pool.backlog().0, 1, "a lesser record does not settle it");
    pool.recorded(&[(body(2).digest(), Assurance::Endorsed)]);
    assert_eq!(pool.backlog(), (0, 0));
    assert!(fill(&pool).is_empty());
}

#[test]
fn an_endorsed_body_waits_behind_the_same_attested_one_and_settles_it_when_it_comes_first() {
    let endorsed = |seed| {
        let transaction = Transaction::new(Assurance::Endorsed, vec![1; 264], body(seed)).unwrap();
        let network = NetworkId(Digest::from_bytes([0; 32]));
        let batch = Batch::sign(network, SubmitterNumber(2), &SubmitterKey::from_seed([2; 32]), vec![transaction]);
        Arc::new(Offer::new(batch))
    };
    let pool = Mempool::new(1 << 20, 1);
    pool.add(offer(&[1]), &[false], Origin::Client).unwrap();
    pool.add(endorsed(1), &[false], Origin::Client).unwrap();
    assert_eq!(fill(&pool).len(), 1, "one record of a body a block");
    pool.recorded(&[(body(1).digest(), Assurance::Attested)]);
    let next = pool.fill::<()>(1 << 20, |transaction, _| Ok(transaction.assurance() <= Assurance::Attested)).unwrap();
    assert!(matches!(&next[..], [batch] if batch.submitter == SubmitterNumber(2)), "{next:?}");
    pool.recorded(&[(body(1).digest(), Assurance::Endorsed)]);
    assert_eq!(pool.backlog(), (0, 0));

    pool.add(endorsed(2), &[false], Origin::Client).unwrap();
    pool.add(offer(&[2]), &[false], Origin::Client).unwrap();
    assert_eq!(pool.backlog().0, 1, "the lesser one is no news");
}

#[test]
fn a_discarded_batch_leaves_nothing_behind() {
    let pool = Mempool::new(1 << 20, 1);
    let bad = offer(&[1, 2]);
    pool.add(Arc::clone(&bad), &[false, false], Origin::Client).unwrap();
    pool.add(offer(&[3]), &[false], Origin::Client).unwrap();
    pool.discard(&bad.batch().signature);
    assert_eq!(fill(&pool).len(), 1);
    pool.add(bad, &[false, false], Origin::Client).unwrap();
    assert_eq!(fill(&pool).len(), 2, "what was dropped may come again");
}

#[test]
fn more_than_its_bytes_is_refused_and_nothing_is_lost() {
    let one = batch(&[1]).encode().len();
    let pool = Mempool::new(one, 1);
    pool.add(offer(&[1]), &[false], Origin::Client).unwrap();
    assert_eq!(pool.add(offer(&[2]), &[false], Origin::Client), Err(Full));
    assert_eq!(fill(&pool).len(), 1);
}

#[test]
fn a_block_stays_within_its_bytes() {
    let one = batch(&[1]).encode().len();
    let pool = Mempool::new(1 << 20, 1);
    for seed in 1..5 {
        pool.add(offer(&[seed]), &[false], Origin::Client).unwrap();
    }
    let block = pool.fill::<()>(2 * one + 2, |_, _| Ok(false)).unwrap();
    assert_eq!(block.len(), 2);
}

#[tokio::test]
async fn a_change_between_asking_and_waiting_is_seen() {
    let pool = Mempool::new(1 << 20, 1);
    let changed = pool.changed();
    pool.add(offer(&[1]), &[false], Origin::Client).unwrap();
    changed.await;
    let changed = pool.changed();
    pool.recorded(&[(body(1).digest(), Assurance::Attested)]);
    changed.await;
    assert!(pool.is_empty());
}

#[test]
fn each_peer_has_its_share_and_gets_it_back_when_its_batches_go() {
    let one = batch(&[1]).encode().len();
    // Half of it for four validators: one batch each.
    let pool = Mempool::new(8 * one, 4);
    let (first, second) = (Origin::Peer([1; 32]), Origin::Peer([2; 32]));
    pool.add(offer(&[1]), &[false], first).unwrap();
    assert_eq!(pool.add(offer(&[2]), &[false], first), Err(Full));
    pool.add(offer(&[2]), &[false], second).unwrap();
    pool.add(offer(&[3]), &[false], Origin::Client).unwrap();
    pool.recorded(&[(body(1).digest(), Assurance::Attested)]);
    pool.add(offer(&[4]), &[false], first).unwrap();
    pool.discard(&batch(&[4]).signature);
    pool.add(offer(&[5]), &[false], first).unwrap();
}

#[tokio::test]
async fn only_own_clients_batches_are_told_again_and_each_after_a_while() {
    let pool = Mempool::new(1 << 20, 4);
    let after = Duration::from_secs(2);
    pool.add(offer(&[1]), &[false], Origin::Client).unwrap();
    pool.add(offer(&[2]), &[false], Origin::Peer([1; 32])).unwrap();
    pool.add(offer(&[3]), &[false], Origin::Client).unwrap();
    assert!(pool.holds(&batch(&[2]).signature) && !pool.holds(&batch(&[4]).signature));
    let start = Instant::now();
    assert!(pool.to_tell_again(start, after, 1 << 20).is_empty(), "told just now");
    let later = start + after;
    assert_eq!(pool.to_tell_again(later, after, batch(&[1]).encode().len()), [offer(&[1])], "the oldest first");
    assert_eq!(pool.to_tell_again(later, after, 1 << 20), [offer(&[3])]);
    pool.recorded(&[(body(1).digest(), Assurance::Attested)]);
    assert_eq!(pool.to_tell_again(later + after, after, 1 << 20), [offer(&[3])], "recorded ones are not");
}
