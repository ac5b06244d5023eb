//! Version 1 of the token, the seed's: the fingerprint under a key of the table, bound to no photo.
//!
//! For: [`seal`] in the camera and [`open`] in the authority.
//!
//! Not for: new cameras. Whoever shares the table can read such a token and speak for its camera, and
//! who steals one in transit can attach it to another image, once. [`super::v2`] ends both.
//!
//! Format: `docs/PROTOCOL.md` section 5:
//! ```text
//! ciphertext (32) ‖ auth_tag (16) = AES-256-GCM(K, nonce (12, random), nuc_hash (32), no associated data)
//! ```

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use super::{NucHash, OpenError, SealedToken, V1_CIPHERTEXT};
use crate::ids::{KeyIndex, TableId};
use crate::keytable::TableKey;

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
pub(super) fn seal_with_nonce(
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
