//! What systemd is told (`sd_notify(3)`), where it has started the daemon.
//!
//! For: `READY=1`, `STATUS=…`, `WATCHDOG=1` as long as all parts get on, and `STOPPING=1`.
//! Not for: judging that (`state`). Without systemd nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::state::State;

/// Who has started the daemon, if it wants to be told.
#[derive(Debug)]
pub(super) struct Manager {
    watchdog: Option<Duration>,
}

impl Manager {
    /// From the environment.
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// A photograph could be taken now.
    pub(super) fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// Tells how things stand, again and again, and at last that it ends.
    pub(super) async fn report(&self, state: &State, stop: &CancellationToken) {
        let pause = self.watchdog.map_or(STATUS, |watchdog| (watchdog / 3).min(STATUS));
        let mut was_alive = true;
        while !stop.is_cancelled() {
            let line = one_line(&state.line().await);
            let alive = state.is_alive(Instant::now());
            let mut told = vec![NotifyState::Status(&line)];
            if alive && self.watchdog.is_some() {
                told.push(NotifyState::Watchdog);
            }
            tell(&told);
            if was_alive && !alive {
                tracing::error!("the camera does not get on; the service manager is told no more that it is alive");
            }
            was_alive = alive;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        tell(&[NotifyState::Stopping]);
    }
}

/// A manager that does not listen is no reason to take no photographs.
fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Each line of a message is an assignment of its own: an error's text must not become one.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_STATUS).collect()
}

const STATUS: Duration = Duration::from_secs(5);
const MAX_STATUS: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_cannot_say_anything_else() {
        assert_eq!(one_line("full\nWATCHDOG=1\r\0"), "full WATCHDOG=1  ");
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), MAX_STATUS);
    }
}
