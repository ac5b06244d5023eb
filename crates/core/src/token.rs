//! The camera token, version 1: proof to the authority, and to nobody else, that a provisioned
//! sensor speaks.
//!
//! For: [`seal`] in the camera and [`open`] in the authority.
//!
//! Not for: whether a token may be used again (the authority remembers), or which device a sensor
//! fingerprint belongs to (the authority's registry). A version 1 token is bound to no photo; who
//! steals one in transit can attach it to another image once. Version 2 closes that.
//!
//! Format: `docs/PROTOCOL.md` section 5:
//! ```text
//! ciphertext (32) ‖ auth_tag (16) = AES-256-GCM(K, nonce (12, random), nuc_hash (32), no associated data)
//! ```

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hex::{self, HexError};
use crate::ids::{KeyIndex, TableId};
use crate::keytable::TableKey;

/// Most bytes of ciphertext, without the tag, that any party takes in.
pub const MAX_CIPHERTEXT: usize = 128;
/// Bytes of a version 1 ciphertext.
pub const V1_CIPHERTEXT: usize = 32;
/// Bytes of a version 2 ciphertext.
pub const V2_CIPHERTEXT: usize = 56;

/// The sensor's fingerprint: SHA-256 of its non-uniformity map. A secret between camera and authority.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NucHash([u8; 32]);

/// A sealed token as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedToken {
    /// The table whose key was used.
    pub table_id: TableId,
    /// The key of that table.
    pub key_index: KeyIndex,
    /// Random, never repeated under one key.
    pub nonce: [u8; 12],
    /// 1 to [`MAX_CIPHERTEXT`] bytes; its length tells the version.
    pub ciphertext: Vec<u8>,
    /// GCM's authentication tag.
    pub auth_tag: [u8; 16],
}

/// Why a token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The ciphertext has not the length of a version 1 token.
    #[error("the ciphertext is not {V1_CIPHERTEXT} bytes long")]
    Length,
    /// The tag does not fit: another key, or changed bytes.
    #[error("the token does not authenticate under its table's key")]
    Forged,
}

/// Seals `nuc_hash` under a key of the table with a fresh nonce.
pub fn seal(
    table: (TableId, &TableKey),
    key_index: KeyIndex,
    nuc_hash: &NucHash,
    rng: &mut impl CryptoRng,
) -> SealedToken {
    let mut nonce = [0u8; 12];
    rng.fill_bytes(&mut nonce);
    seal_with_nonce(table, key_index, nuc_hash, nonce)
}

/// [`seal`] with the nonce given; apart from known answers nobody should choose one.
pub(crate) fn seal_with_nonce(
    (table_id, table_key): (TableId, &TableKey),
    key_index: KeyIndex,
    nuc_hash: &NucHash,
    nonce: [u8; 12],
) -> SealedToken {
    let mut ciphertext = nuc_hash.0.to_vec();
    let cipher = Aes256Gcm::new(table_key.use_key(key_index).expose().into());
    // GCM refuses only texts beyond 64 GiB.
    let auth_tag =
        cipher.encrypt_inout_detached(&Nonce::from(nonce), &[], ciphertext.as_mut_slice().into()).unwrap_or_default();
    SealedToken { table_id, key_index, nonce, ciphertext, auth_tag: auth_tag.into() }
}

/// Opens a version 1 token with its table's key. Takes alike whether it passes or fails.
pub fn open(token: &SealedToken, table_key: &TableKey) -> Result<NucHash, OpenError> {
    let mut plaintext: [u8; V1_CIPHERTEXT] = token.ciphertext.as_slice().try_into().map_err(|_| OpenError::Length)?;
    let cipher = Aes256Gcm::new(table_key.use_key(token.key_index).expose().into());
    cipher
        .decrypt_inout_detached(
            &Nonce::from(token.nonce),
            &[],
            plaintext.as_mut_slice().into(),
            &Tag::from(token.auth_tag),
        )
        .map_err(|_| OpenError::Forged)?;
    let nuc_hash = NucHash(plaintext);
    plaintext.zeroize();
    Ok(nuc_hash)
}

impl NucHash {
    /// Takes the 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads exactly 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, HexError> {
        hex::decode_array(text).map(Self)
    }

    /// The secret bytes, for storing or look-up.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for NucHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for NucHash {}

impl std::fmt::Debug for NucHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NucHash(redacted)")
    }
}

/// The five fields of a token in JSON: `{"ciphertext", "auth_tag", "nonce", "table_id", "key_index"}`.
///
/// Lengths and digits are checked on conversion, so that an error can name the field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenJson {
    /// Hex.
    pub ciphertext: String,
    /// Hex; when left out, the last 16 bytes of `ciphertext` are the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_tag: Option<String>,
    /// Hex.
    pub nonce: String,
    /// May instead stand in a `key_reference`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_id: Option<u64>,
    /// May instead stand in a `key_reference`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_index: Option<u64>,
    /// What ties a version 2 token to its photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingJson>,
}

/// `{"table_id", "key_index"}` beside a token that lacks them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct KeyReference {
    /// 0 to 2499.
    pub table_id: u64,
    /// 0 to 999.
    pub key_index: u64,
}

/// `camera_token.binding` in JSON, all hex.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BindingJson {
    /// HPKE's encapsulated key.
    pub enc: String,
    /// Which endorsement key the message was blinded for.
    pub key_id: String,
    /// The blinded capture digest.
    pub blinded_message: String,
    /// r^-1 mod n, for the aggregator to unblind with.
    pub inverse: String,
}

/// `camera_token.binding`: present if and only if the token is of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// HPKE's encapsulated key.
    pub enc: [u8; 32],
    /// Which endorsement key the message was blinded for.
    pub key_id: [u8; 8],
    /// As long as the key's modulus.
    pub blinded_message: Vec<u8>,
    /// As long as the key's modulus.
    pub inverse: Vec<u8>,
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
    /// The blinded message is not as long as an RSA modulus of 2048 to 4096 bits, or its inverse differs in length.
    #[error("camera_token.binding.{0} must be 256 to 512 bytes, both alike")]
    Modulus(&'static str),
}

impl TokenJson {
    /// Checks every field. `reference` stands in for the numbers that the token itself leaves out.
    pub fn parse(&self, reference: Option<KeyReference>) -> Result<(SealedToken, Option<Binding>), TokenFieldError> {
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
        let token = SealedToken {
            table_id: number(self.table_id, reference.map(|r| r.table_id), "table_id", TableId::new)?,
            key_index: number(self.key_index, reference.map(|r| r.key_index), "key_index", KeyIndex::new)?,
            nonce: hex::decode_array(&self.nonce).map_err(hex_error("nonce"))?,
            ciphertext,
            auth_tag,
        };
        if self.binding.is_some() != (token.ciphertext.len() == V2_CIPHERTEXT) {
            return Err(TokenFieldError::Binding);
        }
        let binding = self.binding.as_ref().map(BindingJson::parse).transpose()?;
        Ok((token, binding))
    }
}

impl BindingJson {
    fn parse(&self) -> Result<Binding, TokenFieldError> {
        let hex_error = |field| move |cause| TokenFieldError::Hex { field, cause };
        let binding = Binding {
            enc: hex::decode_array(&self.enc).map_err(hex_error("binding.enc"))?,
            key_id: hex::decode_array(&self.key_id).map_err(hex_error("binding.key_id"))?,
            blinded_message: hex::decode_bounded(&self.blinded_message, 512)
                .map_err(hex_error("binding.blinded_message"))?,
            inverse: hex::decode_bounded(&self.inverse, 512).map_err(hex_error("binding.inverse"))?,
        };
        if binding.blinded_message.len() < 256 {
            return Err(TokenFieldError::Modulus("blinded_message"));
        }
        if binding.inverse.len() != binding.blinded_message.len() {
            return Err(TokenFieldError::Modulus("inverse"));
        }
        Ok(binding)
    }
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
    new: fn(u16) -> Result<T, crate::ids::IdError>,
) -> Result<T, TokenFieldError> {
    let value = match (own, referred) {
        (Some(a), Some(b)) if a != b => None,
        (a, b) => a.or(b),
    };
    value.and_then(|v| u16::try_from(v).ok()).and_then(|v| new(v).ok()).ok_or(TokenFieldError::Number(field))
}

#[cfg(test)]
mod tests;
