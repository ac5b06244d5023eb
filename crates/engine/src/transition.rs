//! From one epoch to the next: votes and calls of each on channels of their own, and validators that come late.
//!
//! For: [`split`], which keeps an epoch's votes apart from those of others, so that nobody takes the vote of a
//! validator that is further on for a false one; and fetching the last block of an epoch that has ended elsewhere.
//! Not for: the change itself; one engine ends and another starts.
//!
//! A message of voting, and a call (`calls.rs`), carries a number in front: the epoch in the upper 24 bits, its first
//! height in the lower 40. So whoever hears the next epoch knows at which height its own has ended, and asks for that
//! block. In an epoch with nothing to agree on nobody votes, but all call; the views that calls name begin anew with it.

use std::sync::Arc;

use commonware_consensus::types::Height;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    Message,
    utils::mux::{Builder as _, Muxer, SubReceiver, SubSender},
};
use commonware_utils::{channel::mpsc, vec::NonEmptyVec};
use tracing::{debug, info, warn};

use crate::{
    application::Archive,
    chain::Chain,
    epoch::Spans,
    error::EngineError,
    parts::{Channel, Fabric, Platform},
};

/// One epoch's part of a channel.
pub(crate) type Part<F> = (SubSender<<F as Fabric>::Sender>, SubReceiver<PublicKey>);

/// Messages of other epochs, with their numbers.
pub(crate) type Elsewhere = mpsc::Receiver<(u64, Message<PublicKey>)>;

/// The part of a channel that belongs to the running epoch, and what comes for others.
pub(crate) async fn split<E: Platform, F: Fabric>(
    runtime: E,
    spans: &Spans,
    (sender, receiver): Channel<F>,
) -> Result<(Part<F>, Elsewhere), EngineError> {
    let (mux, mut handle, elsewhere) = Muxer::builder(runtime, sender, receiver).with_backup().build();
    mux.start();
    let voting = handle.register(number(spans)).await.map_err(|_| EngineError::Stopped("channel"))?;
    Ok((voting, elsewhere))
}

/// Asks for the last block of the running epoch when others speak in the next one.
pub(crate) async fn follow(mut elsewhere: Elsewhere, spans: Spans, archive: Archive, chain: Arc<dyn Chain>) {
    let mut named = false;
    while let Some((number, (from, _))) = elsewhere.recv().await {
        let (epoch, first) = (number >> HEIGHT_BITS, number & HEIGHT_MASK);
        let own = spans.running().get();
        let Some(last) = first.checked_sub(1).filter(|_| epoch > own) else { continue };
        if epoch == own.saturating_add(1) {
            if chain.applied_height() < last {
                debug!(last, "the epoch has ended elsewhere; asking for its last block");
                archive.hint_finalized(Height::new(last), NonEmptyVec::new(from));
            }
        } else if !std::mem::replace(&mut named, true) {
            warn!(epoch, own, "others are several epochs ahead: this node needs a newer network file");
        }
    }
}

/// Waits for the last block of the epoch before the running one, which the first block builds on.
pub(crate) async fn anchor<E: Platform>(
    runtime: &E,
    archive: &Archive,
    last: Height,
    others: Option<NonEmptyVec<PublicKey>>,
) -> commonware_cryptography::sha256::Digest {
    let mut told = false;
    loop {
        if let Some((_, digest)) = archive.get_info(last).await {
            return digest;
        }
        if !std::mem::replace(&mut told, true) {
            info!(last = last.get(), "fetching the blocks of earlier epochs");
        }
        if let Some(others) = others.clone() {
            archive.hint_finalized(last, others);
        }
        runtime.sleep(ASK_AGAIN).await;
    }
}

fn number(spans: &Spans) -> u64 {
    spans.running().get() << HEIGHT_BITS | spans.begins().get() & HEIGHT_MASK
}

const HEIGHT_BITS: u32 = 40;
const HEIGHT_MASK: u64 = (1 << HEIGHT_BITS) - 1;
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);
