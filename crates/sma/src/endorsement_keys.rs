//! The authority's endorsement keys: making, sealing, and which of them signs when.
//!
//! For: a new RSA key, the form in which the database keeps it, and the life of a key as a pure function
//! of the list of all keys and the time.
//! Not for: signing (`signer`), the rows themselves (`store`), or which signatures the ledger takes (the
//! network file's word).
//!
//! Format: `docs/PROTOCOL.md` section 6; the sealed form is this authority's own:
//! ```text
//! SPKI   = RSA of 2048, 3072 or 4096 bits, OID rsaEncryption, e = 65537, DER
//! key_id = first 8 bytes of SHA-256(SPKI)
//! sealed = row (`sealed`) of the private key's PKCS#8 in DER, aad = "endorsement-key" ‖ key_id
//! ```
//! A key is random and not derived, so that one can be destroyed, and so that a hardware module can hold
//! the next one.
//! ```text
//! current ── rotate ──▶ previous ── 90 days ──▶ retired
//!    └──────── revoke ──────┴────── revoke ────────┴──▶ revoked, for ever
//! ```
//! The private half of a key is destroyed in the act that retires or revokes it.

pub(crate) mod document;
pub(crate) mod life;

use birthmark_core::endorsement::PublicKey;
use birthmark_core::network::EndorsementKeyId;
use rand_core::CryptoRng;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use zeroize::Zeroizing;

use crate::sealed::{RowError, RowSealKey};
use crate::signer::{self, LoadError, Signer};

/// Bits of an endorsement key's modulus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySize {
    /// 2048: 128 bytes less in every endorsement than 3072, and about a third of its work.
    #[default]
    Rsa2048,
    /// 3072.
    Rsa3072,
    /// 4096.
    Rsa4096,
}

/// A new key. Its private half is wiped when dropped.
pub(crate) struct NewKey {
    /// Its public half.
    pub(crate) public: PublicKey,
    /// Its public half in DER, for the network file.
    pub(crate) spki: Vec<u8>,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// The library made no key, or one that nobody could use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no usable endorsement key could be made")]
pub(crate) struct GenerateError;

/// Why a sealed key was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenKeyError {
    /// It does not open.
    #[error(transparent)]
    Row(#[from] RowError),
    /// It opens, and is no endorsement key.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is another key than the one that its row names.
    #[error("an endorsement key's row holds another key")]
    AnotherKey,
}

/// The size is none of 2048, 3072 and 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an endorsement key has 2048, 3072 or 4096 bits")]
pub struct KeySizeError;

impl KeySize {
    /// Bits of the modulus.
    pub const fn bits(self) -> usize {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }
}

impl TryFrom<u32> for KeySize {
    type Error = KeySizeError;
    fn try_from(bits: u32) -> Result<Self, KeySizeError> {
        match bits {
            2048 => Ok(Self::Rsa2048),
            3072 => Ok(Self::Rsa3072),
            4096 => Ok(Self::Rsa4096),
            _ => Err(KeySizeError),
        }
    }
}

impl NewKey {
    /// Makes one. Searches primes for a good part of a second: call it where blocking is allowed.
    pub(crate) fn generate(size: KeySize, rng: &mut impl CryptoRng) -> Result<Self, GenerateError> {
        let secret = RsaPrivateKey::new(rng, size.bits()).map_err(|_| GenerateError)?;
        Self::from_key(&secret)
    }

    fn from_key(secret: &RsaPrivateKey) -> Result<Self, GenerateError> {
        let pkcs8 = secret.to_pkcs8_der().map_err(|_| GenerateError)?.to_bytes();
        let spki = secret.to_public_key().to_public_key_der().map_err(|_| GenerateError)?.into_vec();
        // As strictly as everyone who will have to read it.
        let public = PublicKey::from_spki(&spki).map_err(|_| GenerateError)?;
        Ok(Self { public, spki, pkcs8 })
    }

    /// Its id.
    pub(crate) const fn id(&self) -> EndorsementKeyId {
        self.public.id()
    }

    /// The private half as the database keeps it.
    pub(crate) fn seal(&self, key: &RowSealKey, rng: &mut impl CryptoRng) -> Vec<u8> {
        key.seal(&row_name(self.id()), &self.pkcs8, rng)
    }
}

/// Opens what [`NewKey::seal`] made, ready to sign.
pub(crate) fn open(
    id: EndorsementKeyId,
    sealed: &[u8],
    key: &RowSealKey,
) -> Result<std::sync::Arc<dyn Signer>, OpenKeyError> {
    let signer = signer::load(&key.open(&row_name(id), sealed)?)?;
    if signer.key_id() == id { Ok(signer) } else { Err(OpenKeyError::AnotherKey) }
}

fn row_name(id: EndorsementKeyId) -> Vec<u8> {
    [b"endorsement-key".as_slice(), id.as_bytes()].concat()
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use birthmark_service::random::OsRng;
    use rsa::pkcs8::DecodePrivateKey;

    use super::*;
    use crate::signer::testing::pkcs8;

    fn row_key() -> RowSealKey {
        RowSealKey::from_bytes([5; 32])
    }

    /// A published one, since making one takes long.
    fn given(number: u8) -> NewKey {
        NewKey::from_key(&RsaPrivateKey::from_pkcs8_der(&pkcs8(number)).unwrap()).unwrap()
    }

    #[test]
    fn new_key_signs_after_a_stay_in_the_database() {
        let new = NewKey::generate(KeySize::default(), &mut OsRng).unwrap();
        assert_eq!(new.public.modulus_len(), 256);
        assert_eq!(new.id(), EndorsementKeyId::of_spki(&new.spki));
        let sealed = new.seal(&row_key(), &mut OsRng);
        let signer = open(new.id(), &sealed, &row_key()).unwrap();
        assert_eq!(signer.public_key(), &new.public);
        assert_eq!(signer.sign(&[1; 256]).unwrap().len(), 256);
    }

    /// As WebCrypto takes it: RFC 8017 appendix A.1 with `rsaEncryption` and NULL, and F4.
    #[test]
    fn public_half_is_an_spki_with_the_plain_rsa_oid() {
        let spki = given(1).spki;
        let head = "30820122300d06092a864886f70d01010105000382010f003082010a0282010100";
        assert!(birthmark_core::hex::encode(&spki).starts_with(head));
        assert!(spki.ends_with(&[0x02, 0x03, 0x01, 0x00, 0x01]));
    }

    #[test]
    fn sealed_key_opens_in_its_own_row_only() {
        let (first, second) = (given(1), given(2));
        let sealed = first.seal(&row_key(), &mut OsRng);
        assert!(open(first.id(), &sealed, &row_key()).is_ok());
        assert_eq!(open(second.id(), &sealed, &row_key()).unwrap_err(), OpenKeyError::Row(RowError));
        let other = RowSealKey::from_bytes([6; 32]);
        assert_eq!(open(first.id(), &sealed, &other).unwrap_err(), OpenKeyError::Row(RowError));
        let swapped = row_key().seal(&row_name(second.id()), &first.pkcs8, &mut OsRng);
        assert_eq!(open(second.id(), &swapped, &row_key()).unwrap_err(), OpenKeyError::AnotherKey);
        let nonsense = row_key().seal(&row_name(first.id()), b"nonsense", &mut OsRng);
        assert_eq!(open(first.id(), &nonsense, &row_key()).unwrap_err(), OpenKeyError::Load(LoadError));
    }

    #[test]
    fn sizes_are_three() {
        for size in [KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096] {
            assert_eq!(u32::try_from(size.bits()).map(KeySize::try_from), Ok(Ok(size)));
        }
        for bits in [0, 1024, 2047, 2056, 8192] {
            assert_eq!(KeySize::try_from(bits), Err(KeySizeError));
        }
    }

    #[test]
    fn debug_shows_the_public_id_alone() {
        let key = given(1);
        assert_eq!(format!("{key:?}"), format!("NewKey({})", key.id()));
    }
}
