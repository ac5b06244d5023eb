//! The answer to `GET /api/v1/verify/{image_hash}`, the same from an aggregator and a node.

use serde::{Deserialize, Serialize};

use crate::absence::AbsenceProof;
use crate::batch::Assurance;
use crate::hash::ImageHash;
use crate::ids::{Height, SubmitterName, TxId};
use crate::time::UnixSeconds;

#[cfg(feature = "openapi")]
mod schema;

/// What the registry holds about one hash. Fields that do not apply are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyAnswer {
    /// True at assurance `attested` and `endorsed`.
    pub verified: bool,
    /// True if there is a record at any assurance.
    pub recorded: bool,
    /// What was asked about.
    pub image_hash: ImageHash,
    /// The record, if there is one.
    #[serde(flatten)]
    pub record: Option<Record>,
    /// For a miss: which state of the log the answer is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<AsOf>,
    /// For a miss under `?proof=1`: the proof that there was no record then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absence: Option<Box<AbsenceProof>>,
}

/// The best record of a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Record {
    /// 60 × the block's minute: the registry's time, coarse on purpose.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub timestamp: UnixSeconds,
    /// The record's block.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub block_height: Height,
    /// The record's index in the log.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub tx_id: TxId,
    /// 0, 1 or 2.
    #[cfg_attr(feature = "openapi", schema(maximum = 2))]
    pub modification_level: u8,
    /// The level in words.
    pub modification_display: String,
    /// Where the image comes from.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true, pattern = "^[0-9a-f]{64}$"))]
    pub parent_image_hash: Option<ImageHash>,
    /// Who vouched.
    pub authority_id: String,
    /// Who submitted.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub aggregator: SubmitterName,
    /// How much the record is worth.
    pub assurance: Assurance,
    /// The image's ancestors, its parent first.
    pub provenance_chain: Vec<ProvenanceLink>,
    /// Further records of the same hash.
    pub other_records: Vec<OtherRecord>,
    /// The `.tlog-proof` text, unless it was declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub proof: Option<String>,
}

/// One image on the way back to the sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProvenanceLink {
    /// Its hash.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
    pub image_hash: ImageHash,
    /// Its level; null if it is named as a parent but not recorded.
    #[cfg_attr(feature = "openapi", schema(required = true, maximum = 2))]
    pub modification_level: Option<u8>,
}

/// Another record of the same hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OtherRecord {
    /// Its index in the log.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub tx_id: TxId,
    /// Its assurance.
    pub assurance: Assurance,
}

/// A state of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AsOf {
    /// The checkpoint's size in leaves.
    pub size: u64,
    /// The checkpoint's time in Unix seconds.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub time: UnixSeconds,
}
