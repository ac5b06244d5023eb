//! Who asks, and how much it may ask for.
//!
//! For: limits on submissions and look-ups, for each address, or for each credential wherever its holder comes from.
//! Not for: counting (`birthmark_service::rate_limit`), or what a credential is good for besides (`edits`).
//!
//! A credential is never needed here but for edits. Its line in the file may say `limit=N`, submissions in the span
//! of the limit, and `lookups=N` likewise; 0 is as many as it likes. What it does not say is as for an address.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use birthmark_service::auth::Caller;
use birthmark_service::problem::Problem;
use birthmark_service::rate_limit::{Client, Quota, RateLimiter};
use http::request::Parts;
use tokio::time::Instant;

use crate::aggregator::Inner;

/// A client.
#[derive(Debug)]
pub(super) struct Who {
    client: Client,
    pub(super) caller: Option<Caller>,
}

/// How many of something clients may have. A credential's own number holds also where an address has no limit.
#[derive(Debug)]
pub(crate) struct Limit {
    of_addresses: Option<u32>,
    counts: RateLimiter,
}

impl Limit {
    /// None is as many as anybody likes; the span is that of the default then.
    pub(crate) fn new(name: &'static str, quota: Option<Quota>, default: Quota) -> Self {
        let counts = RateLimiter::new(name, quota.unwrap_or(default), MAX_CLIENTS);
        Self { of_addresses: quota.map(|quota| quota.requests), counts }
    }
}

/// Clients that are counted at one time by each limit: some 8 MB.
const MAX_CLIENTS: usize = 65_536;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted {
    Submissions(usize),
    Lookups(u32),
}

/// The holder of a credential, or whoever comes from an address. A credential that is wrong is `401`; where none are
/// kept, none is looked at.
impl FromRequestParts<Arc<Inner>> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, inner: &Arc<Inner>) -> Result<Self, Problem> {
        let caller = match &inner.authenticator {
            Some(authenticator) => authenticator.caller_if_any(&parts.headers)?,
            None => None,
        };
        let client = match &caller {
            Some(caller) => Client::Named(caller.name().into()),
            None => inner.proxies.client(&parts.extensions, &parts.headers).into(),
        };
        Ok(Self { client, caller })
    }
}

impl Who {
    /// Counts, and answers with where the client stands: `429` if it is too much, else by the work.
    pub(super) async fn counted(&self, inner: &Inner, what: Counted, work: impl Future<Output = Response>) -> Response {
        let (limit, attribute, number) = match what {
            Counted::Submissions(number) => (&inner.limit, "limit", u32::try_from(number).unwrap_or(u32::MAX)),
            Counted::Lookups(number) => (&inner.lookups, "lookups", number),
        };
        let own = self.caller.as_ref().and_then(|caller| caller.attribute(attribute)?.parse().ok());
        let Some(allowed) = own.or(limit.of_addresses).filter(|allowed| *allowed > 0) else { return work.await };
        let (mut response, standing) = match limit.counts.take_of(allowed, self.client.clone(), number, Instant::now())
        {
            Ok(standing) => (work.await, standing),
            Err(exceeded) => (Problem::from(exceeded).into_response(), exceeded.0),
        };
        standing.apply(response.headers_mut());
        response
    }

    /// Who is counted.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }
}
