//! Serials and key ids in paths: percent-decoded, bounded, parsed.
//!
//! For: the endpoints of one device or one key. Not for: whether there is such a one.
//! ```text
//! 422 malformed_serial    not 1 to 64 printable ASCII characters after percent-decoding
//! 422 malformed_key_id    not 16 hex digits
//! ```

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use birthmark_core::hex;
use birthmark_core::ids::DeviceSerial;
use birthmark_core::network::EndorsementKeyId;
use birthmark_service::problem::Problem;

/// The serial in the path.
pub(super) struct Serial(pub(super) DeviceSerial);

/// The key id in the path.
pub(super) struct KeyId(pub(super) EndorsementKeyId);

impl<S: Send + Sync> FromRequestParts<S> for Serial {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await;
        let serial = text.and_then(|text| DeviceSerial::new(text).ok());
        serial.map(Self).ok_or_else(|| {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "malformed_serial",
                "a serial has 1 to 64 printable ASCII characters",
            )
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KeyId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await;
        let id = text.and_then(|text| hex::decode_array(&text).ok());
        id.map(|id| Self(EndorsementKeyId::from_bytes(id))).ok_or_else(|| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_key_id", "a key id has 16 hex digits")
        })
    }
}

/// None if it does not decode to UTF-8.
async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<String> {
    Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(text)| text)
}
