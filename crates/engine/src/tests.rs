//! The whole engine on real files and sockets.

mod hostile;
mod ledger;
mod sim;

use std::{
    iter,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::ledger::{DEADLINE, Ledger};
use super::*;

const MAX_PAYLOAD: u32 = 4_096;
/// A y coordinate for which the curve has no x.
const NO_POINT: [u8; 32] = {
    let mut y = [0; 32];
    y[0] = 2;
    y
};

fn seed(number: u8) -> [u8; 32] {
    [number; 32]
}

fn config(folder: &Path, own: u8, validators: Vec<Validator>, timing: Timing) -> EngineConfig {
    let listen = validators.iter().find(|v| v.key == public_key_of(&seed(own))).map(|v| v.address);
    EngineConfig {
        storage_dir: folder.join(format!("consensus-{own}")),
        namespace: b"a test network".to_vec(),
        validator_seed: Zeroizing::new(seed(own)),
        validators,
        listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
        genesis_header: Bytes::from_static(b"genesis"),
        epoch: 0,
        first_height: 0,
        past: Vec::new(),
        max_header_bytes: 64,
        max_payload_bytes: MAX_PAYLOAD,
        max_gossip_bytes: 1_024,
        timing,
        network: Network::Local,
        worker_threads: 1,
    }
}

fn validators(numbers: impl IntoIterator<Item = u8>) -> Vec<Validator> {
    // Below the ports that the system gives to outgoing connections, of which tests make many; and each process begins
    // elsewhere. All are held until the last one is known, so that they differ.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(89);
    let mut free = iter::repeat_with(|| {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        TcpListener::bind((Ipv4Addr::LOCALHOST, 10_000 + u16::try_from(number % 20_000).unwrap()))
    })
    .flatten();
    let held: Vec<_> = numbers.into_iter().map(|n| (n, free.next().unwrap())).collect();
    held.iter()
        .map(|(n, socket)| Validator { key: public_key_of(&seed(*n)), address: socket.local_addr().unwrap() })
        .collect()
}

fn alone(folder: &TempDir) -> EngineConfig {
    config(folder.path(), 1, validators([1]), Timing::single())
}

fn payload(number: usize) -> Bytes {
    Bytes::from(format!("payload {number}"))
}

fn assert_one_chain(ledger: &Ledger) {
    for pair in ledger.blocks().windows(2) {
        assert_eq!(pair[1].height, pair[0].height + 1);
        assert_eq!(pair[1].parent, pair[0].digest);
    }
}

async fn ended(engine: &Engine) -> Result<(), Arc<EngineError>> {
    tokio::time::timeout(DEADLINE, engine.wait()).await.expect("the engine ends in time")
}

#[tokio::test]
async fn one_validator_orders_two_hundred_payloads() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    let engine = Engine::start(alone(&folder), ledger.clone()).unwrap();
    engine.ready().await.unwrap();
    let start = Instant::now();
    let expected: Vec<_> = (0..200).map(payload).collect();
    for payload in &expected {
        ledger.submit(payload.clone());
    }
    ledger.recorded(200).await;
    let taken = start.elapsed();
    engine.shutdown().await.unwrap();

    assert_eq!(ledger.payloads(), expected);
    assert_one_chain(&ledger);
    let mut latencies = ledger.latencies();
    latencies.sort();
    println!("200 blocks in {taken:?}; proposed to applied: p50 {:?}, p99 {:?}", latencies[100], latencies[198]);
}

#[tokio::test]
async fn a_restart_continues_where_it_stopped() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    for round in 0..3 {
        let engine = Engine::start(alone(&folder), ledger.clone()).unwrap();
        for number in round * 20..(round + 1) * 20 {
            ledger.submit(payload(number));
        }
        ledger.recorded((round + 1) * 20).await;
        engine.shutdown().await.unwrap();
    }
    assert_eq!(ledger.payloads(), (0..60).map(payload).collect::<Vec<_>>());
    assert_one_chain(&ledger);
}

#[tokio::test]
async fn an_empty_ledger_is_rebuilt_from_the_archive() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    let engine = Engine::start(alone(&folder), ledger.clone()).unwrap();
    (0..150).map(payload).for_each(|payload| ledger.submit(payload));
    ledger.recorded(150).await;
    engine.shutdown().await.unwrap();

    let (rebuilt, _) = Ledger::new();
    let engine = Engine::start(alone(&folder), rebuilt.clone()).unwrap();
    rebuilt.recorded(150).await;
    rebuilt.submit(payload(150));
    rebuilt.recorded(151).await;
    engine.shutdown().await.unwrap();
    assert_eq!(rebuilt.payloads(), (0..151).map(payload).collect::<Vec<_>>());
    assert_eq!(rebuilt.blocks()[..150], ledger.blocks()[..150]);
}

#[tokio::test]
async fn a_ledger_ahead_of_the_archive_is_refused() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (ledger, _) = Ledger::new();
    let engine = Engine::start(alone(&first), ledger.clone()).unwrap();
    ledger.submit(payload(0));
    ledger.recorded(1).await;
    engine.shutdown().await.unwrap();

    let engine = Engine::start(alone(&second), ledger.clone()).unwrap();
    let error = ended(&engine).await.unwrap_err();
    assert!(matches!(*error, EngineError::ArchiveBehind { applied } if applied >= 1), "{error}");
}

#[tokio::test]
async fn a_ledger_of_another_history_is_refused() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (one, _) = Ledger::new();
    let (other, _) = Ledger::new();
    for (folder, ledger, numbers) in [(&first, &one, 0..1), (&second, &other, 1..6)] {
        let engine = Engine::start(alone(folder), ledger.clone()).unwrap();
        let count = numbers.len();
        numbers.map(payload).for_each(|payload| ledger.submit(payload));
        ledger.recorded(count).await;
        engine.shutdown().await.unwrap();
    }
    let engine = Engine::start(alone(&second), one.clone()).unwrap();
    let error = ended(&engine).await.unwrap_err();
    assert!(matches!(*error, EngineError::Diverged { .. }), "{error}");
}

#[tokio::test]
async fn a_folder_of_another_network_is_refused() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    let engine = Engine::start(alone(&folder), ledger.clone()).unwrap();
    engine.ready().await.unwrap();
    engine.shutdown().await.unwrap();

    let other = EngineConfig { genesis_header: Bytes::from_static(b"another genesis"), ..alone(&folder) };
    let engine = Engine::start(other, ledger).unwrap();
    assert!(matches!(*ended(&engine).await.unwrap_err(), EngineError::Genesis));
    assert!(engine.ready().await.is_err());
}

#[tokio::test]
async fn a_block_that_cannot_be_applied_ends_the_engine_and_is_not_skipped() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    ledger.fail_at(Some(5));
    let engine = Engine::start(alone(&folder), ledger.clone()).unwrap();
    (0..10).map(payload).for_each(|payload| ledger.submit(payload));
    let error = ended(&engine).await.unwrap_err();
    assert!(matches!(*error, EngineError::Chain(_)), "{error}");
    assert_eq!(error.to_string(), "a finalized block could not be applied: the disk is full at 5");
    assert_eq!(engine.broadcast(Topic::Transactions, Bytes::new()), Ok(()));
    assert_eq!(ledger.blocks().len(), 4);

    ledger.fail_at(None);
    let engine = Engine::start(alone(&folder), ledger.clone()).unwrap();
    ledger.recorded(10).await;
    engine.shutdown().await.unwrap();
    assert_eq!(ledger.payloads(), (0..10).map(payload).collect::<Vec<_>>());
}

#[tokio::test]
async fn work_that_comes_to_an_idle_validator_is_proposed_at_once() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    let engine = Engine::start(alone(&folder), ledger.clone()).unwrap();
    ledger.asked().await;
    let start = Instant::now();
    ledger.submit(payload(0));
    ledger.recorded(1).await;
    assert!(start.elapsed() < Timing::single().patience / 2, "{:?}", start.elapsed());
    assert_eq!(ledger.blocks().len(), 1);
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_idle_validator_makes_an_empty_block_only_when_its_long_patience_ends() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    let idle = Duration::from_millis(700);
    let timing = Timing { patience: Duration::from_millis(50), idle, ..Timing::single() };
    let engine = Engine::start(config(folder.path(), 1, validators([1]), timing), ledger.clone()).unwrap();
    ledger.reached(1).await;
    let start = Instant::now();
    ledger.reached(4).await;
    assert!(start.elapsed() > idle * 2, "{:?}", start.elapsed());
    engine.shutdown().await.unwrap();
    assert!(ledger.payloads().is_empty());
}

#[tokio::test]
async fn an_oversize_proposal_costs_a_turn_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    let timing = Timing {
        patience: Duration::from_millis(50),
        leader_timeout: Duration::from_millis(100),
        certification_timeout: Duration::from_millis(200),
        ..Timing::single()
    };
    ledger.propose_oversize_once();
    ledger.submit(payload(0));
    let engine = Engine::start(config(folder.path(), 1, validators([1]), timing), ledger.clone()).unwrap();
    ledger.recorded(1).await;
    engine.shutdown().await.unwrap();
    assert_eq!(ledger.payloads(), [payload(0)]);
}

#[tokio::test]
async fn four_validators_agree_and_gossip() {
    let folder = TempDir::new().unwrap();
    let set = validators(1..=4);
    let mut nodes = Vec::new();
    for own in 1..=4 {
        let (ledger, heard) = Ledger::new();
        let config = config(folder.path(), own, set.clone(), Timing::lan());
        nodes.push((Engine::start(config, ledger.clone()).unwrap(), ledger, heard));
    }
    // Everyone holds every payload, so leaders must leave out what unapplied ancestors hold.
    for number in 0..40 {
        for (_, ledger, _) in &nodes {
            ledger.submit(payload(number));
        }
    }
    for (_, ledger, _) in &nodes {
        ledger.recorded(40).await;
    }

    let message = Bytes::from_static(b"psst");
    assert!(matches!(
        nodes[0].0.broadcast(Topic::Cosignatures, vec![0; 1_025].into()),
        Err(BroadcastError::TooLarge { len: 1_025, bound: 1_024 })
    ));
    let (sender, others) = nodes.split_first_mut().unwrap();
    for (_, _, heard) in others {
        // Gossip may be lost, for one while two validators are not connected yet: say it until it is heard.
        let repeat = async {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tokio::select! {
                    got = heard.recv() => return got.unwrap(),
                    _ = tick.tick() => sender.0.broadcast(Topic::Cosignatures, message.clone()).unwrap(),
                }
            }
        };
        let got = tokio::time::timeout(DEADLINE, repeat).await.unwrap();
        assert_eq!(got, (Topic::Cosignatures, public_key_of(&seed(1)), message.clone()));
    }

    let common = nodes.iter().map(|(_, ledger, _)| ledger.blocks().len()).min().unwrap();
    let first = nodes[0].1.blocks()[..common].to_vec();
    for (engine, ledger, _) in &nodes {
        engine.shutdown().await.unwrap();
        assert_eq!(ledger.blocks()[..common], first);
        assert_one_chain(ledger);
        let mut payloads = ledger.payloads();
        payloads.sort();
        payloads.dedup();
        assert_eq!(payloads.len(), 40);
        assert_eq!(ledger.payloads().len(), 40, "nothing is recorded twice");
    }
}

#[tokio::test]
async fn a_validator_that_was_away_catches_up() {
    let folder = TempDir::new().unwrap();
    let set = validators(1..=4);
    let start = |own, ledger: &Arc<Ledger>| {
        Engine::start(config(folder.path(), own, set.clone(), Timing::lan()), ledger.clone()).unwrap()
    };
    let ledgers: Vec<_> = (0..4).map(|_| Ledger::new().0).collect();
    let engines: Vec<_> = (1..=3).zip(&ledgers).map(|(own, ledger)| start(own, ledger)).collect();
    for number in 0..20 {
        for ledger in &ledgers[..3] {
            ledger.submit(payload(number));
        }
    }
    ledgers[0].recorded(20).await;
    let late = start(4, &ledgers[3]);
    ledgers[3].recorded(20).await;
    assert_eq!(ledgers[3].payloads(), ledgers[0].payloads());
    for engine in engines.iter().chain([&late]) {
        engine.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn unusable_configurations_are_refused() {
    let folder = TempDir::new().unwrap();
    let (ledger, _) = Ledger::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let mut twice = validators([1, 2]);
    twice[1].key = twice[0].key;
    let good = alone(&folder);
    let with = |change: &dyn Fn(&mut EngineConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Engine::start(config, ledger.clone()).map(|_| ()).unwrap_err()
    };

    assert!(matches!(with(&|c| c.validators.clear()), EngineError::ValidatorCount(0)));
    assert!(matches!(with(&|c| c.validators = validators(1..=23)), EngineError::ValidatorCount(23)));
    assert!(matches!(with(&|c| c.validators[0].key = NO_POINT), EngineError::ValidatorKey(0)));
    assert!(matches!(with(&|c| c.validators = twice.clone()), EngineError::DuplicateValidator));
    let same = |c: &mut EngineConfig| {
        c.validators = validators([1, 2]);
        c.validators[1].address = c.validators[0].address;
    };
    assert!(matches!(with(&same), EngineError::DuplicateAddress(_)));
    let never = Connections { reconnect: Duration::ZERO, ..Connections::lan() };
    assert!(matches!(with(&|c| c.network = Network::Custom(never)), EngineError::Connections(_)));
    assert!(matches!(with(&|c| c.validator_seed = Zeroizing::new(seed(9))), EngineError::NotAValidator));
    assert!(matches!(with(&|c| c.timing.patience = c.timing.leader_timeout), EngineError::Timing(_)));
    assert!(matches!(with(&|c| c.timing.idle = c.timing.patience), EngineError::Timing(_)));
    assert!(matches!(with(&|c| c.timing.certification_timeout = c.timing.leader_timeout), EngineError::Timing(_)));
    assert!(matches!(with(&|c| c.timing.retry = Duration::ZERO), EngineError::Timing(_)));
    assert!(matches!(with(&|c| c.timing.skip = Some(Duration::from_secs(1))), EngineError::Timing(_)));
    assert!(matches!(with(&|c| c.max_payload_bytes = 64 << 20), EngineError::Limits(_)));
    assert!(matches!(with(&|c| c.max_header_bytes = 1), EngineError::Limits(_)));
    assert!(matches!(with(&|c| c.max_gossip_bytes = u32::MAX), EngineError::Limits(_)));
    assert!(matches!(with(&|c| c.worker_threads = 0), EngineError::Limits(_)));
    assert!(matches!(with(&|c| c.listen = taken.local_addr().unwrap()), EngineError::Listen { .. }));
    assert!(matches!(with(&|c| c.storage_dir = file.join("below")), EngineError::Folder { .. }));
}

#[test]
fn the_ready_made_time_outs_are_accepted() {
    for timing in [Timing::single(), Timing::lan(), Timing::wan(), Timing::unlock()] {
        let config = EngineConfig { network: Network::Lan, ..config(Path::new("/x"), 1, validators([1]), timing) };
        assert!(config::Setup::new(config).is_ok(), "{timing:?}");
    }
}

#[test]
fn a_configuration_does_not_show_its_key() {
    let config = EngineConfig { storage_dir: "x".into(), ..config(Path::new(""), 0xab, Vec::new(), Timing::single()) };
    let shown = format!("{config:?}").to_lowercase();
    assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
}
