//! From a question to what the rules look at: the cryptography.
//!
//! For: [`Opening`], which opens tokens and computes what is looked up. Not for: the verdict (`rules`), the
//! request's form (`question`) or HTTP (`http`).
//!
//! Format: `docs/PROTOCOL.md` section 5.

use std::sync::Arc;

use birthmark_core::ids::NetworkId;
use birthmark_core::token::v1;
use birthmark_core::token::v2::Opener;
use birthmark_core::token::{Blinding, NucHash, SealedToken};

use crate::counters::CounterDigest;
use crate::keys::{Keys, NucDigest};
use crate::question::{AskedToken, Question};
use crate::replay::{RepeatDigest, RequestId, UseId};
use crate::rules::{Prepared, PreparedToken, PreparedToken2};

/// What opens tokens of both versions.
pub(crate) struct Opening {
    keys: Arc<Keys>,
    /// None if the network is not known: no version 2 token opens then.
    version_2: Option<Opener>,
}

impl Opening {
    pub(crate) fn new(keys: Arc<Keys>, network: Option<NetworkId>) -> Self {
        let version_2 = network.map(|network| Opener::new(network, keys.token_secret()));
        Self { keys, version_2 }
    }

    /// Opens the token and computes what is looked up. A token that does not open is looked up all the
    /// same, under what no camera has.
    pub(crate) fn prepare(&self, caller: &str, question: &Question) -> Prepared {
        match &question.token {
            AskedToken::Unbound(token) => self.unbound(caller, token, question.request_id),
            AskedToken::Bound(token, blinding) => self.bound(token, blinding),
        }
    }

    fn unbound(&self, caller: &str, token: &SealedToken, request_id: Option<RequestId>) -> Prepared {
        let nuc_hash = self.keys.table(token.table_id).and_then(|key| v1::open(token, key).ok());
        Prepared {
            nuc_digest: self.nuc_digest(nuc_hash.as_ref()),
            token: PreparedToken::One {
                opened: nuc_hash.is_some().then_some(token.table_id),
                use_id: UseId::of(token),
                repeat: request_id.map(|request| RepeatDigest::of(&self.keys, caller, request, token)),
            },
        }
    }

    fn bound(&self, token: &SealedToken, blinding: &Blinding) -> Prepared {
        let opened = match (&self.version_2, self.keys.table(token.table_id)) {
            (Some(opener), Some(key)) => opener.open(token, &blinding.enc, &blinding.commitment(), key).ok(),
            _ => None,
        };
        let digest = self.keys.counter_digest(&[
            &token.table_id.value().to_be_bytes(),
            &token.key_index.value().to_be_bytes(),
            &blinding.enc,
            blinding.key_id.as_bytes(),
            &blinding.blinded_message,
            &token.nonce,
            &token.ciphertext,
            &token.auth_tag,
        ]);
        Prepared {
            nuc_digest: self.nuc_digest(opened.as_ref().map(|opened| &opened.nuc_hash)),
            token: PreparedToken::Two(Box::new(PreparedToken2 {
                table: token.table_id,
                opened,
                digest: CounterDigest::from_bytes(digest),
                key_id: blinding.key_id,
            })),
        }
    }

    fn nuc_digest(&self, nuc_hash: Option<&NucHash>) -> NucDigest {
        nuc_hash.map_or_else(|| self.keys.no_nuc_digest(), |nuc_hash| self.keys.nuc_digest(nuc_hash))
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("version_2", &self.version_2.is_some()).finish_non_exhaustive()
    }
}
