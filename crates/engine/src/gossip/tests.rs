use proptest::prelude::*;

use super::*;

const BOUND: usize = 100;

fn messages(packet: impl Into<Bytes>) -> Vec<Result<Bytes, Malformed>> {
    unpack(packet.into(), BOUND).collect()
}

/// All packets that `sent` makes.
fn packets(sent: &[(Option<PublicKey>, Bytes)]) -> Vec<(Option<PublicKey>, Bytes)> {
    let (gossip, outboxes) = Gossip::new(BOUND);
    for (to, message) in sent {
        let queued = match to {
            Some(to) => gossip.tell(raw(to), Topic::Transactions, message.clone()),
            None => gossip.broadcast(Topic::Transactions, message.clone()),
        };
        queued.unwrap();
    }
    let mut outbox = outboxes.transactions;
    let mut made = Vec::new();
    let mut next = outbox.try_recv().ok();
    while let Some(first) = next {
        let to = first.to.clone();
        let (packet, held) = pack(&first, &mut outbox, BOUND);
        made.push((to, packet));
        next = held.or_else(|| outbox.try_recv().ok());
    }
    made
}

fn key(number: u8) -> PublicKey {
    key_from(&crate::public_key_of(&[number; 32])).unwrap()
}

proptest! {
    #[test]
    fn whatever_is_sent_arrives_in_order_and_within_the_bound(
        sent in prop::collection::vec((0u8..3, prop::collection::vec(any::<u8>(), 0..=BOUND)), 0..40),
    ) {
        let sent: Vec<_> = sent
            .into_iter()
            .map(|(to, message)| ((to > 0).then(|| key(to)), Bytes::from(message)))
            .collect();
        let mut arrived = Vec::new();
        for (to, packet) in packets(&sent) {
            prop_assert!(packet.len() <= packet_bound(BOUND));
            for message in messages(packet) {
                arrived.push((to.clone(), message.unwrap()));
            }
        }
        prop_assert_eq!(arrived, sent);
    }

    #[test]
    fn any_bytes_are_taken_apart_without_a_panic(packet in prop::collection::vec(any::<u8>(), 0..400)) {
        let found = messages(packet.clone());
        let taken: usize = found.iter().flatten().map(|message| LENGTH + message.len()).sum();
        prop_assert!(taken <= packet.len());
        // Nothing comes behind what is malformed.
        let wrong = found.iter().filter(|message| message.is_err()).count();
        prop_assert!(wrong == 0 || wrong == 1 && found.last() == Some(&Err(Malformed)));
    }
}

#[test]
fn the_packet_is_the_documented_bytes() {
    let sent = [(None, Bytes::from_static(b"ab")), (None, Bytes::new()), (None, Bytes::from_static(b"c"))];
    let expected = Bytes::from_static(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c");
    assert_eq!(packets(&sent), [(None, expected)]);
}

#[test]
fn malformed_packets_give_what_comes_before_the_fault() {
    let good = Ok(Bytes::from_static(b"ab"));
    assert_eq!(messages(&b""[..]), []);
    assert_eq!(messages(&b"\0\0\0\x02ab\0\0\0"[..]), [good.clone(), Err(Malformed)]);
    assert_eq!(messages(&b"\0\0\0\x02ab\0\0\0\x02c"[..]), [good.clone(), Err(Malformed)]);
    let too_large = [b"\0\0\0\x02ab\0\0\0\x65".as_slice(), &[7; 101], b"\0\0\0\x02ab"].concat();
    assert_eq!(messages(too_large), [good, Err(Malformed)]);
}

#[test]
fn a_full_queue_says_so_and_takes_messages_again_when_some_were_sent() {
    let (gossip, mut outboxes) = Gossip::new(QUEUED_BYTES);
    let large = Bytes::from(vec![0; QUEUED_BYTES]);
    assert_eq!(gossip.broadcast(Topic::Transactions, large), Ok(()));
    assert_eq!(gossip.broadcast(Topic::Transactions, Bytes::from_static(b"x")), Err(BroadcastError::Busy));
    assert_eq!(gossip.broadcast(Topic::Cosignatures, Bytes::from_static(b"x")), Ok(()), "topics do not share room");
    drop(outboxes.transactions.try_recv().unwrap());
    for _ in 0..QUEUED_MESSAGES {
        assert_eq!(gossip.broadcast(Topic::Transactions, Bytes::new()), Ok(()));
    }
    assert_eq!(gossip.broadcast(Topic::Transactions, Bytes::new()), Err(BroadcastError::Busy));
    drop(outboxes);
    assert_eq!(gossip.broadcast(Topic::Transactions, Bytes::new()), Err(BroadcastError::Ended));
    assert_eq!(
        gossip.broadcast(Topic::Transactions, vec![0; QUEUED_BYTES + 1].into()),
        Err(BroadcastError::TooLarge { len: QUEUED_BYTES + 1, bound: QUEUED_BYTES })
    );
}

#[test]
fn a_lone_validator_has_nobody_to_tell() {
    let gossip = Gossip::none(10);
    assert_eq!(gossip.broadcast(Topic::Transactions, Bytes::from_static(b"x")), Ok(()));
    assert_eq!(gossip.tell([1; 32], Topic::Cosignatures, Bytes::from_static(b"x")), Ok(()));
}
