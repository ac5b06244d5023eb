//! Asking a manufacturer authority about tokens.
//!
//! For: turning tokens into verdicts over `POST /validate` and `POST /validate/batch`, and telling a
//! verdict from an error. Not for: when to ask again (`pipeline/gate`), or what a verdict changes
//! (`pipeline/state`). Nothing about a photo is sent; the types have no field for it.
//!
//! `docs/PROTOCOL.md` section 3:
//! ```text
//! POST /validate        {"camera_token": {…}, "manufacturer_authority_id": "…", "request_id": "<32 hex>"}
//!                   200 {"valid": true, "message": "token_valid"}
//! POST /validate/batch  {"requests": […]}  →  200 {"results": […]}, in order, up to 256
//! ```
//! `400`, `413` and `422` say that the token is malformed, a verdict; for a batch they do not say which
//! one, so each is then asked about alone. Every other failure is an error, no verdict, and so is
//! `wrong_authority`, in a batch or as a problem's code: it is about our configuration.

use birthmark_core::api::validate::{ValidateAnswer, ValidateRequest};
use birthmark_core::ids::AuthorityId;
use birthmark_service::client::{ClientError, HttpClient};
use serde::{Deserialize, Serialize};

use crate::pipeline::state::{Event, MALFORMED_TOKEN, Reason};
use crate::pipeline::trouble::Trouble;
use crate::store::ToValidate;

/// Most tokens of one batch.
pub(crate) const MAX_QUESTIONS: usize = 256;

/// The client of one authority.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    id: AuthorityId,
    client: HttpClient,
}

/// What came of asking about some tokens: one event for each, in order. Those after an error are
/// undecided.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) events: Vec<Event>,
    pub(crate) trouble: Option<Trouble>,
}

#[derive(Serialize)]
struct Questions {
    requests: Vec<ValidateRequest>,
}

#[derive(Deserialize)]
struct Answers {
    results: Vec<ValidateAnswer>,
}

impl Authority {
    pub(crate) const fn new(id: AuthorityId, client: HttpClient) -> Self {
        Self { id, client }
    }

    pub(crate) const fn id(&self) -> &AuthorityId {
        &self.id
    }

    /// Asks about 1 to [`MAX_QUESTIONS`] tokens.
    pub(crate) async fn judge(&self, rows: &[ToValidate]) -> Judgement {
        if rows.len() > 1 {
            match self.ask_together(rows).await {
                Ok(events) => return Judgement { events, trouble: None },
                Err(Trouble::Call(error)) if says_malformed(&error) => {}
                Err(trouble) => {
                    return Judgement { events: vec![Event::Undecided; rows.len()], trouble: Some(trouble) };
                }
            }
        }
        self.ask_one_by_one(rows).await
    }

    async fn ask_together(&self, rows: &[ToValidate]) -> Result<Vec<Event>, Trouble> {
        let questions = Questions { requests: rows.iter().map(|row| self.question(row)).collect() };
        let Answers { results } = self.client.post_json("/validate/batch", &questions).await?.body;
        if results.len() != rows.len() {
            return Err(Trouble::Count { got: results.len(), wanted: rows.len() });
        }
        results.iter().map(verdict).collect()
    }

    async fn ask_one_by_one(&self, rows: &[ToValidate]) -> Judgement {
        let mut events = Vec::with_capacity(rows.len());
        let mut trouble = None;
        for row in rows {
            match self.ask_alone(row).await {
                Ok(event) => events.push(event),
                Err(error) => {
                    trouble = Some(error);
                    break;
                }
            }
        }
        events.resize(rows.len(), Event::Undecided);
        Judgement { events, trouble }
    }

    async fn ask_alone(&self, row: &ToValidate) -> Result<Event, Trouble> {
        match self.client.post_json::<ValidateAnswer>("/validate", &self.question(row)).await {
            Ok(answer) => verdict(&answer.body),
            Err(ClientError::Status { code: Some(code), .. }) if code == WRONG_AUTHORITY => {
                Err(Trouble::WrongAuthority)
            }
            Err(error) if says_malformed(&error) => {
                Ok(Event::Failed(Reason::of_text(MALFORMED_TOKEN, MALFORMED_TOKEN)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn question(&self, row: &ToValidate) -> ValidateRequest {
        ValidateRequest::of(&row.token, None, &self.id, row.request_id.0)
    }
}

fn verdict(answer: &ValidateAnswer) -> Result<Event, Trouble> {
    match (answer.valid, answer.message.as_str()) {
        (true, _) => Ok(Event::Passed),
        (false, WRONG_AUTHORITY) => Err(Trouble::WrongAuthority),
        (false, message) => Ok(Event::Failed(Reason::of_text(message, "token_invalid"))),
    }
}

fn says_malformed(error: &ClientError) -> bool {
    error.status().is_some_and(|status| matches!(status.as_u16(), 400 | 413 | 422))
}

/// What an authority says that is asked about another's token. We name the one that is configured for
/// the address, so either the address or the name is wrong.
const WRONG_AUTHORITY: &str = "wrong_authority";
