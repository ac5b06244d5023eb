//! One attempt at one photograph: one call to the aggregator, and what follows from its answer.
//!
//! For: `upload`. Not for: when to try, and again when (`upload`, by the row's `next_try`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::SealedToken;
use birthmark_service::backoff::Backoff;
use birthmark_service::client::{Answer, ClientError};
use http::{HeaderMap, HeaderName, HeaderValue};
use rand_core::CryptoRng;
use tokio::time::Instant;
use uuid::Uuid;

use super::aggregators::Aggregator;
use super::seal::{NotSealed, Numbers};
use super::verdict::{self, Asked, Reply, Taken, Verdict, Why};
use super::{LONGEST_WAIT, OnStep, Uploader, request};
use crate::capture::Step;
use crate::device::Sealed;
use crate::durable_file::{IfTaken, write_durably};
use crate::fault;
use crate::queue::{Change, Claimed, Photo, PhotoState, QueueError, Recorded};

/// When to come back to a photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Not at all: it is on record, with its proof on disk.
    Confirmed,
    /// Not at all: it was refused for good.
    Parked,
    /// At once.
    Now,
    /// After this.
    Later(Duration),
}

impl<R: CryptoRng + Send + 'static> Uploader<R> {
    /// Takes the next step with a row that is held, and lets go of it.
    pub(super) async fn attempt(
        &self,
        claimed: Claimed,
        wait: Duration,
        on_step: OnStep<'_>,
    ) -> Result<Next, QueueError> {
        let _under_way = self.pulse.begin(claimed.photo.id, Instant::now());
        match (claimed.photo.state, claimed.photo.receipt) {
            (PhotoState::Queued, _) => self.submit(claimed, wait, on_step).await,
            (PhotoState::Sent, Some(receipt)) => self.follow(claimed, receipt, on_step).await,
            (PhotoState::Confirmed, _) => self.fetch_proof(claimed, on_step).await,
            // The schema allows no such row, and parked ones are not claimed.
            (PhotoState::Sent, None) => self.apply(&claimed, Change::Forgotten, Next::Now).await,
            (PhotoState::Parked, _) => {
                self.settings.queue.release(claimed.photo.id).await?;
                Ok(Next::Parked)
            }
        }
    }

    async fn submit(&self, claimed: Claimed, wait: Duration, on_step: OnStep<'_>) -> Result<Next, QueueError> {
        let unsealed = claimed.token.is_none();
        let sent_before = claimed.photo.aggregator.is_some();
        let to = self.choose(&claimed);
        // On disk before it is sent: what is sent again is this very token, and to the same aggregator.
        let claimed = if unsealed {
            match self.seal(&claimed.photo.photo.hashes, Numbers::GoOn).await {
                Ok(sealed) => {
                    fault::reached("token sealed");
                    let queue = &self.settings.queue;
                    queue.first_token(claimed.photo.id, &sealed, to.client.origin()).await?
                }
                Err(error) => return self.not_sealed(&claimed, error, on_step).await,
            }
        } else {
            if claimed.photo.aggregator.as_deref() != Some(to.client.origin()) {
                self.settings.queue.send_to(&claimed, to.client.origin()).await?;
            }
            claimed
        };
        // Without one after all, another process has ended the row meanwhile.
        let Some(token) = claimed.token.clone() else { return Ok(Next::Now) };
        if unsealed {
            on_step(self.sealed_step(&token));
        }
        fault::reached("token kept");
        let Photo { photo, .. } = &claimed.photo;
        let authority = self.settings.sealer.credentials().authority();
        let body = request::submission(authority, &photo.hashes, &token, photo.taken_at);
        let call = to.client.post_json_with::<Reply>("/api/v1/submit", prefer(wait), &body);
        let verdict = match self.verdict_of(to, call, wait, Asked::Submit).await {
            Verdict::Again { error, retry_after, taken: Taken::No } if !sent_before => {
                return self.not_taken(&claimed, to, error, retry_after, on_step).await;
            }
            verdict => verdict,
        };
        fault::reached("answered");
        if let Verdict::Pending { .. } | Verdict::Confirmed { receipt: Some(_), .. } = &verdict {
            on_step(Step::Submitted);
        }
        self.conclude(claimed, to, verdict, on_step).await
    }

    async fn follow(&self, claimed: Claimed, receipt: Uuid, on_step: OnStep<'_>) -> Result<Next, QueueError> {
        let to = self.choose(&claimed);
        if claimed.photo.aggregator.as_deref().is_some_and(|giver| giver != to.client.origin()) {
            let reason = claimed.photo.last_error.clone().unwrap_or_else(|| "its aggregator is gone".to_owned());
            return self.apply(&claimed, Change::Moved { reason }, Next::Now).await;
        }
        let path = format!("/api/v1/submission/{}", receipt.hyphenated());
        let verdict = self.verdict_of(to, to.client.get_json::<Reply>(&path), Duration::ZERO, Asked::Receipt).await;
        self.conclude(claimed, to, verdict, on_step).await
    }

    fn choose(&self, claimed: &Claimed) -> &Aggregator {
        self.aggregators.choose(claimed.photo.aggregator.as_deref(), self.settings.options.move_after, Instant::now())
    }

    async fn verdict_of(
        &self,
        aggregator: &Aggregator,
        call: impl Future<Output = Result<Answer<Reply>, ClientError>>,
        wait: Duration,
        asked: Asked,
    ) -> Verdict {
        let verdict = match tokio::time::timeout(wait.min(LONGEST_WAIT) + self.settings.options.answer_time, call).await
        {
            Ok(Ok(answer)) => verdict::of_reply(answer.body),
            Ok(Err(error)) => verdict::of_error(&error, asked),
            Err(_) => Verdict::Again { error: no_answer(aggregator), retry_after: None, taken: Taken::Perhaps },
        };
        if !matches!(verdict, Verdict::Again { .. }) {
            self.aggregators.answered(aggregator, Instant::now());
        }
        verdict
    }

    async fn conclude(
        &self,
        claimed: Claimed,
        from: &Aggregator,
        verdict: Verdict,
        on_step: OnStep<'_>,
    ) -> Result<Next, QueueError> {
        match verdict {
            Verdict::Pending { receipt } => {
                let attempts = if claimed.photo.state == PhotoState::Sent { claimed.photo.attempts } else { 0 };
                let options = &self.settings.options;
                let pause = self.pause(options.poll_base, options.poll_max, attempts);
                let change = Change::Sent { receipt, next_try: self.at(pause) };
                let next = self.apply(&claimed, change, Next::Later(pause)).await?;
                fault::reached("receipt kept");
                Ok(next)
            }
            Verdict::Confirmed { receipt, recorded, proof } => {
                if receipt.is_some() {
                    on_step(Step::SmaPassed);
                }
                on_step(Step::Recorded(recorded));
                if let Some(receipt) = receipt {
                    on_step(Step::ReceiptId(receipt));
                }
                // A proof that is missing or wrong here is fetched on its own: the record stands anyway.
                let proof = proof.filter(|text| verdict::proves(text, &claimed.photo.photo.hashes, recorded));
                let stored = match proof {
                    Some(text) => self.store_proof(&claimed.photo, text).await.ok(),
                    None => None,
                };
                self.confirm(claimed, recorded, stored, on_step).await
            }
            // A changed key is no fault of the token's.
            Verdict::Reseal { why, reason }
                if why == Why::Rekey || claimed.photo.seals < self.settings.options.max_seals =>
            {
                self.reseal(claimed, why, reason, on_step).await
            }
            Verdict::Reseal { reason, .. } => {
                let reason = format!("{reason}, {} tokens in a row", claimed.photo.seals);
                self.park(&claimed, reason, on_step).await
            }
            Verdict::Refused { reason } => self.park(&claimed, reason, on_step).await,
            Verdict::Forgotten => self.apply(&claimed, Change::Forgotten, Next::Now).await,
            Verdict::Again { error, retry_after, .. } => {
                self.rest(from, retry_after);
                self.fail(&claimed, error, retry_after, on_step).await
            }
        }
    }

    /// Its receipt has ended, and asks for another token.
    async fn reseal(
        &self,
        claimed: Claimed,
        why: Why,
        reason: String,
        on_step: OnStep<'_>,
    ) -> Result<Next, QueueError> {
        let binding = claimed.token.as_ref().and_then(|sealed| sealed.binding.as_ref());
        if let (Why::Rekey, Some(binding)) = (why, binding) {
            match self.renew_network(Some(binding.blinding.key_id)).await {
                // The receipt is asked about again, and gives the same verdict, until there is a newer key.
                Err(error) if claimed.photo.attempts < SAME_KEY_AGAIN => {
                    return self.fail(&claimed, error, None, on_step).await;
                }
                // Our key may be the newest after all, and the registry's nodes were late to hear of it: only
                // another token gets another verdict.
                Err(_) | Ok(()) => {}
            }
        }
        let numbers = match why {
            Why::Used => Numbers::Skip,
            // The first one waited for too long; if a fresh one is stale too, the counter is an old copy.
            Why::Stale if claimed.photo.seals > 1 => Numbers::Skip,
            Why::Stale | Why::Rekey | Why::Other => Numbers::GoOn,
        };
        let token = match self.seal(&claimed.photo.photo.hashes, numbers).await {
            Ok(token) => token,
            Err(error) => return self.not_sealed(&claimed, error, on_step).await,
        };
        on_step(Step::Resealing { reason: reason.clone() });
        on_step(self.sealed_step(&token));
        self.apply(&claimed, Change::Resealed { token, reason }, Next::Now).await
    }

    async fn not_sealed(&self, claimed: &Claimed, error: NotSealed, on_step: OnStep<'_>) -> Result<Next, QueueError> {
        match error {
            NotSealed::Body(_) => self.park(claimed, error.to_string(), on_step).await,
            NotSealed::Seal(_) | NotSealed::Aborted(_) => self.fail(claimed, error.to_string(), None, on_step).await,
        }
    }

    /// The registry has it, but its proof did not come along.
    async fn fetch_proof(&self, claimed: Claimed, on_step: OnStep<'_>) -> Result<Next, QueueError> {
        let hashes = &claimed.photo.photo.hashes;
        let path = format!("/api/v1/verify/{}?proof=1", hashes.processed);
        // The client's own time limit is for answers that are waited for; this one has none to wait for.
        let from = self.choose(&claimed);
        let call = tokio::time::timeout(self.settings.options.answer_time, from.client.get_json::<VerifyAnswer>(&path));
        let answer = match call.await {
            Ok(Ok(answer)) => answer.body,
            Ok(Err(error)) => {
                self.rest(from, error.retry_after());
                return self.fail(&claimed, error.to_string(), error.retry_after(), on_step).await;
            }
            Err(_) => {
                self.rest(from, None);
                return self.fail(&claimed, no_answer(from), None, on_step).await;
            }
        };
        self.aggregators.answered(from, Instant::now());
        // The best record may be another than ours, where somebody else has registered the same hashes:
        // then that one is told, so that record and proof agree.
        let found = answer.record.and_then(|record| {
            let recorded = Recorded { tx_id: record.tx_id, block_height: record.block_height };
            record.proof.filter(|text| verdict::proves(text, hashes, recorded)).map(|text| (recorded, text))
        });
        let Some((recorded, text)) = found else {
            let error = "the aggregator has no proof of this photograph yet".to_owned();
            return self.fail(&claimed, error, None, on_step).await;
        };
        match self.store_proof(&claimed.photo, text).await {
            Ok(path) => self.confirm(claimed, recorded, Some(path), on_step).await,
            Err(error) => self.fail(&claimed, error, None, on_step).await,
        }
    }

    async fn confirm(
        &self,
        claimed: Claimed,
        recorded: Recorded,
        proof: Option<PathBuf>,
        on_step: OnStep<'_>,
    ) -> Result<Next, QueueError> {
        let stored = proof.is_some();
        let next = if stored { Next::Confirmed } else { Next::Now };
        fault::reached("proof kept");
        let next = self.apply(&claimed, Change::Confirmed { recorded, proof }, next).await?;
        fault::reached("confirmation kept");
        if stored {
            on_step(Step::ProofStored);
        }
        Ok(next)
    }

    async fn park(&self, claimed: &Claimed, reason: String, on_step: OnStep<'_>) -> Result<Next, QueueError> {
        tracing::warn!(photo = %claimed.photo.photo.jpeg.display(), %reason, "a photograph was refused for good and is parked");
        let next = self.apply(claimed, Change::Parked { reason: reason.clone() }, Next::Parked).await?;
        on_step(Step::Parked { reason });
        Ok(next)
    }

    async fn fail(
        &self,
        claimed: &Claimed,
        error: String,
        retry_after: Option<Duration>,
        on_step: OnStep<'_>,
    ) -> Result<Next, QueueError> {
        let options = &self.settings.options;
        let pause = self.pause(options.retry_base, options.retry_max, claimed.photo.attempts);
        let pause = pause.max(retry_after.unwrap_or_default());
        on_step(Step::Waiting { reason: error.clone() });
        let next_try = self.at(pause);
        self.apply(claimed, Change::Failed { error, next_try }, Next::Later(pause)).await
    }

    /// Nobody has it: another aggregator may be asked at once.
    async fn not_taken(
        &self,
        claimed: &Claimed,
        by: &Aggregator,
        error: String,
        retry_after: Option<Duration>,
        on_step: OnStep<'_>,
    ) -> Result<Next, QueueError> {
        let options = &self.settings.options;
        let (next, pause) = if self.rest(by, retry_after) {
            (Next::Now, Duration::ZERO)
        } else {
            let pause = self.pause(options.retry_base, options.retry_max, claimed.photo.attempts);
            let pause = pause.max(retry_after.unwrap_or_default());
            (Next::Later(pause), pause)
        };
        on_step(Step::Waiting { reason: error.clone() });
        self.apply(claimed, Change::NotTaken { error, next_try: self.at(pause) }, next).await
    }

    /// Leaves an aggregator alone for a while; true if there is another to be asked.
    fn rest(&self, aggregator: &Aggregator, retry_after: Option<Duration>) -> bool {
        let options = &self.settings.options;
        let pause =
            |failures| self.pause(options.retry_base, options.retry_max, failures).max(retry_after.unwrap_or_default());
        self.aggregators.failed(aggregator, Instant::now(), pause)
    }

    async fn apply(&self, claimed: &Claimed, change: Change, next: Next) -> Result<Next, QueueError> {
        self.settings.queue.apply(claimed, change).await?;
        Ok(next)
    }

    /// Writes the proof beside the JPEG; its path relative to the data folder.
    async fn store_proof(&self, photo: &Photo, text: String) -> Result<PathBuf, String> {
        let relative = beside(&photo.photo.jpeg);
        let path = self.settings.data.join(&relative);
        let write = move || write_durably(&path, IfTaken::Replace, |file| file.write_all(text.as_bytes()));
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Ok(relative),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(format!("the proof was not written: {error}")),
        }
    }

    fn sealed_step(&self, sealed: &Sealed) -> Step {
        let SealedToken { table_id: table, key_index, .. } = sealed.token;
        let element = self.settings.sealer.credentials().element();
        Step::TokenSealed { version: sealed.version(), table, key_index, element }
    }

    /// Exponential with full jitter.
    fn pause(&self, base: Duration, longest: Duration, attempts: u32) -> Duration {
        let cap = base.saturating_mul(1 << attempts.min(16)).min(longest);
        self.settings.sealer.with_rng(|rng| Backoff::new(cap, longest).next(rng))
    }

    /// The first whole second that is not before the pause's end.
    fn at(&self, pause: Duration) -> UnixSeconds {
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        UnixSeconds(self.settings.clock.now().0.saturating_add(seconds))
    }
}

pub(super) fn no_answer(aggregator: &Aggregator) -> String {
    format!("{} did not answer in time", aggregator.client.origin())
}

/// Attempts, some ten minutes, after which a token is sealed for the key that was refused.
const SAME_KEY_AGAIN: u32 = 12;

/// `Prefer: wait=N`, whole seconds; nothing where there is nothing to wait.
fn prefer(wait: Duration) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let seconds = wait.min(LONGEST_WAIT).as_secs();
    if let Some(value) = (seconds > 0).then(|| HeaderValue::from_str(&format!("wait={seconds}")).ok()).flatten() {
        headers.insert(HeaderName::from_static("prefer"), value);
    }
    headers
}

/// `<photo>.jpg.tlog-proof`
fn beside(jpeg: &Path) -> PathBuf {
    let mut path = OsString::from(jpeg);
    path.push(".tlog-proof");
    PathBuf::from(path)
}
