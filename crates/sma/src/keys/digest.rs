//! Keys for keyed digests.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A key of 32 bytes for keyed digests of one kind, as HMAC takes it: filled up with zeros to SHA-256's
/// block (RFC 2104 section 2).
pub(super) struct DigestKey(Zeroizing<[u8; 64]>);

impl DigestKey {
    /// Has `fill` write the 32 bytes.
    pub(super) fn filled_by(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut block = Zeroizing::new([0; 64]);
        fill(block.split_at_mut(32).0);
        Self(block)
    }

    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new((&*self.0).into());
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}
