//! What the daemon is doing, for those who ask and for the watchdog.
//!
//! For: [`State::is_alive`], by which systemd is told that all is well or is left to start it anew.
//! Not for: telling it (`notify`).

use std::sync::Arc;
use std::time::Duration;

use birthmark_camera::queue::{Counts, Queue, QueueError};
use birthmark_camera::upload::Uploader;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Shared by all parts of the daemon.
#[derive(Debug)]
pub(super) struct State {
    queue: Queue,
    uploader: Arc<Uploader>,
    started: Instant,
    camera: Mutex<Camera>,
}

#[derive(Debug, Default)]
struct Camera {
    capturing_since: Option<Instant>,
    captured: u64,
    failed: u64,
    last_error: Option<String>,
}

impl State {
    pub(super) fn new(queue: Queue, uploader: Arc<Uploader>, now: Instant) -> Self {
        Self { queue, uploader, started: now, camera: Mutex::default() }
    }

    /// A photograph is begun.
    pub(super) fn begin(&self, now: Instant) {
        self.camera.lock().capturing_since = Some(now);
    }

    /// It is there, or is not.
    pub(super) fn end(&self, error: Option<&anyhow::Error>) {
        let mut camera = self.camera.lock();
        camera.capturing_since = None;
        match error {
            None => camera.captured += 1,
            Some(_) => camera.failed += 1,
        }
        camera.last_error = error.map(|error| format!("{error:#}"));
    }

    pub(super) fn captured(&self) -> u64 {
        self.camera.lock().captured
    }

    /// Whether camera and uploader get on, or wait for something that may come.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        // Before its first look the uploader cannot have hung for longer than the daemon runs.
        let uploader = self.uploader.last_progress().max(self.started);
        get_on(now, self.camera.lock().capturing_since, uploader)
    }

    /// One line for `systemctl status`.
    pub(super) async fn line(&self) -> String {
        let counts = self.queue.counts().await;
        let camera = self.camera.lock();
        let doing = if camera.capturing_since.is_some() { "photographing" } else { "waiting for a trigger" };
        let queue = match counts {
            Ok(Counts { queued, sent, confirmed, parked, .. }) => {
                format!("{} to submit, {confirmed} on record, {parked} refused", queued + sent)
            }
            Err(error) => format!("the queue cannot be read: {error}"),
        };
        match &camera.last_error {
            None => format!("{doing}; {queue}"),
            Some(error) => format!("{doing}; {queue}; the last photograph failed: {error}"),
        }
    }

    /// For a program.
    pub(super) async fn json(&self) -> Result<Value, QueueError> {
        let mut state = counted(&self.queue.counts().await?);
        let camera = self.camera.lock();
        state["photographing"] = camera.capturing_since.is_some().into();
        state["captured"] = camera.captured.into();
        state["failed"] = camera.failed.into();
        state["last_error"] = camera.last_error.clone().into();
        Ok(state)
    }
}

/// The queue's counts as JSON shows them.
pub(super) fn counted(counts: &Counts) -> Value {
    let Counts { queued, sent, confirmed, parked, without_proof } = counts;
    json!({
        "queued": queued, "sent": sent, "confirmed": confirmed, "parked": parked, "without_proof": without_proof,
    })
}

/// A trigger that nobody pulls and a server that does not answer are no lack of progress; a photograph or an
/// attempt that never ends is.
fn get_on(now: Instant, capturing_since: Option<Instant>, uploader: Instant) -> bool {
    let lasts = |since: Instant| now.saturating_duration_since(since);
    capturing_since.is_none_or(|since| lasts(since) < LONGEST_CAPTURE) && lasts(uploader) < LONGEST_ATTEMPT
}

/// The camera program may be started anew, and a card be slow: 30 s at worst, and four times that.
const LONGEST_CAPTURE: Duration = Duration::from_mins(2);
/// An answer is waited for 40 s, a network file and a proof 10 s each, a TPM for a few.
const LONGEST_ATTEMPT: Duration = Duration::from_mins(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hangs_is_not_alive() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(get_on(at(100_000), None, at(99_999)), "nobody has pulled the trigger for a day");
        assert!(get_on(at(119), Some(start), at(118)));
        assert!(!get_on(at(120), Some(start), at(119)), "a photograph that never ends");
        assert!(get_on(at(179), None, start));
        assert!(!get_on(at(180), None, start), "an uploader that stands still");
    }
}
