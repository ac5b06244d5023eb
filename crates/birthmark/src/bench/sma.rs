//! Rows `sma_validate`, `sma_validate_v2`, `sma_endorse`: the authority with a million cameras, beside
//! handlers that do a token's cryptography and nothing else.
//!
//! Every camera is asked about once before any is again, far from the one before in the registry's order: what
//! the authority remembers of recent cameras helps it as little as it can.
//!
//! Version 2 always asks for a signature, which costs a hundred times what all else does. So
//! `sma_validate_v2` is measured with a signer that answers at once, on both sides, and `sma_endorse` with the
//! real one against that signer alone, on as many threads as there are processors.
//!
//! One question a request from 256 connections, as many as an aggregator's full batch holds; and in rows of
//! their own full batches of 256 from four. The reference gets the same requests from as many connections. It
//! answers within its handler and flushes nothing, so with few questions under way a row would tell the
//! disk's latency. Version 2 batches of ours wait for the signing pool, which has places for just four.
//!
//! ```text
//! {…, "validate_per_s", "validate_ratio", "validate_v2_per_s", "validate_v2_ratio", "endorse_per_s", "endorse_ratio"}
//! ```

pub(super) mod bare;
pub(super) mod cameras;
mod questions;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use birthmark_core::endorsement::PublicKey;
use birthmark_core::ids::{AuthorityId, NetworkId};
use birthmark_core::network::{EndorsementKeyState, TokenKey};
use birthmark_core::token::v2::{Opener, TokenSecretKey};
use birthmark_service::auth::Authenticator;
use birthmark_service::clock::SystemClock;
use birthmark_sma::{InitOptions, SignError, Signer, Sma, SmaConfig};
use tempfile::TempDir;
use tokio::time::Instant;

use super::Bench;
use super::host::Host;
use super::load::{self, Load, Order, Turn};
use super::measure::{self, in_turns, number};
use super::row::Row;
use super::table::Table;
use crate::terminal::Waiting;
use cameras::Cameras;
use questions::{Questions, Shape};

pub(super) const NAMES: [&str; 5] =
    ["sma_validate", "sma_validate_v2", "sma_endorse", "sma_validate_batch", "sma_validate_v2_batch"];

/// Measures all three and puts their figures where programs look for them.
pub(super) fn measure(bench: &Bench, table: &mut Table) {
    let authority = match Authority::prepare(bench) {
        Ok(authority) => authority,
        Err(error) => return table.failed(&NAMES, &error),
    };
    let [version_1, version_2, endorse, batch_1, batch_2] = NAMES;
    table.measured(version_1, || authority.version_1(bench, Shape::Single));
    table.measured(version_2, || authority.version_2(bench, Shape::Single));
    table.measured(endorse, || authority.endorse(bench));
    table.measured(batch_1, || authority.version_1(bench, Shape::Batch));
    table.measured(batch_2, || authority.version_2(bench, Shape::Batch));
    for (name, per_second, ratio) in [
        (version_1, "validate_per_s", "validate_ratio"),
        (version_2, "validate_v2_per_s", "validate_v2_ratio"),
        (endorse, "endorse_per_s", "endorse_ratio"),
    ] {
        table.lift(name, &[(per_second, "ours"), (ratio, "ratio")]);
    }
}

/// An authority in a temporary folder, and the cameras that it knows.
#[derive(Debug)]
struct Authority {
    folder: TempDir,
    network: NetworkId,
    key: PublicKey,
    token_key: TokenKey,
    cameras: Cameras,
}

/// Signs nothing and answers at once, for measuring everything else.
#[derive(Debug)]
struct InstantSigner(PublicKey);

impl Signer for InstantSigner {
    fn public_key(&self) -> &PublicKey {
        &self.0
    }

    fn sign(&self, blinded_message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(blinded_message.to_vec())
    }
}

impl Authority {
    fn prepare(bench: &Bench) -> anyhow::Result<Self> {
        let folder = bench.folder()?;
        let options = InitOptions::new(AuthorityId::new(questions::AUTHORITY)?);
        let statement = birthmark_sma::init(folder.path(), &options, &SystemClock)?;
        let current = statement.endorsement_keys.iter().find(|key| key.state == EndorsementKeyState::Current);
        let current = current.ok_or_else(|| anyhow::anyhow!("the authority has no endorsement key"))?;
        let key = PublicKey::from_spki(&current.spki)?;
        let network = questions::network();
        let token_key = statement.token_key.ok_or_else(|| anyhow::anyhow!("the authority has no token key"))?;
        let host = Host::new("bench-provision")?;
        let sma = open(folder.path(), network, Vec::new())?;
        let cameras = Cameras::provision(bench, &host, &sma, bench.options.devices)?;
        host.block_on(sma.close());
        host.end()?;
        Ok(Self { folder, network, key, token_key, cameras })
    }

    fn version_1(&self, bench: &Bench, shape: Shape) -> anyhow::Result<Row> {
        let _waiting = Waiting::new("measuring sma_validate");
        let most = most(bench, MOST_V1).min(400_000);
        let bare = bare::version_1(&self.cameras);
        let turns = self.turns(bench, shape, bare, Vec::new(), |questions, _| questions.version_1(most, shape))?;
        Ok(row(&turns.0, &turns.1).ratio_at_least(0.70).detail("cameras", f64::from(self.cameras.count())))
    }

    fn version_2(&self, bench: &Bench, shape: Shape) -> anyhow::Result<Row> {
        let _waiting = Waiting::new("measuring sma_validate_v2");
        let most = most(bench, MOST_V2);
        // The authority's own secret stays with it: what the reference opens is sealed to another.
        let secret = TokenSecretKey::from_seed(&[7; 32]);
        let bare = bare::version_2(&self.cameras, Opener::new(self.network, &secret));
        let instant: Arc<dyn Signer> = Arc::new(InstantSigner(self.key.clone()));
        let turns = self.turns(bench, shape, bare, vec![instant], |questions, side| {
            let to = match side {
                Side::Reference => secret.public(),
                Side::Ours => self.token_key,
            };
            questions.version_2(most, shape, to)
        })?;
        Ok(row(&turns.0, &turns.1).ratio_at_least(0.70).detail("cameras", f64::from(self.cameras.count())))
    }

    /// The signer in use, alone on all processors, against the whole authority that uses it.
    fn endorse(&self, bench: &Bench) -> anyhow::Result<Row> {
        let _waiting = Waiting::new("measuring sma_endorse");
        let host = Host::new("bench-authority")?;
        let sma = open(self.folder.path(), self.network, Vec::new())?;
        let signer = host.block_on(sma.signer(self.key.id()))?;
        let address = serve(&host, &sma)?;
        let questions = Questions::new(&self.cameras, self.network, &self.key);
        let (mut raw, mut whole) = (Vec::new(), Vec::new());
        for turn in 0..=super::TURNS {
            bench.check()?;
            let alone = sign_all(&*signer, &questions.message(), bench.turn());
            let requests = questions.version_2(most(bench, MOST_SIGNED), Shape::Single, self.token_key)?;
            let all = load::run(address, &load_of(bench, Shape::Single, requests))?;
            // The first turn warms up.
            if turn > 0 {
                raw.push(alone);
                whole.push(all);
            }
        }
        host.block_on(sma.close());
        host.end()?;
        let row = row(&whole, &whole);
        let reference = Some(measure::median(raw));
        Ok(Row { reference, reference_latency: None, ..row }.ratio_at_least(0.80))
    }

    /// Ours and a bare handler in turns; each gets tokens that nobody has seen.
    fn turns(
        &self,
        bench: &Bench,
        shape: Shape,
        bare: Router,
        signers: Vec<Arc<dyn Signer>>,
        requests: impl Fn(&Questions<'_>, Side) -> anyhow::Result<Vec<Vec<u8>>>,
    ) -> anyhow::Result<(Vec<Turn>, Vec<Turn>)> {
        let (ours, plain) = (Host::new("bench-authority")?, Host::new("bench-bare")?);
        let sma = open(self.folder.path(), self.network, signers)?;
        let address = serve(&ours, &sma)?;
        let reference = plain.serve_bare(bare)?;
        let questions = Questions::new(&self.cameras, self.network, &self.key);
        let load = |side| -> anyhow::Result<Load> { Ok(load_of(bench, shape, requests(&questions, side)?)) };
        let measured = in_turns(
            bench,
            || load::run(reference, &load(Side::Reference)?),
            || load::run(address, &load(Side::Ours)?),
        );
        ours.block_on(sma.close());
        ours.end()?;
        plain.end()?;
        measured
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Reference,
    Ours,
}

fn serve(host: &Host, sma: &Sma) -> anyhow::Result<SocketAddr> {
    let bound = host.bind()?;
    let router = sma.router(Authenticator::open(bound.local_addr())?);
    Ok(host.serve(bound, router))
}

fn row(references: &[Turn], ours: &[Turn]) -> Row {
    Row { unit: "tokens/s", ..load::row(references, ours) }
}

fn load_of(bench: &Bench, shape: Shape, requests: Vec<Vec<u8>>) -> Load {
    let (connections, operations) = (shape.connections(), shape.questions());
    Load { requests, order: Order::Once, status: "200", time: bench.turn(), connections, operations }
}

/// Questions of one turn at so many a second.
fn most(bench: &Bench, a_second: u32) -> u32 {
    bench.options.seconds.saturating_mul(a_second) / super::TURNS
}

fn open(folder: &Path, network: NetworkId, signers: Vec<Arc<dyn Signer>>) -> anyhow::Result<Sma> {
    let config = SmaConfig {
        network_id: Some(network),
        signers,
        // One camera makes many tokens here.
        quota: birthmark_sma::Quota { warn: u32::MAX, stop: u32::MAX },
        ..SmaConfig::new("http://127.0.0.1:8545".to_owned(), "http://127.0.0.1:8001".to_owned())
    };
    Ok(Sma::open(folder, config, Arc::new(SystemClock))?)
}

/// Signatures a second of all processors together.
pub(super) fn sign_all(signer: &dyn Signer, message: &[u8], time: Duration) -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let until = started + time;
    let done: usize = std::thread::scope(|scope| {
        let sign = || {
            let mut done = 0;
            while Instant::now() < until {
                done += usize::from(signer.sign(message).is_ok());
            }
            done
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(sign)).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });
    number(done) / started.elapsed().as_secs_f64()
}

/// More a second than any machine that this is meant for judges.
const MOST_V1: u32 = 60_000;
const MOST_V2: u32 = 15_000;
const MOST_SIGNED: u32 = 4_000;
