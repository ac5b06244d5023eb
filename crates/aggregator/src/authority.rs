//! Asking a manufacturer authority about tokens.
//!
//! For: turning tokens into verdicts over `POST /validate` and `POST /validate/batch`, and telling a
//! verdict from an error. Not for: whether a token may be asked about and what a pass is worth
//! (`authority/endorsement`), when to ask again (`pipeline/gate`, `pipeline/hold`), or what a verdict
//! changes (`pipeline/state`). Nothing about a photo is sent; the types have no field for it. What would
//! undo the blinding is not sent either.
//!
//! `docs/PROTOCOL.md` section 3:
//! ```text
//! POST /validate        {"camera_token": {…}, "manufacturer_authority_id": "…", "request_id": "<32 hex>"
//!                        [, "enc": "…", "key_id": "…", "blinded_message": "…"]}        the latter for version 2
//!                   200 {"valid": true, "message": "token_valid"[, "endorsement": "<the blind signature>"]}
//! POST /validate/batch  {"requests": […]}  →  200 {"results": […]}, in order, up to 256
//! ```
//! `400`, `413` and `422` say that the token is malformed, a verdict; for a batch they do not say which
//! one, so each is then asked about alone. Every other failure is an error, no verdict, and so is
//! `wrong_authority`, in a batch or as a problem's code: it is about our configuration.

mod endorsement;

use birthmark_core::api::validate::{BatchAnswer, BatchRequest, Message, ValidateAnswer, ValidateRequest};
use birthmark_core::ids::AuthorityId;
use birthmark_service::client::{ClientError, HttpClient};

pub(crate) use self::endorsement::Endorsements;

use crate::pipeline::state::{Event, Reason, Withheld};
use crate::pipeline::trouble::Trouble;
use crate::store::ToValidate;

/// The client of one authority.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    id: AuthorityId,
    client: HttpClient,
    endorsements: Endorsements,
}

/// What came of asking about some tokens: one event for each, in order. Those after an error are
/// undecided.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) events: Vec<Event>,
    pub(crate) trouble: Option<Trouble>,
}

/// What is known of one token before it is said what it is worth.
#[derive(Debug)]
enum Said {
    /// It passed; with the blind signature in hex, if there is one.
    Passed(Option<String>),
    Failed(Reason),
    Nothing,
}

impl Authority {
    pub(crate) const fn new(id: AuthorityId, client: HttpClient, endorsements: Endorsements) -> Self {
        Self { id, client, endorsements }
    }

    pub(crate) const fn id(&self) -> &AuthorityId {
        &self.id
    }

    /// Judges 1 to [`birthmark_core::api::validate::MAX_QUESTIONS`] tokens: by the network file alone
    /// where that is enough, else by what the authority says and what its word proves to be worth.
    pub(crate) async fn judge(&self, rows: Vec<ToValidate>) -> Judgement {
        let refused: Vec<_> = rows.iter().map(|row| self.endorsements.refusal(row)).collect();
        let asked: Vec<_> = rows.iter().zip(&refused).filter(|(_, no)| no.is_none()).map(|(row, _)| row).collect();
        let (said, mut trouble) = self.ask(&asked).await;
        let mut said = said.into_iter();
        let mut known = Vec::with_capacity(rows.len());
        let mut by_authority = Vec::with_capacity(rows.len());
        for (row, refused) in rows.into_iter().zip(refused) {
            by_authority.push(refused.is_none());
            let said = refused.map_or_else(|| said.next().unwrap_or(Said::Nothing), Said::Failed);
            known.push((row, said));
        }
        let undecided = vec![Event::Undecided; known.len()];
        let events = match self.endorsements.weigh(known).await {
            Ok(events) => events,
            Err(error) => return Judgement { events: undecided, trouble: Some(error) },
        };
        if trouble.is_none() && nothing_came_of(events.iter().zip(by_authority)) {
            trouble = Some(Trouble::Endorsement);
        }
        Judgement { events, trouble }
    }

    async fn ask(&self, rows: &[&ToValidate]) -> (Vec<Said>, Option<Trouble>) {
        if rows.len() > 1 {
            match self.ask_together(rows).await {
                Ok(said) => return (said, None),
                Err(Trouble::Call(error)) if says_malformed(&error) => {}
                Err(trouble) => return (Vec::new(), Some(trouble)),
            }
        }
        self.ask_one_by_one(rows).await
    }

    async fn ask_together(&self, rows: &[&ToValidate]) -> Result<Vec<Said>, Trouble> {
        let questions = BatchRequest { requests: rows.iter().map(|row| self.question(row)).collect() };
        let BatchAnswer { results } = self.client.post_json("/validate/batch", &questions).await?.body;
        if results.len() != rows.len() {
            return Err(Trouble::Count { got: results.len(), wanted: rows.len() });
        }
        results.into_iter().map(verdict).collect()
    }

    /// Up to the first error.
    async fn ask_one_by_one(&self, rows: &[&ToValidate]) -> (Vec<Said>, Option<Trouble>) {
        let mut said = Vec::with_capacity(rows.len());
        for row in rows {
            match self.ask_alone(row).await {
                Ok(verdict) => said.push(verdict),
                Err(trouble) => return (said, Some(trouble)),
            }
        }
        (said, None)
    }

    async fn ask_alone(&self, row: &ToValidate) -> Result<Said, Trouble> {
        match self.client.post_json::<ValidateAnswer>("/validate", &self.question(row)).await {
            Ok(answer) => verdict(answer.body),
            Err(ClientError::Status { code: Some(code), .. }) if code == WRONG_AUTHORITY => {
                Err(Trouble::WrongAuthority)
            }
            Err(error) if says_malformed(&error) => Ok(Said::Failed(Reason::malformed_token())),
            Err(error) => Err(error.into()),
        }
    }

    fn question(&self, row: &ToValidate) -> ValidateRequest {
        // The inverse stays here: with it, the authority could tell which photo it has signed.
        let blinding = row.bound.as_ref().map(|bound| &bound.binding.blinding);
        ValidateRequest::of(&row.token, blinding, &self.id, row.request_id.0)
    }
}

fn verdict(answer: ValidateAnswer) -> Result<Said, Trouble> {
    match (answer.valid, answer.message.as_str()) {
        (true, _) => Ok(Said::Passed(answer.endorsement)),
        (false, WRONG_AUTHORITY) => Err(Trouble::WrongAuthority),
        (false, message) => Ok(Said::Failed(Reason::of_text(message, Message::Invalid.text()))),
    }
}

fn says_malformed(error: &ClientError) -> bool {
    error.status().is_some_and(|status| matches!(status.as_u16(), 400 | 413 | 422))
}

/// True where an authority answered with broken endorsements and nothing else: it is then left alone for
/// a while, as after any error of its. Where it decided something, only the rows in question wait.
fn nothing_came_of<'a>(events: impl Iterator<Item = (&'a Event, bool)>) -> bool {
    let asked = events.filter(|(_, by_authority)| *by_authority).map(|(event, _)| event);
    let mut failed = false;
    for event in asked {
        match event {
            Event::Withheld(Withheld::EndorsementFailed) => failed = true,
            Event::Withheld(Withheld::UnknownKey) | Event::Undecided => {}
            Event::Passed(_) | Event::Failed(_) | Event::Recorded(_) | Event::Refused(_) => return false,
        }
    }
    failed
}

/// What an authority says that is asked about another's token. We name the one that is configured for
/// the address, so either the address or the name is wrong.
const WRONG_AUTHORITY: &str = "wrong_authority";

/// The longest answer of an authority: 256 verdicts with signatures of 4096 bits take some 285 KiB.
pub(crate) const MAX_VERDICTS: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use birthmark_core::api::validate::MAX_QUESTIONS;
    use birthmark_core::endorsement::{Endorsement, MAX_MODULUS};
    use birthmark_core::ids::{KeyIndex, TableId};
    use birthmark_core::network::EndorsementKeyId;
    use birthmark_core::token::{Blinding, SealedToken, V2_CIPHERTEXT};

    use super::*;
    use crate::pipeline::state::Voucher;

    /// What an authority takes and gives at most for a batch (`docs/PROTOCOL.md` section 3).
    const MAX_BATCH_JSON: usize = 512 * 1024;

    #[test]
    fn longest_batch_keeps_within_its_bounds_and_so_does_its_answer() {
        let key_id = EndorsementKeyId::from_bytes([0xff; 8]);
        let blinding = Blinding { enc: [0xff; 32], key_id, blinded_message: vec![0xff; MAX_MODULUS] };
        let token = SealedToken {
            table_id: TableId::new(TableId::MAX).unwrap(),
            key_index: KeyIndex::new(KeyIndex::MAX).unwrap(),
            nonce: [0xff; 12],
            ciphertext: vec![0xff; V2_CIPHERTEXT],
            auth_tag: [0xff; 16],
        };
        let id = AuthorityId::new("\"".repeat(AuthorityId::MAX_LEN)).unwrap();
        let question = ValidateRequest::of(&token, Some(&blinding), &id, [0xff; 16]);
        let questions = BatchRequest { requests: vec![question; MAX_QUESTIONS] };
        assert!(serde_json::to_vec(&questions).unwrap().len() <= MAX_BATCH_JSON);

        let endorsement = Some("ff".repeat(MAX_MODULUS));
        let answer = ValidateAnswer { valid: true, message: Message::Invalid.text().to_owned(), endorsement };
        let answers = BatchAnswer { results: vec![answer; MAX_QUESTIONS] };
        assert!(serde_json::to_vec(&answers).unwrap().len() <= MAX_VERDICTS.min(MAX_BATCH_JSON));
    }

    #[test]
    fn authority_is_left_alone_only_if_it_gave_broken_endorsements_and_nothing_else() {
        let failed = || (Event::Withheld(Withheld::EndorsementFailed), true);
        let endorsement = Endorsement { key_id: EndorsementKeyId::from_bytes([0; 8]), signature: vec![0; 256] };
        for (events, left_alone) in [
            (vec![failed()], true),
            (vec![failed(), (Event::Withheld(Withheld::UnknownKey), true), (Event::Undecided, true)], true),
            // Refused by our own file, which says nothing about the authority.
            (vec![failed(), (Event::Failed(Reason::malformed_token()), false)], true),
            (vec![failed(), (Event::Failed(Reason::malformed_token()), true)], false),
            (vec![failed(), (Event::Passed(Voucher::Word), true)], false),
            (vec![failed(), (Event::Passed(Voucher::Endorsement(endorsement)), true)], false),
            (vec![(Event::Withheld(Withheld::UnknownKey), true)], false),
            (vec![(Event::Undecided, true)], false),
        ] {
            assert_eq!(nothing_came_of(events.iter().map(|(event, asked)| (event, *asked))), left_alone, "{events:?}");
        }
    }
}
