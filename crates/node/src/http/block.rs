//! `GET /api/v1/block/{height}` and `/api/v1/block/latest`: what a block added to the log.
//!
//! The leaves themselves are in the log's tiles, from `first_tx_id` on.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use birthmark_core::hex;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::time::UnixSeconds;
use birthmark_service::problem::Problem;
use http::StatusCode;
use serde::Serialize;

use super::{published, unreadable};
use crate::reads::Reads;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    block_height: Height,
    /// Hex; what the validators voted on. Zeros at genesis.
    block_hash: String,
    previous_hash: String,
    /// 60 × the block's minute.
    timestamp: UnixSeconds,
    first_tx_id: TxId,
    /// Records, without the block's own leaf.
    transaction_count: u32,
    /// Leaves, the block's own included.
    leaf_count: u32,
}

pub(super) async fn at(State(reads): State<Arc<Reads>>, Path(height): Path<String>) -> Result<Json<Answer>, Problem> {
    answer(&reads, height_in(&height)?)
}

/// Digits only.
pub(super) fn height_in(path: &str) -> Result<Height, Problem> {
    let digits = path.bytes().all(|byte| byte.is_ascii_digit());
    path.parse().ok().filter(|_| digits).map(Height).ok_or_else(|| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_height", "the height must be a decimal number")
    })
}

pub(super) async fn latest(State(reads): State<Arc<Reads>>) -> Result<Json<Answer>, Problem> {
    let height = published(&reads.publisher)?.reading.head().height;
    answer(&reads, height)
}

fn answer(reads: &Reads, height: Height) -> Result<Json<Answer>, Problem> {
    let block = published(&reads.publisher)?.reading.block(height).map_err(|cause| unreadable(&cause))?;
    let block =
        block.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no_such_block", "no block has this height yet"))?;
    Ok(Json(Answer {
        block_height: block.height,
        block_hash: hex::encode(block.digest),
        previous_hash: hex::encode(block.parent),
        timestamp: block.minute.start(),
        first_tx_id: block.first,
        transaction_count: block.count.saturating_sub(1),
        leaf_count: block.count,
    }))
}
