//! A load generator that costs as little as it can, since it shares the processor with what it measures.
//!
//! For: HTTP/1.1 over kept-alive connections, prepared requests in, complete answers counted and timed.
//! Not for: any server but ours and the references: an answer must have a `content-length`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::measure::{self, cpu_time, number};
use super::row::{Latency, Row};

/// What to send.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) requests: Vec<Vec<u8>>,
    pub(super) order: Order,
    /// Any other status is an error.
    pub(super) status: &'static str,
    pub(super) time: Duration,
    /// Each has one request under way.
    pub(super) connections: usize,
    /// What one request asks for so many times; rates and processor time count these.
    pub(super) operations: u32,
}

/// How requests are taken from the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// From the start again and again.
    Cycle,
    /// Each once; the load ends early if they run out.
    Once,
}

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Operations a second.
    pub(super) rate: f64,
    pub(super) latency: Latency,
    /// Microseconds an operation of this process, the client's left out.
    pub(super) cpu: f64,
}

/// Puts one server under load.
pub(super) fn run(address: SocketAddr, load: &Load) -> anyhow::Result<Turn> {
    let before = cpu_time(CLIENT)?;
    let client = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("cannot start the client")?.block_on(send_all(address, load))
    };
    let (times, elapsed) = std::thread::scope(|scope| {
        let client = std::thread::Builder::new().name(CLIENT.to_owned()).spawn_scoped(scope, client)?;
        client.join().map_err(|_| anyhow::anyhow!("the client broke off"))?
    })?;
    let cpu = cpu_time(CLIENT)?.saturating_sub(before);
    anyhow::ensure!(!times.is_empty(), "no request was answered in time");
    let count = number(times.len()) * f64::from(load.operations);
    Ok(Turn {
        rate: count / elapsed.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / count,
        latency: measure::latency(times),
    })
}

/// Medians over the turns, as a row.
pub(super) fn row(references: &[Turn], ours: &[Turn]) -> Row {
    let middle = |turns: &[Turn], of: fn(&Turn) -> f64| measure::median(turns.iter().map(of));
    let latency =
        |turns| Latency { p50: middle(turns, |turn| turn.latency.p50), p99: middle(turns, |turn| turn.latency.p99) };
    Row {
        reference: Some(middle(references, |turn| turn.rate)),
        latency: Some(latency(ours)),
        reference_latency: Some(latency(references)),
        cpu: Some((middle(ours, |turn| turn.cpu), middle(references, |turn| turn.cpu))),
        ..Row::new("requests/s", middle(ours, |turn| turn.rate))
    }
}

async fn send_all(address: SocketAddr, load: &Load) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let next = AtomicUsize::new(0);
    let all = async {
        let mut connections = try_join_all((0..load.connections).map(|_| Connection::open(address))).await?;
        // The first request of a connection pays for accepting it.
        let first = connections.iter_mut().map(|connection| connection.exchange_next(load, &next));
        try_join_all(first).await?;
        let started = Instant::now();
        let deadline = started + load.time;
        let times = try_join_all(connections.into_iter().map(|mut connection| {
            let next = &next;
            async move {
                let mut times = Vec::new();
                while Instant::now() < deadline {
                    let Some(time) = connection.exchange_next(load, next).await? else { break };
                    times.push(time);
                }
                Ok::<_, anyhow::Error>(times)
            }
        }));
        let times = times.await?.concat();
        Ok((times, started.elapsed()))
    };
    tokio::time::timeout(load.time + PATIENCE, all).await.context("the server does not answer any more")?
}

/// One kept-alive connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and gives the body of its answer.
    pub(super) async fn exchange(&mut self, request: &[u8], expected: &str) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            anyhow::ensure!(read > 0, "the server closed a connection");
            anyhow::ensure!(self.answer.len() <= MAX_ANSWER, "an answer is too long");
            if let Some(Head { status, start, length }) = head(&self.answer)? {
                anyhow::ensure!(status == expected, "an answer has status {status}, not {expected}");
                anyhow::ensure!(self.answer.len() <= length, "more was answered than asked for");
                if self.answer.len() == length {
                    return Ok(self.answer.get(start..).unwrap_or_default());
                }
            }
        }
    }

    /// Sends the next request; gives the time to the last byte of its answer, or nothing if none is left.
    async fn exchange_next(&mut self, load: &Load, next: &AtomicUsize) -> anyhow::Result<Option<Duration>> {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let request = match load.order {
            Order::Cycle => load.requests.get(number % load.requests.len().max(1)),
            Order::Once => load.requests.get(number),
        };
        let Some(request) = request else { return Ok(None) };
        let started = Instant::now();
        self.exchange(request, load.status).await?;
        Ok(Some(started.elapsed()))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head<'a> {
    status: &'a str,
    /// Where the body begins.
    start: usize,
    /// Of the whole answer.
    length: usize,
}

/// The head of an answer, once it is complete.
fn head(answer: &[u8]) -> anyhow::Result<Option<Head<'_>>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = answer.get(..end).and_then(|head| std::str::from_utf8(head).ok()).context("a head is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("an answer has no status")?;
    let body = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .filter(|length| *length <= MAX_ANSWER)
        .context("an answer has no content-length")?;
    Ok(Some(Head { status, start: end + 4, length: end + 4 + body }))
}

/// A request with a JSON body.
pub(super) fn post(path: &str, body: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let body = serde_json::to_vec(body)?;
    let head = format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: ");
    let mut request = format!("{head}{}\r\n\r\n", body.len()).into_bytes();
    request.extend(body);
    Ok(request)
}

/// As many as the ceilings were measured with.
pub(super) const CONNECTIONS: usize = 64;
/// Name of the client's thread; the system keeps 15 characters.
const CLIENT: &str = "bench-client";
const MAX_ANSWER: usize = 1024 * 1024;
/// For the last answers. Generous: a machine under load is slow, not broken.
const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nabcde";
        let end = answer.len() - 5;
        assert_eq!(head(&answer[..end - 1]).unwrap(), None);
        let complete = Some(Head { status: "202", start: end, length: answer.len() });
        assert_eq!(head(&answer[..end]).unwrap(), complete);
        assert_eq!(head(answer).unwrap(), complete);
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n").is_err());
    }
}
