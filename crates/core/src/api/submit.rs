//! Answers to `POST /api/v1/submit` and `GET /api/v1/submission/{receipt_id}`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{Height, TxId};

/// Where a submission stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmissionStatus {
    /// Durable; the authority has not judged yet.
    PendingValidation,
    /// The authority passed the token; the registry has not recorded yet.
    Validated,
    /// Recorded for good.
    Confirmed,
    /// The authority refused the token for good.
    Rejected,
}

/// The state of a submission, as given to the holder of its receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitAnswer {
    /// By which its holder asks again.
    pub receipt_id: Uuid,
    /// Where it stands.
    pub status: SubmissionStatus,
    /// For people.
    pub message: String,
    /// The record's index in the log, once confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_id: Option<TxId>,
    /// The record's block, once confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_height: Option<Height>,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// True where the camera should seal a new token for the same photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reseal: Option<bool>,
    /// The `.tlog-proof` text, once confirmed and where it was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// The answer when exactly this body is on record already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlreadyRecorded {
    /// Always `confirmed`.
    pub status: SubmissionStatus,
    /// The record's index in the log.
    pub tx_id: TxId,
    /// The record's block.
    pub block_height: Height,
}
