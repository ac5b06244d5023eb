//! `POST /validate`: the aggregator asks the authority about one token.

use serde::{Deserialize, Serialize};

use crate::token::TokenJson;

/// One token to judge. No image hash, time or photo detail has a field here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ValidateRequest {
    /// The five fields.
    pub camera_token: TokenJson,
    /// Which authority the camera named.
    pub manufacturer_authority_id: String,
    /// 32 hex digits, random, one for each submission: a repeat gets the first verdict again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidateAnswer {
    /// True if the token passed.
    pub valid: bool,
    /// One of [`Message`]'s texts.
    pub message: String,
}

/// The fixed list of messages. None tells more about a device than pass or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// It passed.
    Valid,
    /// It did not: wrong key, unknown or revoked device, wrong table, over quota.
    Invalid,
    /// It passed once before; the camera should seal another.
    Used,
}

impl Message {
    /// The text on the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Valid => "token_valid",
            Self::Invalid => "token_invalid",
            Self::Used => "token_used",
        }
    }

    /// True where the camera should seal a new token for the same photo.
    pub fn asks_to_reseal(text: &str) -> bool {
        matches!(text, "token_used" | "token_stale" | "rekey")
    }
}
