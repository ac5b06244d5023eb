//! Runtimes on which servers run in this process, on loopback, ended by one call.
//!
//! For: serving our routers exactly as the roles do, and references as plainly as axum can.
//! Not for: the client, which has a thread of its own (`load`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use birthmark_service::server::{Bound, Limits, Server};
use birthmark_service::shutdown::Tasks;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// A runtime with the tasks on it.
#[derive(Debug)]
pub(super) struct Host {
    tasks: Tasks,
    runtime: Runtime,
}

impl Host {
    /// `name` is its threads'.
    pub(super) fn new(name: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name(name).enable_all().build();
        Ok(Self { tasks: Tasks::new(CancellationToken::new()), runtime: runtime.context("cannot start a runtime")? })
    }

    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Tasks that end with this host. Spawn them within [`Self::block_on`].
    pub(super) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Takes any free port.
    pub(super) fn bind(&self) -> anyhow::Result<Bound> {
        Ok(self.block_on(Server::bind(LOOPBACK))?)
    }

    /// Serves as every role does, with all limits and layers.
    pub(super) fn serve(&self, bound: Bound, router: Router) -> SocketAddr {
        let (address, token) = (bound.local_addr(), self.tasks.token().clone());
        self.block_on(async {
            self.tasks.spawn("http", async move {
                bound.serve(router, Limits::default(), token).await;
                Ok::<_, std::convert::Infallible>(())
            });
        });
        address
    }

    /// Serves with nothing around the router.
    pub(super) fn serve_bare(&self, router: Router) -> anyhow::Result<SocketAddr> {
        self.block_on(async {
            let listener = tokio::net::TcpListener::bind(LOOPBACK).await?;
            let address = listener.local_addr()?;
            let token = self.tasks.token().clone();
            let listener = listener.tap_io(|stream| {
                // A socket that went away meanwhile needs no option.
                let _ = stream.set_nodelay(true);
            });
            self.tasks.spawn("bare http", async move {
                axum::serve(listener, router).with_graceful_shutdown(token.cancelled_owned()).await
            });
            Ok(address)
        })
    }

    /// Ends all tasks cleanly.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.tasks.token().cancel();
        Ok(self.runtime.block_on(self.tasks.finish(END))?)
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const END: Duration = Duration::from_secs(30);
