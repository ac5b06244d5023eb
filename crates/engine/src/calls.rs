//! Validators telling each other how far they are, so that one that was away is called back to an idle network.
//!
//! While nothing waits nobody sends a vote or a certificate (`pace.rs`), so a validator that has missed the last ones
//! hears of nothing. Every 2 s each says which turn it knows to be final; who is behind makes the others want a block,
//! empty if need be, whose certificate shows it what it has missed. One that lies about it costs an empty block each 30 s.
//!
//! Views count within an epoch, and so do calls: `transition.rs` keeps them apart, and takes one of the next epoch for
//! what it is, a sign that the own one has ended.
//!
//! Not for: fetching what was missed (the archive).
//!
//! ```text
//! call = be64 last final view
//! ```

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use commonware_consensus::types::View;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{CheckedSender as _, Receiver, Recipients, Sender};

use crate::{pace::Pace, parts::Platform};

/// Says again and again how far this validator is. Never ends.
pub(crate) async fn tell<E: Platform>(runtime: E, pace: Arc<Pace>, mut sender: impl Sender<PublicKey = PublicKey>) {
    loop {
        runtime.sleep(EVERY).await;
        let call = Bytes::copy_from_slice(&pace.last_final().get().to_be_bytes());
        // One that was lost, or came above the channel's rate, is followed by another.
        if let Ok(admitted) = sender.check(Recipients::All) {
            let _fed_back = admitted.send(call, false);
        }
    }
}

/// Hears how far the others are.
pub(crate) async fn hear<E: Platform>(runtime: E, pace: Arc<Pace>, mut incoming: impl Receiver<PublicKey = PublicKey>) {
    let mut answered = BTreeMap::new();
    while let Ok((from, message)) = incoming.recv().await {
        let mut call: Bytes = message.into();
        let Ok(view) = call.try_get_u64() else { continue };
        let now = runtime.current();
        let rests = |last| now.duration_since(last).is_ok_and(|since| since < REST);
        if answered.get(&from).copied().is_some_and(rests) {
            continue;
        }
        if pace.is_called_by(View::new(view)) {
            answered.insert(from, now);
        }
    }
}

const EVERY: Duration = Duration::from_secs(2);
/// For so long a validator that was called back does not get another block of its own.
const REST: Duration = Duration::from_secs(30);
