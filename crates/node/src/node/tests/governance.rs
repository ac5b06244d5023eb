//! Acts of governance at a node that stands alone.

use birthmark_core::governance::{ActFile, ApprovedAct, Change};
use birthmark_core::network::{acts_of, with_acts};
use serde_json::Value;

use super::*;

fn act(network: &Network, change: Change, by: u8) -> ApprovedAct {
    let mut approved = ApprovedAct::new(network.next_act(change), Vec::new());
    approved.approve(&SecretKey::from_seed(&[by; 32]));
    approved
}

fn second() -> SubmitterKey {
    SubmitterKey::from_seed([77; 32])
}

fn add_second() -> Change {
    Change::AddSubmitter(Submitter {
        number: SubmitterNumber(3),
        name: SubmitterName::new("second").unwrap(),
        key: PublicKey::from_bytes(&second().public()).unwrap(),
    })
}

impl Running {
    /// The answer's status and its `status`, or the problem's `code`.
    async fn enact(&self, approved: &ApprovedAct) -> (u16, String) {
        let request = Request::post("/api/v1/governance/acts")
            .header("content-type", "application/json")
            .header("prefer", "wait=30")
            .body(HttpBody::from(serde_json::to_vec(&ActFile::from(approved)).unwrap()))
            .unwrap();
        let (status, answer) = self.ask::<Value>(request).await;
        let answer = answer.unwrap();
        let word = if status.is_success() { &answer["status"] } else { &answer["code"] };
        (status.as_u16(), word.as_str().unwrap().to_owned())
    }

    fn now(&self) -> Arc<Network> {
        self.node.shared.chain.ledger.network()
    }

    async fn file(&self) -> Bytes {
        let request = Request::get("/network.json").body(HttpBody::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()
    }

    async fn post_as(&self, number: u16, key: &SubmitterKey, seed: u8) -> StatusCode {
        let (assurance, body) = (Assurance::Attested, raw("MFG", seed));
        let transaction = Transaction::new(assurance, Vec::new(), body).unwrap();
        let batch = Batch::sign(self.network.network_id(), SubmitterNumber(number), key, vec![transaction]);
        self.post(batch.encode()).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitter_is_added_and_removed_while_the_network_runs() {
    let installation = Installation::new();
    let node = installation.start().await;
    assert_eq!(node.post_as(3, &second(), 1).await, StatusCode::FORBIDDEN);
    let added = act(&node.now(), add_second(), 2);
    assert_eq!(node.enact(&added).await, (200, "enacted".to_owned()));
    assert_eq!(node.enact(&added).await, (200, "enacted".to_owned()), "asking again changes nothing");
    assert_eq!(node.post_as(3, &second(), 1).await, StatusCode::OK);
    let (_, status) = node.get::<Value>("/api/v1/governance").await;
    let status = status.unwrap();
    assert_eq!((&status["acts"], &status["epoch"]), (&1.into(), &0.into()));

    // Whoever has the first file follows to the present by proofs alone.
    let acts = acts_of(&node.file().await).unwrap();
    let (_, followed) = with_acts(&installation.file, &acts).unwrap();
    assert_eq!(followed.submitter_by_name(&SubmitterName::new("second").unwrap()).unwrap().number, SubmitterNumber(3));
    node.end().await;

    let node = installation.start().await;
    assert_eq!(node.post_as(3, &second(), 2).await, StatusCode::OK, "after a restart with the first file");
    let removed = act(&node.now(), Change::RemoveSubmitter(SubmitterNumber(3)), 2);
    assert_eq!(node.enact(&removed).await, (200, "enacted".to_owned()));
    assert_eq!(node.post_as(3, &second(), 3).await, StatusCode::FORBIDDEN);
    assert_eq!(acts_of(&node.file().await).unwrap().len(), 2);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_may_not_be_enacted_is_refused_by_its_rule() {
    let installation = Installation::new();
    let node = installation.start().await;
    let nobody = ApprovedAct::new(node.now().next_act(add_second()), Vec::new());
    let last = Change::RemoveValidator(SecretKey::from_seed(&[1; 32]).public_key());
    let elsewhere = {
        let mut act = node.now().next_act(add_second());
        act.network = birthmark_core::ids::NetworkId(birthmark_core::hash::Digest::from_bytes([9; 32]));
        let mut approved = ApprovedAct::new(act, Vec::new());
        approved.approve(&SecretKey::from_seed(&[2; 32]));
        approved
    };
    for (approved, code) in [
        (nobody, "too_few_approvals"),
        (act(&node.now(), add_second(), 1), "unknown_approver"),
        (act(&node.now(), last, 2), "last_validator"),
        (elsewhere, "other_network"),
    ] {
        assert_eq!(node.enact(&approved).await, (422, code.to_owned()));
    }
    let request = Request::post("/api/v1/governance/acts")
        .header("content-type", "application/json")
        .body(HttpBody::from("{\"act\": \"00\"}"))
        .unwrap();
    let (status, problem) = node.ask::<Value>(request).await;
    assert_eq!((status.as_u16(), problem.unwrap()["code"].as_str()), (422, Some("malformed_act")));

    let (first, other) =
        (act(&node.now(), add_second(), 2), act(&node.now(), Change::RemoveAuthority(AuthorityNumber(1)), 2));
    assert_eq!(node.enact(&first).await, (200, "enacted".to_owned()));
    assert_eq!(node.enact(&other).await, (422, "act_number".to_owned()), "its turn was another's");
    assert_eq!(node.post_as(1, &aggregator(), 1).await, StatusCode::OK, "the network goes on");
    node.end().await;
}
