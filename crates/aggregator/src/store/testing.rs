//! Builders for the tests of both stores.

use std::sync::Arc;

use birthmark_core::batch::Assurance;
use birthmark_core::endorsement::Endorsement;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::submission::{CameraSubmission, Submission};
use birthmark_core::time::UnixSeconds;
use uuid::Uuid;

use super::{Arrival, Intake, Move, NewRow, RequestId, RowId, Store, StoreError};
use crate::pipeline::state::{Recorded, State, Voucher};

pub(crate) const AUTHORITY: &str = "A";

/// Where [`bound_row`]'s receipts begin.
pub(crate) const BOUND: u128 = 1000;

/// Where [`edit`]'s receipts begin.
pub(crate) const EDIT: u128 = 2000;

pub(crate) fn row(number: u8) -> NewRow {
    row_with(number, &"c1".repeat(32), "")
}

/// Another submission of the body of [`row`], with a version 2 token.
pub(crate) fn bound_row(number: u8) -> NewRow {
    let [key_id, enc] = ["05".repeat(8), "04".repeat(32)];
    let [message, inverse] = ["06".repeat(256), "07".repeat(256)];
    let binding = format!(
        r#", "binding": {{"enc": "{enc}", "key_id": "{key_id}", "blinded_message": "{message}", "inverse": "{inverse}"}}"#
    );
    NewRow { receipt: Uuid::from_u128(BOUND + u128::from(number)), ..row_with(number, &"c2".repeat(56), &binding) }
}

fn row_with(number: u8, ciphertext: &str, binding: &str) -> NewRow {
    let hash = format!("{number:02x}").repeat(32);
    let json = format!(
        r#"{{"submission_type": "camera", "image_hashes": [{{"image_hash": "{hash}", "modification_level": 0}}],
            "camera_token": {{"ciphertext": "{ciphertext}", "auth_tag": "{}", "nonce": "{}", "table_id": 1,
                              "key_index": 2{binding}}},
            "manufacturer_cert": {{"authority_id": "{AUTHORITY}"}}}}"#,
        "0b".repeat(16),
        "0c".repeat(12)
    );
    let submission = Submission::from_json(json.as_bytes()).unwrap();
    NewRow {
        receipt: Uuid::from_u128(number.into()),
        request_id: RequestId([number; 16]),
        received_at: UnixSeconds(1000 + u64::from(number)),
        submission,
    }
}

/// An edit of what is not looked for here.
pub(crate) fn edit(number: u8) -> NewRow {
    let [hash, parent] = [number, 0xee].map(|byte| format!("{byte:02x}").repeat(32));
    let json = format!(
        r#"{{"submission_type": "software", "manufacturer_cert": {{"authority_id": "EDITOR"}}, "image_hashes":
            [{{"image_hash": "{hash}", "modification_level": 2, "parent_image_hash": "{parent}"}}]}}"#
    );
    let submission = Submission::from_json(json.as_bytes()).unwrap();
    NewRow { receipt: Uuid::from_u128(EDIT + u128::from(number)), submission, ..row(number) }
}

/// What only a camera's row has.
pub(crate) fn camera(new: &NewRow) -> &CameraSubmission {
    match &new.submission {
        Submission::Camera(camera) => camera,
        Submission::Software(_) => panic!("an edit has no token"),
    }
}

/// The same photo under another token.
pub(crate) fn sealed_anew(mut new: NewRow, receipt: u128) -> NewRow {
    let Submission::Camera(camera) = &mut new.submission else { panic!("an edit has no token") };
    camera.token.nonce = receipt.to_be_bytes()[4..].try_into().unwrap();
    NewRow { receipt: Uuid::from_u128(receipt), ..new }
}

pub(crate) fn placed(row: NewRow) -> Arrival {
    Arrival { row, place: true }
}

pub(crate) async fn put(store: &Arc<dyn Store>, row: NewRow) -> Intake {
    store.take_in(vec![placed(row)]).await.unwrap().remove(0)
}

/// Puts rows that must be new.
pub(crate) async fn put_all(store: &Arc<dyn Store>, rows: impl IntoIterator<Item = NewRow>) {
    for answer in store.take_in(rows.into_iter().map(placed).collect()).await.unwrap() {
        assert!(matches!(answer, Intake::New(_)), "{answer:?}");
    }
}

pub(crate) async fn waiting(store: &Arc<dyn Store>, skip: &[RowId], limit: usize) -> Vec<RowId> {
    let rows = store.to_validate(AUTHORITY.to_owned(), skip.iter().copied().collect(), limit).await.unwrap();
    rows.iter().map(|row| row.id).collect()
}

/// The row of this receipt, of those that wait for a verdict.
pub(crate) async fn id_of(store: &Arc<dyn Store>, receipt: Uuid) -> RowId {
    let rows = store.to_validate(AUTHORITY.to_owned(), std::collections::BTreeSet::new(), 1000).await.unwrap();
    rows.iter().find(|row| row.receipt == receipt).unwrap().id
}

pub(crate) async fn go(store: &Arc<dyn Store>, id: RowId, from: State, to: State) -> Result<bool, StoreError> {
    Ok(store.advance(vec![Move { id, from, to }]).await?.remove(0))
}

pub(crate) fn at(tx_id: u64, assurance: Assurance) -> Recorded {
    Recorded { tx_id: TxId(tx_id), block_height: Height(tx_id - 1), assurance }
}

pub(crate) fn endorsed() -> Voucher {
    Voucher::Endorsement(Endorsement { key_id: EndorsementKeyId::from_bytes([5; 8]), signature: vec![8; 256] })
}

/// Takes a row in and sees it through to its record.
pub(crate) async fn confirm(store: &Arc<dyn Store>, new: NewRow, voucher: Voucher, tx_id: u64) -> RowId {
    let (assurance, receipt) = (voucher.assurance(), new.receipt);
    put_all(store, [new]).await;
    let id = id_of(store, receipt).await;
    let validated = State::Validated(voucher);
    assert!(go(store, id, State::Received, validated.clone()).await.unwrap());
    assert!(go(store, id, validated, State::Confirmed(at(tx_id, assurance))).await.unwrap());
    id
}
