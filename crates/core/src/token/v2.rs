//! Version 2 of the token: for the authority's eyes alone, bound to one blinded message and one device.
//!
//! For: [`Seal`] in the camera, [`Opener`] and [`OpenedToken::is_from`] in the authority.
//!
//! Not for: whether a counter may be used (the authority remembers), or what the blinded message hides
//! (`endorsement`; the authority must not know).
//!
//! Format: `docs/PROTOCOL.md` section 5; HPKE is RFC 9180, PSK mode, DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256, AES-256-GCM:
//! ```text
//! C         = SHA-256("birthmark/commitment/v2" ‖ key_id (8) ‖ blinded_message)
//! psk       = K of table and index          psk_id = be16(table_id) ‖ be16(key_index)
//! info      = "birthmark/token/v2" ‖ network_id (32)          aad = C (32) ‖ nonce (12, random)
//! plaintext = nuc_hash (32) ‖ be64(counter) ‖ mac (16)
//! mac       = first 16 bytes of HMAC-SHA256(device_key,
//!                 "birthmark/token-mac/v2" ‖ psk_id ‖ enc (32) ‖ aad ‖ nuc_hash ‖ be64(counter))
//! ```
//! A camera that shares the table knows K, yet neither the authority's secret key nor another's device
//! key: it can neither read nor make a token of another camera.

use hmac::{Hmac, KeyInit as _, Mac as _};
use hpke::aead::{AeadTag, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem as _, X25519HkdfSha256};
use hpke::{Deserializable as _, HpkeError, OpModeR, OpModeS, PskBundle, Serializable as _};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{NucHash, OpenError, SealedToken, V2_CIPHERTEXT};
use crate::hash::Digest;
use crate::ids::{KeyIndex, NetworkId, TableId};
use crate::keytable::TableKey;
use crate::network::{EndorsementKeyId, TokenKey};

type Kem = X25519HkdfSha256;
type PrivateKey = <Kem as hpke::Kem>::PrivateKey;
type PublicKey = <Kem as hpke::Kem>::PublicKey;
type EncappedKey = <Kem as hpke::Kem>::EncappedKey;

/// The secret that one device shares with its authority: 32 bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DeviceKey([u8; 32]);

/// The authority's X25519 secret, to whose public half tokens are sealed. Wiped when dropped.
#[derive(Clone)]
pub struct TokenSecretKey(PrivateKey);

/// What a token is tied to: the message that the authority is asked to sign, blinded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(Digest);

/// All that a camera seals one token from.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'a> {
    /// The network that the photo is for.
    pub network: NetworkId,
    /// The authority's, from the network file.
    pub token_key: TokenKey,
    /// One of the camera's tables.
    pub table: (TableId, &'a TableKey),
    /// A key of that table, drawn evenly.
    pub key_index: KeyIndex,
    /// Of the blinded message.
    pub commitment: &'a Commitment,
    /// The sensor's fingerprint.
    pub nuc_hash: &'a NucHash,
    /// The camera's own.
    pub device_key: &'a DeviceKey,
    /// Never given before with this device key.
    pub counter: u64,
}

/// Why no token was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authority's token key in the network file is no usable X25519 key")]
pub struct SealError;

/// Opens tokens for one authority in one network.
pub struct Opener {
    secret: PrivateKey,
    info: [u8; INFO],
}

/// What was inside a token that authenticates under its table's key. It names a device, which must still
/// be shown to have made it: [`OpenedToken::is_from`].
#[derive(Debug)]
pub struct OpenedToken {
    /// The sensor that it claims to be from.
    pub nuc_hash: NucHash,
    /// Its number among the device's tokens.
    pub counter: u64,
    mac: [u8; MAC],
    message: MacMessage,
}

impl Seal<'_> {
    /// Seals it; the second value is `enc`, which travels in the binding.
    pub fn seal(&self, rng: &mut impl CryptoRng) -> Result<(SealedToken, [u8; ENC]), SealError> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let (table_id, table_key) = self.table;
        let psk_id = psk_id(table_id, self.key_index);
        let aad = aad(self.commitment, &nonce);
        let key = table_key.use_key(self.key_index);
        let mode = OpModeS::Psk(PskBundle::new(key.expose(), &psk_id).map_err(|_| SealError)?);
        let recipient = PublicKey::from_bytes(self.token_key.as_bytes()).map_err(|_| SealError)?;
        let (enc, mut context) =
            hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, Kem>(&mode, &recipient, &info(self.network), rng)
                .map_err(|_| SealError)?;
        let enc: [u8; ENC] = enc.to_bytes().into();
        let message = MacMessage { psk_id, enc, aad };
        let mut plaintext = Zeroizing::new([0; V2_CIPHERTEXT]);
        let (nuc_hash, rest) = plaintext.split_at_mut(NUC);
        let (counter, mac) = rest.split_at_mut(COUNTER);
        nuc_hash.copy_from_slice(self.nuc_hash.expose());
        counter.copy_from_slice(&self.counter.to_be_bytes());
        mac.copy_from_slice(&message.mac(self.device_key, self.nuc_hash, self.counter));
        let tag = context.seal_inout_detached(plaintext.as_mut_slice().into(), &aad).map_err(|_| SealError)?;
        let token = SealedToken {
            table_id,
            key_index: self.key_index,
            nonce,
            // Encrypted by now.
            ciphertext: plaintext.to_vec(),
            auth_tag: tag.to_bytes().into(),
        };
        Ok((token, enc))
    }
}

impl Opener {
    /// For tokens of this network, sealed to this key.
    pub fn new(network: NetworkId, secret: &TokenSecretKey) -> Self {
        Self { secret: secret.0.clone(), info: info(network) }
    }

    /// Opens a token that came with this `enc` and this blinded message.
    pub fn open(
        &self,
        token: &SealedToken,
        enc: &[u8; ENC],
        commitment: &Commitment,
        table_key: &TableKey,
    ) -> Result<OpenedToken, OpenError> {
        let ciphertext: [u8; V2_CIPHERTEXT] = token.ciphertext.as_slice().try_into().map_err(|_| OpenError::Length)?;
        let psk_id = psk_id(token.table_id, token.key_index);
        let aad = aad(commitment, &token.nonce);
        let key = table_key.use_key(token.key_index);
        let mut plaintext = Zeroizing::new(ciphertext);
        let opened = PskBundle::new(key.expose(), &psk_id).and_then(|bundle| {
            hpke::single_shot_open_inout_detached::<AesGcm256, HkdfSha256, Kem>(
                &OpModeR::Psk(bundle),
                &self.secret,
                &EncappedKey::from_bytes(enc)?,
                &self.info,
                plaintext.as_mut_slice().into(),
                &aad,
                &AeadTag::from_bytes(&token.auth_tag)?,
            )
        });
        opened.map_err(|_: HpkeError| OpenError::Forged)?;
        let (nuc_hash, rest) = plaintext.split_first_chunk::<NUC>().ok_or(OpenError::Length)?;
        let (counter, mac) = rest.split_first_chunk::<COUNTER>().ok_or(OpenError::Length)?;
        Ok(OpenedToken {
            nuc_hash: NucHash::from_bytes(*nuc_hash),
            counter: u64::from_be_bytes(*counter),
            mac: mac.try_into().map_err(|_| OpenError::Length)?,
            message: MacMessage { psk_id, enc: *enc, aad },
        })
    }
}

impl OpenedToken {
    /// Whether the holder of this device key made it. In constant time.
    pub fn is_from(&self, device_key: &DeviceKey) -> bool {
        self.message.mac(device_key, &self.nuc_hash, self.counter).ct_eq(&self.mac).into()
    }
}

impl Commitment {
    /// Of a message blinded for a key.
    pub fn of(key: EndorsementKeyId, blinded_message: &[u8]) -> Self {
        Self(Digest::of_parts(&[b"birthmark/commitment/v2", key.as_bytes(), blinded_message]))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl DeviceKey {
    /// Takes the 32 secret bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for handing out or deriving.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TokenSecretKey {
    /// From 32 secret bytes, by `DeriveKeyPair` of RFC 9180 section 7.1.3.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Kem::derive_keypair(seed).0)
    }

    /// The half that goes into the network file.
    pub fn public(&self) -> TokenKey {
        TokenKey::from_bytes(Kem::sk_to_pk(&self.0).to_bytes().into())
    }
}

/// What a token's MAC covers besides the secrets in it.
#[derive(Clone, Copy, Debug)]
struct MacMessage {
    psk_id: [u8; PSK_ID],
    enc: [u8; ENC],
    aad: [u8; AAD],
}

impl MacMessage {
    fn mac(&self, device_key: &DeviceKey, nuc_hash: &NucHash, counter: u64) -> [u8; MAC] {
        let mut block = Zeroizing::new([0; 64]);
        let (key, _) = block.split_at_mut(32);
        key.copy_from_slice(&device_key.0);
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        for part in [
            b"birthmark/token-mac/v2".as_slice(),
            &self.psk_id,
            &self.enc,
            &self.aad,
            nuc_hash.expose(),
            &counter.to_be_bytes(),
        ] {
            mac.update(part);
        }
        let mut out = [0; MAC];
        out.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
        out
    }
}

fn info(network: NetworkId) -> [u8; INFO] {
    let mut info = [0; INFO];
    let (label, id) = info.split_at_mut(LABEL.len());
    label.copy_from_slice(LABEL);
    id.copy_from_slice(network.as_bytes());
    info
}

fn psk_id(table_id: TableId, key_index: KeyIndex) -> [u8; PSK_ID] {
    let ([a, b], [c, d]) = (table_id.value().to_be_bytes(), key_index.value().to_be_bytes());
    [a, b, c, d]
}

fn aad(commitment: &Commitment, nonce: &[u8; NONCE]) -> [u8; AAD] {
    let mut aad = [0; AAD];
    let (digest, rest) = aad.split_at_mut(32);
    digest.copy_from_slice(commitment.as_bytes());
    rest.copy_from_slice(nonce);
    aad
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKey(redacted)")
    }
}

impl std::fmt::Debug for TokenSecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecretKey(redacted)")
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener(redacted)")
    }
}

const LABEL: &[u8] = b"birthmark/token/v2";
const INFO: usize = LABEL.len() + 32;
const PSK_ID: usize = 4;
const NONCE: usize = 12;
const AAD: usize = 32 + NONCE;
const ENC: usize = 32;
const NUC: usize = 32;
const COUNTER: usize = 8;
const MAC: usize = V2_CIPHERTEXT - NUC - COUNTER;

#[cfg(test)]
mod tests;
