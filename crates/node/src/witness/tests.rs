//! A witness of a real log of ours, asked over its router.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use birthmark_core::checkpoint::Checkpoint;
use birthmark_core::merkle::{self, EMPTY_ROOT, MerkleError, TreeHash};
use birthmark_core::note::{Note, SecretKey};
use birthmark_service::clock::ManualClock;
use proptest::prelude::*;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::testing::{NOW, log_signer, origin};

struct World {
    folder: TempDir,
    leaves: Vec<TreeHash>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), "witness.example/w1", &[7; 32]).unwrap();
        // Any of a network's validators may have signed.
        let keys = (0..4).map(|node| log_signer(node).verifier().clone()).collect();
        assert_eq!(add_log(folder.path(), keys).unwrap(), origin());
        Self { folder, leaves: (0..200u8).map(|leaf| merkle::leaf_hash(&[leaf])).collect() }
    }

    fn open(&self) -> Arc<Witness> {
        Arc::new(Witness::open(self.folder.path(), Arc::new(ManualClock::at(NOW))).unwrap())
    }

    fn root(&self, size: usize) -> TreeHash {
        merkle::root_of(&self.leaves[..size])
    }

    fn note(node: u8, size: usize, root: TreeHash) -> Note {
        let checkpoint = Checkpoint { origin: origin(), size: size as u64, root };
        checkpoint.assemble(checkpoint.log_signature(&log_signer(node)).unwrap(), &[]).unwrap()
    }

    fn request(&self, old: usize, new: usize) -> String {
        let mut proof = Vec::new();
        if old > 0 {
            let subtree = &mut |level: u8, index: u64| {
                let first = usize::try_from(index << level).unwrap();
                Ok::<_, MerkleError>(merkle::root_of(&self.leaves[first..first + (1 << level)]))
            };
            proof = merkle::prove_consistency(old as u64, new as u64, subtree).unwrap();
        }
        let proof: String = proof.iter().flat_map(|hash| [hash.to_string(), "\n".to_owned()]).collect();
        format!("old {old}\n{proof}\n{}", Self::note(2, new, self.root(new)))
    }
}

struct Said {
    status: StatusCode,
    kind: String,
    body: String,
}

async fn ask(witness: &Arc<Witness>, body: impl Into<Body>) -> Said {
    let request = Request::post("/add-checkpoint").body(body.into()).unwrap();
    let answer = Arc::clone(witness).router().oneshot(request).await.unwrap();
    let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    Said { status, kind, body: String::from_utf8(body.into()).unwrap() }
}

async fn code(witness: &Arc<Witness>, body: impl Into<Body>) -> (u16, String) {
    let said = ask(witness, body).await;
    let problem: serde_json::Value = serde_json::from_str(&said.body).unwrap();
    (said.status.as_u16(), problem["code"].as_str().unwrap().to_owned())
}

async fn stale(witness: &Arc<Witness>, body: String, size: u64) {
    let said = ask(witness, body).await;
    let expected = (StatusCode::CONFLICT, "text/x.tlog.size".to_owned(), format!("{size}\n"));
    assert_eq!((said.status, said.kind, said.body), expected);
}

#[tokio::test]
async fn a_growing_log_is_cosigned_and_what_was_signed_is_remembered() {
    let world = World::new();
    let mut witness = world.open();
    for (old, new) in [(0, 5), (5, 5), (5, 64), (64, 200)] {
        let said = ask(&witness, world.request(old, new)).await;
        assert_eq!(said.status, StatusCode::OK, "{}", said.body);
        // Joined to the note it is what any verifier reads.
        let note: String = format!("{}{}", World::note(2, new, world.root(new)), said.body);
        let note = Note::parse(&note).unwrap();
        let checkpoint = Checkpoint { origin: origin(), size: new as u64, root: world.root(new) };
        let line = note.signatures().last().unwrap();
        assert_eq!(checkpoint.check_cosignature(witness.verifier(), line).unwrap(), NOW);
        stale(&witness, world.request(0, 7), new as u64).await;
        drop(witness);
        witness = world.open();
        stale(&witness, world.request(0, 7), new as u64).await;
    }
}

#[tokio::test]
async fn whatever_does_not_extend_what_was_signed_is_refused_as_the_specification_says() {
    let world = World::new();
    let witness = world.open();
    assert_eq!(ask(&witness, world.request(0, 20)).await.status, StatusCode::OK);
    let forked = TreeHash::from_bytes([9; 32]);

    stale(&witness, world.request(19, 30), 20).await;
    stale(&witness, format!("old 20\n\n{}", World::note(0, 20, forked)), 20).await;
    let wrong = |code: &str| (422, code.to_owned());
    let fork = world.request(20, 30).replace(&world.root(30).to_string(), &forked.to_string());
    assert_eq!(code(&witness, fork).await, (403, "log_signature".to_owned()), "a changed root is not the log's");
    let proof = world.request(20, 30).split_once("\n\n").unwrap().0.to_owned();
    let fork = format!("{proof}\n\n{}", World::note(0, 30, forked));
    assert_eq!(code(&witness, fork).await, wrong("bad_proof"));
    let bare = format!("old 20\n\n{}", World::note(0, 30, world.root(30)));
    assert_eq!(code(&witness, bare).await, wrong("bad_proof"));
    let shrunk = format!("old 20\n\n{}", World::note(0, 10, world.root(10)));
    assert_eq!(code(&witness, shrunk).await, (400, "old_above_new".to_owned()));

    let unknown = world.request(20, 30).replace("test.example/log", "other.example/log");
    assert_eq!(code(&witness, unknown).await, (404, "unknown_log".to_owned()));
    let stranger = NoteSigner::log(origin(), SecretKey::from_seed(&[77; 32]));
    let checkpoint = Checkpoint { origin: origin(), size: 30, root: world.root(30) };
    let strange = checkpoint.assemble(checkpoint.log_signature(&stranger).unwrap(), &[]).unwrap();
    assert_eq!(code(&witness, format!("{proof}\n\n{strange}")).await, (403, "log_signature".to_owned()));
    for malformed in ["", "old 20", "old 020\n\n", "anything"] {
        assert_eq!(code(&witness, malformed).await, (400, "malformed_request".to_owned()));
    }
    assert_eq!(code(&witness, vec![0xff; 10]).await.0, 400);
    assert_eq!(ask(&witness, vec![b'a'; MAX_BODY + 1]).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    // After all of that the honest log goes on.
    assert_eq!(ask(&witness, world.request(20, 30)).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_at_once_that_follow_the_same_tree_one_is_signed() {
    let world = Arc::new(World::new());
    let witness = world.open();
    assert_eq!(ask(&witness, world.request(0, 10)).await.status, StatusCode::OK);
    let mut asked = tokio::task::JoinSet::new();
    for new in 11..60 {
        let (witness, world) = (Arc::clone(&witness), Arc::clone(&world));
        asked.spawn(async move { ask(&witness, world.request(10, new)).await.status });
    }
    let answers = asked.join_all().await;
    assert_eq!(answers.iter().filter(|status| **status == StatusCode::OK).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 48);
}

#[test]
fn nothing_is_signed_without_its_state_or_with_a_damaged_one() {
    let world = World::new();
    let path = WitnessedLog::new(world.folder.path(), vec![log_signer(0).verifier().clone()]).unwrap();
    let again = add_log(world.folder.path(), vec![log_signer(0).verifier().clone()]);
    assert!(matches!(again, Err(WitnessError::Known(name)) if name == origin()), "a log is never begun again");
    drop(path);
    let file = std::fs::read_dir(world.folder.path().join("logs")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    for damaged in [String::new(), text.replace("\n0\n", "\n00\n"), format!("{text}\n"), text.replace("log ", "lag ")] {
        std::fs::write(&file, damaged).unwrap();
        let opened = Witness::open(world.folder.path(), Arc::new(ManualClock::at(NOW)));
        assert!(matches!(opened, Err(WitnessError::Damaged(path)) if path == file));
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(world.open().log_count(), 0, "a log without its state is unknown");
    assert!(init(world.folder.path(), "witness.example/w2", &[8; 32]).is_err(), "a key is never overwritten");
    let mixed = vec![log_signer(0).verifier().clone(), crate::testing::cosigner(0).verifier().clone()];
    assert!(matches!(add_log(world.folder.path(), mixed), Err(WitnessError::Keys)));
    assert_eq!(EMPTY_ROOT, merkle::root_of(&[]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_sequence_of_requests_gets_two_trees_of_one_size_or_a_smaller_one_signed(
        steps in prop::collection::vec((0usize..30, 0usize..30, any::<bool>()), 1..12),
    ) {
        let world = World::new();
        let witness = world.open();
        let mut last = (0, EMPTY_ROOT);
        for (old, new, forked) in steps {
            let mut request = if old <= new { world.request(old, new) } else { format!("old {old}\n\n{}", World::note(0, new, world.root(new))) };
            if forked {
                let head = request.split_once("\n\n").unwrap().0.to_owned();
                request = format!("{head}\n\n{}", World::note(1, new, TreeHash::from_bytes([1; 32])));
            }
            let request = AddCheckpoint::parse(&request).unwrap();
            if witness.add(&request).is_ok() {
                let next = (request.checkpoint.size, request.checkpoint.root);
                prop_assert!(next.0 > last.0 || next == last);
                prop_assert!(last.0 == 0 || !forked);
                last = next;
            }
        }
    }
}

const MAX_BODY: usize = birthmark_core::witness::MAX_REQUEST;
