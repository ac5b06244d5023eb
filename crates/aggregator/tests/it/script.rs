//! How a counterparty is told to misbehave, call by call.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use crate::world::DEADLINE;

/// What to do with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// As the protocol has it.
    Serve,
    /// As the protocol has it, but the answer is cut off on its way.
    ServeAndCut,
    /// An empty answer with this status.
    Status(u16),
    /// As a server that has no place left.
    Busy,
    /// 429 with this `Retry-After`.
    RetryAfter(u64),
    /// A success that is not JSON.
    Garbage,
    /// A success with no results.
    NoResults,
    /// As the protocol has it, once [`Script::release`] was called.
    Hold,
    /// A node's: a good answer about another hash.
    OffTopic,
    /// No answer.
    Hang,
    /// A node's: taken but not recorded.
    OnlyAccept,
}

/// The acts to come and the calls that came.
#[derive(Debug)]
pub(crate) struct Script {
    queue: Mutex<VecDeque<Act>>,
    then: Mutex<Act>,
    calls: watch::Sender<usize>,
    held: watch::Sender<bool>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            then: Mutex::new(Act::Serve),
            calls: watch::Sender::new(0),
            held: watch::Sender::new(true),
        }
    }

    /// These, one a call, and then the standing one.
    pub(crate) fn first(&self, acts: &[Act]) {
        self.queue.lock().unwrap().extend(acts);
    }

    /// The standing act.
    pub(crate) fn always(&self, act: Act) {
        *self.then.lock().unwrap() = act;
    }

    /// Counts a call and says what to do with it.
    pub(crate) async fn next(&self) -> Act {
        let act = self.queue.lock().unwrap().pop_front().unwrap_or(*self.then.lock().unwrap());
        self.calls.send_modify(|calls| *calls += 1);
        if act != Act::Hold {
            return act;
        }
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        Act::Serve
    }

    /// Lets the calls go on that are held.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    pub(crate) fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    /// Waits until so many calls have come in all.
    pub(crate) async fn called(&self, times: usize) {
        let mut calls = self.calls.subscribe();
        tokio::time::timeout(DEADLINE, calls.wait_for(|calls| *calls >= times)).await.expect("calls in time").unwrap();
    }
}

/// The answer to a call that is not served.
pub(crate) async fn misbehave(act: Act) -> Response {
    match act {
        Act::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Act::RetryAfter(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())]).into_response()
        }
        Act::Garbage => ([(header::CONTENT_TYPE, "application/json")], "{\"results\": [nonsense").into_response(),
        Act::NoResults => ([(header::CONTENT_TYPE, "application/json")], "{\"results\": []}").into_response(),
        Act::OffTopic => {
            let about = format!(r#"{{"verified": false, "recorded": false, "image_hash": "{}"}}"#, "00".repeat(32));
            ([(header::CONTENT_TYPE, "application/json")], about).into_response()
        }
        Act::Busy => birthmark_service::problem::Problem::busy().into_response(),
        Act::Hang => std::future::pending().await,
        Act::Serve | Act::ServeAndCut | Act::OnlyAccept | Act::Hold => panic!("served by the counterparty itself"),
    }
}

/// A success whose connection breaks in the middle of the body.
pub(crate) fn cut() -> Response {
    let parts = [Ok("{\"results\""), Err(std::io::Error::other("cut"))];
    Body::from_stream(futures::stream::iter(parts)).into_response()
}
