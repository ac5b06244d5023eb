//! OpenSSL's raw RSA: four times as fast, for the price of a C library in this process.

use std::fmt;

use birthmark_core::endorsement::PublicKey;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use zeroize::Zeroizing;

use super::{LoadError, SignError, Signer};

/// A key in OpenSSL's memory, wiped when dropped.
pub(crate) struct OpenSslSigner {
    secret: Rsa<Private>,
    public: PublicKey,
}

impl OpenSslSigner {
    /// Reads PKCS#8 in DER, and checks that the parts of the key fit each other.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, LoadError> {
        let key = PKey::private_key_from_pkcs8(der).map_err(|_| LoadError)?;
        // OpenSSL reads on happily where more follows.
        let canonical = Zeroizing::new(key.private_key_to_pkcs8().map_err(|_| LoadError)?);
        let secret = key.rsa().map_err(|_| LoadError)?;
        if *canonical != der || !secret.check_key().map_err(|_| LoadError)? {
            return Err(LoadError);
        }
        Self::from_key(secret)
    }

    fn from_key(secret: Rsa<Private>) -> Result<Self, LoadError> {
        let spki = secret.public_key_to_der().map_err(|_| LoadError)?;
        let public = PublicKey::from_spki(&spki).map_err(|_| LoadError)?;
        Ok(Self { secret, public })
    }

    /// s^e mod n.
    fn undo(&self, signature: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let mut message = vec![0; self.modulus_len()];
        let length = self.secret.public_encrypt(signature, &mut message, Padding::NONE)?;
        message.truncate(length);
        Ok(message)
    }
}

impl Signer for OpenSslSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, blinded_message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.admit(blinded_message)?;
        let device = |error: ErrorStack| SignError::Device(Box::new(error));
        let mut signature = vec![0; self.modulus_len()];
        // Blinding and constant-time exponentiation are OpenSSL's defaults for private operations; nothing
        // here turns them off. With `NONE` the output is as long as the modulus, leading zeros included.
        let length = self.secret.private_encrypt(blinded_message, &mut signature, Padding::NONE).map_err(device)?;
        if length != signature.len() || self.undo(&signature).map_err(device)? != blinded_message {
            return Err(SignError::Fault);
        }
        Ok(signature)
    }
}

impl fmt::Debug for OpenSslSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenSslSigner({})", self.public.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_result_is_withheld() {
        let good = PKey::private_key_from_pem(include_bytes!("../../../../vectors/keys/endorsement-1.pem")).unwrap();
        let good = good.rsa().unwrap();
        let own = |number: &openssl::bn::BigNumRef| number.to_owned().unwrap();
        // Another private exponent and no primes: what a broken processor would compute.
        let mut d = own(good.d());
        d.add_word(2).unwrap();
        let bad = openssl::rsa::RsaPrivateKeyBuilder::new(own(good.n()), own(good.e()), d).unwrap().build();
        let signer = OpenSslSigner::from_key(bad).unwrap();
        assert!(matches!(signer.sign(&[1; 256]).unwrap_err(), SignError::Fault));
        let signer = OpenSslSigner::from_key(good).unwrap();
        assert_eq!(signer.sign(&[1; 256]).unwrap().len(), 256);
    }
}
