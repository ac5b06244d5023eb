//! A network in a temporary folder, and the services of one with one validator in this process.
//!
//! For: the same parts that `demo` runs as processes, opened with the defaults of their roles.
//! Not for: load (`load`), nor for what is asked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use birthmark_aggregator::{Aggregator, AggregatorConfig};
use birthmark_camera::device::{Credentials, Sealer};
use birthmark_core::ImageHash;
use birthmark_core::api::provision::ProvisionRequest;
use birthmark_core::ids::{AuthorityId, DeviceFamily, DeviceSerial, SubmitterName};
use birthmark_core::network::{AuthorityStatement, Network};
use birthmark_core::token::NucHash;
use birthmark_node::{Node, NodeConfig, PeerNetwork};
use birthmark_service::auth::Authenticator;
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use birthmark_service::server::Bound;
use birthmark_sma::{InitOptions, Sma, SmaConfig};
use bytes::Bytes;
use tempfile::TempDir;

use super::Bench;
use super::host::Host;
use crate::network;
use crate::roles::read_network;

/// Keys and genesis of a new network.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) folder: TempDir,
    pub(super) network: Arc<Network>,
    pub(super) authority: AuthorityId,
    /// What the authority says of itself.
    pub(super) statement: AuthorityStatement,
    network_file: Bytes,
}

impl Installation {
    pub(super) fn new(bench: &Bench, validators: usize) -> anyhow::Result<Self> {
        let folder = bench.folder()?;
        let authority = AuthorityId::new("SIMULATED_MFG_001")?;
        let statement =
            birthmark_sma::init(&folder.path().join("sma"), &InitOptions::new(authority.clone()), &SystemClock)?;
        let aggregator = SubmitterName::new(network::AGGREGATOR)?;
        network::create(
            folder.path(),
            "bench.birthmark.invalid/log",
            vec![statement.clone()],
            &aggregator,
            &network::places::local(validators)?,
        )?;
        let (network, network_file) = read_network(&folder.path().join("network.json"))?;
        Ok(Self { folder, network, authority, statement, network_file })
    }

    /// Starts the node; gives where it answers.
    pub(super) fn node(&self, host: &Host) -> anyhow::Result<SocketAddr> {
        let bound = host.bind()?;
        let config = NodeConfig {
            data_dir: self.folder.path().join(network::NODE),
            network: Arc::clone(&self.network),
            network_file: self.network_file.clone(),
            submitter: SubmitterName::new(network::NODE)?,
            p2p_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            p2p_network: PeerNetwork::Local,
            p2p_addresses: BTreeMap::new(),
            mempool_bytes: MEMPOOL,
        };
        let authenticator = Authenticator::open(bound.local_addr())?;
        let node = host.block_on(Node::start(config, Arc::new(SystemClock)))?;
        let router = node.router(authenticator);
        host.block_on(async {
            let stop = host.tasks().token().clone();
            host.tasks().spawn("consensus", async move { node.run(stop).await });
        });
        Ok(host.serve(bound, router))
    }

    /// Opens the authority, without serving it yet.
    pub(super) fn authority(&self, own: SocketAddr, aggregator: SocketAddr) -> anyhow::Result<Sma> {
        let folder = self.folder.path().join("sma");
        let config = SmaConfig {
            network: Some(serde_json::from_slice(&self.network_file)?),
            network_id: Some(self.network.network_id()),
            // One camera makes many tokens here.
            quota: birthmark_sma::Quota { warn: u32::MAX, stop: u32::MAX },
            ..SmaConfig::new(url(aggregator), url(own))
        };
        Ok(Sma::open(&folder, config, Arc::new(SystemClock))?)
    }

    /// Serves the authority.
    pub(super) fn serve_authority(host: &Host, bound: Bound, sma: &Sma) -> anyhow::Result<()> {
        let router = sma.router(Authenticator::open(bound.local_addr())?);
        host.serve(bound, router);
        Ok(())
    }

    /// Starts the aggregator. It passes on at once what it has taken in.
    pub(super) fn aggregator(&self, host: &Host, bound: Bound, to: Counterparties) -> anyhow::Result<()> {
        let sma =
            birthmark_aggregator::SmaConfig { authority: self.authority.clone(), url: url(to.authority), bearer: None };
        let mut config = AggregatorConfig::new(
            self.folder.path().join("aggregator"),
            Arc::clone(&self.network),
            self.network_file.clone(),
            SubmitterName::new(network::AGGREGATOR)?,
            vec![sma],
            to.nodes,
        );
        config.mix_delay = Duration::ZERO;
        // One client brings all the load.
        config.rate_limit = None;
        config.lookup_limit = None;
        config.max_unfinished = to.max_unfinished;
        config.call_timeout = to.call_timeout;
        config.database_url = to.database_url;
        let aggregator = Aggregator::open(config, Arc::new(SystemClock))?;
        host.block_on(async { aggregator.run(host.tasks()) });
        host.serve(bound, aggregator.router());
        Ok(())
    }
}

/// Whom an aggregator works with.
#[derive(Clone, Debug)]
pub(super) struct Counterparties {
    pub(super) authority: SocketAddr,
    pub(super) nodes: Vec<String>,
    pub(super) max_unfinished: u64,
    pub(super) call_timeout: Duration,
    /// PostgreSQL's; SQLite without it.
    pub(super) database_url: Option<String>,
}

/// Provisions one camera, without a sensor: its fingerprint is made from its name.
pub(super) fn camera(host: &Host, sma: &Sma, folder: &Path) -> anyhow::Result<(Arc<Credentials>, Sealer)> {
    let fingerprint = ImageHash::of(SERIAL.as_bytes());
    let request = ProvisionRequest {
        device_serial: DeviceSerial::new(SERIAL)?,
        device_family: DeviceFamily::new("Raspberry Pi HQ Camera (simulated)")?,
        nuc_hash: fingerprint.to_string(),
        min_token_version: 1,
        tpm: None,
    };
    let config = host.block_on(sma.provision(request))?;
    let own = folder.join("camera");
    std::fs::create_dir_all(&own)?;
    let nuc_hash = NucHash::from_bytes(*fingerprint.as_bytes());
    let credentials = Arc::new(Credentials::at(&own.join("device_config.json"), config, nuc_hash, None)?);
    let sealer = Sealer::new(Arc::clone(&credentials), OsRng);
    Ok((credentials, sealer))
}

pub(super) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

const SERIAL: &str = "BENCH_CAMERA_001";
/// The default of `node serve`.
const MEMPOOL: usize = 64 * 1024 * 1024;
