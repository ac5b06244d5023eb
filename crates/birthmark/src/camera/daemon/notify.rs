//! What systemd is told (`sd_notify(3)`), where it has started the daemon.
//!
//! For: `READY=1`, `STATUS=…`, `WATCHDOG=1` as long as all parts get on, and `STOPPING=1`.
//! Not for: judging that (`state`). Without systemd nothing is sent.
//!
//! A datagram to the socket in `NOTIFY_SOCKET`, one assignment a line. It is never waited for: a manager that does
//! not read would stop the camera.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

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
        let set = |name: &str| std::env::var(name).ok();
        Self { watchdog: watchdog(set("WATCHDOG_USEC").as_deref(), set("WATCHDOG_PID").as_deref(), std::process::id()) }
    }

    /// A photograph could be taken now.
    pub(super) fn ready() {
        tell("READY=1");
    }

    /// Tells how things stand, again and again, and at last that it ends.
    pub(super) async fn report(&self, state: &State, stop: &CancellationToken) {
        let pause = self.watchdog.map_or(STATUS, |watchdog| (watchdog / 3).min(STATUS));
        let mut was_alive = true;
        while !stop.is_cancelled() {
            let line = one_line(&state.line().await);
            let alive = state.is_alive(Instant::now());
            let beat = if alive && self.watchdog.is_some() { "\nWATCHDOG=1" } else { "" };
            tell(&format!("STATUS={line}{beat}"));
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
        tell("STOPPING=1");
    }
}

/// A manager that does not listen is no reason to take no photographs.
fn tell(what: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, what) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

fn send(socket: &OsStr, what: &str) -> io::Result<()> {
    let to = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.send_to_addr(what.as_bytes(), &to).map(drop)
}

/// The time within which the manager wants to hear from this process.
fn watchdog(microseconds: Option<&str>, of: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = of.is_none_or(|pid| pid.parse() == Ok(own));
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 0 && is_ours)?;
    Some(Duration::from_micros(microseconds))
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
    fn manager_that_does_not_read_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        let refused = (0..100_000).find_map(|_| send(socket.as_os_str(), "READY=1").err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(manager);
    }

    #[test]
    fn watchdog_is_the_one_of_this_process() {
        assert_eq!(watchdog(Some("3000000"), None, 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(Some("3000000"), Some("7"), 7), Some(Duration::from_secs(3)));
        for (microseconds, of) in [(Some("3000000"), Some("8")), (Some("0"), None), (Some("x"), None), (None, None)] {
            assert_eq!(watchdog(microseconds, of, 7), None);
        }
    }

    #[test]
    fn status_cannot_say_anything_else() {
        assert_eq!(one_line("full\nWATCHDOG=1\r\0"), "full WATCHDOG=1  ");
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), MAX_STATUS);
    }
}
