//! A real node with its real engine, asked over its router.

mod epochs;
mod governance;
mod memory;
mod several;

use std::collections::BTreeMap;
use std::path::Path;

use axum::body::Body as HttpBody;
use axum::http::{Method, Request, StatusCode};
use birthmark_core::ImageHash;
use birthmark_core::api::transactions::{TransactionResult, TransactionsAnswer};
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::batch::{Assurance, Batch, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::endorsement::{self, CaptureDigest};
use birthmark_core::ids::{AuthorityId, AuthorityNumber, SubmitterName, SubmitterNumber};
use birthmark_core::network::{
    Authority, EndorsementKey, EndorsementKeyId, EndorsementKeyState, Network, NetworkBuilder, Rules, Submitter, Trust,
    Validator as Member,
};
use birthmark_core::note::{KeyName, PublicKey, SecretKey};
use birthmark_core::proof::ProofBundle;
use birthmark_core::time::{Minute, UnixSeconds};
use birthmark_core::verify::{Candidate, EndorsementCheck, Verdict, verify};
use birthmark_service::clock::ManualClock;
use birthmark_service::secret_file;
use blind_rsa_signatures::SecretKeySha384PSSDeterministic;
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::config::KeyFiles;
use crate::cosigner::{CosignerError, create_state};
use crate::mempool::Origin;
use crate::offer::Offer;
use crate::peers::PeerNetwork;

const NOW: UnixSeconds = UnixSeconds(29_000_000 * 60);

struct Installation {
    folder: TempDir,
    file: Bytes,
    network: Arc<Network>,
    clock: ManualClock,
}

struct Running {
    node: Arc<Node>,
    router: Router,
    network: Arc<Network>,
}

/// The authority's key. It is published and protects nothing.
fn endorsement_secret() -> SecretKeySha384PSSDeterministic {
    let pem = include_str!("../../../../vectors/keys/endorsement-1.pem");
    SecretKeySha384PSSDeterministic::from_pem(pem).unwrap()
}

fn endorsement_spki() -> Vec<u8> {
    endorsement_secret().public_key().unwrap().to_der().unwrap()
}

fn aggregator() -> SubmitterKey {
    SubmitterKey::from_seed([5; 32])
}

impl Installation {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, seed) in
            [(KeyFiles::VALIDATOR, 1), (KeyFiles::LOG, 2), (KeyFiles::COSIGN, 3), (KeyFiles::SUBMITTER, 4)]
        {
            secret_file::create(&folder.path().join(name), &[seed; 32]).unwrap();
        }
        create_state(folder.path()).unwrap();
        let public = |seed| SecretKey::from_seed(&[seed; 32]).public_key();
        let mut network = NetworkBuilder::new(KeyName::new("test.example/log").unwrap(), NOW.minute());
        network.validators =
            vec![Member { consensus_key: public(1), log_key: public(2), cosigning_key: public(3), p2p_address: None }];
        network.authorities = vec![Authority {
            number: AuthorityNumber(1),
            id: AuthorityId::new("MFG").unwrap(),
            token_key: None,
            rules: Rules::default(),
            endorsement_keys: vec![EndorsementKey {
                key_id: EndorsementKeyId::of_spki(&endorsement_spki()),
                spki: endorsement_spki(),
                state: EndorsementKeyState::Current,
            }],
        }];
        let submitter = |number, name: &str, key: &SubmitterKey| Submitter {
            number: SubmitterNumber(number),
            name: SubmitterName::new(name).unwrap(),
            key: PublicKey::from_bytes(&key.public()).unwrap(),
        };
        network.submitters =
            vec![submitter(1, "aggregator", &aggregator()), submitter(2, "node-0", &SubmitterKey::from_seed([4; 32]))];
        let (file, network) = network.build().unwrap().sign(&[&SecretKey::from_seed(&[2; 32])]).unwrap();
        Self { folder, file: file.into(), network: Arc::new(network), clock: ManualClock::at(NOW) }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn try_start(&self) -> Result<Running, NodeError> {
        let config = NodeConfig {
            data_dir: self.path().to_owned(),
            network: Arc::clone(&self.network),
            network_file: self.file.clone(),
            submitter: SubmitterName::new("node-0").unwrap(),
            p2p_listen: "127.0.0.1:0".parse().unwrap(),
            p2p_network: PeerNetwork::Local,
            p2p_addresses: BTreeMap::new(),
            mempool_bytes: 1 << 20,
        };
        let node = Arc::new(Node::start(config, Arc::new(self.clock.clone())).await?);
        let router = node.router(Authenticator::open("127.0.0.1:1".parse().unwrap()).unwrap());
        Ok(Running { node, router, network: Arc::clone(&self.network) })
    }

    async fn start(&self) -> Running {
        self.try_start().await.unwrap()
    }
}

impl Running {
    async fn ask<T: DeserializeOwned>(&self, request: Request<HttpBody>) -> (StatusCode, Option<T>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).ok())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> (StatusCode, Option<T>) {
        self.ask(Request::get(path).body(HttpBody::empty()).unwrap()).await
    }

    async fn post(&self, batch: Vec<u8>) -> (StatusCode, Vec<TransactionResult>) {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/transactions")
            .header("prefer", "wait=30")
            .body(HttpBody::from(batch))
            .unwrap();
        let (status, answer) = self.ask::<TransactionsAnswer>(request).await;
        (status, answer.map(|answer| answer.results).unwrap_or_default())
    }

    fn batch(&self, bodies: impl IntoIterator<Item = Body>) -> Batch {
        self.batch_of(
            bodies.into_iter().map(|body| Transaction::new(Assurance::Attested, vec![], body).unwrap()).collect(),
        )
    }

    fn batch_of(&self, transactions: Vec<Transaction>) -> Batch {
        Batch::sign(self.network.network_id(), SubmitterNumber(1), &aggregator(), transactions)
    }

    /// With the authority's endorsement of `vouched`.
    fn endorsed(&self, body: Body, vouched: &Body) -> Transaction {
        let key = endorsement::PublicKey::from_spki(&endorsement_spki()).unwrap();
        let digest = CaptureDigest::of(self.network.network_id(), key.id(), &vouched.encode());
        let blinded = key.blind(&digest, &mut StdRng::seed_from_u64(1)).unwrap();
        let signature = endorsement_secret().blind_sign(&blinded.blinded_message).unwrap().0;
        let endorsement = key.finish(&digest, &blinded.blinded_message, &blinded.inverse, &signature).unwrap();
        Transaction::new(Assurance::Endorsed, endorsement.encode(), body).unwrap()
    }

    async fn answer(&self, hash: ImageHash) -> (VerifyAnswer, ProofBundle) {
        let (status, answer) = self.get::<VerifyAnswer>(&format!("/api/v1/verify/{hash}")).await;
        assert_eq!(status, StatusCode::OK);
        let answer = answer.unwrap();
        let proof = ProofBundle::parse(answer.record.as_ref().unwrap().proof.as_ref().unwrap()).unwrap();
        (answer, proof)
    }

    async fn end(self) {
        let stop = CancellationToken::new();
        stop.cancel();
        self.node.run(stop).await.unwrap();
    }
}

fn raw(authority: &str, seed: u8) -> Body {
    let hash = ImageHash::from_bytes([seed; 32]);
    let entry = Entry { level: Level::Raw, kind: Kind::File, hash, parent: Parent::None };
    Body { authority: AuthorityId::new(authority).unwrap(), entries: Entries::new(vec![entry], None, None).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_recorded_proven_and_repeated_without_harm() {
    let installation = Installation::new();
    let node = installation.start().await;
    let batch = node.batch([raw("MFG", 1), raw("MFG", 2)]);
    let (status, first) = node.post(batch.encode()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(first.iter().all(|result| matches!(result, TransactionResult::Recorded { .. })), "{first:?}");
    assert_eq!(node.post(batch.encode()).await.1, first, "the same again");
    let (_, mixed) = node.post(node.batch([raw("MFG", 2), raw("MFG", 3)]).encode()).await;
    assert_eq!(mixed[0], first[1]);
    assert!(matches!(mixed[1], TransactionResult::Recorded { .. }));

    let hash = ImageHash::from_bytes([2; 32]);
    let (status, answer) = node.get::<VerifyAnswer>(&format!("/api/v1/verify/{hash}")).await;
    assert_eq!(status, StatusCode::OK);
    let record = answer.unwrap().record.unwrap();
    let proof = ProofBundle::parse(&record.proof.unwrap()).unwrap();
    let trust = Trust::Policy(node.network.current_policy().clone());
    let verdict = verify(&[Candidate { kind: Kind::File, hash }], &proof, &trust).unwrap();
    assert!(matches!(verdict, Verdict::Match(finding) if finding.tx_id == record.tx_id));
    node.end().await;

    let node = installation.start().await;
    assert_eq!(node.post(batch.encode()).await.1, first, "after a restart");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_proven_when_asked_for_and_only_of_what_is_published() {
    let installation = Installation::new();
    let node = installation.start().await;
    let trust = Trust::Policy(node.network.current_policy().clone());
    let hash = ImageHash::from_bytes([1; 32]);
    let ask = async |query: &str| {
        let (status, answer) = node.get::<VerifyAnswer>(&format!("/api/v1/verify/{hash}{query}")).await;
        assert_eq!(status, StatusCode::OK);
        answer.unwrap()
    };
    for size in [1, 3] {
        let absence = ask("?proof=1").await.absence.expect("a proof");
        let proven = absence.verify(&trust, NOW).unwrap();
        assert_eq!((proven.image_hash, proven.checkpoint_size), (hash, size));
        node.post(node.batch([raw("MFG", 2)]).encode()).await;
    }
    assert!(ask("").await.absence.is_none() && ask("?proof=0").await.absence.is_none(), "only when asked for");
    node.post(node.batch([raw("MFG", 1)]).encode()).await;
    let found = ask("?proof=1").await;
    assert!(found.recorded && found.absence.is_none() && found.record.unwrap().proof.is_some());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attested_record_rises_when_its_endorsement_comes_and_the_proof_carries_it() {
    let installation = Installation::new();
    let node = installation.start().await;
    let hash = ImageHash::from_bytes([1; 32]);
    let file = [Candidate { kind: Kind::File, hash }];
    let trust = Trust::Network(Box::new(Network::clone(&node.network)));
    let check = |proof: &ProofBundle, trust: &Trust| match verify(&file, proof, trust).unwrap() {
        Verdict::Match(finding) => (finding.record.assurance, finding.endorsement),
        Verdict::OtherFile { .. } => panic!("the file's own proof"),
    };
    node.post(node.batch([raw("MFG", 1)]).encode()).await;
    let (answer, proof) = node.answer(hash).await;
    assert_eq!((answer.record.unwrap().assurance, &proof.endorsement), (Assurance::Attested, &None));
    assert_eq!(check(&proof, &trust), (Assurance::Attested, EndorsementCheck::None));

    let endorsed =
        node.batch_of(vec![node.endorsed(raw("MFG", 1), &raw("MFG", 1)), node.endorsed(raw("MFG", 2), &raw("MFG", 2))]);
    let (_, results) = node.post(endorsed.encode()).await;
    assert!(results.iter().all(|result| matches!(result, TransactionResult::Recorded { .. })), "{results:?}");
    let (answer, proof) = node.answer(hash).await;
    let record = answer.record.unwrap();
    assert_eq!((answer.verified, record.assurance), (true, Assurance::Endorsed));
    assert_eq!(record.other_records.len(), 1, "the attested record stays");
    assert_eq!(proof.endorsement.as_deref(), Some(endorsed.transactions[0].endorsement()));
    let verified = EndorsementCheck::Verified(EndorsementKeyState::Current);
    assert_eq!(check(&proof, &trust), (Assurance::Endorsed, verified));
    let policy = Trust::Policy(node.network.current_policy().clone());
    assert_eq!(check(&proof, &policy), (Assurance::Endorsed, EndorsementCheck::ByValidators));
    // Attested once more: what is recorded is better, so nothing changes.
    assert_eq!(node.post(node.batch([raw("MFG", 2)]).encode()).await.1, results[1..]);
    node.end().await;

    let node = installation.start().await;
    let (_, proof) = node.answer(hash).await;
    assert_eq!(check(&proof, &trust), (Assurance::Endorsed, verified), "after a restart");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_may_not_be_recorded_are_refused_by_code() {
    let installation = Installation::new();
    let node = installation.start().await;
    let good = node.batch([raw("MFG", 1)]);
    assert_eq!(node.post(b"no batch".to_vec()).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let mut forged = good.encode();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(node.post(forged).await.0, StatusCode::FORBIDDEN);
    let stranger = Batch { submitter: SubmitterNumber(9), ..good.clone() };
    assert_eq!(node.post(stranger.encode()).await.0, StatusCode::FORBIDDEN);
    let (status, results) = node.post(node.batch([raw("MFG", 1), raw("NOBODY", 2)]).encode()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(results[0], TransactionResult::Accepted, "kept out by the other one in its batch, to be sent again");
    assert_eq!(results[1], TransactionResult::Refused { code: "unknown_authority".to_owned() });
    assert!(matches!(node.post(good.encode()).await.1[..], [TransactionResult::Recorded { .. }]));
    let unknown = Transaction::new(Assurance::Endorsed, vec![1; 264], raw("MFG", 6)).unwrap();
    let stolen = node.endorsed(raw("MFG", 7), &raw("MFG", 8));
    let fine = node.endorsed(raw("MFG", 9), &raw("MFG", 9));
    let (_, results) = node.post(node.batch_of(vec![unknown, stolen, fine]).encode()).await;
    let refused = |code: &str| TransactionResult::Refused { code: code.to_owned() };
    let expected = [refused("unknown_endorsement_key"), refused("bad_endorsement"), TransactionResult::Accepted];
    assert_eq!(results, expected);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_whose_signing_state_is_gone_or_old_signs_nothing() {
    let installation = Installation::new();
    let state = installation.path().join("cosign.state");
    let fresh = std::fs::read(&state).unwrap();
    let node = installation.start().await;
    node.post(node.batch([raw("MFG", 1)]).encode()).await;
    node.end().await;
    let current = std::fs::read(&state).unwrap();
    assert_ne!(current, fresh);

    secret_file::replace(&state, &fresh, secret_file::FileMode::Secret).unwrap();
    let refused = installation.try_start().await.err().unwrap();
    assert!(matches!(refused, NodeError::Cosigner(CosignerError::Behind { state: 0, .. })), "{refused}");

    std::fs::remove_file(&state).unwrap();
    let refused = installation.try_start().await.err().unwrap();
    assert!(matches!(refused, NodeError::Cosigner(CosignerError::State { .. })), "{refused}");

    let text = String::from_utf8(current.clone()).unwrap();
    let root = text.lines().nth(2).unwrap();
    let other = birthmark_core::merkle::TreeHash::from_bytes([7; 32]).to_string();
    secret_file::replace(&state, text.replace(root, &other).as_bytes(), secret_file::FileMode::Secret).unwrap();
    let refused = installation.try_start().await.err().unwrap();
    assert!(matches!(refused, NodeError::Cosigner(CosignerError::Forked(_))), "{refused}");

    secret_file::replace(&state, &current, secret_file::FileMode::Secret).unwrap();
    installation.start().await.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_applied_anew_and_continues_the_same_log() {
    let installation = Installation::new();
    let node = installation.start().await;
    let batch = node.batch([raw("MFG", 1)]);
    let (_, first) = node.post(batch.encode()).await;
    node.end().await;
    std::fs::remove_dir_all(installation.path().join("ledger")).unwrap();
    let node = installation.start().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while node.get::<serde_json::Value>("/ready").await.0 != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "never ready");
        tokio::task::yield_now().await;
    }
    assert_eq!(node.post(batch.encode()).await.1, first);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_come_from_the_clock_and_never_go_back() {
    let installation = Installation::new();
    let node = installation.start().await;
    let minute = async |seed: u8| {
        node.post(node.batch([raw("MFG", seed)]).encode()).await;
        let hash = ImageHash::from_bytes([seed; 32]);
        let (_, answer) = node.get::<VerifyAnswer>(&format!("/api/v1/verify/{hash}?proof=0")).await;
        answer.unwrap().record.unwrap().timestamp.minute()
    };
    let now: Minute = NOW.minute();
    assert_eq!(minute(1).await, now);
    installation.clock.advance(120);
    assert_eq!(minute(2).await, Minute(now.0 + 2));
    installation.clock.set(NOW);
    assert_eq!(minute(3).await, Minute(now.0 + 2), "a clock that was set back does not turn the log's time back");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_batch_in_the_mempool_never_becomes_a_block() {
    let installation = Installation::new();
    let node = installation.start().await;
    // Past the checks of the endpoint, as a fault there would let it.
    let bad = Arc::new(Offer::new(node.batch([raw("NOBODY", 1)])));
    let mempool = &node.node.shared.chain.mempool;
    mempool.add(bad, &[false], Origin::Client).unwrap();
    let (_, results) = node.post(node.batch([raw("MFG", 2)]).encode()).await;
    assert!(matches!(results[..], [TransactionResult::Recorded { .. }]), "{results:?}");
    loop {
        let changed = mempool.changed();
        if mempool.is_empty() {
            break;
        }
        // The answer may come a moment before the mempool lets go.
        tokio::time::timeout(Duration::from_secs(30), changed).await.expect("the bad batch is dropped");
    }
    node.end().await;
}
