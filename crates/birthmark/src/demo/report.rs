//! What the demo says: steps and addresses for a person, JSON lines for a program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use birthmark_camera::capture::Step;
use serde_json::{Value, json};

use super::children::Addresses;
use super::folder::Folder;
use super::photograph::Taken;
use super::samples::Latency;
use crate::terminal::{note, say};
use crate::verify::Outcome;

/// Who is listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// A person at a terminal.
    Person,
    /// A program that reads JSON lines.
    Program,
}

impl Report {
    pub(super) fn folder(self, path: &Path) {
        if self == Self::Person {
            say(format_args!("Everything is kept in {}", path.display()));
        }
    }

    pub(super) fn ready(self, at: &Addresses) {
        match self {
            Self::Person => {
                say(format_args!("  authority   {}", at.sma));
                say(format_args!("  aggregator  {}", at.aggregator));
                for node in &at.nodes {
                    say(format_args!("  {:<11} {}", if at.nodes.len() == 1 { "node" } else { &node.name }, node.url));
                }
            }
            Self::Program => say(json!({
                "event": "ready",
                "sma": at.sma,
                "aggregator": at.aggregator,
                "node": at.node(),
                "nodes": at.nodes.iter().map(|node| json!({
                    "name": node.name, "url": node.url, "pid": node.pid,
                })).collect::<Vec<_>>(),
            })),
        }
    }

    /// A validator is gone that the others do without.
    pub(super) fn validator_ended(self, name: &str, reason: &anyhow::Error) {
        match self {
            Self::Person => note(format_args!("{reason:#}; the other validators go on")),
            Self::Program => say(json!({"event": "validator_ended", "name": name})),
        }
    }

    /// Prints each step of the capture.
    pub(super) fn steps(self) -> impl Fn(Step) + Copy + Send + Sync + 'static {
        move |step| {
            if self == Self::Person {
                let mark = if step.is_progress() { "✓" } else { "…" };
                say(format_args!("{mark} {step}"));
            }
        }
    }

    pub(super) fn result(
        self,
        folder: &Folder,
        taken: &Taken,
        outcome: &Outcome,
        verification: Duration,
        latency: Option<Latency>,
    ) {
        let policy = folder.network_file();
        if self == Self::Person {
            outcome.print(&taken.jpeg);
            if let Some(latency) = latency {
                say(format_args!(
                    "Submit to proof in hand over {} submissions: p50 {:.1} ms, p99 {:.1} ms",
                    latency.count,
                    ms(latency.p50),
                    ms(latency.p99)
                ));
            }
            say("Check it again, with no service running:");
            say(format_args!(
                "  {} verify {} --proof {} --policy {}",
                quoted(&program()),
                quoted(&taken.jpeg),
                quoted(&taken.proof),
                quoted(&policy)
            ));
            return;
        }
        let mut timings = json!({
            "capture": ms(taken.capture),
            "submit_to_proof": ms(taken.registration),
            "verify": ms(verification),
        });
        if let (Value::Object(timings), Some(latency)) = (&mut timings, latency) {
            timings.insert("samples".to_owned(), latency.count.into());
            timings.insert("submit_to_proof_p50".to_owned(), ms(latency.p50).into());
            timings.insert("submit_to_proof_p99".to_owned(), ms(latency.p99).into());
        }
        say(json!({
            "event": "result",
            "verified": outcome.exit_code() == 0,
            "jpeg": taken.jpeg,
            "dng": taken.dng,
            "raw_hash": taken.raw_hash,
            "processed_hash": taken.processed_hash,
            "tx_id": taken.tx_id,
            "block_height": taken.block_height,
            "assurance": outcome.assurance(),
            "proof": taken.proof,
            "policy": policy,
            "timings_ms": timings,
        }));
    }

    pub(super) fn staying(self, at: &Addresses) {
        if self == Self::Person {
            say(format_args!("Ask for any hash: curl {}/api/v1/verify/<hash>", at.aggregator));
            note("The services run until Ctrl-C.");
        }
    }
}

/// This program as it was called; after `cargo run` that is a path, not a name to be found.
fn program() -> PathBuf {
    std::env::args_os().next().map_or_else(|| PathBuf::from("birthmark"), PathBuf::from)
}

/// Milliseconds to a tenth.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte)) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
