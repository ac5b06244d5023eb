use birthmark_core::checkpoint;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::cosigner::{Cosigner, create_state};
use crate::testing::{NOW, consensus_key, cosigner, log_signer, network, origin};

/// Validator 0 of four, with a real ledger at genesis and nobody else there.
struct Alone {
    folder: TempDir,
    ledger: Arc<Ledger>,
    committee: Arc<Committee>,
    publisher: Arc<Publisher>,
    _task: JoinSet<Result<(), NodeError>>,
}

impl Alone {
    fn start() -> Self {
        let alone = Self::silent();
        alone.sign();
        alone
    }

    /// Has signed nothing yet.
    fn silent() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = network(4, &[]);
        let ledger = Arc::new(Ledger::open(&folder.path().join("ledger"), Arc::clone(&network)).unwrap());
        create_state(folder.path()).unwrap();
        let committee = Arc::new(Committee::new(&network, Epoch(0), &consensus_key(0)).unwrap());
        let publisher = Arc::new(Publisher::new());
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&committee).run(Arc::clone(&ledger), Arc::clone(&publisher), None));
        Self { folder, ledger, committee, publisher, _task: task }
    }

    fn sign(&self) {
        let mut own = Cosigner::open(self.folder.path(), log_signer(0), cosigner(0), 0).unwrap();
        let reading = self.ledger.reading().unwrap();
        let signed = own.sign(&self.ledger, reading.head(), &[], NOW).unwrap();
        self.committee.deposit(signed, reading, None);
    }

    fn tree(&self) -> (u64, TreeHash) {
        let head = self.ledger.head();
        (head.size, head.root)
    }

    fn hear(&self, from: u8, message: &[u8]) {
        self.committee.hear(&consensus_key(from), message, None);
    }

    async fn published(&self) -> checkpoint::VerifiedCheckpoint {
        let mut sizes = self.publisher.subscribe();
        let reached = sizes.wait_for(|size| *size > 0);
        tokio::time::timeout(Duration::from_secs(30), reached).await.expect("published in time").unwrap();
        let note = self.publisher.newest().unwrap().note.clone();
        checkpoint::verify(&note, self.ledger.network().current_policy()).unwrap()
    }

    /// Waits until all that was heard is considered: whoever is heard last has a say in it.
    async fn considered(&self, by: u8) {
        let marker = (u64::MAX, TreeHash::from_bytes([7; 32]));
        self.hear(by, &statement(by, marker, NOW));
        let place = self.place(by);
        tokio::time::timeout(Duration::from_secs(30), async {
            while self.committee.inner.lock().collector.is_news(place, marker, NOW) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("considered in time");
    }

    fn place(&self, node: u8) -> usize {
        let key = consensus_key(node);
        self.committee.members.iter().position(|member| member.consensus_key == key).unwrap()
    }
}

/// What a validator says about a tree.
fn statement(by: u8, (size, root): (u64, TreeHash), time: UnixSeconds) -> Vec<u8> {
    let line = Checkpoint { origin: origin(), size, root }.cosign(&cosigner(by), time).unwrap();
    Statement::new(size, root, &line).unwrap().encode().to_vec()
}

#[tokio::test]
async fn a_tree_is_published_when_a_quorum_has_signed_it_and_not_before() {
    let alone = Alone::start();
    alone.hear(1, &statement(1, alone.tree(), NOW));
    alone.considered(1).await;
    assert!(alone.publisher.newest().is_none(), "two of four");
    alone.hear(2, &statement(2, alone.tree(), NOW));
    let verified = alone.published().await;
    assert_eq!((verified.checkpoint.size, verified.checkpoint.root), alone.tree());
    assert_eq!(verified.cosigners.len(), 3);
}

#[tokio::test]
async fn what_comes_before_the_own_signature_counts_when_that_comes() {
    let alone = Alone::silent();
    // The others are faster, and further.
    let ahead = (alone.tree().0 + 3, TreeHash::from_bytes([3; 32]));
    for by in 1..4 {
        alone.hear(by, &statement(by, ahead, NOW));
        alone.hear(by, &statement(by, alone.tree(), NOW));
    }
    alone.considered(3).await;
    assert!(alone.publisher.newest().is_none(), "a quorum of others, but no ledger of ours");
    alone.sign();
    let verified = alone.published().await;
    assert_eq!((verified.checkpoint.size, verified.checkpoint.root), alone.tree());
}

#[tokio::test]
async fn another_tree_than_ours_is_never_published_however_many_sign_it() {
    let alone = Alone::start();
    let other = (alone.tree().0, TreeHash::from_bytes([9; 32]));
    for by in 1..4 {
        alone.hear(by, &statement(by, other, NOW));
        alone.considered(by).await;
    }
    assert!(alone.publisher.newest().is_none());
}

#[tokio::test]
async fn a_validator_speaks_for_itself_only_and_garbage_is_ignored() {
    let alone = Alone::start();
    alone.hear(1, &statement(2, alone.tree(), NOW));
    alone.hear(1, b"garbage");
    let mut forged = statement(1, alone.tree(), NOW);
    *forged.last_mut().unwrap() ^= 1;
    alone.hear(1, &forged);
    let mut later = statement(1, alone.tree(), NOW);
    later[49] ^= 0x80;
    alone.hear(1, &later);
    alone.hear(0, &statement(0, alone.tree(), NOW));
    alone.committee.hear(&[9; 32], &statement(1, alone.tree(), NOW), None);
    alone.considered(1).await;
    assert!(alone.publisher.newest().is_none());
    for by in 2..4 {
        alone.hear(by, &statement(by, alone.tree(), NOW));
    }
    assert_eq!(alone.published().await.cosigners.len(), 3, "the honest ones are not disturbed");
}

#[tokio::test]
async fn an_equivocating_validator_is_left_out_and_its_flood_fills_no_memory() {
    let alone = Alone::start();
    alone.hear(1, &statement(1, (alone.tree().0, TreeHash::from_bytes([9; 32])), NOW));
    alone.hear(1, &statement(1, alone.tree(), NOW));
    alone.hear(2, &statement(2, alone.tree(), NOW));
    alone.considered(2).await;
    assert!(alone.publisher.newest().is_none(), "one of the three has signed two trees");
    // Its connection delivers far more than an honest validator says.
    let flood: Vec<_> = (0..100).map(|size| statement(1, (1_000 + size, alone.tree().1), NOW)).collect();
    for message in flood.iter().cycle().take(20_000) {
        alone.hear(1, message);
    }
    alone.hear(3, &statement(3, alone.tree(), NOW));
    assert_eq!(alone.published().await.cosigners.len(), 3);
}
