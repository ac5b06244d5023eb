//! Answers to `POST /api/v1/submit` and `GET /api/v1/submission/{receipt_id}`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::batch::Assurance;
use crate::ids::{Height, TxId};

/// Where a submission stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitAnswer {
    /// By which its holder asks again.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub receipt_id: Uuid,
    /// Where it stands.
    pub status: SubmissionStatus,
    /// For people.
    pub message: String,
    /// What the record is worth, or will be, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub assurance: Option<Assurance>,
    /// The record's index in the log, once confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = u64, nullable = false))]
    pub tx_id: Option<TxId>,
    /// The record's block, once confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = u64, nullable = false))]
    pub block_height: Option<Height>,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, pattern = "^[a-z0-9_]{1,64}$"))]
    pub reason: Option<String>,
    /// True where the camera should seal a new token for the same photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub reseal: Option<bool>,
    /// The `.tlog-proof` text, once confirmed and where it was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub proof: Option<String>,
}

/// The answer when exactly this body is on record already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlreadyRecorded {
    /// Always `confirmed`.
    pub status: SubmissionStatus,
    /// What the record is worth at least.
    pub assurance: Assurance,
    /// The record's index in the log.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub tx_id: TxId,
    /// The record's block.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub block_height: Height,
}
