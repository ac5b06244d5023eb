//! `POST /validate` and `POST /validate/batch`: the aggregator asks the authority about tokens.
//!
//! Format: `docs/PROTOCOL.md` section 3:
//! ```text
//! {"camera_token": {…five fields}, "manufacturer_authority_id": "…"[, "request_id": "<32 hex>"]
//!  [, "enc": "<64 hex>", "key_id": "<16 hex>", "blinded_message": "<hex>"]}
//! → {"valid": true | false, "message": "…"[, "endorsement": "<hex, the blind signature>"]}
//! {"requests": […up to 256]} → {"results": […in order]}
//! ```

use serde::{Deserialize, Serialize};

use crate::hex;
use crate::ids::AuthorityId;
use crate::token::{Blinding, SealedToken, TokenJson};

/// Most questions of one batch.
pub const MAX_QUESTIONS: usize = 256;

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
    /// HPKE's encapsulated key, of a version 2 token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<String>,
    /// Which key is to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// What is to be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blinded_message: Option<String>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidateAnswer {
    /// True if the token passed.
    pub valid: bool,
    /// One of [`Message`]'s texts.
    pub message: String,
    /// The blind signature in hex, as long as the modulus: given exactly when a version 2 token passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<String>,
}

/// Several questions of one caller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchRequest {
    /// 1 to [`MAX_QUESTIONS`].
    pub requests: Vec<ValidateRequest>,
}

/// Their answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// In the questions' order.
    pub results: Vec<ValidateAnswer>,
}

impl ValidateRequest {
    /// The question about a token; `blinding` belongs to version 2.
    pub fn of(token: &SealedToken, blinding: Option<&Blinding>, authority: &AuthorityId, request_id: [u8; 16]) -> Self {
        Self {
            camera_token: TokenJson::from(token),
            manufacturer_authority_id: authority.as_str().to_owned(),
            request_id: Some(hex::encode(request_id)),
            enc: blinding.map(|blinding| hex::encode(blinding.enc)),
            key_id: blinding.map(|blinding| blinding.key_id.to_string()),
            blinded_message: blinding.map(|blinding| hex::encode(&blinding.blinded_message)),
        }
    }
}

/// The fixed list of messages. None tells more about a device than pass or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// It passed.
    Valid,
    /// It did not: wrong key, unknown or revoked device, wrong table, over quota.
    Invalid,
    /// It, or its counter, passed once before; the camera should seal another.
    Used,
    /// Its counter is below the window of those that are remembered; the camera should seal another.
    Stale,
    /// Nothing is wrong with it, but its endorsement key signs no more; the camera should look into the
    /// network file again and seal another.
    Rekey,
}

impl Message {
    /// The text on the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Valid => "token_valid",
            Self::Invalid => "token_invalid",
            Self::Used => "token_used",
            Self::Stale => "token_stale",
            Self::Rekey => "rekey",
        }
    }

    /// True where the camera should seal a new token for the same photo.
    pub fn asks_to_reseal(text: &str) -> bool {
        [Self::Used, Self::Stale, Self::Rekey].iter().any(|message| message.text() == text)
    }
}

#[cfg(test)]
mod tests;
