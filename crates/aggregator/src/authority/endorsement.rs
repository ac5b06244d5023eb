//! What a token may be asked about, and what a pass of it is worth.
//!
//! For: [`Endorsements::refusal`], the verdicts that need no authority, and [`Endorsements::weigh`], which
//! unblinds and checks what the authority signed. Not for: asking it (`authority`), or what becomes of a
//! row (`pipeline/state`).
//!
//! `docs/PROTOCOL.md` section 6. Before the authority is asked, by our network file:
//!
//! | the token | the verdict |
//! |---|---|
//! | is of version 1 and the authority's rules demand 2 | `token_invalid` |
//! | is blinded for a key that is revoked | `rekey` |
//! | is blinded for a key that is another authority's | `rekey` |
//! | has a blinded message that its key cannot sign | `malformed_token` |
//! | is blinded for a key that our file does not have | none: the authority is asked |
//!
//! Keys never leave a network file. So one that ours does not have is from a newer file than ours, or from
//! nowhere, and `rekey` would be wrong: a camera with the newer file would seal for the same key again and
//! again. The authority tells the two apart, so that nobody can leave rows here that no one ever judges.
//! What it passes is withheld, not rejected, and is asked about again once the aggregator has been started
//! with a newer file.
//!
//! After a pass of a version 2 token:
//!
//! | the blind signature | unblinded | |
//! |---|---|---|
//! | right | right | passed, with the endorsement |
//! | right | wrong | `binding_mismatch`: the camera erred |
//! | wrong, malformed or missing | | withheld, `endorsement_failed`: the authority erred |
//!
//! A version 2 token never passes without an endorsement: its row would be worth less than was aimed at.

use std::sync::Arc;

use birthmark_core::api::validate::Message;
use birthmark_core::endorsement::{CaptureDigest, FinishError, MAX_MODULUS};
use birthmark_core::hex;
use birthmark_core::ids::AuthorityNumber;
use birthmark_core::network::{Authority, EndorsementKeyState, KnownKey, MinTokenVersion, Network};
use tokio::sync::Semaphore;

use super::Said;
use crate::pipeline::state::{Event, Reason, Voucher, Withheld};
use crate::pipeline::trouble::Trouble;
use crate::store::{Bound, ToValidate};

/// The rules and keys of one authority.
#[derive(Clone, Debug)]
pub(crate) struct Endorsements {
    network: Arc<Network>,
    authority: AuthorityNumber,
    min_token_version: MinTokenVersion,
    /// How many batches are unblinded at one time, of all authorities together: some 0.3 ms a signature.
    places: Arc<Semaphore>,
}

impl Endorsements {
    pub(crate) fn new(network: Arc<Network>, authority: &Authority, places: Arc<Semaphore>) -> Self {
        let (authority, min_token_version) = (authority.number, authority.rules.min_token_version);
        Self { network, authority, min_token_version, places }
    }

    /// Why the authority need not be asked.
    pub(super) fn refusal(&self, row: &ToValidate) -> Option<Reason> {
        let Some(Bound { binding, .. }) = &row.bound else {
            let too_old = self.min_token_version > MinTokenVersion::V1;
            return too_old.then(|| Reason::of(Message::Invalid));
        };
        let known = self.network.endorsement_key(binding.blinding.key_id)?;
        if !self.may_endorse(known) {
            return Some(Reason::of(Message::Rekey));
        }
        // What is not below the modulus can be signed by nobody, or comes back as another message, which
        // would look like the authority's fault and be tried for ever.
        let residue = known.key.is_residue(&binding.blinding.blinded_message);
        (!residue).then(Reason::malformed_token)
    }

    /// One event for each row. Unblinds on threads for blocking work.
    pub(super) async fn weigh(&self, known: Vec<(ToValidate, Said)>) -> Result<Vec<Event>, Trouble> {
        if !known.iter().any(|(row, said)| row.bound.is_some() && matches!(said, Said::Passed(Some(_)))) {
            return Ok(self.weigh_all(known));
        }
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let this = self.clone();
        let weighed = tokio::task::spawn_blocking(move || {
            let events = this.weigh_all(known);
            drop(place);
            events
        });
        Ok(weighed.await?)
    }

    fn weigh_all(&self, known: Vec<(ToValidate, Said)>) -> Vec<Event> {
        known.into_iter().map(|(row, said)| self.weigh_one(&row, said)).collect()
    }

    fn weigh_one(&self, row: &ToValidate, said: Said) -> Event {
        match (said, &row.bound) {
            (Said::Nothing, _) => Event::Undecided,
            (Said::Failed(reason), _) => Event::Failed(reason),
            (Said::Passed(_), None) => Event::Passed(Voucher::Word),
            (Said::Passed(signature), Some(bound)) => self.unblind(bound, signature.as_deref()),
        }
    }

    fn unblind(&self, Bound { binding, body }: &Bound, signature: Option<&str>) -> Event {
        let blinding = &binding.blinding;
        let known = self.network.endorsement_key(blinding.key_id).filter(|known| self.may_endorse(known));
        let Some(KnownKey { key, .. }) = known else { return Event::Withheld(Withheld::UnknownKey) };
        let Some(signature) = signature.and_then(|text| hex::decode_bounded(text, MAX_MODULUS).ok()) else {
            return Event::Withheld(Withheld::EndorsementFailed);
        };
        let digest = CaptureDigest::of(self.network.network_id(), blinding.key_id, body);
        match key.finish(&digest, &blinding.blinded_message, &binding.inverse, &signature) {
            Ok(endorsement) => Event::Passed(Voucher::Endorsement(endorsement)),
            Err(FinishError::Binding) => Event::Failed(Reason::binding_mismatch()),
            Err(FinishError::BlindSignature) => Event::Withheld(Withheld::EndorsementFailed),
        }
    }

    fn may_endorse(&self, known: &KnownKey) -> bool {
        known.authority == self.authority && known.state != EndorsementKeyState::Revoked
    }
}
