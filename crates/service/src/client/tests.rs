use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::problem::Problem;
use crate::server::{Limits, Server};

async fn serve(router: Router) -> String {
    let bound = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let origin = format!("http://{}", bound.local_addr());
    TaskTracker::new().spawn(bound.serve(router, Limits::default(), CancellationToken::new()));
    origin
}

/// Answers each connection with fixed bytes, then closes it.
async fn serve_bytes(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    TaskTracker::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
            let _ = stream.write_all(answer).await;
        }
    });
    origin
}

fn client(origin: &str) -> HttpClient {
    HttpClient::new(origin, &ClientOptions { max_response: 64, ..ClientOptions::default() }).unwrap()
}

#[tokio::test]
async fn json_goes_both_ways_with_headers_and_bearer() {
    let echo = post(async |headers: HeaderMap, body: Bytes| {
        let auth = headers["authorization"].to_str().unwrap().to_owned();
        let prefer = headers.get("prefer").map(|v| v.to_str().unwrap().to_owned());
        let body: Value = serde_json::from_slice(&body).unwrap();
        (StatusCode::ACCEPTED, axum::Json(json!({"seen": [auth, prefer, body]})))
    });
    let origin = serve(Router::new().route("/echo", echo)).await;
    let options = ClientOptions { bearer: Some(BearerToken::new("hunter2")), ..ClientOptions::default() };
    assert!(!format!("{options:?}").contains("hunter2"));
    let client = HttpClient::new(&origin, &options).unwrap();
    assert!(!format!("{client:?}").contains("hunter2"));
    let answer = client.post_json::<Value>("/echo", &json!({"a": 1})).await.unwrap();
    assert_eq!(
        (answer.status, answer.body),
        (StatusCode::ACCEPTED, json!({"seen": ["Bearer hunter2", null, {"a": 1}]}))
    );
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static("prefer"), "wait=5".parse().unwrap())]);
    let answer = client.post_json_with::<Value>("/echo", headers, &1).await.unwrap();
    assert_eq!(answer.body, json!({"seen": ["Bearer hunter2", "wait=5", 1]}));
}

#[tokio::test]
async fn unsuccessful_status_carries_code_and_retry_after() {
    let busy =
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "slow_down", "slow").with_retry_after(Duration::from_secs(7));
    let origin = serve(
        Router::new()
            .route("/busy", get(async move || busy))
            .route("/gone", get(async || (StatusCode::GONE, axum::response::Html("<a>")))),
    )
    .await;
    let error = client(&origin).get_bytes("/busy").await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Status { status, code: Some(code), .. } if *status == 429 && code == "slow_down")
    );
    assert_eq!((error.retry_after(), error.is_retryable()), (Some(Duration::from_secs(7)), true));
    assert_eq!(error.code(), Some("slow_down"));
    let long = serve_bytes(b"HTTP/1.1 503 X\r\nretry-after: 18446744073709551615\r\ncontent-length: 0\r\n\r\n").await;
    let error = client(&long).get_bytes("/").await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
    let error = client(&origin).get_bytes("/gone").await.unwrap_err();
    assert_eq!((error.status().unwrap().as_u16(), error.is_retryable()), (410, false));
    assert!(matches!(error, ClientError::Status { code: None, .. }));
}

#[tokio::test]
async fn answers_are_bounded_declared_or_not() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n41\r\n01234567890123456789012345678901234567890123456789012345678901234\r\n0\r\n\r\n",
    ] {
        let error = client(&serve_bytes(answer).await).get_bytes("/").await.unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { max: 64, .. }), "{error}");
    }
}

#[tokio::test]
async fn cut_malformed_and_redirected_answers_are_told_apart() {
    let cut = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n12").await;
    let error = client(&cut).get_bytes("/").await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    let malformed = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n\"hunter2\"").await;
    let error = client(&malformed).get_json::<u32>("/").await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }) && !error.to_string().contains("hunter2"), "{error}");
    let redirect = serve_bytes(b"HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client(&redirect).get_bytes("/").await.unwrap_err().status().unwrap(), 302);
}

#[tokio::test]
async fn refused_connection_and_silence_are_retryable_and_named() {
    let bound = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let origin = format!("http://{}", bound.local_addr());
    // Bound but never served: connections are queued by the system, nobody answers.
    let options = ClientOptions { request_timeout: Duration::from_millis(50), ..ClientOptions::default() };
    let error = HttpClient::new(&origin, &options).unwrap().get_bytes("/").await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }) && error.is_retryable(), "{error}");
    drop(bound);
    let error = client(&origin).get_bytes("/a/private/path").await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }) && error.is_retryable(), "{error}");
    assert!(error.to_string().contains(&origin) && !error.to_string().contains("private"), "{error}");
}

#[test]
fn origins_with_anything_more_are_refused() {
    let options = ClientOptions::default();
    for bad in ["", "127.0.0.1:1", "ftp://h", "http://u@h", "http://h/p", "http://h/?q", "http://h/#f", "file:///x"] {
        assert!(matches!(HttpClient::new(bad, &options), Err(ClientSetupError::Origin(_))), "{bad}");
    }
    assert_eq!(HttpClient::new("http://H:80/", &options).unwrap().origin(), "http://h");
    let bearer = Some(BearerToken::new("two\nlines"));
    let options = ClientOptions { bearer, ..ClientOptions::default() };
    assert!(matches!(HttpClient::new("http://h", &options), Err(ClientSetupError::Token)));
}

#[tokio::test]
async fn paths_cannot_leave_the_origin() {
    let client = client("http://127.0.0.1:9");
    for bad in ["", "x", "//192.0.2.1/", "http://192.0.2.1/", "/\\192.0.2.1", "@192.0.2.1"] {
        let refused = client.url(bad).map(|url| url.host_str().map(str::to_owned));
        assert!(refused.is_err() || refused.unwrap().as_deref() == Some("127.0.0.1"), "{bad}");
    }
    assert!(matches!(client.url("//192.0.2.1/"), Err(ClientError::Request { .. })));
    assert_eq!(client.url("/a?b=1").unwrap().as_str(), "http://127.0.0.1:9/a?b=1");
}
