//! Hostile clients against a running aggregator: it stays up, small, and serves everybody else meanwhile.
//!
//! Others come from another address of this machine, as they would; attackers share one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use birthmark_service::client::HttpClient;
use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::installation::Demo;
use crate::submissions::{Device, send};

/// How many connections an attacker holds: all that this process may open, up to this.
const CONNECTIONS: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_RSS_KIB: u64 = 300 * 1024;

struct Target {
    address: SocketAddr,
    pid: u32,
}

impl Target {
    fn of(demo: &Demo) -> Self {
        let url = demo.ready["aggregator"].as_str().unwrap();
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let pid = std::fs::read_to_string(demo.folder.join("aggregator/.lock")).unwrap();
        Self { address, pid: pid.trim().parse().unwrap() }
    }

    /// The most memory that the process has had so far.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.pid.to_string()).join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    /// Another client, from another address, gets its answer in time.
    async fn serves_others(&self, while_what: &str) {
        let asked = Instant::now();
        let answer = timeout(PATIENCE, self.ask_from([127, 0, 0, 2].into())).await;
        let answer = answer.unwrap_or_else(|_| panic!("others were kept waiting by {while_what}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{while_what}: {answer}");
        println!(
            "{while_what}: others served in {} ms, peak {} MiB",
            asked.elapsed().as_millis(),
            self.peak_kib() / 1024
        );
        assert!(self.peak_kib() < MAX_RSS_KIB, "{while_what}: {} KiB", self.peak_kib());
    }

    async fn ask_from(&self, from: Ipv4Addr) -> String {
        // The server may end an idle connection in favour of a newer one: then one asks again.
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::V4(SocketAddrV4::new(from, 0))).unwrap();
            let Ok(mut stream) = socket.connect(self.address).await else { continue };
            let request =
                format!("GET /api/v1/verify/{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "77".repeat(32));
            let mut answer = Vec::new();
            if stream.write_all(request.as_bytes()).await.is_ok()
                && stream.read_to_end(&mut answer).await.is_ok()
                && !answer.is_empty()
            {
                return String::from_utf8_lossy(&answer).into_owned();
            }
        }
    }

    /// Opens many connections that each send `begin` and then nothing.
    async fn hold(&self, count: usize, begin: &[u8]) -> Vec<TcpStream> {
        let mut held = Vec::with_capacity(count);
        for _ in 0..count {
            let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(self.address)).await else { continue };
            let _ = stream.write_all(begin).await;
            held.push(stream);
        }
        held
    }

    /// Sends bytes as they are; the status of the answer, if there is one.
    fn raw(&self, bytes: &[u8]) -> Option<u16> {
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if !matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::WouldBlock) => {
                panic!("{error}")
            }
            _ => String::from_utf8_lossy(&answer).get(9..12)?.parse().ok(),
        }
    }
}

fn post(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

fn malformed(target: &Target) {
    let submit = |body: &[u8]| [post("/api/v1/submit", body.len()).as_bytes(), body].concat();
    let chunked = "POST /api/v1/submit HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n";
    let long = vec![b'x'; 10 * 1024 * 1024];
    let field = "x-flood: 0123456789012345678901234567890123456789\r\n";
    let deep = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat().into_bytes();
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("10 MB", submit(&long), &[413]),
        ("10 MB to the batch", [post("/api/v1/submit/batch", long.len()).as_bytes(), &long].concat(), &[413]),
        ("10 MB in chunks", [chunked.as_bytes(), b"a00000\r\n", &long, b"\r\n0\r\n\r\n"].concat(), &[413]),
        ("nested arrays", submit(&deep("[", "]")), &[400, 422]),
        ("nested objects", submit(&deep("{\"a\":", "}")), &[400]),
        ("NUL", submit(b"{\"submission_type\": \"cam\\u0000era\", \"a\0b\": 1}"), &[400]),
        ("control characters", submit(b"{\"submission_type\": \"\x01\x02\x1b[2J\"}"), &[400]),
        ("no UTF-8", submit(b"{\"submission_type\": \"\xff\xfe\"}"), &[400]),
        ("fields", format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", field.repeat(5000)).into_bytes(), &[431]),
        ("a long field", format!("GET /health HTTP/1.1\r\nhost: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes(), &[431]),
        (
            "a long address",
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1 << 20)).into_bytes(),
            &[414, 431],
        ),
        ("NUL in a field", b"GET /health HTTP/1.1\r\nhost: x\0y\r\n\r\n".to_vec(), &[400]),
        (
            "two lengths",
            b"POST /api/v1/submit HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx".to_vec(),
            &[400],
        ),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400]),
    ];
    for (what, bytes, expected) in cases {
        match target.raw(&bytes) {
            // A client that does not stop sending may see the connection reset instead of the answer.
            None => assert!(bytes.len() > 100_000, "{what}: no answer"),
            Some(status) => assert!(expected.contains(&status), "{what}: {status}"),
        }
    }
}

#[test]
fn hostile_clients_neither_stop_nor_bloat_the_aggregator_nor_keep_others_out() {
    birthmark_service::process::raise_open_files();
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&temporary.path().join("demo"), &["--rate-limit", "0"]);
    demo.result();
    let target = Target::of(&demo);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        target.serves_others("nobody").await;
        malformed(&target);
        target.serves_others("malformed requests").await;

        let batch = post("/api/v1/submit/batch", 1024 * 1024);
        let slow_body = [batch.as_bytes(), &vec![b' '; 60 * 1024]].concat();
        for (what, begin) in [
            ("silent connections", &b""[..]),
            ("slow heads", b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: "),
            ("slow bodies", &slow_body),
        ] {
            let held = target.hold(CONNECTIONS, begin).await;
            assert!(held.len() > CONNECTIONS * 9 / 10, "{} {what}", held.len());
            for _ in 0..10 {
                target.serves_others(what).await;
            }
            drop(held);
        }
        replays(&demo, &target).await;
    });
    assert_eq!(demo.interrupt().code(), Some(0), "all services are still there");
}

/// One submission, thousands of times: it is recorded once.
async fn replays(demo: &Demo, target: &Target) {
    let (sma, aggregator) = (demo.client("sma"), demo.client("aggregator"));
    let submission = Device::provision(&sma, "REPLAYED").await.submission(1);
    let before = confirmed(&aggregator).await;
    let text = Bytes::from(serde_json::to_vec(&submission).unwrap());
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    for _ in 0..20 {
        let again = || aggregator.send(axum::http::Method::POST, "/api/v1/submit", headers.clone(), text.clone());
        let answers = futures::future::join_all((0..100).map(|_| again())).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status.is_success())));
    }
    assert_eq!(send(&aggregator, &submission, 30).await.unwrap().body["status"], "confirmed");
    assert_eq!(confirmed(&aggregator).await, before + 1);
    target.serves_others("replays").await;
}

async fn confirmed(aggregator: &HttpClient) -> u64 {
    let status = aggregator.get_json::<Value>("/api/v1/status").await.unwrap().body;
    status["confirmed_since_start"].as_u64().unwrap()
}
