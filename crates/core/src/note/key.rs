//! Who may have signed a note: names, public keys, and verifier keys in C2SP's text form.
//!
//! ```text
//! <key name>+<8 hex digits of key id>+base64(type ‖ 32-byte public key)
//! key id = first 4 bytes of SHA-256(key name ‖ "\n" ‖ type ‖ public key)
//! ```

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::NoteSignature;
use crate::hash::Digest;
use crate::time::UnixSeconds;
use crate::{base64, hex};

/// Why a key or its name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, too long, or with a space, a plus or a control character.
    #[error("a key name has 1 to 255 bytes and no spaces, plus signs or control characters")]
    Name,
    /// Not an Ed25519 public key under which strict verification can succeed.
    #[error("not a usable Ed25519 public key")]
    PublicKey,
    /// A verifier key that is not of C2SP's form.
    #[error("malformed verifier key")]
    Malformed,
    /// A signature type other than Ed25519 (1) and cosignature/v1 (4).
    #[error("signature type {0} is not supported")]
    UnsupportedType(u8),
    /// The key id in a verifier key is not that of the name and key beside it.
    #[error("the key id does not belong to the name and key")]
    KeyId,
}

/// A signer's name: usually an address without scheme, such as `example.com/log`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// Most bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks length and alphabet.
    pub fn new(name: impl Into<String>) -> Result<Self, KeyError> {
        let name = name.into();
        let foreign = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.len() > Self::MAX_LEN || name.contains(foreign) {
            return Err(KeyError::Name);
        }
        Ok(Self(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl Serialize for KeyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// An Ed25519 public key: canonically encoded, on the curve, of no small order. Hex in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Checks the 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::PublicKey)?;
        // A second encoding of the same point would let one key pass for two.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::PublicKey);
        }
        Ok(Self(key))
    }

    /// The key of a secret key, which is good by construction.
    pub(super) const fn of_secret(key: VerifyingKey) -> Self {
        Self(key)
    }

    /// Reads 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let bytes = hex::decode_array(text).map_err(|_| KeyError::PublicKey)?;
        Self::from_bytes(&bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether this is the key's signature over `message`, by the strict rule that WebCrypto has too.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(&hex::deserialize_array(deserializer)?).map_err(de::Error::custom)
    }
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SignatureType {
    /// The note's text: what a log does.
    Ed25519 = 0x01,
    /// The text and a time: what a cosigner does (C2SP tlog-cosignature, `cosignature/v1`).
    CosignatureV1 = 0x04,
}

/// A public key together with the name and the type under which it signs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: KeyName,
    kind: SignatureType,
    key: PublicKey,
    id: u32,
}

/// The signature is not this key's over this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadSignature;

impl VerifierKey {
    /// Puts name, type and key together.
    pub fn new(name: KeyName, kind: SignatureType, key: PublicKey) -> Self {
        let digest = Digest::of_parts(&[name.0.as_bytes(), b"\n", &[kind as u8], key.as_bytes()]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        Self { name, kind, key, id: u32::from_be_bytes([a, b, c, d]) }
    }

    /// The signer's name.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// What it signs.
    pub const fn kind(&self) -> SignatureType {
        self.kind
    }

    /// The bare key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The first four bytes of the hash over name, type and key.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Whether a line claims to be by this key.
    pub fn is_named_by(&self, line: &NoteSignature) -> bool {
        line.key_id() == self.id && *line.name() == self.name
    }

    /// Checks a signature over a note's text; gives the time that a cosignature states.
    pub(crate) fn check(&self, text: &str, signature: &[u8]) -> Result<Option<UnixSeconds>, BadSignature> {
        let (message, bare, time) = match self.kind {
            SignatureType::Ed25519 => (text.to_owned(), signature, None),
            SignatureType::CosignatureV1 => {
                let (time, bare) = signature.split_first_chunk::<8>().ok_or(BadSignature)?;
                let time = UnixSeconds(u64::from_be_bytes(*time));
                if time.0 > MAX_TIME {
                    return Err(BadSignature);
                }
                (cosigned_message(text, time), bare, Some(time))
            }
        };
        if self.key.verifies(message.as_bytes(), bare) { Ok(time) } else { Err(BadSignature) }
    }
}

/// The latest time that a cosignature may state (C2SP tlog-cosignature).
pub(super) const MAX_TIME: u64 = i64::MAX as u64;

/// What a cosigner signs: a header, the time, and the checkpoint's text.
pub(super) fn cosigned_message(text: &str, time: UnixSeconds) -> String {
    format!("cosignature/v1\ntime {}\n{text}", time.0)
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = [&[self.kind as u8][..], self.key.as_bytes()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id, base64::encode(material))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // The base64 part may itself have plus signs; name and id may not.
        let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
        let (id, material) = rest.split_once('+').ok_or(KeyError::Malformed)?;
        let id = u32::from_be_bytes(hex::decode_array(id).map_err(|_| KeyError::Malformed)?);
        let material = base64::decode_bounded(material, MAX_KEY_LEN).map_err(|_| KeyError::Malformed)?;
        let (kind, bytes) = material.split_first().ok_or(KeyError::Malformed)?;
        let kind = match kind {
            0x01 => SignatureType::Ed25519,
            0x04 => SignatureType::CosignatureV1,
            other => return Err(KeyError::UnsupportedType(*other)),
        };
        let bytes = bytes.try_into().map_err(|_| KeyError::Malformed)?;
        let key = Self::new(KeyName::new(name)?, kind, PublicKey::from_bytes(bytes)?);
        if key.id == id { Ok(key) } else { Err(KeyError::KeyId) }
    }
}

/// Room for the keys of other types, so that they are named as unsupported and not as malformed.
const MAX_KEY_LEN: usize = 4096;
