//! `batch.json`: signed batches on the wire and in a block.

use birthmark_core::batch::{Batch, BatchError, BlockBatch, Place, SubmitterKey, Transaction};
use birthmark_core::codec::Reader;
use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::{NetworkId, SubmitterNumber};
use birthmark_core::note::PublicKey;
use serde_json::{Value, json};

use crate::authority::vouch;
use crate::frame::{Vectors, bytes, decode_code, digest, hash, patched, text, with_large_s};
use crate::records::{assurance, body, capture, edit, full_capture};

fn signed_batch(name: &str, submitter: u16, transactions: &Value, omitted: &[usize]) -> Value {
    let network = NetworkId(digest("network"));
    let key = SubmitterKey::from_seed(*digest("submitter").as_bytes());
    let listed = transactions.as_array().unwrap();
    let made =
        listed.iter().map(|t| Transaction::new(assurance(&t["assurance"]), bytes(t, "endorsement"), body(t)).unwrap());
    let batch = Batch::sign(network, SubmitterNumber(submitter), &key, made.collect());
    let digests: Vec<Digest> = batch.transactions.iter().map(Transaction::digest).collect();
    // Put together here a second time; the signature is then checked over it by another library.
    let mut message = b"birthmark/batch/v1".to_vec();
    message.extend_from_slice(network.as_bytes());
    message.extend_from_slice(&submitter.to_be_bytes());
    message.extend_from_slice(&u16::try_from(digests.len()).unwrap().to_be_bytes());
    for t in &digests {
        message.extend_from_slice(t.as_bytes());
    }
    assert!(PublicKey::from_bytes(&key.public()).unwrap().verifies(&message, &batch.signature));
    let place = |(at, transaction): (usize, &Transaction)| {
        if omitted.contains(&at) { Place::Omitted(transaction.digest()) } else { Place::Record(transaction.clone()) }
    };
    let places = batch.transactions.iter().enumerate().map(place).collect();
    let block = BlockBatch { submitter: batch.submitter, places, signature: batch.signature };
    let mut in_block = vec![];
    block.encode_into(&mut in_block);
    let mut reader = Reader::new(&in_block);
    assert_eq!(BlockBatch::decode_from(&mut reader).unwrap(), block);
    reader.finish().unwrap();
    assert_eq!(block.verify(network, &key.public()), Ok(()));
    assert_eq!(Batch::decode(&batch.encode()).unwrap(), batch);
    assert_eq!(batch.verify(network, &key.public()), Ok(()));
    json!({
        "name": name, "network_id": network.to_string(), "submitter": submitter,
        "seed": hash("submitter"), "key": hex::encode(key.public()), "transactions": transactions,
        "digests": digests, "message": hex::encode(message), "signature": hex::encode(batch.signature),
        "wire": hex::encode(batch.encode()), "omitted": omitted, "block": hex::encode(in_block),
    })
}

const fn batch_code(error: &BatchError) -> &'static str {
    match error {
        BatchError::Decode(cause) => decode_code(cause),
        BatchError::Body { .. } => "body",
        BatchError::Endorsement(_) => "endorsement",
    }
}

#[test]
fn batch_json() {
    let transaction = |assurance: u8, endorsement: &[u8], authority: &str, entries: Value| {
        json!({
            "assurance": assurance, "endorsement": hex::encode(endorsement), "authority_id": authority,
            "entries": entries, "owner_hash": null, "gps_hash": null,
        })
    };
    let attested = transaction(1, &[], "SIMULATED_MFG_001", capture());
    let mut endorsed = transaction(2, &[], "SIMULATED_MFG_001", full_capture());
    let vouched = vouch(1, NetworkId(digest("network")), &body(&endorsed).encode(), "batch");
    endorsed["endorsement"] = hex::encode(vouched.endorsement.encode()).into();
    let asserted = transaction(0, &[], "unattested", edit());
    let cases = vec![
        signed_batch("one attested", 1, &json!([attested]), &[]),
        signed_batch("each assurance, the middle one left out", 65_535, &json!([attested, endorsed, asserted]), &[1]),
        signed_batch("all left out", 0, &json!([attested, asserted]), &[0, 1]),
    ];
    // As many as can be are taken; a file of them would say no more.
    signed_batch("256", 256, &json!(vec![attested; 256]), &[0, 255]);
    let good = bytes(&cases[0], "wire");
    let body_len = good.len() - 64 - 10;
    let refused = [
        ("nothing", vec![], "truncated"),
        ("version 0", patched(&good, 0, &[0]), "value"),
        ("version 2", patched(&good, 0, &[2]), "value"),
        ("no transactions", patched(&good, 3, &[0, 0]), "value"),
        ("257 transactions", patched(&good, 3, &[1, 1]), "value"),
        ("one transaction too few", patched(&good, 3, &[0, 2]), "value"),
        ("assurance 3", patched(&good, 5, &[3]), "value"),
        ("a place left out on the wire", patched(&good, 5, &[255]), "value"),
        ("endorsed without endorsement", patched(&good, 5, &[2]), "endorsement"),
        ("attested with endorsement", [&good[..6], &[0, 1, 9], &good[8..]].concat(), "endorsement"),
        ("an endorsement of 521 bytes", [&good[..5], &[2, 2, 9], &[9; 521], &good[8..]].concat(), "value"),
        ("a body one byte short", patched(&good, 8, &u16::try_from(body_len - 1).unwrap().to_be_bytes()), "body"),
        ("a signature one byte short", good[..good.len() - 1].to_vec(), "truncated"),
        ("one byte over", [good.as_slice(), &[0]].concat(), "trailing"),
    ]
    .map(|(name, bad, reason)| {
        assert_eq!(batch_code(&Batch::decode(&bad).expect_err(name)), reason, "{name}");
        json!({"name": name, "wire": hex::encode(bad), "reason": reason})
    });
    let batch = Batch::decode(&bytes(&cases[1], "wire")).unwrap();
    let (network, key) = (text(&cases[1], "network_id"), text(&cases[1], "key"));
    let mut swapped = batch.clone();
    swapped.transactions.swap(0, 2);
    let mut flipped = batch.clone();
    flipped.signature[0] ^= 1;
    let another = SubmitterKey::from_seed([1; 32]).public();
    let forged = [
        ("another network", hash("another network"), key.to_owned(), batch.clone()),
        ("another key", network.to_owned(), hex::encode(another), batch.clone()),
        (
            "another submitter",
            network.to_owned(),
            key.to_owned(),
            Batch { submitter: SubmitterNumber(1), ..batch.clone() },
        ),
        ("another order", network.to_owned(), key.to_owned(), swapped),
        ("a flipped bit", network.to_owned(), key.to_owned(), flipped),
        (
            "s not reduced",
            network.to_owned(),
            key.to_owned(),
            Batch { signature: with_large_s(&batch.signature), ..batch },
        ),
    ]
    .map(|(name, network, key, batch)| {
        let id = NetworkId(network.parse().unwrap());
        assert!(batch.verify(id, &hex::decode_array(&key).unwrap()).is_err(), "{name}");
        json!({"name": name, "network_id": network, "key": key, "wire": hex::encode(batch.encode())})
    });
    Vectors::new("batch.json", "7: batches")
        .with("cases", cases.into())
        .with("refused", refused.to_vec().into())
        .with("forged", forged.to_vec().into())
        .check();
}
