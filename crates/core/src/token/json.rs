//! A token and its binding as JSON has them.
//!
//! For: the fields of a submission and of a question to the authority, from the wire's strings to typed
//! values. Lengths and digits are checked on conversion, so that an error can name the field.
//!
//! Not for: opening or sealing ([`super::v1`], [`super::v2`]).
//!
//! Format: `docs/PROTOCOL.md` sections 2, 3 and 6:
//! ```text
//! camera_token = {"ciphertext", "auth_tag", "nonce", "table_id", "key_index"[, "binding"]}
//! binding      = {"enc", "key_id", "blinded_message", "inverse"}
//! ```

use serde::{Deserialize, Serialize};

use super::v2::Commitment;
use super::{MAX_CIPHERTEXT, SealedToken, V2_CIPHERTEXT};
use crate::endorsement::{MAX_MODULUS, MIN_MODULUS};
use crate::hex::{self, HexError};
use crate::ids::{IdError, KeyIndex, TableId};
use crate::network::EndorsementKeyId;

/// The five fields of a token in JSON: `{"ciphertext", "auth_tag", "nonce", "table_id", "key_index"}`.
///
/// Lengths and digits are checked on conversion, so that an error can name the field.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = CameraToken))]
pub struct TokenJson {
    /// Hex.
    #[cfg_attr(feature = "openapi", schema(pattern = "^([0-9a-fA-F]{2}){1,144}$"))]
    pub ciphertext: String,
    /// Hex; when left out, the last 16 bytes of `ciphertext` are the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{32}$"))]
    pub auth_tag: Option<String>,
    /// Hex.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{24}$"))]
    pub nonce: String,
    /// May instead stand in a `key_reference`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 2499))]
    pub table_id: Option<u64>,
    /// May instead stand in a `key_reference`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 999))]
    pub key_index: Option<u64>,
    /// What ties a version 2 token to its photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingJson>,
}

/// `{"table_id", "key_index"}` beside a token that lacks them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyReference {
    /// 0 to 2499.
    #[cfg_attr(feature = "openapi", schema(maximum = 2499))]
    pub table_id: u64,
    /// 0 to 999.
    #[cfg_attr(feature = "openapi", schema(maximum = 999))]
    pub key_index: u64,
}

/// `camera_token.binding` in JSON, all hex.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Binding))]
pub struct BindingJson {
    /// HPKE's encapsulated key.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{64}$"))]
    pub enc: String,
    /// Which endorsement key the message was blinded for.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{16}$"))]
    pub key_id: String,
    /// The blinded capture digest.
    #[cfg_attr(feature = "openapi", schema(pattern = "^([0-9a-fA-F]{2}){256,512}$"))]
    pub blinded_message: String,
    /// r^-1 mod n, for the aggregator to unblind with.
    #[cfg_attr(feature = "openapi", schema(pattern = "^([0-9a-fA-F]{2}){256,512}$"))]
    pub inverse: String,
}

/// `camera_token.binding`: present if and only if the token is of version 2.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// What the authority gets to see of it.
    pub blinding: Blinding,
    /// r^-1 mod n, as long as the key's modulus. For the aggregator alone.
    pub inverse: Vec<u8>,
}

/// What goes to the authority beside a version 2 token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blinding {
    /// HPKE's encapsulated key.
    pub enc: [u8; 32],
    /// Which endorsement key the message was blinded for.
    pub key_id: EndorsementKeyId,
    /// As long as the key's modulus.
    pub blinded_message: Vec<u8>,
}

/// Why a token in JSON was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFieldError {
    /// Not hex of an allowed length.
    #[error("camera_token.{field}: {cause}")]
    Hex {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        cause: HexError,
    },
    /// A number that is missing, given twice differently, or out of range.
    #[error("camera_token.{0} is missing or out of range")]
    Number(&'static str),
    /// The ciphertext is empty or holds nothing but a tag.
    #[error("camera_token.ciphertext is empty")]
    Empty,
    /// A binding without a version 2 ciphertext, or the reverse.
    #[error("camera_token.binding must be given exactly when the ciphertext without its tag is {V2_CIPHERTEXT} bytes")]
    Binding,
    /// Not as long as an RSA modulus of 2048 to 4096 bits, or the inverse differs in length from the message.
    #[error("{0} must be 256 to 512 bytes, as blinded_message and inverse both are")]
    Modulus(&'static str),
}

impl TokenJson {
    /// Checks every field of a submission's token. `reference` stands in for the numbers that the token
    /// itself leaves out.
    pub fn parse(&self, reference: Option<KeyReference>) -> Result<(SealedToken, Option<Binding>), TokenFieldError> {
        let token = self.parse_sealed(reference)?;
        if self.binding.is_some() != (token.ciphertext.len() == V2_CIPHERTEXT) {
            return Err(TokenFieldError::Binding);
        }
        Ok((token, self.binding.as_ref().map(BindingJson::parse).transpose()?))
    }

    /// Checks the five fields and leaves the binding alone.
    pub fn parse_sealed(&self, reference: Option<KeyReference>) -> Result<SealedToken, TokenFieldError> {
        let hex_error = |field| move |cause| TokenFieldError::Hex { field, cause };
        let mut ciphertext =
            hex::decode_bounded(&self.ciphertext, MAX_CIPHERTEXT + 16).map_err(hex_error("ciphertext"))?;
        let auth_tag = if let Some(text) = &self.auth_tag {
            hex::decode_array(text).map_err(hex_error("auth_tag"))?
        } else {
            let (rest, tag) = ciphertext.split_last_chunk::<16>().ok_or(TokenFieldError::Empty)?;
            let (keep, tag) = (rest.len(), *tag);
            ciphertext.truncate(keep);
            tag
        };
        if ciphertext.is_empty() {
            return Err(TokenFieldError::Empty);
        }
        if ciphertext.len() > MAX_CIPHERTEXT {
            return Err(TokenFieldError::Hex {
                field: "ciphertext",
                cause: HexError::Range { max: 2 * MAX_CIPHERTEXT, got: 2 * ciphertext.len() },
            });
        }
        Ok(SealedToken {
            table_id: number(self.table_id, reference.map(|r| r.table_id), "table_id", TableId::new)?,
            key_index: number(self.key_index, reference.map(|r| r.key_index), "key_index", KeyIndex::new)?,
            nonce: hex::decode_array(&self.nonce).map_err(hex_error("nonce"))?,
            ciphertext,
            auth_tag,
        })
    }

    /// A submission's token, with its binding if it has one.
    pub fn of(token: &SealedToken, binding: Option<&Binding>) -> Self {
        Self { binding: binding.map(BindingJson::from), ..Self::from(token) }
    }
}

impl BindingJson {
    fn parse(&self) -> Result<Binding, TokenFieldError> {
        let blinding = Blinding::parse(&self.enc, &self.key_id, &self.blinded_message)?;
        let inverse = modulus("binding.inverse", &self.inverse)?;
        if inverse.len() != blinding.blinded_message.len() {
            return Err(TokenFieldError::Modulus("binding.inverse"));
        }
        Ok(Binding { blinding, inverse })
    }
}

impl Blinding {
    /// Checks the three fields.
    pub fn parse(enc: &str, key_id: &str, blinded_message: &str) -> Result<Self, TokenFieldError> {
        let hex_error = |field| move |cause| TokenFieldError::Hex { field, cause };
        Ok(Self {
            enc: hex::decode_array(enc).map_err(hex_error("enc"))?,
            key_id: hex::decode_array(key_id).map(EndorsementKeyId::from_bytes).map_err(hex_error("key_id"))?,
            blinded_message: modulus("blinded_message", blinded_message)?,
        })
    }

    /// What the token is tied to.
    pub fn commitment(&self) -> Commitment {
        Commitment::of(self.key_id, &self.blinded_message)
    }
}

/// The inverse would link the photo to what the authority saw.
impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding").field("key_id", &self.blinding.key_id).finish_non_exhaustive()
    }
}

impl From<&Binding> for BindingJson {
    fn from(binding: &Binding) -> Self {
        let Blinding { enc, key_id, blinded_message } = &binding.blinding;
        Self {
            enc: hex::encode(enc),
            key_id: key_id.to_string(),
            blinded_message: hex::encode(blinded_message),
            inverse: hex::encode(&binding.inverse),
        }
    }
}

fn modulus(field: &'static str, text: &str) -> Result<Vec<u8>, TokenFieldError> {
    let bytes = hex::decode_bounded(text, MAX_MODULUS).map_err(|cause| TokenFieldError::Hex { field, cause })?;
    if bytes.len() < MIN_MODULUS { Err(TokenFieldError::Modulus(field)) } else { Ok(bytes) }
}

impl From<&SealedToken> for TokenJson {
    fn from(token: &SealedToken) -> Self {
        Self {
            ciphertext: hex::encode(&token.ciphertext),
            auth_tag: Some(hex::encode(token.auth_tag)),
            nonce: hex::encode(token.nonce),
            table_id: Some(u64::from(token.table_id.value())),
            key_index: Some(u64::from(token.key_index.value())),
            binding: None,
        }
    }
}

/// Takes the number from the token or from the reference; where both give one they must agree.
fn number<T>(
    own: Option<u64>,
    referred: Option<u64>,
    field: &'static str,
    new: fn(u16) -> Result<T, IdError>,
) -> Result<T, TokenFieldError> {
    let value = match (own, referred) {
        (Some(a), Some(b)) if a != b => None,
        (a, b) => a.or(b),
    };
    value.and_then(|v| u16::try_from(v).ok()).and_then(|v| new(v).ok()).ok_or(TokenFieldError::Number(field))
}
