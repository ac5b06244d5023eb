//! Validators that do not keep to the protocol.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    Receiver as _, Recipients, Sender as _,
    simulated::{Oracle, Receiver, SplitForwarder, SplitOrigin, SplitSender, SplitTarget},
};
use commonware_runtime::{Clock as _, IoBuf, Spawner as _, Supervisor as _, deterministic::Context};
use futures::future::{Either, select};
use rand::{Rng, RngExt as _};

use crate::parts::CHANNELS;

/// Whom each of two that share a key talks to, and hears.
#[derive(Clone)]
pub(super) struct Reach(Option<Arc<[BTreeSet<PublicKey>; 2]>>);

impl Reach {
    pub(super) fn everyone() -> Self {
        Self(None)
    }

    /// Each peer gets to know the first, the second, or both.
    pub(super) fn split(rng: &mut impl Rng, others: &[PublicKey]) -> Self {
        let mut sides = [BTreeSet::new(), BTreeSet::new()];
        for other in others {
            let side = rng.random_range(0..7);
            if side < 4 {
                sides[0].insert(other.clone());
            }
            if side >= 3 {
                sides[1].insert(other.clone());
            }
        }
        Self(Some(Arc::new(sides)))
    }

    fn forward(&self, origin: SplitOrigin, recipients: &Recipients<PublicKey>) -> Recipients<PublicKey> {
        let Some(sides) = &self.0 else { return recipients.clone() };
        let side = &sides[usize::from(origin == SplitOrigin::Secondary)];
        let reached = match recipients {
            Recipients::All => side.iter().cloned().collect(),
            Recipients::Some(wanted) => wanted.iter().filter(|key| side.contains(*key)).cloned().collect(),
            Recipients::One(wanted) => side.get(wanted).cloned().into_iter().collect(),
        };
        Recipients::Some(reached)
    }

    fn target(&self, from: &PublicKey) -> SplitTarget {
        let Some(sides) = &self.0 else { return SplitTarget::Primary };
        match (sides[0].contains(from), sides[1].contains(from)) {
            (true, true) => SplitTarget::Both,
            (true, false) => SplitTarget::Primary,
            (false, true) => SplitTarget::Secondary,
            (false, false) => SplitTarget::None,
        }
    }
}

/// The sending ends of all channels.
pub(super) type Senders<F> = Vec<SplitSender<PublicKey, Context, F>>;

/// Opens all channels of `key`: the sending ends of the first and of the second, and the receiving ends.
pub(super) async fn channels(
    oracle: &Oracle<PublicKey, Context>,
    key: &PublicKey,
    reach: Reach,
) -> ([Senders<impl SplitForwarder<PublicKey> + use<>>; 2], Vec<Receiver<PublicKey>>) {
    let forward = move |origin: SplitOrigin, to: &Recipients<PublicKey>, _: &IoBuf| Some(reach.forward(origin, to));
    let (mut first, mut second, mut receivers) = (Vec::new(), Vec::new(), Vec::new());
    for (number, rate) in (0..).zip(CHANNELS) {
        let (sender, receiver) = oracle.control(key.clone()).register(number, rate).await.unwrap();
        let ends = sender.split_with(forward.clone());
        first.push(ends.0);
        second.push(ends.1);
        receivers.push(receiver);
    }
    ([first, second], receivers)
}

/// Gives what arrives to the first, the second, or both.
pub(super) fn split(
    context: &Context,
    receivers: Vec<Receiver<PublicKey>>,
    reach: &Reach,
) -> (Vec<Receiver<PublicKey>>, Vec<Receiver<PublicKey>>) {
    let divide = |receiver: Receiver<PublicKey>| {
        let reach = reach.clone();
        receiver.split_with(context.child("split"), move |(from, _)| reach.target(from))
    };
    receivers.into_iter().map(divide).unzip()
}

/// Sends nonsense on all channels, and what it hears again: as it was, changed, cut, or on another channel.
pub(super) async fn babble(context: &Context, oracle: &Oracle<PublicKey, Context>, key: &PublicKey) {
    let ([senders, _], receivers) = channels(oracle, key, Reach::everyone()).await;
    for (mut receiver, number) in receivers.into_iter().zip(0..) {
        let mut senders = senders.clone();
        context.child("babbler").spawn(move |mut context| async move {
            loop {
                let pause = Duration::from_millis(context.random_range(5..100));
                let pause = context.sleep(pause);
                let mut heard = match select(Box::pin(receiver.recv()), Box::pin(pause)).await {
                    Either::Left((Ok((_, message)), _)) => message.as_ref().to_vec(),
                    Either::Left((Err(_), _)) => return,
                    Either::Right(_) => random_bytes(&mut context),
                };
                if context.random_range(0..3) > 0 {
                    continue;
                }
                distort(&mut context, &mut heard);
                let to = if context.random_range(0..4) == 0 { context.random_range(0..senders.len()) } else { number };
                let _reached = senders[to].send(Recipients::All, heard, context.random());
            }
        });
    }
}

fn distort(rng: &mut impl Rng, message: &mut Vec<u8>) {
    match rng.random_range(0..5) {
        0 => {}
        1 => message.truncate(rng.random_range(0..=message.len())),
        2 => {
            let room = LARGEST.saturating_sub(message.len());
            message.extend(random_bytes(rng).into_iter().take(room));
        }
        _ => {
            if !message.is_empty() {
                let at = rng.random_range(0..message.len());
                message[at] ^= 1 << rng.random_range(0..8);
            }
        }
    }
}

fn random_bytes(rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..LARGEST)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Below the largest message of these networks.
const LARGEST: usize = 400;
