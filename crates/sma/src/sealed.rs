//! Small secrets encrypted at rest: the master key's file, and rows of the database.
//!
//! For: sealing the master key under a wrapping key that lies elsewhere (another file, a systemd
//! credential), so that a copy of the data directory or a backup of it opens nothing; and sealing the
//! secrets that several authorities share through one database.
//! Not for: where the keys come from (`keys`), or who may read the files (the system's permissions).
//!
//! Formats of this authority alone; nobody else reads them:
//! ```text
//! master.key   = 32 raw bytes, or "birthmark/sealed/v1\n" ‖ check (8) ‖ nonce (12) ‖ ciphertext (32) ‖ tag (16)
//!   check      = HKDF-SHA256(wrapping key, salt = empty, info = "birthmark/master-wrap-check/v1", 8 bytes)
//!   key        = HKDF-SHA256(wrapping key, salt = empty, info = "birthmark/master-wrap/v1", 32 bytes)
//!   ciphertext ‖ tag = AES-256-GCM(key, nonce, master key, aad = magic line ‖ check)
//! wrapping key = 32 raw bytes, or 64 hex digits and optionally a line feed
//! row          = nonce (12) ‖ AES-256-GCM(row-seal key of `keys`, nonce, secret, aad) ‖ tag (16)
//! ```
//! The check is what tells a wrong wrapping key from a damaged file. It gives nothing away: who holds
//! the file could try wrapping keys on the tag as well. Nonces are random, and so few rows are sealed
//! that two never meet.

pub(crate) mod wrapping_key;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::MasterKey;
pub(crate) use wrapping_key::WrappingKey;

/// Why the content of `master.key` gives no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterFileError {
    /// It is sealed, and nobody gave a wrapping key.
    #[error(
        "the master key is sealed and no wrapping key was given (--key-file, SMA_KEY_FILE, or the systemd credential sma-key)"
    )]
    WrappingKeyMissing,
    /// It was sealed under another wrapping key.
    #[error("the master key is sealed under another wrapping key than the one given")]
    WrappingKeyWrong,
    /// Neither form: cut short, extended or altered.
    #[error("the master key's file is damaged; restore it from a backup")]
    Damaged,
}

/// How `master.key` was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MasterForm {
    /// 32 bytes that only the file's mode protects.
    Raw,
    /// Under the wrapping key.
    Sealed,
}

/// A row that does not open: altered, put in another row's place, or sealed under another master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed row of the database does not open: it is damaged or belongs to another master key")]
pub struct RowError;

/// Seals secrets that lie in the database. Derived from the master key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct RowSealKey([u8; 32]);

/// Longest content of `master.key`.
pub(crate) const MAX_MASTER_FILE: usize = SEALED_MASTER_BYTES;

/// The content of a sealed `master.key`.
pub(crate) fn seal_master(master: &MasterKey, wrapping: &WrappingKey, rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
    let header = header(wrapping);
    let sealed = seal(&wrapping.seal_key(), &header, master.expose(), rng);
    Zeroizing::new([header.as_slice(), &sealed].concat())
}

/// The master key of either form. With a wrapping key a raw file is taken too, and said to be raw:
/// the operator has yet to seal it.
pub(crate) fn open_master(
    file: &[u8],
    wrapping: Option<&WrappingKey>,
) -> Result<(MasterKey, MasterForm), MasterFileError> {
    // Both forms have one length each, so a raw key that happens to begin like a sealed one is no question.
    if let Some(master) = MasterKey::from_slice(file) {
        return Ok((master, MasterForm::Raw));
    }
    if file.len() != SEALED_MASTER_BYTES || !file.starts_with(MAGIC) {
        return Err(MasterFileError::Damaged);
    }
    let wrapping = wrapping.ok_or(MasterFileError::WrappingKeyMissing)?;
    let header = header(wrapping);
    let Some(sealed) = file.strip_prefix(header.as_slice()) else {
        return Err(MasterFileError::WrappingKeyWrong);
    };
    let opened = open(&wrapping.seal_key(), &header, sealed).ok_or(MasterFileError::Damaged)?;
    let master = MasterKey::from_slice(&opened).ok_or(MasterFileError::Damaged)?;
    Ok((master, MasterForm::Sealed))
}

impl RowSealKey {
    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Seals a secret; `aad` says which row it is and must be given again to open it.
    pub(crate) fn seal(&self, aad: &[u8], secret: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        seal(&self.0, aad, secret, rng)
    }

    /// Opens what was sealed with the same `aad`.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, RowError> {
        open(&self.0, aad, sealed).ok_or(RowError)
    }
}

impl std::fmt::Debug for RowSealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowSealKey(redacted)")
    }
}

/// `magic ‖ check`.
fn header(wrapping: &WrappingKey) -> Vec<u8> {
    [MAGIC, &wrapping.check()].concat()
}

/// `nonce ‖ ciphertext ‖ tag` with a fresh nonce.
fn seal(key: &[u8; 32], aad: &[u8], secret: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
    let mut nonce = [0; NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    let mut sealed = Vec::with_capacity(NONCE_BYTES + secret.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(secret);
    let (_, text) = sealed.split_at_mut(NONCE_BYTES);
    // GCM refuses only texts beyond 64 GiB.
    let tag =
        Aes256Gcm::new(key.into()).encrypt_inout_detached(&Nonce::from(nonce), aad, text.into()).unwrap_or_default();
    sealed.extend_from_slice(&tag);
    sealed
}

fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(&Nonce::from(*nonce), aad, text.as_mut_slice().into(), &Tag::from(*tag))
        .ok()?;
    Some(text)
}

const MAGIC: &[u8] = b"birthmark/sealed/v1\n";
const CHECK_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const SEALED_MASTER_BYTES: usize = MAGIC.len() + CHECK_BYTES + NONCE_BYTES + MasterKey::BYTES + TAG_BYTES;

#[cfg(test)]
mod tests;
