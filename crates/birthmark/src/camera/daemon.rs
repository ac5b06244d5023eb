//! `birthmark camera daemon`: a camera that waits for its trigger, and submits whenever there is a network.
//!
//! For: running for months under systemd (`Type=notify`): photographs when something asks for one, the
//! uploader beside it, and an orderly end. One failed photograph, a full disk or a queue that cannot be
//! written is said and waited out.
//!
//! Not for: what a photograph takes (`session`), or the triggers themselves (`trigger`, `http`, `gpio`).
//!
//! At SIGTERM the exposure under way is finished and queued, nothing new is begun, and what is being submitted
//! is left in the queue, to be sent again with the same token.
//!
//! With `--json`, one object a line:
//! ```text
//! {"event":"ready","http":"http://127.0.0.1:8547" or null,"token_version","secure_element"}
//! {"event":"step","text","progress"}
//! {"event":"captured","frame","jpeg","dng","raw_hash","processed_hash","ms"}
//! {"event":"failed","error"}
//! {"event":"stopped","captured","queued","sent","confirmed","parked"}
//! ```

#[cfg(feature = "gpio")]
mod gpio;
mod http;
mod notify;
mod state;
mod trigger;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::capture::{Captured, Step};
use birthmark_camera::queue::Counts;
use birthmark_camera::upload::Uploader;
use birthmark_service::server::Server;
use birthmark_service::shutdown;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::opening::CameraArgs;
use super::session::Session;
use super::shows_steps;
use crate::terminal::{complain, note, say};
use notify::Manager;
use state::State;
use trigger::Trigger;

/// Flags of `camera daemon`.
#[derive(Debug, clap::Args)]
pub(crate) struct DaemonArgs {
    #[command(flatten)]
    camera: CameraArgs,
    /// Photograph when `POST /api/v1/capture` comes to this address, which must be loopback; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    http: Option<SocketAddr>,
    /// Photograph at each line of standard input.
    #[arg(long)]
    stdin: bool,
    /// Photograph every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    interval: Option<u32>,
    #[cfg(feature = "gpio")]
    #[command(flatten)]
    gpio: gpio::GpioArgs,
    /// One JSON object a line instead of the steps.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &DaemonArgs) -> anyhow::Result<()> {
    let stop = shutdown::on_signal().context("cannot watch for signals")?;
    let server = match args.http {
        Some(address) => Some(Server::bind(address).await?),
        None => None,
    };
    let url = server.as_ref().map(|server| format!("http://{}", server.local_addr()));
    let (asks, asked) = mpsc::channel(trigger::MOST_WAITING);
    #[cfg(feature = "gpio")]
    args.gpio.watch(&asks)?;
    let mut session = Session::open(args.camera.opening(0), args.camera.token()).await?;
    let (queue, uploader) = (session.queue.clone(), session.uploader());
    let state = Arc::new(State::new(queue.clone(), Arc::clone(&uploader), Instant::now()));
    let said = Said { json: args.json };
    said.ready(&session, url);
    let manager = Manager::new();
    Manager::ready();
    if args.stdin {
        trigger::on_lines(std::io::stdin(), asks.clone()).context("cannot read standard input")?;
    }
    let serving = async {
        if let Some(server) = server {
            server.serve(http::router(asks.clone(), Arc::clone(&state)), http::LIMITS, stop.clone()).await;
        }
    };
    tokio::join!(
        serving,
        trigger::by_time(args.interval, &asks, &stop),
        upload(&uploader, &said, &stop),
        manager.report(&state, &stop),
        photograph(&mut session, asked, &state, &said, &stop),
    );
    let counts = queue.counts().await;
    session.close().await;
    said.stopped(state.captured(), counts.ok());
    Ok(())
}

/// Takes a photograph at each trigger, until told to stop: the one under way is finished then.
async fn photograph(
    session: &mut Session,
    mut asked: mpsc::Receiver<Trigger>,
    state: &State,
    said: &Said,
    stop: &CancellationToken,
) {
    loop {
        let trigger = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(trigger) = asked.recv() => trigger,
            () = tokio::time::sleep(MEND) => {
                if let Err(error) = session.queue_left_behind().await {
                    said.failed(&error);
                }
                continue;
            }
        };
        state.begin(Instant::now());
        let taken = session.capture(shows_steps_of(said)).await;
        state.end(taken.as_ref().err());
        match &taken {
            Ok((captured, elapsed)) => said.captured(captured, *elapsed),
            Err(error) => said.failed(error),
        }
        trigger.answer(taken.map(|(captured, _)| captured));
    }
}

/// Submits what is in the queue and what comes into it. A queue that cannot be used now is tried again.
async fn upload(uploader: &Uploader, said: &Said, stop: &CancellationToken) {
    let steps = shows_steps_of(said);
    while !stop.is_cancelled() {
        if let Err(error) = uploader.run(stop, &steps).await {
            said.failed(&anyhow::Error::from(error).context("nothing is submitted for now"));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(QUEUE_AGAIN) => {}
            }
        }
    }
}

/// How it is said what has happened.
#[derive(Clone, Copy, Debug)]
struct Said {
    json: bool,
}

impl Said {
    fn ready(self, session: &Session, url: Option<String>) {
        if self.json {
            say(json!({
                "event": "ready",
                "http": url,
                "token_version": session.credentials.token_version().number(),
                "secure_element": session.credentials.element().as_str(),
            }));
        } else {
            note(format_args!("ready{}", url.map_or_else(String::new, |url| format!("; POST {url}/api/v1/capture"))));
        }
    }

    fn captured(self, captured: &Captured, elapsed: Duration) {
        if self.json {
            let mut event = trigger::shown(captured);
            event["event"] = "captured".into();
            event["ms"] = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).into();
            say(event);
        }
    }

    fn failed(self, error: &anyhow::Error) {
        if self.json {
            say(json!({"event": "failed", "error": format!("{error:#}")}));
        } else {
            complain(error);
        }
    }

    fn stopped(self, captured: u64, counts: Option<Counts>) {
        if self.json {
            let mut event = counts.as_ref().map_or_else(|| json!({}), state::counted);
            event["event"] = "stopped".into();
            event["captured"] = captured.into();
            say(event);
        } else {
            note(format_args!("stopped; {captured} photographs captured"));
        }
    }
}

fn shows_steps_of(said: &Said) -> impl Fn(Step) + Copy + Send + Sync + 'static {
    let Said { json } = *said;
    let plain = shows_steps(!json);
    move |step: Step| {
        if json {
            say(json!({"event": "step", "text": step.to_string(), "progress": step.is_progress()}));
        } else {
            plain(step);
        }
    }
}

/// An address that only this machine reaches.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not an address with a port, such as 127.0.0.1:8547")?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("anybody could take photographs: loopback only".to_owned())
    }
}

/// Between two looks for photographs that are on disk without a row, while nothing is asked for.
const MEND: Duration = Duration::from_secs(30);
const QUEUE_AGAIN: Duration = Duration::from_secs(5);
