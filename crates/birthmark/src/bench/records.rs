//! A registry node that holds a known number of records, and the submitter that puts them there.
//!
//! For: rows that ask, and loads. Records are captures of two hashes, put on record over the node's own HTTP interface.
//! Not for: judging how quickly that goes (`registry`).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use birthmark_core::ImageHash;
use birthmark_core::api::transactions::{TransactionResult, TransactionsAnswer};
use birthmark_core::batch::{Assurance, Batch, MAX_BATCH, SubmitterKey, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::ids::{AuthorityId, NetworkId, SubmitterName, SubmitterNumber};
use birthmark_service::client::{ClientOptions, HttpClient};
use birthmark_service::secret_file;
use futures::future::try_join_all;
use tokio::time::Instant;

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
        let installation = Installation::new(bench, 1)?;
        let host = Host::new("bench-node")?;
        let address = installation.node(&host)?;
        let folder = installation.folder.path().join(network::NODE);
        let empty_bytes = disk_usage(&folder)?;
        let records = bench.options.records;
        let submitter = Submitter::of(&installation)?;
        let client = [HttpClient::new(&url(address), &ClientOptions::default())?];
        host.block_on(submitter.fill(bench, &client, records, UNBOUNDED))
            .context("the registry could not be filled")?;
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

/// Who signs the batches.
#[derive(Debug)]
pub(super) struct Submitter {
    network: NetworkId,
    authority: AuthorityId,
    number: SubmitterNumber,
    key: SubmitterKey,
}

/// What was put on record, all from record 0 on.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    pub(super) records: u32,
    pub(super) time: Duration,
    /// Of each batch, from its post to the answer that it is recorded.
    pub(super) batches: Vec<Duration>,
}

impl Filled {
    pub(super) fn per_second(&self) -> f64 {
        f64::from(self.records) / self.time.as_secs_f64()
    }
}

impl Submitter {
    /// The installation's aggregator.
    pub(super) fn of(installation: &Installation) -> anyhow::Result<Self> {
        let seed = secret_file::read(&installation.folder.path().join("aggregator").join(SIGNING_KEY), 32)?;
        let key = SubmitterKey::from_seed(*seed.as_array().context("the signing key has another length")?);
        let name = SubmitterName::new(network::AGGREGATOR)?;
        let submitter = installation.network.submitter_by_name(&name).context("the network has no aggregator")?;
        let (network, authority) = (installation.network.network_id(), installation.authority.clone());
        Ok(Self { network, authority, number: submitter.number, key })
    }

    /// Puts up to `records` on record in batches, each node in turn; begins no batch after `most`.
    pub(super) async fn fill(
        &self,
        bench: &Bench,
        nodes: &[HttpClient],
        records: u32,
        most: Duration,
    ) -> anyhow::Result<Filled> {
        let progress = Waiting::with_length(format!("recording {records} captures"), records.into());
        let (next, started) = (AtomicU32::new(0), Instant::now());
        let post = async |client: &HttpClient| {
            let mut times = Vec::new();
            loop {
                bench.check()?;
                // At least one batch, however slow the machine is.
                if started.elapsed() >= most && !times.is_empty() {
                    return Ok::<_, anyhow::Error>(times);
                }
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= records {
                    return Ok(times);
                }
                let batch = self.batch(first..records.min(first.saturating_add(BATCH)))?;
                let begun = Instant::now();
                record(client, batch).await?;
                times.push(begun.elapsed());
                progress.advance_by(BATCH.into());
            }
        };
        let clients = nodes.iter().cycle().take(IN_FLIGHT);
        let batches = try_join_all(clients.map(post)).await?.concat();
        Ok(Filled { records: records.min(next.into_inner()), time: started.elapsed(), batches })
    }

    /// Puts one record on record at each of these nodes.
    pub(super) async fn record_one(&self, nodes: &[HttpClient], number: u32) -> anyhow::Result<()> {
        let batch = self.batch(std::iter::once(number))?;
        try_join_all(nodes.iter().map(|node| record(node, batch.clone()))).await?;
        Ok(())
    }

    fn batch(&self, numbers: impl Iterator<Item = u32>) -> anyhow::Result<Vec<u8>> {
        let captures = numbers.map(|number| capture(&self.authority, number));
        let transactions = captures.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Batch::sign(self.network, self.number, &self.key, transactions).encode())
    }
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

fn capture(authority: &AuthorityId, record: u32) -> anyhow::Result<Transaction> {
    let raw = ImageHash::of(format!("bench raw {record}").as_bytes());
    let entries = vec![
        Entry { level: Level::Raw, kind: Kind::File, hash: raw, parent: Parent::None },
        Entry { level: Level::Validated, kind: Kind::File, hash: jpeg_hash(record), parent: Parent::Entry(1) },
    ];
    let body = Body { authority: authority.clone(), entries: Entries::new(entries, None, None)? };
    Transaction::new(Assurance::Attested, Vec::new(), body).context("a capture is no transaction")
}

const SIGNING_KEY: &str = birthmark_aggregator::SIGNING_KEY_FILE;
#[expect(clippy::cast_possible_truncation, reason = "256")]
const BATCH: u32 = MAX_BATCH as u32;
const IN_FLIGHT: usize = 16;
/// For a load that is bounded by its records alone.
const UNBOUNDED: Duration = Duration::MAX;
