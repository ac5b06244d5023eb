//! Running one role's server from bind to clean end; what all three roles share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use birthmark_service::auth::Authenticator;
use birthmark_service::server::{Bound, Limits, Server};
use birthmark_service::shutdown::{self, Tasks};
use clap::Args;

use crate::terminal;

/// Flags of every `serve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on. The default is loopback with the role's own port; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// No credentials, loopback only; ends with the process that holds its standard input.
    #[arg(long, hide = true)]
    pub(crate) child_of_demo: bool,
}

/// Who may call; for servers that do not answer everyone.
#[derive(Clone, Debug, Args)]
pub(crate) struct CallerArgs {
    /// File of bearer tokens, made by `birthmark credential`. Callers without one are refused.
    #[arg(long, value_name = "FILE", required_unless_present = "child_of_demo")]
    credentials: Option<PathBuf>,
}

impl CallerArgs {
    /// The callers in this file.
    pub(crate) const fn of(credentials: Option<PathBuf>) -> Self {
        Self { credentials }
    }

    /// Without a file, which only a child of `demo` may be, everybody on loopback is let in.
    pub(crate) fn authenticator(&self, listening: &Listening) -> anyhow::Result<Authenticator> {
        Ok(match &self.credentials {
            Some(file) => Authenticator::tokens(file)?,
            None => Authenticator::open(listening.bound.local_addr())?,
        })
    }
}

/// A server that is bound but not serving yet.
#[derive(Debug)]
pub(crate) struct Listening {
    bound: Bound,
    pub(crate) tasks: Tasks,
    child_of_demo: bool,
}

impl ServeArgs {
    /// Binds first, so that a port that is taken is said before anything else happens.
    pub(crate) async fn bind(&self, default_port: u16) -> anyhow::Result<Listening> {
        let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), default_port);
        let bound = Server::bind(self.listen.unwrap_or(default)).await?;
        let token = shutdown::on_signal().context("cannot watch for signals")?;
        if self.child_of_demo {
            shutdown::die_with_parent(token.clone(), PARENT_GRACE).context("cannot watch the parent process")?;
        }
        Ok(Listening { bound, tasks: Tasks::new(token), child_of_demo: self.child_of_demo })
    }
}

impl Listening {
    /// `http://address:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.bound.local_addr())
    }

    /// Serves until told to stop, then waits for what is under way.
    pub(crate) async fn serve(self, role: &'static str, router: Router) -> anyhow::Result<()> {
        let url = self.url();
        if self.child_of_demo {
            terminal::say(serde_json::json!({"event": "ready", "role": role, "url": url}));
        }
        tracing::info!(role, url, "serving");
        let token = self.tasks.token().clone();
        let bound = self.bound;
        self.tasks.spawn("http", async move {
            bound.serve(router, Limits::default(), token).await;
            Ok::<_, std::io::Error>(())
        });
        Ok(self.tasks.finish(DRAIN).await?)
    }
}

const PARENT_GRACE: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(20);
