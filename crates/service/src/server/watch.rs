//! The time limits of one connection, without a timer for each request.
//!
//! For: [`Watch`], which the connection's task tells what it does, and whose one timer is set anew only when it
//! has run out. A timer for each head and each request costs more than a small request itself.
//! Not for: what follows from it (`connection`).
//!
//! ```text
//! head ── request read ──► request ── answer made ──► head …
//!   │ header_timeout          │ request_timeout
//!   ▼                         ▼
//! closed                   503 timed_out
//! ```

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Limits;

/// What a connection waits for, and since when. Its own task uses it, and whoever needs its place looks at it.
#[derive(Debug)]
pub(super) struct Watch {
    opened: Instant,
    /// Microseconds after `opened`, doubled; odd while a request is under way.
    since: AtomicU64,
    /// Bytes of answers that have left since this was last asked.
    written: AtomicU64,
    /// When the last of them left, in microseconds after `opened`.
    last_written: AtomicU64,
    /// A request has come by this connection.
    was_asked: AtomicBool,
    /// The request under way has taken too long.
    expired: AtomicBool,
    /// The request under way waits for its client, who owes it the rest of its body.
    owed: AtomicBool,
    /// Bytes of that body for which there is room.
    body_bytes: AtomicUsize,
    /// The connection is to make way.
    given_up: Notify,
    header_timeout: Duration,
    request_timeout: Duration,
}

impl Watch {
    /// Of a connection that opens now.
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            opened: now,
            since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            last_written: AtomicU64::new(0),
            was_asked: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            owed: AtomicBool::new(false),
            body_bytes: AtomicUsize::new(0),
            given_up: Notify::new(),
            header_timeout: limits.header_timeout,
            request_timeout: limits.request_timeout,
        }
    }

    /// A request's head is complete.
    pub(super) fn request_begins(&self, now: Instant) {
        self.expired.store(false, Ordering::Relaxed);
        self.owed.store(false, Ordering::Relaxed);
        self.body_bytes.store(0, Ordering::Relaxed);
        self.was_asked.store(true, Ordering::Relaxed);
        self.since.store(self.micros(now) * 2 + 1, Ordering::Relaxed);
    }

    /// Its answer is made; from now on the next head is waited for.
    pub(super) fn request_ends(&self, now: Instant) {
        self.since.store(self.micros(now) * 2, Ordering::Relaxed);
    }

    /// The work's outcome, or none if it takes longer than a request may.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.expired.load(Ordering::Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Waits until no head has come for longer than it may, and no answer was taken at [`MIN_RATE`] meanwhile. Ends the request under way once its time is over; to be polled before the
    /// connection, which sees that.
    pub(super) async fn silence(&self) {
        while let Some(later) = self.look(Instant::now()) {
            tokio::select! {
                () = sleep_until(later) => {}
                () = self.given_up.notified() => {
                    // Its client may have sent what was waited for.
                    if self.waiting_since().is_some() {
                        return;
                    }
                }
            }
        }
    }

    /// Since when the connection has been waiting for its client: for a head since the last byte of an answer left, or
    /// within a request for the rest of its body. Nothing while it is the client that waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed);
        let micros = if since.is_multiple_of(2) {
            (since / 2).max(self.last_written.load(Ordering::Relaxed))
        } else if self.owed.load(Ordering::Relaxed) {
            since / 2
        } else {
            return None;
        };
        Some(self.opened + Duration::from_micros(micros))
    }

    /// Whether its client has sent a whole head at any time.
    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }

    /// There is room for so many more bytes of the body that is being read.
    pub(super) fn holds(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much room its end would free: nothing unless the rest of a body is owed.
    pub(super) fn held_bytes(&self) -> usize {
        if self.owed.load(Ordering::Relaxed) { self.body_bytes.load(Ordering::Relaxed) } else { 0 }
    }

    /// Ends the connection unless its client has sent meanwhile what is waited for.
    pub(super) fn give_up(&self) {
        self.given_up.notify_one();
    }

    /// Whether the request under way waits for more of its body.
    pub(super) fn is_owed(&self, owed: bool) {
        self.owed.store(owed, Ordering::Relaxed);
    }

    /// When to look again; none once there was silence for too long.
    fn look(&self, now: Instant) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed);
        let is_request = since % 2 == 1;
        let limit = if is_request { self.request_timeout } else { self.header_timeout };
        let mut deadline = self.opened + Duration::from_micros(since / 2) + limit;
        if now >= deadline {
            if is_request {
                self.expired.store(true, Ordering::Relaxed);
            } else if self.written.swap(0, Ordering::Relaxed) < MIN_RATE.saturating_mul(limit.as_secs()).max(1) {
                return None;
            }
            deadline = now + limit;
        }
        // What begins meanwhile may have the shorter limit.
        Some(deadline.min(now + self.header_timeout.min(self.request_timeout)))
    }

    fn wrote(&self, bytes: usize, now: Instant) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_written.store(self.micros(now), Ordering::Relaxed);
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.opened).as_micros()).unwrap_or(u64::MAX / 4)
    }
}

/// A stream that tells the watch when something leaves by it.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    pub(super) stream: TcpStream,
    pub(super) watch: &'a Watch,
}

impl Watched<'_> {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes @ 1..)) = written {
            self.watch.wrote(bytes, Instant::now());
        }
        written
    }
}

impl AsyncRead for Watched<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Bytes a second at which an answer is to be taken, over the time that a head may take. Who is slower would hold what
/// the answer holds for as long as it likes: a page of 4 MiB is gone after some minutes.
const MIN_RATE: u64 = 8 * 1024;

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::pending;

    use super::*;

    /// A watch, and when it will look again.
    struct Clock(Watch, Instant);

    impl Clock {
        fn new() -> Self {
            let (header_timeout, request_timeout) = (Duration::from_secs(30), Duration::from_secs(45));
            let now = Instant::now();
            Self(Watch::new(&Limits { header_timeout, request_timeout, ..Limits::default() }, now), now)
        }

        fn at(&self, seconds: u64) -> Instant {
            self.0.opened + Duration::from_secs(seconds)
        }

        /// Seconds after the connection was opened at which it finds silence, if that is before `until`.
        fn silence(&mut self, until: u64) -> Option<u64> {
            while self.1 <= self.at(until) {
                match self.0.look(self.1) {
                    Some(later) => self.1 = later,
                    None => return Some(self.1.duration_since(self.0.opened).as_secs()),
                }
            }
            None
        }

        fn has_ended_the_request(&self) -> bool {
            self.0.in_time(pending::<()>()).now_or_never().is_some()
        }
    }

    #[test]
    fn a_head_that_does_not_come_is_silence() {
        assert_eq!(Clock::new().silence(100), Some(30));
    }

    #[test]
    fn each_request_and_each_head_has_its_own_time() {
        let mut clock = Clock::new();
        for minute in (0..240).step_by(60) {
            assert_eq!(clock.silence(minute + 20), None);
            clock.0.request_begins(clock.at(minute + 20));
            assert_eq!(clock.silence(minute + 60), None);
            assert!(!clock.has_ended_the_request());
            clock.0.request_ends(clock.at(minute + 60));
        }
        assert_eq!(clock.silence(1000), Some(270));
    }

    #[test]
    fn a_request_that_takes_too_long_is_ended_and_the_connection_is_not() {
        let mut clock = Clock::new();
        assert_eq!(clock.silence(10), None);
        clock.0.request_begins(clock.at(10));
        assert_eq!((clock.silence(54), clock.has_ended_the_request()), (None, false));
        assert_eq!((clock.silence(55), clock.has_ended_the_request()), (None, true));
        clock.0.request_ends(clock.at(55));
        clock.0.request_begins(clock.at(57));
        assert_eq!((clock.silence(57 + 44), clock.has_ended_the_request()), (None, false));
    }

    #[tokio::test]
    async fn connection_makes_way_while_its_client_owes_it_something_only() {
        let Clock(watch, opened) = Clock::new();
        assert_eq!(watch.waiting_since(), Some(opened));
        watch.give_up();
        assert!(watch.silence().now_or_never().is_some());
        watch.request_begins(opened);
        assert_eq!(watch.waiting_since(), None);
        watch.give_up();
        assert!(watch.silence().now_or_never().is_none(), "the client waits for its answer");
        watch.is_owed(true);
        assert_eq!(watch.waiting_since(), Some(opened));
        watch.give_up();
        assert!(watch.silence().now_or_never().is_some());
        watch.request_ends(opened + Duration::from_secs(7));
        assert_eq!(watch.waiting_since(), Some(opened + Duration::from_secs(7)));
    }

    #[test]
    fn an_answer_that_is_being_read_keeps_the_connection_and_one_that_trickles_away_does_not() {
        let mut clock = Clock::new();
        for second in (20..=200).step_by(20) {
            clock.0.wrote(20 * 8 * 1024 * 2, clock.at(second));
            assert_eq!(clock.silence(second), None);
        }
        let silence = clock.silence(1000).unwrap();
        assert!((180 + 30..=180 + 60).contains(&silence), "{silence} s");
        let mut clock = Clock::new();
        for second in 1..30 {
            clock.0.wrote(4 * 1024, clock.at(second));
        }
        assert_eq!(clock.silence(100), Some(30));
    }

    #[test]
    fn connection_waits_for_its_client_from_the_last_byte_of_the_answer() {
        let Clock(watch, opened) = Clock::new();
        let at = |seconds| opened + Duration::from_secs(seconds);
        assert!(!watch.was_asked());
        watch.request_begins(at(1));
        watch.request_ends(at(2));
        assert_eq!((watch.waiting_since(), watch.was_asked()), (Some(at(2)), true));
        watch.wrote(1, at(9));
        assert_eq!(watch.waiting_since(), Some(at(9)));
    }

    #[test]
    fn room_counts_only_while_the_rest_of_that_body_is_owed() {
        let Clock(watch, opened) = Clock::new();
        watch.request_begins(opened);
        watch.holds(5);
        watch.holds(6);
        assert_eq!(watch.held_bytes(), 0, "it may be answered at any moment");
        watch.is_owed(true);
        assert_eq!(watch.held_bytes(), 11);
        watch.request_begins(opened);
        watch.is_owed(true);
        assert_eq!(watch.held_bytes(), 0);
    }
}
