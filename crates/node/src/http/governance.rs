//! `POST /api/v1/governance/acts`: an act that a quorum of validators has approved, as its JSON file.
//! `GET /api/v1/governance`: where the network stands. `GET /network.json`: its file with all acts.
//!
//! The approvals are the credential. `422` with the rule's own code if the act may not be enacted; with
//! `Prefer: wait=N` the answer comes when the published checkpoint covers it, or after N seconds:
//! ```json
//! {"status": "accepted" | "scheduled" | "enacted", "number": 3, "tx_id": 456, "last_height": 789}
//! ```
//! Section 14 of `docs/PROTOCOL.md`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use birthmark_core::governance::{ActFile, ApprovedAct, MAX_ACT_FILE};
use birthmark_core::hash::Digest;
use birthmark_core::ids::{Epoch, Height, NetworkId, TxId};
use birthmark_core::leaf::Leaf;
use birthmark_ledger::LedgerError;
use birthmark_ledger::apply::InvalidBlock;
use birthmark_service::extract::StrictJson;
use birthmark_service::prefer::PreferWait;
use birthmark_service::problem::Problem;
use http::{StatusCode, header};
use serde::Serialize;

use super::{published, unreadable};
use crate::mempool::Origin;
use crate::node::Shared;
use crate::reads::Reads;
use crate::relay;

/// What became of an act.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(super) enum Answer {
    /// It waits for a block.
    Accepted { number: u32 },
    /// It is final, and takes effect with the last block of the epoch.
    Scheduled { number: u32, last_height: Height },
    /// It is in the log under the published checkpoint.
    Enacted { number: u32, tx_id: TxId },
}

/// Where the network stands.
#[derive(Debug, Serialize)]
pub(super) struct Standing {
    network_id: NetworkId,
    epoch: Epoch,
    validators: usize,
    /// Acts that have taken effect.
    acts: u32,
    /// The change of validators that waits for the end of the epoch.
    scheduled: Option<Waiting>,
    /// Whether an act waits for a block.
    pending: bool,
}

#[derive(Debug, Serialize)]
struct Waiting {
    number: u32,
    change: String,
    last_height: Height,
}

pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    prefer: PreferWait,
    StrictJson(file): StrictJson<ActFile, MAX_ACT_FILE>,
) -> Result<Response, Problem> {
    let approved = ApprovedAct::try_from(file).map_err(|cause| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_act", "the bytes are no act of governance")
            .with_detail(cause.to_string())
    })?;
    let mut sizes = shared.chain.publisher.subscribe();
    sizes.mark_unchanged();
    if state_of(&shared, &approved)?.is_none() {
        shared.chain.ledger.constitution().check(&approved).map_err(refused)?;
        shared.chain.mempool.offer_act(approved.clone(), Origin::Client);
        if !shared.chain.committee().is_alone() {
            relay::tell_act(&shared.chain, &approved);
        }
    }
    let settled = async {
        while !matches!(state_of(&shared, &approved)?, Some(Answer::Enacted { .. })) {
            if sizes.changed().await.is_err() {
                break;
            }
        }
        Ok::<(), Problem>(())
    };
    tokio::time::timeout(prefer.0.unwrap_or_default(), settled).await.unwrap_or(Ok(()))?;
    let answer = state_of(&shared, &approved)?.unwrap_or(Answer::Accepted { number: approved.act().number });
    let mut response = Json(answer).into_response();
    response.headers_mut().extend(prefer.applied());
    Ok(response)
}

pub(super) async fn get(State(reads): State<Arc<Reads>>) -> Json<Standing> {
    let constitution = reads.ledger.constitution();
    let network = constitution.network();
    let waiting = constitution.scheduled().map(|scheduled| Waiting {
        number: scheduled.approved.act().number,
        change: scheduled.approved.act().change.to_string(),
        last_height: scheduled.last_height(),
    });
    Json(Standing {
        network_id: network.network_id(),
        epoch: network.current_epoch().number(),
        validators: network.current_epoch().validators().len(),
        acts: network.act_count(),
        scheduled: waiting,
        pending: reads.mempool.as_ref().is_some_and(|mempool| mempool.act().is_some()),
    })
}

/// The file with all acts that this node can prove. A verifier follows them from its own file; it never takes a
/// whole file from the server that it checks.
pub(super) async fn network_file(State(reads): State<Arc<Reads>>) -> Result<impl IntoResponse, Problem> {
    let published = published(&reads.publisher)?;
    let file = reads.acts.network_file(&reads.ledger, &published).map_err(|cause| unreadable(&cause))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], file))
}

/// Nothing for an act that is neither enacted nor scheduled; an error for one whose turn another one had.
fn state_of(shared: &Shared, approved: &ApprovedAct) -> Result<Option<Answer>, Problem> {
    let constitution = shared.chain.ledger.constitution();
    let (number, digest) = (approved.act().number, approved.act().digest());
    if let Some(scheduled) = constitution.scheduled()
        && scheduled.approved.act().digest() == digest
    {
        return Ok(Some(Answer::Scheduled { number, last_height: scheduled.last_height() }));
    }
    if number == 0 || number > constitution.network().act_count() {
        return Ok(None);
    }
    let (tx_id, known) = enacted(shared, number).map_err(|cause| unreadable(&cause))?;
    if known != Some(digest) {
        return Err(refused(constitution.check(approved).err().unwrap_or(InvalidBlock::ActWaits)));
    }
    let shown = published(&shared.chain.publisher)?.checkpoint.size > tx_id.0;
    Ok(Some(if shown { Answer::Enacted { number, tx_id } } else { Answer::Accepted { number } }))
}

fn enacted(shared: &Shared, number: u32) -> Result<(TxId, Option<Digest>), LedgerError> {
    let ledger = &shared.chain.ledger;
    let (tx_id, _) = ledger.act(number)?;
    let (leaf, _) = ledger.proven_leaf(tx_id, ledger.head().size)?;
    let act = match Leaf::decode(&leaf) {
        Ok(Leaf::Act(leaf)) => Some(leaf.approved.act().digest()),
        Ok(Leaf::Record(_) | Leaf::Block(_)) | Err(_) => None,
    };
    Ok((tx_id, act))
}

fn refused(cause: InvalidBlock) -> Problem {
    let code = match cause {
        InvalidBlock::Act(refusal) => refusal.code(),
        _ => "act_waits",
    };
    let status = if code == "act_waits" { StatusCode::CONFLICT } else { StatusCode::UNPROCESSABLE_ENTITY };
    Problem::new(status, code, "the act may not be enacted").with_detail(cause.to_string())
}
