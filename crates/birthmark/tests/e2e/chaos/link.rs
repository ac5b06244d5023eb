//! A wire between two processes on which the test makes the weather.
//!
//! For: what a network does that no process can be told to do: late pieces, silence, cut connections, answers
//! that end in the middle. Not for: killing or stopping processes (`parts`).

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What connections meet, those that are open too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Clear,
    /// Every piece comes late.
    Slow,
    /// Nothing comes, and nobody is told.
    Silent,
    /// Every connection is closed, new ones too.
    Cut,
    /// Every answer ends in the middle of its first piece.
    Torn,
}

/// What is behind a link.
#[derive(Clone, Debug)]
pub(super) enum Upstream {
    Tcp(u16),
    Unix(PathBuf),
}

/// Takes connections on a port of its own and carries them on.
pub(super) struct Link {
    pub(super) port: u16,
    weather: watch::Sender<Weather>,
    /// Carries until dropped.
    _carrying: JoinSet<()>,
}

impl Link {
    pub(super) async fn to(upstream: Upstream) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (weather, watched) = watch::channel(Weather::Clear);
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (upstream, watched) = (upstream.clone(), watched.clone());
                        connections.spawn(carry(accepted.unwrap().0, upstream, watched));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { port, weather, _carrying: carrying }
    }

    pub(super) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Whoever is not there is told by the end of the connection, as by a host without that process.
async fn carry(near: TcpStream, upstream: Upstream, weather: watch::Receiver<Weather>) {
    let (near_in, near_out) = near.into_split();
    match upstream {
        Upstream::Tcp(port) => {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let (far_in, far_out) = far.into_split();
            both(near_in, far_out, far_in, near_out, weather).await;
        }
        Upstream::Unix(path) => {
            let Ok(far) = UnixStream::connect(path).await else { return };
            let (far_in, far_out) = far.into_split();
            both(near_in, far_out, far_in, near_out, weather).await;
        }
    }
}

async fn both(
    near_in: impl AsyncRead + Unpin,
    far_out: impl AsyncWrite + Unpin,
    far_in: impl AsyncRead + Unpin,
    near_out: impl AsyncWrite + Unpin,
    weather: watch::Receiver<Weather>,
) {
    tokio::select! {
        () = pass(near_in, far_out, weather.clone(), false) => {}
        () = pass(far_in, near_out, weather, true) => {}
    }
}

/// Carries one direction until it ends or is cut.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
    answers: bool,
) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = tokio::select! {
            read = from.read(&mut piece) => read.unwrap_or(0),
            _ = weather.wait_for(|now| *now == Weather::Cut) => 0,
        };
        if length == 0 {
            return;
        }
        if weather.wait_for(|now| *now != Weather::Silent).await.is_err() {
            return;
        }
        let now = *weather.borrow_and_update();
        let torn = now == Weather::Torn && answers;
        if now == Weather::Slow {
            tokio::time::sleep(LATE).await;
        }
        let carried = if torn { length / 2 } else { length };
        if now == Weather::Cut || to.write_all(&piece[..carried]).await.is_err() || torn {
            return;
        }
    }
}

const LATE: Duration = Duration::from_millis(40);
