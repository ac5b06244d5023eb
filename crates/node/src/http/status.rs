//! `GET /api/v1/status`, and the seed's `/api/v1/blockchain/status`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use birthmark_core::ids::{Epoch, Height, NetworkId};
use birthmark_core::time::UnixSeconds;
use birthmark_service::problem::Problem;
use serde::Serialize;

use super::published;
use crate::reads::Reads;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    network_id: NetworkId,
    origin: String,
    epoch: Epoch,
    validators: usize,
    block_height: Height,
    /// Leaves under the published checkpoint.
    checkpoint_size: u64,
    checkpoint_time: UnixSeconds,
    /// Batches that wait for a block.
    mempool_batches: usize,
    mempool_bytes: usize,
}

pub(super) async fn get(State(reads): State<Arc<Reads>>) -> Result<Json<Answer>, Problem> {
    let published = published(&reads.publisher)?;
    let network = reads.ledger.network();
    let (mempool_batches, mempool_bytes) = reads.mempool.as_ref().map(|mempool| mempool.backlog()).unwrap_or_default();
    Ok(Json(Answer {
        network_id: network.network_id(),
        origin: network.origin().to_string(),
        epoch: network.current_epoch().number(),
        validators: network.current_epoch().validators().len(),
        block_height: reads.ledger.head().height,
        checkpoint_size: published.checkpoint.size,
        checkpoint_time: published.time,
        mempool_batches,
        mempool_bytes,
    }))
}
