//! What makes a version 1 token the same one, and a question about it the same question.
//!
//! For: remembering that a token has passed, and knowing the same question again when its answer was
//! lost. Not for: tokens that failed (a forger who copies a real token's number and nonce must not use it
//! up), storing (`store`), or version 2 (`counters`).
//!
//! Format: `docs/PROTOCOL.md` section 5. A row names a table, an index and a nonce, no camera:
//! ```text
//! token         = be16 table ‖ be16 index ‖ nonce (12)
//! repeat_digest = first 16 bytes of HMAC-SHA256("repeat-digest" key,
//!                     be16 len ‖ caller ‖ request_id (16) ‖ token ‖ auth_tag (16) ‖ ciphertext)
//! ```

use birthmark_core::time::Minute;
use birthmark_core::token::SealedToken;
use subtle::ConstantTimeEq;

use crate::keys::Keys;

/// What makes a version 1 token the same one. All zero where there is no token to look up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UseId(pub(crate) [u8; 16]);

/// What makes a question the same one: caller, request and every byte of the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RepeatDigest(pub(crate) [u8; 16]);

/// `request_id`: random, chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(pub(crate) [u8; 16]);

/// A pass of before: the question that it was given for, if that one named itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstUse(pub(crate) Option<RepeatDigest>);

/// What is known of a token from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PriorUse {
    /// It never passed.
    None,
    /// It passed for this very question.
    SameQuestion,
    /// It passed for another one.
    Another,
}

/// Days since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(pub(crate) u32);

impl UseId {
    pub(crate) fn of(token: &SealedToken) -> Self {
        let mut id = [0; 16];
        let (table, rest) = id.split_at_mut(2);
        let (index, nonce) = rest.split_at_mut(2);
        table.copy_from_slice(&token.table_id.value().to_be_bytes());
        index.copy_from_slice(&token.key_index.value().to_be_bytes());
        nonce.copy_from_slice(&token.nonce);
        Self(id)
    }
}

impl RepeatDigest {
    pub(crate) fn of(keys: &Keys, caller: &str, request: RequestId, token: &SealedToken) -> Self {
        // Names in the token file have at most 64 characters.
        let length = u16::try_from(caller.len()).unwrap_or(u16::MAX).to_be_bytes();
        let id = UseId::of(token);
        let parts: [&[u8]; 6] =
            [&length, caller.as_bytes(), &request.0, &id.0, &token.auth_tag, token.ciphertext.as_slice()];
        let mut digest = [0; 16];
        digest.iter_mut().zip(keys.repeat_mac(&parts)).for_each(|(to, from)| *to = from);
        Self(digest)
    }
}

impl PriorUse {
    pub(crate) fn of(first: Option<FirstUse>, question: Option<&RepeatDigest>) -> Self {
        match (first, question) {
            (None, _) => Self::None,
            (Some(FirstUse(Some(first))), Some(again)) if bool::from(first.0.ct_eq(&again.0)) => Self::SameQuestion,
            (Some(_), _) => Self::Another,
        }
    }
}

impl Day {
    pub(crate) const fn of(time: Minute) -> Self {
        Self(time.0 / (24 * 60))
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl std::fmt::Debug for RepeatDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RepeatDigest(redacted)")
    }
}
