//! What asks for a photograph.
//!
//! For: one bounded line of requests, whoever makes them; lines of standard input; the clock.
//! Not for: HTTP (`http`) and buttons (`gpio`), which put their requests into the same line.

use std::io::{self, Read};
use std::time::Duration;

use birthmark_camera::capture::Captured;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// One request for one photograph.
#[derive(Debug)]
pub(super) struct Trigger {
    waiting: Option<oneshot::Sender<Result<Captured, anyhow::Error>>>,
}

impl Trigger {
    /// Of one who does not wait for what comes of it.
    pub(super) const fn plain() -> Self {
        Self { waiting: None }
    }

    /// Of one who does.
    pub(super) fn answered() -> (Self, oneshot::Receiver<Result<Captured, anyhow::Error>>) {
        let (waiting, answer) = oneshot::channel();
        (Self { waiting: Some(waiting) }, answer)
    }

    /// Tells what came of it.
    pub(super) fn answer(self, taken: Result<Captured, anyhow::Error>) {
        if let Some(waiting) = self.waiting {
            // Who asked may have gone.
            drop(waiting.send(taken));
        }
    }
}

/// Photographs at each line, on a thread of its own. The end of the input ends nothing but this trigger. What
/// stands in a line does not matter, and none is kept.
pub(super) fn on_lines(input: impl Read + Send + 'static, asks: mpsc::Sender<Trigger>) -> io::Result<()> {
    let read = move || {
        let mut input = input;
        let mut bytes = [0; 4096];
        loop {
            match input.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => {
                    let lines = bytes.iter().take(count).filter(|byte| **byte == b'\n').count();
                    // Who writes faster than the camera photographs waits.
                    if (0..lines).any(|_| asks.blocking_send(Trigger::plain()).is_err()) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return tracing::error!(%error, "standard input is no trigger any more"),
            }
        }
    };
    std::thread::Builder::new().name("trigger-stdin".to_owned()).spawn(read).map(drop)
}

/// Photographs every so many seconds, at once for the first time. What the camera was too busy for is left out.
pub(super) async fn by_time(seconds: Option<u32>, asks: &mpsc::Sender<Trigger>, stop: &CancellationToken) {
    let Some(seconds) = seconds else { return };
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(TrySendError::Full(_)) = asks.try_send(Trigger::plain()) {
            tracing::warn!("a photograph was left out: the camera is behind");
        }
    }
}

/// A photograph as programs are told of it.
pub(super) fn shown(captured: &Captured) -> Value {
    json!({
        "frame": captured.frame,
        "jpeg": captured.jpeg,
        "dng": captured.dng,
        "raw_hash": captured.raw_hash.to_string(),
        "processed_hash": captured.processed_hash.to_string(),
    })
}

/// Requests that wait for the camera.
pub(super) const MOST_WAITING: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_line_is_one_photograph_however_long_and_the_rest_of_one_is_none() {
        let (asks, mut asked) = mpsc::channel(MOST_WAITING);
        let input = [b"\nshoot\r\n".as_slice(), &vec![b'x'; 100_000], b"\nno end"].concat();
        on_lines(io::Cursor::new(input), asks).unwrap();
        let mut count = 0;
        while asked.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 3);
    }
}
