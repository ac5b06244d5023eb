//! A registry node that holds a known number of records.
//!
//! For: rows that ask. Records are captures of two hashes, put on record over the node's own HTTP interface.
//! Not for: how quickly that goes; finality has rows of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use birthmark_core::ImageHash;
use birthmark_core::api::transactions::{TransactionResult, TransactionsAnswer};
use birthmark_core::batch::{Assurance, Batch, MAX_BATCH, SubmitterKey, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::ids::SubmitterName;
use birthmark_service::client::{ClientOptions, HttpClient};
use birthmark_service::secret_file;
use futures::future::try_join_all;

use super::host::Host;
use super::installation::{Installation, url};
use super::{Bench, disk_usage};
use crate::network;
use crate::terminal::Waiting;

/// The node, its records, and what the disk held before and after.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) address: SocketAddr,
    pub(super) installation: Installation,
    pub(super) records: u32,
    pub(super) empty_bytes: u64,
    pub(super) full_bytes: u64,
    pub(super) host: Host,
}

impl Registry {
    /// Starts a node and fills it.
    pub(super) fn start(bench: &Bench) -> anyhow::Result<Self> {
        let installation = Installation::new(bench)?;
        let host = Host::new("bench-node")?;
        let address = installation.node(&host)?;
        let folder = installation.folder.path().join(network::NODE);
        let empty_bytes = disk_usage(&folder)?;
        let records = bench.options.records;
        host.block_on(fill(bench, &installation, address, records)).context("the registry could not be filled")?;
        let full_bytes = disk_usage(&folder)?;
        Ok(Self { address, installation, records, empty_bytes, full_bytes, host })
    }

    pub(super) fn end(self) -> anyhow::Result<()> {
        self.host.end()
    }
}

/// The JPEG's hash of a record, counted from 0.
pub(super) fn jpeg_hash(record: u32) -> ImageHash {
    ImageHash::of(format!("bench jpeg {record}").as_bytes())
}

async fn fill(bench: &Bench, installation: &Installation, node: SocketAddr, records: u32) -> anyhow::Result<()> {
    let seed = secret_file::read(&installation.folder.path().join("aggregator").join(SIGNING_KEY), 32)?;
    let key = SubmitterKey::from_seed(*seed.as_array().context("the signing key has another length")?);
    let name = SubmitterName::new(network::AGGREGATOR)?;
    let submitter = installation.network.submitter_by_name(&name).context("the network has no aggregator")?.number;
    let client = HttpClient::new(&url(node), &ClientOptions::default())?;
    let progress = Waiting::with_length(format!("recording {records} captures"), records.into());
    let next = AtomicU32::new(0);
    let post = async || {
        loop {
            bench.check()?;
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= records {
                return Ok::<_, anyhow::Error>(());
            }
            let captures = (first..records.min(first + BATCH)).map(|record| capture(installation, record));
            let transactions = captures.collect::<anyhow::Result<Vec<_>>>()?;
            let count = transactions.len();
            let batch = Batch::sign(installation.network.network_id(), submitter, &key, transactions);
            record(&client, batch.encode()).await?;
            for _ in 0..count {
                progress.advance();
            }
        }
    };
    try_join_all((0..IN_FLIGHT).map(|_| post())).await?;
    Ok(())
}

/// Posts a batch until all of it is on record.
async fn record(client: &HttpClient, batch: Vec<u8>) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert("prefer", HeaderValue::from_static("wait=30"));
    let answer = client.send(Method::POST, "/api/v1/transactions", headers, batch.into()).await?;
    let answer: TransactionsAnswer = serde_json::from_slice(&answer.body)?;
    let recorded = |result: &TransactionResult| matches!(result, TransactionResult::Recorded { .. });
    anyhow::ensure!(answer.results.iter().all(recorded), "a batch was not recorded within 30 s");
    Ok(())
}

fn capture(installation: &Installation, record: u32) -> anyhow::Result<Transaction> {
    let raw = ImageHash::of(format!("bench raw {record}").as_bytes());
    let entries = vec![
        Entry { level: Level::Raw, kind: Kind::File, hash: raw, parent: Parent::None },
        Entry { level: Level::Validated, kind: Kind::File, hash: jpeg_hash(record), parent: Parent::Entry(1) },
    ];
    let body = Body { authority: installation.authority.clone(), entries: Entries::new(entries, None, None)? };
    Transaction::new(Assurance::Attested, Vec::new(), body).context("a capture is no transaction")
}

const SIGNING_KEY: &str = birthmark_aggregator::SIGNING_KEY_FILE;
#[expect(clippy::cast_possible_truncation, reason = "256")]
const BATCH: u32 = MAX_BATCH as u32;
const IN_FLIGHT: u32 = 16;
