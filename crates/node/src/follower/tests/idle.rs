//! Rows of blocks without leaves, longer than a follower keeps until the next one with some.

use birthmark_core::hash::Digest;
use birthmark_core::ids::Height;
use birthmark_core::time::Minute;
use birthmark_ledger::Block;
use birthmark_ledger::block::Header;

use super::*;
use crate::acts::Acts;
use crate::testing::chain;

impl World {
    /// The validator's answers, with blocks without leaves at any height that is asked for.
    async fn endless(&mut self, header: [u8; 41]) -> String {
        let answer = move |request: Request, next: Next| async move {
            let Some(from) = request.uri().path().strip_prefix("/api/v1/blocks/") else {
                return next.run(request).await;
            };
            let from: u64 = from.parse().unwrap();
            let digest = |height: u64| [u8::try_from(height % 256).unwrap(); 32];
            let mut out = vec![VERSION];
            for height in from..from + 5 {
                let (index_root, payload) = (Digest::from_bytes([0; 32]), Vec::new());
                let (digest, parent) = (digest(height), digest(height - 1));
                let block = WholeBlock { height: Height(height), digest, parent, index_root, header, payload };
                block.encode_into(&mut out);
            }
            out.into_response()
        };
        self.serve(self.router.clone().layer(from_fn(answer))).await
    }
}

/// A validator's parts without an engine, with sixty blocks of which only the last one has leaves.
fn long_idle(folder: &TempDir, network: &Arc<Network>) -> Arc<Reads> {
    let node = chain(folder.path(), network, 0);
    let batch = batch(network, 0..3);
    let places = batch.transactions.into_iter().map(Place::Record).collect();
    let payload = encode_payload(&[BlockBatch { submitter: batch.submitter, places, signature: batch.signature }]);
    let epoch = network.current_epoch();
    for height in 1..=60u8 {
        let minute = Minute(NOW.minute().0 + u32::from(height) / 10);
        let header = Header { minute, epoch: epoch.number(), validator_set_hash: epoch.validator_set_hash() };
        let block = Block {
            height: Height(height.into()),
            digest: [height; 32],
            parent: [height - 1; 32],
            header: &header.encode(),
            payload: if height == 60 { &payload } else { &[] },
        };
        node.ledger.apply_final(&[block]).unwrap();
    }
    node.sign(&[]).unwrap();
    Arc::new(Reads {
        ledger: node.ledger,
        publisher: node.publisher,
        acts: Arc::new(Acts::new(Bytes::new())),
        mempool: None,
        pages: Reads::pages(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_row_of_blocks_without_leaves_is_bounded_by_the_next_block_with_some() {
    let mut world = World::start().await;
    let idle = tempfile::tempdir().unwrap();
    world.router = http::follower_router(long_idle(&idle, &world.network));
    // A few at a time, so that they cannot all wait for the one with leaves.
    let slow = |lie: fn(&mut WholeBlock)| {
        move |blocks: &mut Vec<WholeBlock>| {
            blocks.truncate(5);
            blocks.iter_mut().for_each(lie);
        }
    };
    let late = world.lying(slow(|block| block.header[1..5].copy_from_slice(&(NOW.minute().0 + 7).to_be_bytes()))).await;
    let follower = world.follower(&[&late]);
    let refused = follower.step(&follower.sources[0]).await.unwrap_err();
    assert!(matches!(refused, SyncError::Source(SourceError::Empty(10))), "{refused}");
    assert_eq!(follower.reads.ledger.head().height.0, 0, "a block from later than the next one with leaves");

    // Whoever never comes to the one with leaves gets no further than where it must be.
    let epoch = world.network.current_epoch();
    let header = Header { minute: NOW.minute(), epoch: epoch.number(), validator_set_hash: epoch.validator_set_hash() };
    let endless = world.endless(header.encode()).await;
    let refused = follower.step(&Source::new(&endless).unwrap()).await.unwrap_err();
    assert!(matches!(refused, SyncError::Source(SourceError::Empty(_))), "{refused}");
    assert!(follower.reads.ledger.head().height.0 < 60);

    let honest = world.lying(slow(|_| ())).await;
    assert!(follower.step(&Source::new(&honest).unwrap()).await.unwrap());
    assert_eq!(follower.reads.ledger.head().height.0, 60);
    assert_eq!(follower.reads.publisher.newest().unwrap().checkpoint.size, 5);
}
