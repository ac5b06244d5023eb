//! The default: RSA in Rust, about 1.1 ms a signature of 2048 bits.

use std::fmt;

use birthmark_core::endorsement::PublicKey;
use birthmark_service::random::OsRng;
use blind_rsa_signatures::SecretKeySha384PSSDeterministic;

use super::{LoadError, SignError, Signer};

/// A key in memory, wiped when dropped.
pub(crate) struct SoftwareSigner {
    // Its own `Debug` goes into the key; see below.
    secret: SecretKeySha384PSSDeterministic,
    public: PublicKey,
}

impl SoftwareSigner {
    /// Reads PKCS#8 in DER, and checks that the parts of the key fit each other.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, LoadError> {
        let secret = SecretKeySha384PSSDeterministic::from_der(der).map_err(|_| LoadError)?;
        let spki = secret.public_key().and_then(|public| public.to_der()).map_err(|_| LoadError)?;
        let public = PublicKey::from_spki(&spki).map_err(|_| LoadError)?;
        Ok(Self { secret, public })
    }
}

impl Signer for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, blinded_message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.admit(blinded_message)?;
        // Blinds with the randomness given, exponentiates in constant time, and compares s^e with the
        // message before it answers (`rsa_decrypt_and_check`). Length and range are checked already, so
        // that comparison is all that can still fail.
        match self.secret.blind_sign_with_rng(&mut OsRng, blinded_message) {
            Ok(signature) => Ok(signature.0),
            Err(_) => Err(SignError::Fault),
        }
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareSigner({})", self.public.id())
    }
}
