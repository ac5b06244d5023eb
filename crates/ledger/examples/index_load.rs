//! How fast the ledger takes up records, what they cost, and how fast it finds and proves them.
//!
//! ```text
//! cargo run --release -p birthmark-ledger --example index_load -- FOLDER [--records N] [--hashes 1|2] [--block N]
//! ```
//! Everything is real: signed batches of 256, blocks that are judged and made durable one by one, the
//! index root in each. FOLDER is left behind, for `du` and for a second look: if it is there already, it is
//! only opened, and asked. Only the time inside the ledger counts, not that of making the blocks. Beside each rate by the clock stands the
//! processor time that one took, on all threads: on a machine with other work to do, only that can be
//! compared. The figures are in `docs/adr/0005-index.md`.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures time and prints it")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use birthmark_core::ImageHash;
use birthmark_core::batch::{Assurance, Batch, BlockBatch, MAX_BATCH, Place, SubmitterKey, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityId, AuthorityNumber, Height, SubmitterName, SubmitterNumber, TxId};
use birthmark_core::index::trie::End;
use birthmark_core::merkle::{leaf_hash, verify_inclusion};
use birthmark_core::network::{Authority, Network, NetworkBuilder, Rules, Submitter, Validator};
use birthmark_core::note::{KeyName, PublicKey, SecretKey};
use birthmark_core::time::Minute;
use birthmark_ledger::block::{Header, encode_payload};
use birthmark_ledger::{Block, Ledger, Reading};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Time by the clock, and of all processors together.
#[derive(Clone, Copy, Default)]
struct Spent {
    clock: Duration,
    processor: Duration,
}

impl Spent {
    /// What `work` takes.
    fn by<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Self)> {
        let (began, before) = (Instant::now(), processor_time());
        let done = work()?;
        Ok((done, Self { clock: began.elapsed(), processor: processor_time().saturating_sub(before) }))
    }

    fn add(&mut self, other: Self) {
        self.clock += other.clock;
        self.processor += other.processor;
    }

    /// So many in this time.
    fn each(&self, count: u64) -> String {
        let per_second = ratio(count, 1) / self.clock.as_secs_f64().max(f64::EPSILON);
        format!("{per_second:.0}/s, {:.1} us of processor each", 1e6 * self.processor.as_secs_f64() / ratio(count, 1))
    }
}

/// What the command line asks for.
struct Load {
    records: u64,
    hashes: u64,
    block: u64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().filter(|first| !first.starts_with('-')).ok_or("name a folder to make")?;
    let number = |name: &str, default: u64| -> Result<u64> {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(Ok(default), |value| Ok(value.parse()?))
    };
    let load = Load {
        records: number("--records", 1_000_000)?,
        hashes: number("--hashes", 2)?,
        block: number("--block", 4096)?,
    };
    let folder = Path::new(folder);
    let network = Arc::new(network()?);
    if !folder.exists() {
        fs::create_dir(folder)?;
        let ledger = Ledger::open(folder, Arc::clone(&network))?;
        fill(&load, &network, &ledger, folder)?;
        ask(&load, &ledger.reading()?)?;
    }
    let (ledger, spent) = Spent::by(|| Ok(Ledger::open(folder, network)?))?;
    let keys = ledger.reading()?.image_count();
    let (clock, each) = (spent.clock.as_secs_f64(), spent.each(keys));
    println!("open again: {clock:.2} s for {keys} hashes: {each}, {} MB of memory", memory_mb());
    ask(&load, &ledger.reading()?)
}

fn fill(load: &Load, network: &Network, ledger: &Ledger, folder: &Path) -> Result<()> {
    let (mut parent, mut done, mut inside, mut slowest) = ([0; 32], 0, Spent::default(), Duration::ZERO);
    let (mut times, step) = (Vec::new(), (load.records / 10).max(1));
    for height in 1.. {
        let count = load.block.min(load.records - done);
        if count == 0 {
            break;
        }
        let payload = payload(load, network, done..done + count)?;
        let epoch = network.current_epoch();
        let header = Header {
            minute: network.genesis().minute(),
            epoch: epoch.number(),
            validator_set_hash: epoch.validator_set_hash(),
        };
        let digest = *Digest::of_parts(&[&u64::to_be_bytes(height)]).as_bytes();
        let block = Block { height: Height(height), digest, parent, header: &header.encode(), payload: &payload };
        let (_, spent) = Spent::by(|| Ok(ledger.apply_final(&[block])?))?;
        parent = digest;
        inside.add(spent);
        slowest = slowest.max(spent.clock);
        times.push(spent.clock);
        if (done + count) / step > done / step {
            println!(
                "{:>9} records: {}, slowest block since {:>4} ms, {:>4} MB of memory, {:>5.1} B a hash on disk",
                done + count,
                inside.each(done + count),
                slowest.as_millis(),
                memory_mb(),
                ratio(disk(folder)?, (done + count) * load.hashes),
            );
            slowest = Duration::ZERO;
        }
        done += count;
    }
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1)).map(Duration::as_millis);
    println!(
        "{done} records of {} hashes in blocks of {}: {}; a block p50 {:?} p99 {:?} most {:?} ms",
        load.hashes,
        load.block,
        inside.each(done),
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default(),
        at(100).unwrap_or_default(),
    );
    println!("a hash: {}", inside.each(done * load.hashes));
    Ok(())
}

/// Look-ups and proofs at random, each checked on the way.
fn ask(load: &Load, reading: &Reading) -> Result<()> {
    const ASKED: u64 = 20_000;
    let known = |at: u64| image(scattered(at) % load.records, 0);
    let unknown = |at: u64| image(at, 7);
    let timed = |what: &str, each: &dyn Fn(u64) -> Result<usize>| -> Result<()> {
        let (hashes, spent) = Spent::by(|| (0..ASKED).map(each).sum::<Result<usize>>())?;
        println!("{what}: {}, {:.1} hashes", spent.each(ASKED), ratio(hashes as u64, ASKED));
        Ok(())
    };
    timed("look-up, found", &|at| Ok(reading.find(&known(at))?.map(|_| 0).ok_or("a record is missing")?))?;
    timed("look-up, not found", &|at| Ok(reading.find(&unknown(at))?.map_or(0, |found| found.records.len())))?;
    timed("proof that a record is in the log", &|at| {
        Ok(reading.prove_inclusion(TxId(1 + scattered(at) % load.records))?.len())
    })?;
    timed("proof that a hash is in the index", &|at| {
        let path = reading.prove_index(&known(at))?.path;
        if matches!(path.end, End::Here { .. }) { Ok(path.siblings.len()) } else { Err("a hash is missing".into()) }
    })?;
    timed("proof that a hash is not in the index", &|at| {
        let proof = reading.prove_absence(&unknown(at), "")?.ok_or("a hash that nobody recorded")?;
        Ok(proof.siblings.len() + proof.inclusion.len())
    })?;
    for at in 0..100 {
        let found = reading.find(&known(at))?.ok_or("a record is missing")?;
        let tx_id = found.records.first().ok_or("no record")?.tx_id;
        let (head, path) = (reading.head(), reading.prove_inclusion(tx_id)?);
        verify_inclusion(&leaf_hash(&found.leaf_bytes), tx_id.0, head.size, &path, &head.root)?;
    }
    Ok(())
}

fn payload(load: &Load, network: &Network, records: std::ops::Range<u64>) -> Result<Vec<u8>> {
    let key = submitter_key();
    let mut batches = Vec::new();
    let all: Vec<u64> = records.collect();
    for some in all.chunks(MAX_BATCH) {
        let transactions = some.iter().map(|record| transaction(load, *record)).collect::<Result<Vec<_>>>()?;
        let batch = Batch::sign(network.network_id(), SubmitterNumber(1), &key, transactions);
        let places = batch.transactions.into_iter().map(Place::Record).collect();
        batches.push(BlockBatch { submitter: batch.submitter, places, signature: batch.signature });
    }
    Ok(encode_payload(&batches))
}

fn transaction(load: &Load, record: u64) -> Result<Transaction> {
    let entry = |level, at, parent| Entry { level, kind: Kind::File, hash: image(record, at), parent };
    let mut entries = vec![entry(Level::Raw, 0, Parent::None)];
    if load.hashes > 1 {
        entries.push(entry(Level::Validated, 1, Parent::Entry(1)));
    }
    let body = Body { authority: AuthorityId::new("MFG")?, entries: Entries::new(entries, None, None)? };
    Ok(Transaction::new(Assurance::Attested, vec![], body).ok_or("no transaction")?)
}

fn image(record: u64, at: u8) -> ImageHash {
    ImageHash::of(&[&record.to_be_bytes()[..], &[at]].concat())
}

/// Numbers in no order, the same in every run.
fn scattered(at: u64) -> u64 {
    let digest = Digest::of_parts(&[b"asked", &at.to_be_bytes()]);
    digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes) >> 1)
}

fn submitter_key() -> SubmitterKey {
    SubmitterKey::from_seed([5; 32])
}

fn network() -> Result<Network> {
    let secret = |seed| SecretKey::from_seed(&[seed; 32]);
    let mut network = NetworkBuilder::new(KeyName::new("load.example/log")?, Minute(29_000_000));
    network.validators = vec![Validator {
        consensus_key: secret(1).public_key(),
        log_key: secret(2).public_key(),
        cosigning_key: secret(3).public_key(),
        p2p_address: None,
    }];
    network.authorities = vec![Authority {
        number: AuthorityNumber(1),
        id: AuthorityId::new("MFG")?,
        token_key: None,
        rules: Rules::default(),
        endorsement_keys: vec![],
    }];
    network.submitters = vec![Submitter {
        number: SubmitterNumber(1),
        name: SubmitterName::new("load")?,
        key: PublicKey::from_bytes(&submitter_key().public())?,
    }];
    Ok(network.build()?.sign(&[&secret(2)])?.1)
}

/// What `du` counts, without the journal's preallocated zeros.
fn disk(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        // Files go while we look: compaction is at work.
        let Ok(entry) = entry else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Resident memory, where the system tells.
fn memory_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kb| kb / 1024)
}

/// Of all threads, where the system tells: in hundredths of a second.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    Duration::from_millis(fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

#[expect(clippy::cast_precision_loss, reason = "printed with few digits")]
fn ratio(count: u64, by: u64) -> f64 {
    count as f64 / by.max(1) as f64
}
