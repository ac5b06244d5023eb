//! Aggregator and authority in this process, a registry behind them, and the references beside them.
//!
//! For: putting a known number of submissions through and waiting for the last. Not for: what is sealed into them.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_core::api::provision::AuthorityReference;
use birthmark_core::endorsement::PublicKey;
use birthmark_core::network::EndorsementKeyState;
use birthmark_service::client::{ClientOptions, HttpClient};
use birthmark_sma::{Signer, Sma};
use serde_json::Value;
use tokio::time::Instant;

use super::super::Bench;
use super::super::bare::Log;
use super::super::host::Host;
use super::super::installation::{Counterparties, Installation, url};
use super::super::load::{self, Turn};
use super::super::registry::nodes::Nodes;
use super::super::sma::{bare, cameras::Cameras};
use super::super::submissions;
use super::{CALL, chain, hosts, load_of};

/// What records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// Consensus among so many processes.
    Validators(usize),
    /// A log that is flushed.
    AtOnce,
}

/// Everything that is measured and measured beside.
#[derive(Debug)]
pub(super) struct System {
    pub(super) ours: Host,
    bare: Host,
    pub(super) sma: Sma,
    address: SocketAddr,
    client: HttpClient,
    /// The bare chain.
    pub(super) reference: SocketAddr,
    cameras: Cameras,
    authority: AuthorityReference,
    /// Submissions a second of the last turn.
    rate: Cell<f64>,
    _nodes: Option<Nodes>,
    /// Last, so that the nodes end before their folder goes.
    pub(super) installation: Installation,
}

impl System {
    pub(super) fn start(bench: &Bench, chain: Chain) -> anyhow::Result<Self> {
        let [ours, bare] = hosts()?;
        let validators = match chain {
            Chain::Validators(count) => count,
            Chain::AtOnce => 1,
        };
        let installation = Installation::new(bench, validators)?;
        let folder = installation.folder.path();
        let log = |name: &str| Log::open(&folder.join(name));
        let (nodes, urls) = match chain {
            Chain::Validators(count) => {
                let nodes = Nodes::start(folder, count)?;
                ours.block_on(nodes.ready())?;
                let urls = nodes.clients().iter().map(|client| client.origin().to_owned()).collect();
                (Some(nodes), urls)
            }
            Chain::AtOnce => (None, vec![url(bare.serve_bare(chain::node(log("node.log")?))?)]),
        };
        let (authority, aggregator) = (ours.bind()?, ours.bind()?);
        let (authority_address, address) = (authority.local_addr(), aggregator.local_addr());
        let sma = installation.authority(authority_address, address)?;
        Installation::serve_authority(&ours, authority, &sma)?;
        let cameras = Cameras::provision(bench, &ours, &sma, CAMERAS)?;
        let to = Counterparties {
            authority: authority_address,
            nodes: urls,
            max_unfinished: u64::MAX,
            call_timeout: CALL,
            database_url: None,
        };
        installation.aggregator(&ours, aggregator, to)?;
        let judge = bare.serve_bare(bare::version_1(&cameras))?;
        let reference = bare.serve_bare(chain::aggregator(judge, log("reference.log")?))?;
        let authority = AuthorityReference {
            authority_id: installation.authority.clone(),
            validation_endpoint: format!("{}/validate", url(authority_address)),
        };
        let client = HttpClient::new(&url(address), &ClientOptions::default())?;
        let rate = Cell::new(0.0);
        Ok(Self { ours, bare, sma, address, client, reference, cameras, authority, rate, _nodes: nodes, installation })
    }

    /// Submissions with version 1 tokens of all cameras in turn, as whole requests.
    pub(super) fn attested(&self, count: u32) -> anyhow::Result<Vec<Vec<u8>>> {
        let next = || self.cameras.next().context("there is no camera");
        (0..count).map(|_| submissions::attested(&self.authority, next()?)).collect()
    }

    /// Sends as many as fill a turn, and waits until the last is confirmed. The rate counts both.
    pub(super) fn confirm(
        &self,
        bench: &Bench,
        requests: impl Fn(u32) -> anyhow::Result<Vec<Vec<u8>>>,
    ) -> anyhow::Result<Turn> {
        let count = turn_of(self.rate.get() * bench.turn().as_secs_f64());
        let load = load_of(requests(count)?, PATIENCE);
        let wanted = self.confirmed()? + u64::from(count);
        let started = Instant::now();
        let turn = load::run(self.address, &load)?;
        let deadline = started + PATIENCE;
        loop {
            let confirmed = self.confirmed()?;
            if confirmed >= wanted {
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "{} submissions are not confirmed", wanted - confirmed);
            bench.check()?;
            std::thread::sleep(LOOK);
        }
        let rate = f64::from(count) / started.elapsed().as_secs_f64();
        self.rate.set(rate);
        Ok(Turn { rate, ..turn })
    }

    /// The signer of the current endorsement key.
    pub(super) fn signer(&self) -> anyhow::Result<Arc<dyn Signer>> {
        let keys = &self.installation.statement.endorsement_keys;
        let current = keys.iter().find(|key| key.state == EndorsementKeyState::Current);
        let key = PublicKey::from_spki(&current.context("the authority has no endorsement key")?.spki)?;
        Ok(self.ours.block_on(self.sma.signer(key.id()))?)
    }

    pub(super) fn end(self) -> anyhow::Result<()> {
        self.ours.block_on(self.sma.close());
        self.ours.end()?;
        self.bare.end()
    }

    fn confirmed(&self) -> anyhow::Result<u64> {
        let figures = self.ours.block_on(self.client.get_json::<Value>("/api/v1/status"))?.body;
        figures["confirmed_since_start"].as_u64().context("the aggregator does not count what it confirms")
    }
}

/// The first turn only finds out how many there may be.
fn turn_of(wanted: f64) -> u32 {
    let mut count = FIRST;
    while f64::from(count) < wanted && count < MOST {
        count += FIRST;
    }
    count
}

const CAMERAS: u32 = 1_000;
/// More than connections: the first request of each is not timed.
const FIRST: u32 = 512;
const MOST: u32 = 100_000;
const LOOK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_mins(2);
