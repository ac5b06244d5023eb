//! Rows of a whole registry: `--validators` nodes, each a process, on loopback as `demo` starts them.
//!
//! For: what consensus costs beside a network of one, and what an answer, a hash on disk and a new start
//! cost at this size. Not for: aggregator and authority (`submit_to_proof`, `sma`).
//!
//! ```text
//! {…, "validators", "records_per_s", "finality_ms": {"p50", "p99"}, "bytes_per_hash", "proof_bytes",
//!  "verify_us", "absence_proof_bytes", "reopen_ms"}
//! ```

mod disk;
pub(super) mod nodes;

use std::time::Duration;

use anyhow::Context as _;
use birthmark_core::ImageHash;
use birthmark_core::network::{Network, Trust};
use birthmark_core::time::Clock as _;
use birthmark_service::clock::SystemClock;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::host::Host;
use super::installation::Installation;
use super::measure::{fdatasync_ms, latency, median, megabytes, ms, number, timed};
use super::records::{Filled, Submitter, jpeg_hash};
use super::row::Row;
use super::table::Table;
use super::{Bench, proof};
use crate::terminal::Waiting;
use disk::Occupied;
use nodes::Nodes;

pub(super) const NAMES: [&str; 6] =
    ["registry_records", "registry_finality", "registry_disk", "registry_proof", "registry_absence", "registry_reopen"];

/// Measures all six and puts their figures where programs look for them.
pub(super) fn measure(bench: &Bench, table: &mut Table) {
    let [records, finality, disk, proof, absence, reopen] = NAMES;
    let mut network = match Running::start(bench) {
        Ok(network) => network,
        Err(error) => return table.failed(&NAMES, &error),
    };
    table.measured(records, || Ok(network.records()));
    table.measured(disk, || Ok(network.disk()));
    table.measured(finality, || network.finality(bench));
    table.measured(proof, || network.proof(bench));
    table.measured(absence, || network.absence(bench));
    table.measured(reopen, || network.reopen());
    table.put("validators", bench.options.validators.into());
    table.lift(records, &[("records_per_s", "ours")]);
    table.lift(disk, &[("bytes_per_hash", "ours")]);
    table.lift(absence, &[("absence_proof_bytes", "ours")]);
    table.lift(reopen, &[("reopen_ms", "ours")]);
    let figure = |table: &Table, path: &str| table.figure(path).unwrap_or(Value::Null);
    let p50_p99 = json!({
        "p50": figure(table, &format!("/{finality}/p50_ms")),
        "p99": figure(table, &format!("/{finality}/p99_ms")),
    });
    table.put("finality_ms", p50_p99);
    table.put("proof_bytes", figure(table, &format!("/{proof}/details/bytes")));
    table.put("verify_us", figure(table, &format!("/{proof}/ours")));
}

/// A network with records.
#[derive(Debug)]
struct Running {
    host: Host,
    nodes: Nodes,
    submitter: Submitter,
    trust: Trust,
    filled: Filled,
    /// The same load on a network of one.
    alone: Filled,
    /// Of the first node, before the first record and after the last.
    bytes: (Occupied, Occupied),
    fdatasync_ms: f64,
    first_start: Duration,
    /// Last, so that the nodes end before their folder goes.
    _installation: Installation,
}

impl Running {
    /// Fills a network of one, which is the reference, and then the one to be measured. Both are bounded in
    /// time, so that a slow machine gives fewer records and not a long wait.
    fn start(bench: &Bench) -> anyhow::Result<Self> {
        let host = Host::new("bench-client")?;
        let alone = {
            let installation = Installation::new(bench, 1)?;
            let nodes = Nodes::start(installation.folder.path(), 1)?;
            host.block_on(nodes.ready())?;
            let submitter = Submitter::of(&installation)?;
            let clients = nodes.clients();
            host.block_on(submitter.fill(bench, &clients, bench.options.records, REFERENCE))?
        };
        let count = usize::try_from(bench.options.validators)?;
        let installation = Installation::new(bench, count)?;
        let folder = installation.folder.path();
        let fdatasync_ms = fdatasync_ms(folder)?;
        let (nodes, started) = timed(|| {
            let _waiting = Waiting::new("starting the nodes");
            let nodes = Nodes::start(folder, count)?;
            host.block_on(nodes.ready())?;
            anyhow::Ok(nodes)
        });
        let nodes = nodes?;
        let submitter = Submitter::of(&installation)?;
        let clients = nodes.clients();
        // All are connected once one record is final everywhere that is asked.
        host.block_on(submitter.record_one(&clients, u32::MAX))?;
        let before = Occupied::by(nodes.first()?.folder())?;
        let filled = host
            .block_on(submitter.fill(bench, &clients, bench.options.records, LOAD))
            .context("the registry could not be filled")?;
        let bytes = (before, Occupied::by(nodes.first()?.folder())?);
        let trust = Trust::Network(Box::new(Network::clone(&installation.network)));
        Ok(Self {
            host,
            nodes,
            submitter,
            trust,
            filled,
            alone,
            bytes,
            fdatasync_ms,
            first_start: started,
            _installation: installation,
        })
    }

    /// Captures of two hashes a second, from the first post to the last answer that says recorded. Sixteen
    /// batches are under way at a time, each node is given its share.
    fn records(&self) -> Row {
        let latency = latency(self.filled.batches.clone());
        Row {
            reference: Some(self.alone.per_second()),
            latency: Some(latency),
            reference_latency: Some(super::measure::latency(self.alone.batches.clone())),
            ..Row::new("records/s", self.filled.per_second())
        }
        .detail("recorded", f64::from(self.filled.records))
        .detail("recorded_alone", f64::from(self.alone.records))
    }

    fn disk(&self) -> Row {
        let (before, after) = &self.bytes;
        let hashes = 2.0 * f64::from(self.filled.records);
        let a_hash = |bytes: u64| megabytes(bytes) * 1e6 / hashes;
        let grown = after.since(before);
        let each = a_hash(grown.all());
        Row::new("bytes/hash", each)
            .at_most("bytes/hash", each, 120.0)
            .detail("hashes", hashes)
            .detail("consensus", a_hash(grown.consensus))
            .detail("ledger_tables", a_hash(grown.ledger_tables))
            .detail("ledger_journal", a_hash(grown.ledger_journal))
    }

    /// One record after the other, from posting to the answer that a published checkpoint covers it.
    fn finality(&self, bench: &Bench) -> anyhow::Result<Row> {
        let progress = Waiting::with_length("timing finality", bench.options.samples.into());
        let client = [self.nodes.first()?.client.clone()];
        let mut times = Vec::new();
        for sample in 1..=bench.options.samples {
            bench.check()?;
            let started = Instant::now();
            self.host.block_on(self.submitter.record_one(&client, u32::MAX - sample))?;
            times.push(started.elapsed());
            progress.advance();
        }
        let latency = latency(times);
        let most = if bench.options.validators == 1 { 60.0 } else { 250.0 };
        Ok(Row { latency: Some(latency), ..Row::new("ms", latency.p50) }
            .at_most("p50 ms", latency.p50, most)
            .at_most("p99 ms", latency.p99, 1000.0)
            .detail("fdatasync_ms", self.fdatasync_ms))
    }

    fn proof(&self, bench: &Bench) -> anyhow::Result<Row> {
        let client = &self.nodes.first()?.client;
        let hash = jpeg_hash(self.filled.records / 2);
        let (bytes, ms) = proof::check(bench, &self.host, client, hash, &self.trust)?;
        let us = ms * 1000.0;
        Ok(Row::new("us", us).at_most("us", us, 300.0).at_most("bytes", bytes, 1536.0).detail("bytes", bytes))
    }

    fn absence(&self, bench: &Bench) -> anyhow::Result<Row> {
        let _waiting = Waiting::new("verifying a proof of absence");
        let answer = self.host.block_on(self.nodes.first()?.ask(ImageHash::of(b"bench: never recorded")))?;
        let absence = answer.absence.context("the node gave no proof of absence")?;
        let mut times = Vec::new();
        for _ in 0..bench.options.samples {
            let (verdict, time) = timed(|| absence.verify(&self.trust, SystemClock.now()));
            verdict?;
            times.push(ms(time) * 1000.0);
        }
        let bytes = number(serde_json::to_vec(&absence)?.len());
        Ok(Row::new("bytes", bytes).detail("verify_us", median(times)))
    }

    /// SIGKILL to a node that has it all, and its start until it answers again from what it had.
    fn reopen(&mut self) -> anyhow::Result<Row> {
        let _waiting = Waiting::new("starting a killed node again");
        let mut times = Vec::new();
        for _ in 0..super::TURNS {
            let node = self.nodes.last()?;
            let started = Instant::now();
            node.start_again()?;
            let answer = self.host.block_on(node.ask(jpeg_hash(0)))?;
            times.push(ms(started.elapsed()));
            anyhow::ensure!(answer.recorded, "a record is lost after SIGKILL");
        }
        let time = median(times);
        let row = Row::new("ms", time).at_most("ms", time, 2000.0);
        Ok(row.detail("records", f64::from(self.filled.records)).detail("first_start_of_all_ms", ms(self.first_start)))
    }
}

const LOAD: Duration = Duration::from_secs(20);
const REFERENCE: Duration = Duration::from_secs(8);
