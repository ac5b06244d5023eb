//! A thousand connections full of garbage on the port between validators, of a real node that goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::validators::{Four, PATIENCE};

const CONNECTIONS: usize = 1_000;

/// What number `number` sends: nothing, noise, lengths beyond all bounds, another protocol's greeting, a greeting
/// that never ends.
fn garbage(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    });
    match number % 5 {
        0 => Vec::new(),
        1 => noise.take(4_096).collect(),
        2 => vec![0xff; 64],
        3 => b"GET / HTTP/1.1\r\nhost: node\r\n\r\n".to_vec(),
        _ => vec![0, 0, 0, 200],
    }
}

/// Sends, and stays until the node has had enough or the test ends.
async fn pester(port: u16, number: usize, connected: &Semaphore) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    connected.add_permits(1);
    stream.write_all(&garbage(number)).await?;
    let mut answer = [0; 1_024];
    while stream.read(&mut answer).await? > 0 {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_of_garbage_hold_up_no_validator() {
    birthmark_service::process::raise_open_files();
    let four = Arc::new(Four::start());
    let mut load = JoinSet::new();
    four.load_until(&mut load, 10).await;
    let victim = &four.nodes[0];
    let (mut pests, connected) = (JoinSet::new(), Arc::new(Semaphore::new(0)));
    for number in 0..CONNECTIONS {
        let (port, connected) = (victim.p2p_port, Arc::clone(&connected));
        // Again and again, so that there are always as many.
        pests.spawn(async move {
            loop {
                let _ = pester(port, number, &connected).await;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
    }
    let all = connected.acquire_many(u32::try_from(CONNECTIONS).unwrap());
    tokio::time::timeout(PATIENCE, all).await.expect("as many connections").unwrap().forget();
    let before = victim.checkpoint(&four.network).await.map_or(0, |verified| verified.checkpoint.size);
    four.load_until(&mut load, 50).await;
    while load.join_next().await.is_some() {}
    assert_eq!(pests.len(), CONNECTIONS, "all of them are still at it");
    // The one that is pestered has cosigned and published what the others have.
    let size = four.settle().await.checkpoint.size;
    assert!(size > before + 50, "{before} {size}");
    pests.shutdown().await;
    four.check().await;
}
