//! Row `durable_submit`: the aggregator's intake, on disk before it answers, beside a bare log writer.
//!
//! The authority is an address that takes connections and never answers, so that nothing but the intake
//! is measured.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use axum::Router;

use super::Bench;
use super::bare::Log;
use super::host::Host;
use super::installation::{Counterparties, Installation, camera, url};
use super::load::{self, Load, Order};
use super::measure::{fdatasync_ms, in_turns, number};
use super::row::Row;
use super::submissions::Submissions;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "durable_submit";

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let row = beside(bench, NAME, None, |_, folder| Ok(Log::open(&folder.join("reference.log"))?.router()))?;
    Ok(row.ratio_at_least(0.70))
}

/// The intake into SQLite or a PostgreSQL, beside a reference that also answers once it has stored a submission.
pub(super) fn beside(
    bench: &Bench,
    name: &str,
    database_url: Option<String>,
    reference: impl FnOnce(&Host, &Path) -> anyhow::Result<Router>,
) -> anyhow::Result<Row> {
    let _waiting = Waiting::new(format!("measuring {name}"));
    let installation = Installation::new(bench, 1)?;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (ours, bare) = (Host::new("bench-intake")?, Host::new("bench-bare")?);
    let bound = ours.bind()?;
    let (address, nobody) = (bound.local_addr(), silent.local_addr()?);
    let sma = installation.authority(nobody, address)?;
    let (credentials, sealer) = camera(&ours, &sma, installation.folder.path())?;
    let submissions = Submissions::new(credentials, sealer);
    let to = Counterparties {
        authority: nobody,
        nodes: vec![url(nobody)],
        max_unfinished: u64::MAX,
        call_timeout: NEVER,
        database_url,
    };
    installation.aggregator(&ours, bound, to)?;
    let folder = installation.folder.path();
    let reference = bare.serve_bare(reference(&bare, folder)?)?;

    let requests = most_requests(bench.turn());
    let load = || -> anyhow::Result<Load> {
        let requests = (0..requests).map(|_| submissions.request()).collect::<anyhow::Result<_>>()?;
        Ok(Load {
            requests,
            order: Order::Once,
            status: "202",
            time: bench.turn(),
            connections: load::CONNECTIONS,
            operations: 1,
        })
    };
    let measured = in_turns(bench, || load::run(reference, &load()?), || load::run(address, &load()?));
    let fdatasync = fdatasync_ms(folder)?;
    let bytes = number(submissions.request()?.len());
    ours.end()?;
    bare.end()?;
    drop(silent);
    let (references, turns) = measured?;
    let row = load::row(&references, &turns);
    Ok(row.detail("request_bytes", bytes).detail("fdatasync_ms", fdatasync))
}

/// More than any machine that this is meant for takes in that time.
fn most_requests(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_mul(PER_MS).clamp(1000, 200_000)
}

const PER_MS: u64 = 20;
/// The pipeline must not begin to try again, and to log it, while the intake is measured.
const NEVER: Duration = Duration::from_hours(24);
