//! What a camera or an editor submits, in all forms that are accepted.
//!
//! For: turning the JSON of `POST /api/v1/submit` into a [`Submission`] whose every part is checked,
//! and the key by which a repeated submission is recognised.
//!
//! Not for: whether the token is genuine (the authority), the authority is known (the network
//! file), or a parent is recorded (the registry).
//!
//! Format: `docs/PROTOCOL.md` section 2. `validation_endpoint` is read by nobody: addresses come
//! from the aggregator's own configuration.

use serde::{Deserialize, Serialize};

use crate::body::{Body, CaptureShapeError, Entries, EntriesError, Entry, Kind, Level, MAX_ENTRIES, Parent};
use crate::hash::{Digest, ImageHash};
use crate::ids::{AuthorityId, IdError};
use crate::json::{self, JsonError};
use crate::token::{Binding, Blinding, KeyReference, SealedToken, TokenFieldError, TokenJson};

/// Most bytes of a submission's JSON.
pub const MAX_SUBMISSION: usize = 64 * 1024;

/// A submission that is well-formed in every part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// From a camera, vouched for by its token.
    Camera(CameraSubmission),
    /// From a registered software authority: edits.
    Software(Body),
}

/// The hashes of one capture with the token that vouches for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraSubmission {
    /// What is to be recorded.
    pub body: Body,
    /// Opaque to everyone but the authority.
    pub token: SealedToken,
    /// Present exactly for a version 2 token.
    pub binding: Option<Binding>,
    /// The camera's own claim in Unix seconds. Never reaches the ledger.
    pub claimed_time: Option<u32>,
}

/// Why a submission was refused. None repeats what was sent.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// Not JSON, or a field of the wrong type.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// `submission_type` is neither of the two.
    #[error("submission_type must be \"camera\" or \"software\"")]
    Type,
    /// An image hash is not hex, or an entry's level or kind is out of range.
    #[error("image_hashes[{at}].{field} {problem}")]
    Image {
        /// Counted from 0.
        at: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `owner_hash` or `gps_hash` is not 64 hex digits.
    #[error("{0} must be 64 hex digits")]
    Commitment(&'static str),
    /// The entries do not fit together.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// The entries are no capture.
    #[error(transparent)]
    CaptureShape(#[from] CaptureShapeError),
    /// An edit has other levels than 2 or an entry without parent.
    #[error("an edit's entries all have modification_level 2 and a parent; entry {0} has not")]
    EditShape(usize),
    /// `manufacturer_cert.authority_id` is missing or malformed.
    #[error("manufacturer_cert.authority_id: {0}")]
    Authority(IdError),
    /// No `manufacturer_cert`.
    #[error("manufacturer_cert with an authority_id is missing")]
    NoAuthority,
    /// A camera without a token, or with one in two places.
    #[error("exactly one camera_token is needed, beside image_hashes or inside manufacturer_cert")]
    OneToken,
    /// A token where none belongs.
    #[error("a software submission carries no camera_token")]
    TokenWithSoftware,
    /// The token's fields.
    #[error(transparent)]
    Token(#[from] TokenFieldError),
    /// Not a Unix time in seconds.
    #[error("timestamp must be Unix seconds from 1 to 4294967295, or null")]
    Timestamp,
    /// A Unix time in milliseconds.
    #[error("timestamp is in milliseconds; it must be in seconds")]
    Milliseconds,
}

impl Submission {
    /// Reads JSON of at most [`MAX_SUBMISSION`] bytes; the caller bounds it before the call.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SubmissionError> {
        json::from_slice::<SubmissionJson>(bytes)?.parse()
    }

    /// By which the same submission sent again is recognised: a camera's [`CameraSubmission::idempotency_key`], of
    /// edits `SHA-256("birthmark/edit/v1" ‖ body)`.
    pub fn idempotency_key(&self) -> Digest {
        match self {
            Self::Camera(camera) => camera.idempotency_key(),
            Self::Software(body) => Digest::of_parts(&[b"birthmark/edit/v1", &body.encode()]),
        }
    }

    /// What is to be recorded.
    pub const fn body(&self) -> &Body {
        match self {
            Self::Camera(camera) => &camera.body,
            Self::Software(body) => body,
        }
    }
}

impl CameraSubmission {
    /// By which the same submission sent again is recognised, over decoded bytes:
    /// ```text
    /// SHA-256("birthmark/submit/v1" ‖ body ‖ be16 table ‖ be16 index ‖ nonce ‖ be16 len ‖ ciphertext ‖ auth_tag
    ///         ‖ [enc ‖ key_id ‖ be16 len ‖ blinded_message ‖ inverse])
    /// ```
    pub fn idempotency_key(&self) -> Digest {
        let token = &self.token;
        let mut message = self.body.encode();
        message.extend_from_slice(&token.table_id.value().to_be_bytes());
        message.extend_from_slice(&token.key_index.value().to_be_bytes());
        message.extend_from_slice(&token.nonce);
        crate::codec::put_prefixed16(&mut message, &token.ciphertext);
        message.extend_from_slice(&token.auth_tag);
        if let Some(binding) = &self.binding {
            let Blinding { enc, key_id, blinded_message } = &binding.blinding;
            message.extend_from_slice(enc);
            message.extend_from_slice(key_id.as_bytes());
            crate::codec::put_prefixed16(&mut message, blinded_message);
            message.extend_from_slice(&binding.inverse);
        }
        Digest::of_parts(&[b"birthmark/submit/v1", &message])
    }
}

/// A submission as JSON has it; also what our camera sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Submission))]
pub struct SubmissionJson {
    /// `camera` or `software`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(camera|software)$"))]
    pub submission_type: String,
    /// 1 to 8.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 8))]
    pub image_hashes: Vec<ImageJson>,
    /// A camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera_token: Option<TokenJson>,
    /// Who vouches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer_cert: Option<ManufacturerCert>,
    /// The camera's claim in Unix seconds.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 4_294_967_295_u64))]
    pub timestamp: Option<u64>,
    /// Hex commitment to the owner's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{64}$"))]
    pub owner_hash: Option<String>,
    /// Hex commitment to the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{64}$"))]
    pub gps_hash: Option<String>,
}

/// One image of a submission in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Image))]
pub struct ImageJson {
    /// 64 hex digits.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{64}$"))]
    pub image_hash: String,
    /// 0 raw, 1 processed by the camera, 2 edited.
    #[cfg_attr(feature = "openapi", schema(maximum = 2))]
    pub modification_level: u64,
    /// 64 hex digits or null.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{64}$"))]
    pub parent_image_hash: Option<String>,
    /// `file` (the default) or `image_data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^(file|image_data)$"))]
    pub kind: Option<String>,
}

/// Who vouches, in JSON. The endpoint is kept for the seed's shape and never dialled.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManufacturerCert {
    /// A name in the network file.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[ -~]{1,64}$"))]
    pub authority_id: String,
    /// Where the camera believes its authority to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_endpoint: Option<String>,
    /// The token, in the older form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera_token: Option<TokenJson>,
    /// Table and index of the older form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_reference: Option<KeyReference>,
}

impl SubmissionJson {
    fn parse(self) -> Result<Submission, SubmissionError> {
        let claimed_time = claimed_time(self.timestamp)?;
        let camera = match self.submission_type.as_str() {
            "camera" => true,
            "software" => false,
            _ => return Err(SubmissionError::Type),
        };
        let entries = Entries::new(
            entries(&self.image_hashes)?,
            commitment("owner_hash", self.owner_hash.as_deref())?,
            commitment("gps_hash", self.gps_hash.as_deref())?,
        )?;
        let cert = self.manufacturer_cert.ok_or(SubmissionError::NoAuthority)?;
        let authority = AuthorityId::new(cert.authority_id).map_err(SubmissionError::Authority)?;
        let body = Body { authority, entries };
        let token = match (self.camera_token, cert.camera_token) {
            (Some(_), Some(_)) => return Err(SubmissionError::OneToken),
            (token, inner) => token.or(inner),
        };
        if camera {
            body.entries.check_capture()?;
            let (token, binding) = token.ok_or(SubmissionError::OneToken)?.parse(cert.key_reference)?;
            Ok(Submission::Camera(CameraSubmission { body, token, binding, claimed_time }))
        } else {
            check_edit(body.entries.as_slice())?;
            if token.is_some() {
                return Err(SubmissionError::TokenWithSoftware);
            }
            Ok(Submission::Software(body))
        }
    }
}

fn check_edit(entries: &[Entry]) -> Result<(), SubmissionError> {
    let wrong = entries.iter().position(|entry| entry.level != Level::Modified || entry.parent == Parent::None);
    wrong.map_or(Ok(()), |at| Err(SubmissionError::EditShape(at + 1)))
}

fn entries(images: &[ImageJson]) -> Result<Vec<Entry>, SubmissionError> {
    if images.is_empty() || images.len() > MAX_ENTRIES {
        return Err(EntriesError::Count(images.len()).into());
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(images.len());
    for (at, image) in images.iter().enumerate() {
        let refuse = |field, problem| SubmissionError::Image { at, field, problem };
        let hash = |field, text: &str| {
            ImageHash::from_hex(text).map_err(|_| SubmissionError::Image {
                at,
                field,
                problem: "must be 64 hex digits",
            })
        };
        let level = match image.modification_level {
            0 => Level::Raw,
            1 => Level::Validated,
            2 => Level::Modified,
            _ => return Err(refuse("modification_level", "must be 0, 1 or 2")),
        };
        let kind = match image.kind.as_deref() {
            None | Some("file") => Kind::File,
            Some("image_data") => Kind::ImageData,
            Some(_) => return Err(refuse("kind", "must be \"file\" or \"image_data\"")),
        };
        let parent = match &image.parent_image_hash {
            None => Parent::None,
            Some(text) => {
                let parent = hash("parent_image_hash", text)?;
                // Numbers count from 1 and there are at most MAX_ENTRIES.
                let number = (1u8..).zip(&entries).find(|(_, earlier)| earlier.hash == parent);
                number.map_or(Parent::Explicit(parent), |(number, _)| Parent::Entry(number))
            }
        };
        entries.push(Entry { level, kind, hash: hash("image_hash", &image.image_hash)?, parent });
    }
    Ok(entries)
}

fn commitment(field: &'static str, text: Option<&str>) -> Result<Option<Digest>, SubmissionError> {
    text.map(Digest::from_hex).transpose().map_err(|_| SubmissionError::Commitment(field))
}

fn claimed_time(timestamp: Option<u64>) -> Result<Option<u32>, SubmissionError> {
    match timestamp {
        None => Ok(None),
        Some(seconds) => match u32::try_from(seconds) {
            Ok(0) => Err(SubmissionError::Timestamp),
            Ok(seconds) => Ok(Some(seconds)),
            // 2001 to 2128 in milliseconds.
            Err(_) if (1_000_000_000_000..5_000_000_000_000).contains(&seconds) => Err(SubmissionError::Milliseconds),
            Err(_) => Err(SubmissionError::Timestamp),
        },
    }
}

#[cfg(test)]
mod tests;
