//! Sealing: one token for one photograph.
//!
//! For: [`Sealer`], by version 1 or 2 as the [`Credentials`] say.
//!
//! Not for: keeping what was sealed (`queue`; the same token goes out until its receipt ends), or the
//! token's bytes (`birthmark_core::token`).
//!
//! `docs/PROTOCOL.md` sections 5 and 6. For version 2 the order is: the body's digest D under the
//! authority's current endorsement key, D blinded, a number that is durably taken, then the token, tied
//! to the blinded message.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use birthmark_core::body::Body;
use birthmark_core::endorsement::{self, BlindError, CaptureDigest};
use birthmark_core::ids::{AuthorityId, KeyIndex, TableId};
use birthmark_core::keytable::TableKey;
use birthmark_core::network::{EndorsementKeyId, Network, TokenKey};
use birthmark_core::token::v2::{Commitment, Seal};
use birthmark_core::token::{self, Binding, Blinding, SealedToken, TokenJson, v1};
use birthmark_service::random::OsRng;
use rand_core::CryptoRng;

use super::{Credentials, MAX_TABLES, Missing, NetworkFile, Sealing, TokenVersion, V2};
use crate::counter::CounterError;

/// Seals tokens for one camera.
pub struct Sealer<R = OsRng> {
    credentials: Arc<Credentials>,
    rng: Mutex<R>,
}

/// A token as it is stored and sent, with its binding if it is of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// For the authority's eyes.
    pub token: SealedToken,
    /// What ties it to its photograph. The inverse in it is for the aggregator alone.
    pub binding: Option<Binding>,
}

/// Why no token was sealed. Another attempt may succeed once the cause is mended.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The network file gives no key to seal by.
    #[error("no token was sealed: {0}")]
    Missing(#[from] Missing),
    /// No number was to be had.
    #[error("no token was sealed: {0}")]
    Counter(#[from] CounterError),
    /// The endorsement key in the network file serves for nothing.
    #[error("no token was sealed: {0}")]
    Blind(#[from] BlindError),
    /// The token key in the network file serves for nothing.
    #[error("no token was sealed: {0}")]
    Token(#[from] token::v2::SealError),
}

impl<R: CryptoRng> Sealer<R> {
    /// `rng` gives nonces and draws: it must be the system's outside tests.
    pub const fn new(credentials: Arc<Credentials>, rng: R) -> Self {
        Self { credentials, rng: Mutex::new(rng) }
    }

    /// A new token for what is to be recorded, in the version that the credentials say. `body` must name
    /// their authority. Blocks: for about a millisecond of RSA, and now and then for the disk.
    pub fn seal_for(&self, body: &Body) -> Result<Sealed, SealError> {
        match &self.credentials.sealing {
            Sealing::V1 => Ok(Sealed { token: self.seal(), binding: None }),
            Sealing::V2(v2) => self.seal_v2(v2, body),
        }
    }

    /// A new token of version 1, whatever the credentials say, for callers to whom version 1 is the
    /// point. Photographs are sealed by [`Sealer::seal_for`].
    pub fn seal(&self) -> SealedToken {
        self.with_rng(|rng| {
            let Credentials { tables, nuc_hash, .. } = &*self.credentials;
            let (id, key) = draw_table(tables, rng);
            v1::seal((*id, key), draw_index(rng), nuc_hash, rng)
        })
    }

    /// Whose tokens they are.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The network file that version 2 tokens are sealed by.
    pub fn network_file(&self) -> Option<&NetworkFile> {
        self.credentials.v2().map(|v2| &v2.network)
    }

    /// The endorsement key that the next token would be blinded for, if it were of version 2.
    pub fn endorsement_key(&self) -> Option<EndorsementKeyId> {
        let network = self.network_file()?.current();
        keys(&network, &self.credentials.authority.authority_id).ok().map(|keys| keys.endorsement.id())
    }

    /// Leaves out 65,536 numbers: the authority has seen the next ones already.
    pub fn skip_numbers(&self) -> Result<(), CounterError> {
        self.credentials.v2().map_or(Ok(()), |v2| v2.numbers.skip())
    }

    pub(crate) fn with_rng<T>(&self, work: impl FnOnce(&mut R) -> T) -> T {
        // A generator has no state that a panic could leave half changed and dangerous.
        work(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn seal_v2(&self, v2: &V2, body: &Body) -> Result<Sealed, SealError> {
        let Credentials { tables, nuc_hash, authority, .. } = &*self.credentials;
        let network = v2.network.current();
        let Keys { token_key, endorsement: key } = keys(&network, &authority.authority_id)?;
        let digest = CaptureDigest::of(network.network_id(), key.id(), &body.encode());
        let counter = v2.numbers.take()?;
        self.with_rng(|rng| {
            let blinded = key.blind(&digest, rng)?;
            let commitment = Commitment::of(key.id(), &blinded.blinded_message);
            let (table_id, table_key) = draw_table(tables, rng);
            let seal = Seal {
                network: network.network_id(),
                token_key,
                table: (*table_id, table_key),
                key_index: draw_index(rng),
                commitment: &commitment,
                nuc_hash,
                device_key: &v2.device_key,
                counter,
            };
            let (token, enc) = seal.seal(rng)?;
            let blinding = Blinding { enc, key_id: key.id(), blinded_message: blinded.blinded_message.clone() };
            Ok(Sealed { token, binding: Some(Binding { blinding, inverse: blinded.inverse.clone() }) })
        })
    }
}

impl<R> fmt::Debug for Sealer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Sealed {
    /// Which version it is.
    pub const fn version(&self) -> TokenVersion {
        if self.binding.is_some() { TokenVersion::V2 } else { TokenVersion::V1 }
    }
}

impl From<&Sealed> for TokenJson {
    fn from(sealed: &Sealed) -> Self {
        Self::of(&sealed.token, sealed.binding.as_ref())
    }
}

/// What the network file gives to seal by.
pub(super) struct Keys<'a> {
    token_key: TokenKey,
    endorsement: &'a endorsement::PublicKey,
}

/// The keys of an authority, or which of them is missing.
pub(super) fn keys<'a>(network: &'a Network, authority: &AuthorityId) -> Result<Keys<'a>, Missing> {
    let authority = network.authority_by_id(authority).ok_or(Missing::Authority)?;
    let token_key = authority.token_key.ok_or(Missing::TokenKey)?;
    let current = authority.current_endorsement_key().and_then(|key| network.endorsement_key(key.key_id));
    Ok(Keys { token_key, endorsement: &current.ok_or(Missing::EndorsementKey)?.key })
}

/// Evenly: draws beyond the last table are drawn again. There is at least one table.
fn draw_table<'a>(tables: &'a [(TableId, TableKey)], rng: &mut impl CryptoRng) -> &'a (TableId, TableKey) {
    loop {
        let [byte, ..] = rng.next_u32().to_le_bytes();
        if let Some(table) = tables.get(usize::from(byte) % MAX_TABLES) {
            return table;
        }
    }
}

/// Evenly from 0 to 999: the ten bits that go beyond are drawn again.
fn draw_index(rng: &mut impl CryptoRng) -> KeyIndex {
    loop {
        let [low, high, ..] = rng.next_u32().to_le_bytes();
        if let Ok(index) = KeyIndex::new(u16::from_le_bytes([low, high]) % 1024) {
            return index;
        }
    }
}

#[cfg(test)]
mod tests;
