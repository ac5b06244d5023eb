//! Serving HTTP/1.1 with limits.
//!
//! For: everything that stands between the network and a router: the listening socket, limits on
//! connections, headers, bodies and time, panics, error bodies, draining at shutdown.
//! Not for: routes (each role's own), body parsing (`extract`), credentials (`auth`), TLS.
//!
//! Every error answer is a problem (`problem`), also where the router answered with plain text or with
//! nothing, so that no library's message can echo what a client sent. Only bytes that are no HTTP request
//! at all get a bare status.

mod connection;
mod health;
mod seats;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Served;
use self::seats::Seats;
use self::watch::Watch;

pub use health::{Readiness, health_routes};
pub(crate) use seats::Room;

/// The address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", describe(source))]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

fn describe(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => "another process already listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege".to_owned(),
        _ => source.to_string(),
    }
}

/// What one server grants to its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections. Where all are taken, one by which nothing was ever asked makes way for a new one, else the one
    /// that has waited for its client the longest. Each takes a file descriptor: see [`crate::process::raise_open_files`].
    pub max_connections: usize,
    /// Bytes of bodies that are on their way, of all connections together.
    pub max_body_bytes: usize,
    /// Header fields of one request.
    pub max_headers: usize,
    /// Bytes of one request's head (at least 8 KiB).
    pub max_header_bytes: usize,
    /// The longest body that a request may declare. Extractors have their own, lower limits.
    pub max_body: u64,
    /// For a request's head, also while a kept-alive connection is idle; longer only while the answer before is taken
    /// at 8 KiB a second at least.
    pub header_timeout: Duration,
    /// From a request's head to its answer, body included. Must exceed the longest `Prefer: wait`.
    pub request_timeout: Duration,
    /// How long requests may take to finish at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_body_bytes: 16 * 1024 * 1024,
            max_headers: 64,
            max_header_bytes: 16 * 1024,
            max_body: 1024 * 1024,
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(45),
            drain: Duration::from_secs(10),
        }
    }
}

/// Where servers come from.
#[derive(Clone, Copy, Debug)]
pub struct Server;

impl Server {
    /// Takes the address; port 0 takes a free one. From here on connections are queued.
    pub async fn bind(address: SocketAddr) -> Result<Bound, BindError> {
        let bound = async {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A restart takes the address over from connections that are not quite gone.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok(Bound { listener, address })
        };
        bound.await.map_err(|source| BindError { address, source })
    }
}

/// A listening socket that does not answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// The address with its real port.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the token is cancelled, then finishes the requests that are under way, at most
    /// `limits.drain` long.
    pub async fn serve(self, router: Router, limits: Limits, shutdown: CancellationToken) {
        let seats = Seats::new(limits.max_connections, limits.max_body_bytes);
        let connections = TaskTracker::new();
        let builder = connection::builder(&limits);
        tracing::info!(address = %self.address, "listening");
        while let Some((stream, place)) = self.next(&seats, &shutdown).await {
            let (router, builder, shutdown) = (router.clone(), builder.clone(), shutdown.clone());
            let seat = seats.sit(place, Watch::new(&limits, Instant::now()));
            let seats = Arc::clone(&seats);
            connections.spawn(async move {
                let served = Served { router, seats, watch: Arc::clone(&seat.watch) };
                connection::run(stream, served, &builder, limits, shutdown).await;
                drop(seat);
            });
        }
        drop(self.listener);
        connections.close();
        tracing::debug!(address = %self.address, open = connections.len(), "draining");
        // Each connection ends itself within `limits.drain`.
        connections.wait().await;
        tracing::info!(address = %self.address, "stopped");
    }

    /// The next connection with its place, or none at shutdown.
    async fn next(
        &self,
        seats: &Seats,
        shutdown: &CancellationToken,
    ) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let accepted = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => return Some((stream, seats.place().await?)),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        // Out of file descriptors, most likely. Trying again at once would spin.
                        tracing::error!(%error, address = %self.address, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            accepted = accepted => accepted,
        }
    }
}

/// Errors that say nothing about the listener: the client went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Connections that the system holds until they are accepted, if its own bound allows it. One too many is told
/// nothing, and tries again after a second.
const BACKLOG: u32 = 4096;

#[cfg(test)]
mod tests;
