//! The private operation of the endorsement key, and nothing else.
//!
//! For: [`Signer`], the boundary behind which a key lives (in this process's memory, or in a hardware
//! module), and [`pool`], which keeps the signing off the threads that serve requests.
//! Not for: whether anything may be signed (`validation`: only what a passed version 2 token came with),
//! which keys there are (`endorsement_keys`), or blinding and checking (`birthmark_core::endorsement`).
//!
//! Format: `docs/PROTOCOL.md` section 6; RFC 9474 section 4.3 (`BlindSign`):
//! ```text
//! blind signature = I2OSP(blinded_message^d mod n, modulus length)      blinded_message < n, as long as the modulus
//! ```
//! What comes in is from outside and chosen by whoever sends it, so every signer works in constant time,
//! blinds its input anew, and gives nothing out that the public key does not confirm: an error in
//! one of the two half-size exponentiations would give the key away (RFC 9474 section 7.1).

#[cfg(feature = "openssl")]
mod openssl;
pub(crate) mod pool;
#[cfg(any(not(feature = "openssl"), test))]
mod software;

use std::fmt;
use std::sync::Arc;

use birthmark_core::endorsement::PublicKey;
use birthmark_core::network::EndorsementKeyId;

#[cfg(feature = "openssl")]
use openssl::OpenSslSigner as Backend;
#[cfg(not(feature = "openssl"))]
use software::SoftwareSigner as Backend;

/// Holds one private key and signs with it. May block for milliseconds: call it through `pool::SigningPool`.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The key's public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs a blinded message: exactly as long as the modulus, and below it. The result is as long, and
    /// has been checked with the public key.
    fn sign(&self, blinded_message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// Which key it is.
    fn key_id(&self) -> EndorsementKeyId {
        self.public_key().id()
    }

    /// Bytes of the modulus, of messages and of signatures.
    fn modulus_len(&self) -> usize {
        self.public_key().modulus_len()
    }

    /// Whether a message is one that can be signed. Costs nothing; to be asked before a token is spent.
    fn admit(&self, blinded_message: &[u8]) -> Result<(), SignError> {
        let expected = self.modulus_len();
        if blinded_message.len() != expected {
            return Err(SignError::Length { expected, got: blinded_message.len() });
        }
        if self.public_key().is_residue(blinded_message) { Ok(()) } else { Err(SignError::NotBelowModulus) }
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The caller's fault.
    #[error("the blinded message has {got} bytes and the key signs {expected}")]
    Length {
        /// The modulus length.
        expected: usize,
        /// The message's.
        got: usize,
    },
    /// The caller's fault.
    #[error("the blinded message is not below the key's modulus")]
    NotBelowModulus,
    /// Our fault: the device did not answer, or refused. May pass by itself.
    #[error("the signing device failed: {0}")]
    Device(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Our fault: what came out is not a signature, and was destroyed. Memory or processor may be broken.
    #[error("the signing device gave a wrong result, which was withheld")]
    Fault,
}

impl SignError {
    /// True if asking again with the same message is pointless.
    pub const fn is_callers_fault(&self) -> bool {
        match self {
            Self::Length { .. } | Self::NotBelowModulus => true,
            Self::Device(_) | Self::Fault => false,
        }
    }
}

/// Bytes that are no private key for endorsing: not PKCS#8, or not RSA of 2048 to 4096 bits with e = 65537.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a private endorsement key (PKCS#8, RSA of 2048 to 4096 bits, e = 65537)")]
pub struct LoadError;

/// Takes a private key into this process's memory, for the backend that this program was built with.
pub(crate) fn load(pkcs8: &[u8]) -> Result<Arc<dyn Signer>, LoadError> {
    Ok(Arc::new(Backend::from_pkcs8(pkcs8)?))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
