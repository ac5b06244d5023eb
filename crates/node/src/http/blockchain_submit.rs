//! `POST /api/v1/blockchain/submit`: the seed's way to record one hash.
//!
//! Nobody vouches for it, so it is recorded as `asserted` under `unattested`, signed by this node's
//! own submitter key. Needs a credential of role `submitter`. Answers after finality:
//! ```json
//! {"tx_id": 456, "block_height": 123, "message": "recorded"}
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use birthmark_core::ImageHash;
use birthmark_core::api::transactions::TransactionResult;
use birthmark_core::batch::{Assurance, Batch, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityId, Height, TxId, UNATTESTED};
use birthmark_service::auth::Caller;
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::submit::submit;
use crate::node::Shared;

/// The seed's fields. Who submits and when is not recorded: the credential says who, the block when.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    image_hash: ImageHash,
    #[serde(default)]
    modification_level: u8,
    #[serde(default)]
    parent_image_hash: Option<ImageHash>,
    #[serde(default)]
    gps_hash: Option<Digest>,
    #[serde(default, rename = "timestamp")]
    _timestamp: Option<u64>,
    #[serde(default, rename = "aggregator_id", alias = "submission_server_id")]
    _aggregator_id: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    tx_id: TxId,
    block_height: Height,
    message: &'static str,
}

pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    StrictJson(request): StrictJson<Request>,
) -> Result<Json<Answer>, Problem> {
    caller.require(&[crate::ROLE_SUBMIT])?;
    let malformed = |detail: String| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_submission", "the hash cannot be recorded")
            .with_detail(detail)
    };
    let level = match request.modification_level {
        0 => Level::Raw,
        1 => Level::Validated,
        2 => Level::Modified,
        _ => return Err(malformed("modification_level must be 0, 1 or 2".to_owned())),
    };
    let parent = request.parent_image_hash.map_or(Parent::None, Parent::Explicit);
    let entry = Entry { level, kind: Kind::File, hash: request.image_hash, parent };
    let entries = Entries::new(vec![entry], None, request.gps_hash).map_err(|cause| malformed(cause.to_string()))?;
    let authority = AuthorityId::new(UNATTESTED).map_err(|cause| malformed(cause.to_string()))?;
    let transaction =
        Transaction::new(Assurance::Asserted, Vec::new(), Body { authority, entries }).ok_or_else(Problem::internal)?;
    let network = shared.chain.ledger.network();
    let own = shared.submitter.public();
    let listed = network.submitters().iter().find(|submitter| *submitter.key.as_bytes() == own);
    let number = listed.and_then(|own| network.active_submitter(own.number)).map(|own| own.number);
    let number = number.ok_or_else(|| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "no_submitter",
            "this node's own key is not one of the network's submitters",
        )
    })?;
    let batch = Batch::sign(network.network_id(), number, &shared.submitter, vec![transaction]);
    match submit(&shared, batch, FINALITY).await?.pop() {
        Some(TransactionResult::Recorded { tx_id, block_height }) => {
            Ok(Json(Answer { tx_id, block_height, message: "recorded" }))
        }
        Some(TransactionResult::Refused { code }) => Err(malformed(code)),
        Some(TransactionResult::Accepted) | None => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_final_yet", "not recorded yet; send it again")
                .with_retry_after(Duration::from_secs(5)))
        }
    }
}

/// How long to wait for finality.
const FINALITY: Duration = Duration::from_secs(20);
