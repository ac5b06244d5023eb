use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::client::{ClientError, ClientOptions, HttpClient};
use crate::extract::StrictJson;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    done: JoinHandle<()>,
}

impl Running {
    async fn start(router: Router, limits: Limits) -> Self {
        let bound = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, shutdown) = (bound.local_addr(), CancellationToken::new());
        let done = TaskTracker::new().spawn(bound.serve(router, limits, shutdown.clone()));
        Self { address, shutdown, done }
    }

    fn client(&self) -> HttpClient {
        HttpClient::new(&format!("http://{}", self.address), &ClientOptions::default()).unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an end in time");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.done).await.unwrap().unwrap();
    }
}

fn router() -> Router {
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/panic", get(async || -> &'static str { panic!("boom") }))
        .route("/never", get(async || std::future::pending::<&'static str>().await))
        .route("/plain", get(async || (http::StatusCode::BAD_REQUEST, "you sent hunter2")))
        .route("/own", get(async || crate::problem::Problem::new(http::StatusCode::CONFLICT, "own", "own")))
        .route("/sum", post(async |StrictJson(n): StrictJson<Numbers, 64>| axum::Json(n.n.iter().sum::<u64>())))
}

fn close(head: &str) -> Vec<u8> {
    format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes()
}

#[derive(serde::Deserialize)]
struct Numbers {
    n: Vec<u64>,
}

#[tokio::test]
async fn taken_port_is_named_with_its_cause() {
    let first = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Server::bind(first.local_addr()).await.unwrap_err().to_string();
    assert_eq!(error, format!("cannot listen on {}: another process already listens there", first.local_addr()));
    let foreign = Server::bind("192.0.2.1:80".parse().unwrap()).await.unwrap_err().to_string();
    assert_eq!(foreign, "cannot listen on 192.0.2.1:80: this machine has no such address");
}

#[tokio::test]
async fn every_error_is_a_problem_and_echoes_nothing() {
    let server =
        Running::start(router(), Limits { request_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    for (head, status, code) in [
        ("GET /hunter2 HTTP/1.1", "404 Not Found", "not_found"),
        ("DELETE /hello HTTP/1.1", "405 Method Not Allowed", "method_not_allowed"),
        ("GET /panic HTTP/1.1", "500 Internal Server Error", "internal"),
        ("GET /plain HTTP/1.1", "400 Bad Request", "bad_request"),
        ("GET /own HTTP/1.1", "409 Conflict", "own"),
        ("GET /never HTTP/1.1", "503 Service Unavailable", "timed_out"),
    ] {
        let answer = server.raw(&close(head)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}: {answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
        assert!(!answer.contains("hunter2") && !answer.contains("boom"), "{answer}");
    }
    let answer = server.raw(&close("DELETE /hello HTTP/1.1")).await;
    assert!(answer.contains("allow: GET,HEAD\r\n"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn bodies_and_heads_are_bounded() {
    let server = Running::start(router(), Limits { max_body: 100, max_headers: 8, ..Limits::default() }).await;
    let post = "POST /sum HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    for (request, status) in [
        (format!("{post}content-length: 11\r\n\r\n{{\"n\":[1,2]}}"), "200"),
        (format!("{post}content-length: 65\r\n\r\n"), "413"),
        (format!("{post}content-length: 101\r\n\r\n"), "413"),
        (format!("{post}transfer-encoding: chunked\r\n\r\n60\r\n{}\r\n0\r\n\r\n", " ".repeat(96)), "413"),
        (format!("{post}a: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\ne: 1\r\nf: 1\r\n\r\n"), "431"),
        (format!("{post}long: {}\r\n\r\n", "x".repeat(20_000)), "431"),
    ] {
        let answer = server.raw(request.as_bytes()).await;
        let shown: String = answer.chars().take(80).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {shown}");
    }
    server.stop().await;
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let server =
        Running::start(router(), Limits { header_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    // `raw` returns only when the server has closed.
    assert!(!server.raw(b"GET /hello HTTP/1.1\r\nhost:").await.contains("hello"));
    assert!(server.raw(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.ends_with("hello"));
    server.stop().await;
}

#[tokio::test]
async fn a_burst_of_connections_waits_in_the_systems_queue() {
    let bound = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let clients = futures::future::join_all((0..400).map(|_| TcpStream::connect(bound.local_addr())));
    // Nobody accepts: what the queue has no room for stays unconnected.
    let clients = tokio::time::timeout(Duration::from_secs(30), clients).await.expect("room for all");
    assert!(clients.iter().all(Result::is_ok));
}

#[tokio::test]
async fn shutdown_finishes_requests_under_way_and_refuses_new_ones() {
    let (entered, mut inside) = mpsc::channel(1);
    let release = CancellationToken::new();
    let held = release.clone();
    let slow = get(async move || {
        entered.send(()).await.unwrap();
        held.cancelled().await;
        "finished"
    });
    let server = Running::start(Router::new().route("/slow", slow), Limits::default()).await;
    // An idle connection must not hold the shutdown up.
    let idle = server.client();
    assert_eq!(idle.get_bytes("/none").await.unwrap_err().status().unwrap(), 404);
    let client = server.client();
    let request = TaskTracker::new().spawn(async move { client.get_bytes("/slow").await });
    inside.recv().await.unwrap();
    server.shutdown.cancel();
    let address = server.address;
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.unwrap();
    assert!(!server.done.is_finished());
    release.cancel();
    assert_eq!(request.await.unwrap().unwrap().body, "finished");
    server.stop().await;
}

#[tokio::test]
async fn shutdown_cuts_requests_that_do_not_finish() {
    let server = Running::start(router(), Limits { drain: Duration::from_millis(50), ..Limits::default() }).await;
    let client = server.client();
    let request = TaskTracker::new().spawn(async move { client.get_bytes("/never").await });
    let mut connected = TcpStream::connect(server.address).await.unwrap();
    connected.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Accepted in order: once this one is answered, the others are under way.
    assert!(server.raw(&close("GET /hello HTTP/1.1")).await.ends_with("hello"));
    server.stop().await;
    let cut = request.await.unwrap().unwrap_err();
    assert!(matches!(cut, ClientError::Broken { .. } | ClientError::Connect { .. }), "{cut}");
}

#[tokio::test]
async fn ready_follows_its_closure_and_health_does_not() {
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let answer = Arc::clone(&ready);
    let routes = health_routes(move || {
        let ready = answer.load(std::sync::atomic::Ordering::SeqCst);
        async move { if ready { Readiness::Ready } else { Readiness::NotReady("catching up".into()) } }
    });
    let server = Running::start(routes, Limits::default()).await;
    let client = server.client();
    assert_eq!(client.get_bytes("/health").await.unwrap().body, r#"{"status":"alive"}"#);
    let not_ready = client.get_bytes("/ready").await.unwrap_err();
    assert!(matches!(&not_ready, ClientError::Status { status, code: Some(code), retry_after: Some(_), .. }
        if *status == 503 && code == "not_ready"));
    assert!(not_ready.is_retryable());
    ready.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(client.get_bytes("/ready").await.unwrap().body, r#"{"status":"ready"}"#);
    server.stop().await;
}

#[tokio::test]
async fn connections_that_keep_the_server_waiting_make_way_for_those_that_do_not() {
    let limits = Limits { max_connections: 8, ..Limits::default() };
    let running = Running::start(router(), limits).await;
    let mut silent = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let begin: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /hello HTTP/1.1\r\nhost: x\r\nx-slow: ",
            _ => b"POST /sum HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{\"n\":",
        };
        stream.write_all(begin).await.unwrap();
        silent.push(stream);
        let served = tokio::time::timeout(DEADLINE / 4, running.raw(&close("GET /hello HTTP/1.1"))).await;
        assert!(served.expect("others are served at once").ends_with("hello"));
    }
    let mut open = 0;
    for mut stream in silent {
        let ended = tokio::time::timeout(Duration::ZERO, stream.read(&mut [0; 64])).await;
        open += usize::from(ended.is_err());
    }
    assert!(open <= 8, "{open} are still open");
    running.stop().await;
}

#[tokio::test]
async fn who_waits_for_an_answer_never_makes_way() {
    let (entered, mut inside) = mpsc::channel(2);
    let held = get(async move || -> &'static str {
        entered.send(()).await.unwrap();
        std::future::pending().await
    });
    let limits = Limits { max_connections: 2, request_timeout: Duration::from_secs(2), ..Limits::default() };
    let running = Running::start(router().route("/held", held), limits).await;
    let asked = close("GET /held HTTP/1.1");
    let waiting = futures::future::join_all([running.raw(&asked), running.raw(&asked)]);
    let late = async {
        for _ in 0..2 {
            inside.recv().await.unwrap();
        }
        running.raw(&close("GET /hello HTTP/1.1")).await
    };
    let (waited, late) = futures::join!(waiting, late);
    assert!(waited.iter().all(|answer| answer.starts_with("HTTP/1.1 503")), "{waited:?}");
    assert!(late.ends_with("hello"));
    running.stop().await;
}

#[tokio::test]
async fn what_bodies_hold_that_are_on_their_way_is_bounded_for_all_together() {
    let body = |n: usize| format!("{{\"n\":[{}]}}", vec!["1"; n].join(","));
    let limits = Limits { max_body_bytes: 100, ..Limits::default() };
    let running = Running::start(router(), limits).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = "POST /sum HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n";
        stream.write_all(&[head.as_bytes(), &body(20).as_bytes()[..40]].concat()).await.unwrap();
        slow.push(stream);
    }
    let whole = body(20);
    let head = format!("POST /sum HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {}", whole.len());
    let request = [close(&head), whole.into_bytes()].concat();
    let answer = tokio::time::timeout(DEADLINE / 4, running.raw(&request)).await.expect("an answer at once");
    assert!(answer.ends_with("20"), "{answer}");
    running.stop().await;
}
