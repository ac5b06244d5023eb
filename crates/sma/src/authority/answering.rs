//! From questions to answers: judged, and endorsed where they passed.
//!
//! For: the order of these steps. Not for: the rules (`rules`), or signing (`endorser`).

use birthmark_core::api::validate::{Message, ValidateAnswer};
use birthmark_core::hex;
use futures::future::try_join_all;

use super::{Inner, Sma};
use crate::endorser::EndorseError;
use crate::question::{AskedToken, FormError, Question};
use crate::quota::Notice;
use crate::rules::Verdict;
use crate::store::{Asked, StoreError};

impl Sma {
    /// Judges questions of one caller in their order, in one transaction. What passes is on disk before
    /// the answer; after an error nothing was judged, or what passed passes again when asked again.
    pub(crate) async fn judge(&self, caller: &str, questions: &[Question]) -> Result<Vec<Verdict>, StoreError> {
        let Inner { opening, store, clock, endorser, .. } = &*self.0;
        let mut prepared = Vec::with_capacity(questions.len());
        for (number, question) in questions.iter().enumerate() {
            // Opening one takes 70 microseconds; other requests get their turn between.
            if matches!(question.token, AskedToken::Bound(..)) && number % PREPARED_AT_ONCE == PREPARED_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            prepared.push(opening.prepare(caller, question));
        }
        let can_wait = questions.iter().all(|question| matches!(question.token, AskedToken::Bound(..)))
            && endorser.is_far_behind();
        let judged = store.judge(Asked { questions: prepared, now: clock.now().minute(), can_wait }).await?;
        for (serial, notice) in judged.notices {
            match notice {
                Notice::Near => {
                    tracing::warn!(%serial, "a camera nears its quota of the day; nothing else is known of its use");
                }
                // Named with the moment of its last token, it would be easier to find among the records.
                Notice::Last => {
                    tracing::warn!("a camera has used up its quota; none of its tokens pass until the next day (UTC)");
                }
            }
        }
        Ok(judged.verdicts)
    }

    /// Judges questions and endorses what passed with a version 2 token, in their order. After an error
    /// nobody was told anything; whoever asks again gets the answers that were due.
    pub(crate) async fn answer(
        &self,
        caller: &str,
        questions: &[Question],
    ) -> Result<Vec<ValidateAnswer>, EndorseError> {
        let verdicts = self.judge(caller, questions).await?;
        let mut answers: Vec<_> = verdicts.iter().map(|verdict| unsigned(*verdict)).collect();
        let mut to_sign = Vec::new();
        for ((question, verdict), answer) in questions.iter().zip(verdicts).zip(&mut answers) {
            if let (Verdict::PassedToSign, AskedToken::Bound(_, blinding)) = (verdict, &question.token) {
                to_sign.push((blinding, answer));
            }
        }
        if to_sign.is_empty() {
            return Ok(answers);
        }
        let signing = to_sign.iter().map(|(blinding, _)| self.0.endorser.sign(blinding));
        for (signature, (_, answer)) in Box::pin(try_join_all(signing)).await?.into_iter().zip(to_sign) {
            answer.endorsement = Some(hex::encode(signature));
        }
        Ok(answers)
    }

    /// Whether a question can be answered at all: before a token is spent.
    pub(crate) fn admit(&self, question: &Question) -> Result<(), FormError> {
        match &question.token {
            AskedToken::Bound(_, blinding) => self.0.endorser.admit(blinding).map_err(|_| FormError::Residue),
            AskedToken::Unbound(_) => Ok(()),
        }
    }
}

/// The answer as far as it needs no signature.
fn unsigned(verdict: Verdict) -> ValidateAnswer {
    let message = match verdict {
        Verdict::Failed(message) => message,
        Verdict::Passed | Verdict::PassedToSign => Message::Valid,
    };
    ValidateAnswer { valid: message == Message::Valid, message: message.text().to_owned(), endorsement: None }
}

/// About a millisecond's worth of version 2 tokens.
const PREPARED_AT_ONCE: usize = 16;
