//! Rows `aggregator_*`: the whole way of a submission, beside servers that go it without any promise.
//!
//! `confirmed`: version 1 tokens through aggregator and authority to four validators, each a process. `chain`: the same
//! with a registry that flushes what it is handed and answers. Both beside the bare chain (`chain`), whose answer
//! comes when all is done. Ours answers once it has the submission on disk; the rate counts until the last one is
//! confirmed. `endorsed`: version 2 tokens, beside the authority's signer alone. `verify`: a look-up that the aggregator
//! passes on. `postgres`: intake into PostgreSQL, beside batches of one statement each.
//!
//! ```text
//! {…, "confirmed_per_s", "confirmed_ratio", "chain_ratio", "verify_ratio", "postgres_ratio", "endorsed_per_s",
//!  "endorsed_ratio"}
//! ```

mod chain;
mod rows;
mod system;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_service::postgres::cluster::Cluster;

use super::host::Host;
use super::installation::{Counterparties, camera, url};
use super::load::{self, Load, Order, Turn};
use super::measure::{self, in_turns};
use super::records::Registry;
use super::row::Row;
use super::sma::sign_all;
use super::submissions::Submissions;
use super::table::Table;
use super::verify::{self, Question};
use super::{Bench, durable_submit};
use crate::terminal::Waiting;
use system::{Chain, System};

pub(super) const NAMES: [&str; 5] =
    ["aggregator_confirmed", "aggregator_chain", "aggregator_endorsed", "aggregator_verify", "aggregator_postgres"];

/// Measures all five and puts their figures where programs look for them.
pub(super) fn measure(bench: &Bench, table: &mut Table) {
    let [confirmed, chain, endorsed, verify, postgres] = NAMES;
    table.measured(confirmed, || whole_way(bench, confirmed, Chain::Validators(4), 0.35));
    table.measured(chain, || whole_way(bench, chain, Chain::AtOnce, 0.70));
    table.measured(endorsed, || endorse(bench));
    table.measured(verify, || look_up(bench));
    table.measured(postgres, || store(bench));
    table.lift(confirmed, &[("confirmed_per_s", "ours"), ("confirmed_ratio", "ratio")]);
    table.lift(chain, &[("chain_ratio", "ratio")]);
    table.lift(endorsed, &[("endorsed_per_s", "ours"), ("endorsed_ratio", "ratio")]);
    table.lift(verify, &[("verify_ratio", "ratio")]);
    table.lift(postgres, &[("postgres_ratio", "ratio")]);
}

/// From the first submission to the last confirmation.
fn whole_way(bench: &Bench, name: &str, chain: Chain, goal: f64) -> anyhow::Result<Row> {
    let _waiting = Waiting::new(format!("measuring {name}"));
    let system = System::start(bench, chain)?;
    let measured = in_turns(
        bench,
        || load::run(system.reference, &load_of(system.attested(most(bench))?, bench.turn())),
        || system.confirm(bench, |count| system.attested(count)),
    );
    system.end()?;
    let (references, turns) = measured?;
    Ok(row(&references, &turns).ratio_at_least(goal))
}

/// Version 2 tokens with the signer in use, against that signer alone on all processors.
fn endorse(bench: &Bench) -> anyhow::Result<Row> {
    let _waiting = Waiting::new("measuring aggregator_endorsed");
    let system = System::start(bench, Chain::AtOnce)?;
    let folder = system.installation.folder.path();
    let (credentials, sealer) = camera(&system.ours, &system.sma, folder)?;
    let submissions = Submissions::new(credentials, sealer);
    let signer = system.signer()?;
    let message = vec![1; signer.public_key().modulus_len()];
    let (mut alone, mut whole) = (Vec::new(), Vec::new());
    for turn in 0..=super::TURNS {
        bench.check()?;
        let raw = sign_all(&*signer, &message, bench.turn());
        let all = system.confirm(bench, |count| (0..count).map(|_| submissions.endorsed()).collect())?;
        // The first turn warms up.
        if turn > 0 {
            alone.push(raw);
            whole.push(all);
        }
    }
    system.end()?;
    let reference = Some(measure::median(alone));
    Ok(Row { reference, reference_latency: None, ..row(&whole, &whole) }.ratio_at_least(0.70))
}

/// Hashes on record, asked of the aggregator, which asks its node.
fn look_up(bench: &Bench) -> anyhow::Result<Row> {
    let registry = Registry::start(bench)?;
    let bound = registry.host.bind()?;
    let address = bound.local_addr();
    let to = Counterparties {
        authority: registry.address,
        nodes: vec![url(registry.address)],
        max_unfinished: u64::MAX,
        call_timeout: CALL,
        database_url: None,
    };
    registry.installation.aggregator(&registry.host, bound, to)?;
    let row = verify::measure_at(bench, &registry, address, Question::Hit);
    registry.end()?;
    row
}

/// The aggregator's intake into a PostgreSQL that is started for it.
fn store(bench: &Bench) -> anyhow::Result<Row> {
    let parent = bench.options.folder.clone().unwrap_or_else(|| PathBuf::from("/tmp"));
    let cluster = Cluster::launch(&parent, &[]).context("cannot start a PostgreSQL to measure with")?;
    let (ours, reference) = (cluster.create_database("ours")?, cluster.create_database("reference")?);
    let row = durable_submit::beside(bench, NAMES[4], Some(ours), |host, _| rows::router(host, &reference, PIPELINES))?;
    Ok(row.ratio_at_least(0.80))
}

/// Processor time is left out: it is not that of all processes, nor of the time until the last confirmation.
fn row(references: &[Turn], turns: &[Turn]) -> Row {
    Row { unit: "captures/s", cpu: None, ..load::row(references, turns) }
}

/// Each once, from as many connections as an aggregator's full batch holds (`sma::questions` says why).
const fn load_of(requests: Vec<Vec<u8>>, time: Duration) -> Load {
    Load { requests, order: Order::Once, status: "202", time, connections: 256, operations: 1 }
}

/// Requests of a turn: more than any machine that this is meant for serves.
fn most(bench: &Bench) -> u32 {
    bench.options.seconds.saturating_mul(60_000) / super::TURNS
}

/// As many batches as the aggregator has under way.
const PIPELINES: usize = 2;
/// The aggregator's default.
const CALL: Duration = Duration::from_secs(10);
/// Of one server; kept apart from the others' so that a profile tells them apart.
const HOSTS: [&str; 2] = ["bench-ours", "bench-bare"];

fn hosts() -> anyhow::Result<[Host; 2]> {
    let [ours, bare] = HOSTS;
    Ok([Host::new(ours)?, Host::new(bare)?])
}
