//! Strangers, and validators that break the bounds, on real sockets.

use std::{collections::VecDeque, io::Write as _, net::TcpStream};

use super::*;

/// A running validator.
struct Node {
    engine: Engine,
    ledger: Arc<Ledger>,
    heard: tokio::sync::mpsc::UnboundedReceiver<ledger::Heard>,
}

fn start(config: EngineConfig) -> Node {
    let (ledger, heard) = Ledger::new();
    Node { engine: Engine::start(config, ledger.clone()).unwrap(), ledger, heard }
}

async fn record(nodes: &[&Node], numbers: std::ops::Range<usize>) {
    for number in numbers.clone() {
        for node in nodes {
            node.ledger.submit(payload(number));
        }
    }
    for node in nodes {
        node.ledger.recorded(numbers.end).await;
    }
}

async fn stop(nodes: Vec<Node>) {
    for node in nodes {
        node.engine.shutdown().await.unwrap();
    }
}

/// Megabytes of memory that this process holds.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1_024
}

#[tokio::test]
async fn a_thousand_garbage_connections_neither_stop_a_network_nor_fill_its_memory() {
    let folder = TempDir::new().unwrap();
    let set = validators(1..=4);
    let nodes: Vec<_> = (1..=4).map(|own| start(config(folder.path(), own, set.clone(), Timing::lan()))).collect();
    let all: Vec<_> = nodes.iter().collect();
    record(&all, 0..10).await;
    let before = resident();

    let target = set[0].address;
    let flood = tokio::task::spawn_blocking(move || {
        let mut open = VecDeque::new();
        for number in 0..1_000u32 {
            let mut stream = TcpStream::connect(target).unwrap();
            let garbage: Vec<u8> = match number % 5 {
                0 => Vec::new(),
                1 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                2 => u32::MAX.to_be_bytes().to_vec(),
                3 => [vec![0, 0, 1, 0], vec![7; 300]].concat(),
                _ => number.to_be_bytes().repeat(2_000),
            };
            // The other side may have hung up already.
            let _gone = stream.write_all(&garbage).is_err();
            open.push_back(stream);
            if open.len() > 200 {
                open.pop_front();
            }
        }
        open
    });
    record(&all, 10..30).await;
    let still_open = flood.await.unwrap();
    record(&all, 30..40).await;
    let grown = resident().saturating_sub(before);
    drop(still_open);
    println!("{before} MB before, {grown} MB more after");
    assert!(grown < 96, "{grown} MB");
    stop(nodes).await;
}

#[tokio::test]
async fn a_stranger_with_the_right_namespace_is_not_let_in() {
    let folder = TempDir::new().unwrap();
    let set = validators(1..=5);
    let mut nodes: Vec<_> =
        (1..=4).map(|own| start(config(folder.path(), own, set[..4].to_vec(), Timing::lan()))).collect();
    let stranger = start(config(folder.path(), 5, set.clone(), Timing::lan()));
    stranger.engine.ready().await.unwrap();
    for round in 0..5 {
        stranger.engine.broadcast(Topic::Transactions, Bytes::from_static(b"let me in")).unwrap();
        let all: Vec<_> = nodes.iter().collect();
        record(&all, round * 10..(round + 1) * 10).await;
    }
    assert!(stranger.ledger.blocks().is_empty());
    for node in &mut nodes {
        assert!(node.heard.try_recv().is_err());
    }
    nodes.push(stranger);
    stop(nodes).await;
}

#[tokio::test]
async fn messages_above_the_bounds_are_refused_and_hurt_nobody() {
    let folder = TempDir::new().unwrap();
    let set = validators(1..=4);
    let good = |own| config(folder.path(), own, set.clone(), Timing::lan());
    let mut nodes: Vec<_> = (1..=3).map(|own| start(good(own))).collect();
    // Its bounds are above those of the others: for gossip, and for blocks.
    let bold = start(EngineConfig { max_gossip_bytes: 1 << 20, max_payload_bytes: 1 << 20, ..good(4) });
    record(&nodes.iter().collect::<Vec<_>>(), 0..5).await;

    let say = |message: Vec<u8>| bold.engine.broadcast(Topic::Transactions, message.into()).unwrap();
    // One that a connection carries, but is too large for gossip; and one for which the connection is closed.
    let (long, huge) = (vec![1; 1_025], vec![1; 60_000]);
    for round in 1..=5 {
        say(long.clone());
        say(huge.clone());
        bold.ledger.submit(vec![9; 50_000]);
        record(&nodes.iter().collect::<Vec<_>>(), round * 5..(round + 1) * 5).await;
    }
    // It is not shut out for ever.
    for node in &mut nodes {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        let repeat = async {
            loop {
                tokio::select! {
                    got = node.heard.recv() => return got.unwrap(),
                    _ = tick.tick() => say(b"sorry".to_vec()),
                }
            }
        };
        let (topic, from, message) = tokio::time::timeout(DEADLINE, repeat).await.unwrap();
        assert_eq!((topic, from, &message[..]), (Topic::Transactions, public_key_of(&seed(4)), b"sorry".as_slice()));
    }
    for node in &nodes {
        assert!(node.ledger.blocks().iter().all(|block| block.payload.len() <= MAX_PAYLOAD as usize));
    }
    nodes.push(bold);
    stop(nodes).await;
}

#[tokio::test]
async fn a_validator_whose_address_becomes_known_later_is_connected_then() {
    let folder = TempDir::new().unwrap();
    let set = validators(1..=4);
    let unknown = |keep: &dyn Fn(usize) -> bool| {
        let hide = |(at, v): (usize, &Validator)| {
            if keep(at) { *v } else { Validator { address: (Ipv4Addr::UNSPECIFIED, 0).into(), ..*v } }
        };
        set.iter().enumerate().map(hide).collect::<Vec<_>>()
    };
    let mut nodes = Vec::new();
    for own in 1..=4 {
        let known = if own == 4 { unknown(&|at| at == 3) } else { unknown(&|at| at < 3) };
        nodes.push(start(config(folder.path(), own, known, Timing::lan())));
    }
    record(&nodes[..3].iter().collect::<Vec<_>>(), 0..10).await;
    assert!(nodes[3].ledger.blocks().is_empty());
    for node in &nodes {
        node.engine.set_addresses(&set);
    }
    nodes[3].ledger.recorded(10).await;
    stop(nodes).await;
}
