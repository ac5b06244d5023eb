//! Acts of admins: status, quota, endorsement keys, and the log of them.

use birthmark_core::network::{EndorsementKeyId, EndorsementKeyState};
use birthmark_core::time::Minute;

use super::Place;
use crate::audit::{Act, AuditState, Chain, Deed};
use crate::devices::{Changed, Status};
use crate::endorsement_keys::life::KeyRecord;
use crate::quota::QuotaOverride;
use crate::store::{KeyChange, KeysChanged, Store};
use crate::testing::desk::{NOW, act, key_deed, key_record, new_device, rotation, serial};

async fn log(store: &dyn Store) -> Vec<String> {
    let rows = store.audit(0, 1000).await.unwrap();
    rows.iter().map(|row| format!("{} {} {} {}", row.actor, row.act, row.subject, row.detail)).collect()
}

pub(super) async fn status_and_quota_change_once_and_are_logged_once(place: &dyn Place) {
    let store = place.open();
    store.register(vec![new_device(1)], act()).await.unwrap();
    let set = |number, status| store.set_status(serial(number), status, act());
    assert_eq!(set(2, Status::Revoked).await.unwrap(), Changed::Unknown);
    assert_eq!(set(1, Status::Active).await.unwrap(), Changed::Already);
    assert_eq!(set(1, Status::Revoked).await.unwrap(), Changed::Yes);
    assert_eq!(set(1, Status::Revoked).await.unwrap(), Changed::Already);
    assert_eq!(store.device(serial(1)).await.unwrap().unwrap().status, Status::Revoked);
    assert_eq!(set(1, Status::Active).await.unwrap(), Changed::Yes);

    let limits = QuotaOverride { warn: None, stop: Some(u32::MAX) };
    let quota = |number, quota| store.set_quota(serial(number), quota, act());
    assert_eq!(quota(2, limits).await.unwrap(), Changed::Unknown);
    assert_eq!(quota(1, QuotaOverride::default()).await.unwrap(), Changed::Already);
    assert_eq!(quota(1, limits).await.unwrap(), Changed::Yes);
    assert_eq!(store.device(serial(1)).await.unwrap().unwrap().quota, limits);
    assert_eq!(quota(1, QuotaOverride { warn: Some(0), stop: None }).await.unwrap(), Changed::Yes);

    assert_eq!(
        log(&*store).await,
        [
            "office device.provision CAM_1 min_token_version 1",
            "office device.revoke CAM_1 ",
            "office device.restore CAM_1 ",
            "office device.quota CAM_1 warn default, stop 4294967295",
            "office device.quota CAM_1 warn 0, stop default",
        ]
    );
}

async fn fill(store: &dyn Store) {
    for number in 1u32..=5 {
        let deed = Deed { act: "list.export", subject: format!("Ä {number}"), detail: "x".repeat(number as usize) };
        let act = Act { actor: "office".to_owned(), minute: Minute(NOW.0 + number) };
        store.record(deed, act).await.unwrap();
    }
}

pub(super) async fn audit_log_is_a_chain_that_nobody_can_change(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.check_audit().await.unwrap(), AuditState::Intact(Chain::default()));
    fill(&*store).await;
    let rows = store.audit(0, 1000).await.unwrap();
    let mut paged = store.audit(0, 3).await.unwrap();
    paged.extend(store.audit(3, 3).await.unwrap());
    assert_eq!(rows, paged);
    assert_eq!(store.audit(5, 3).await.unwrap(), []);
    assert_eq!(rows.last().map(|row| (row.sequence, row.minute.0 - NOW.0)), Some((5, 5)));
    let intact = AuditState::Intact(Chain { sequence: 5, digest: rows[4].digest });
    assert_eq!(store.check_audit().await.unwrap(), intact);
    for refused in [
        "UPDATE audit SET detail = 'nothing' WHERE sequence = 2",
        "UPDATE audit SET minute = minute",
        "DELETE FROM audit WHERE sequence = 5",
        "DELETE FROM audit",
    ] {
        let error = place.sql(refused).unwrap_err();
        assert!(error.contains("append-only"), "{refused}: {error}");
    }
    assert_eq!(store.check_audit().await.unwrap(), intact);
}

pub(super) async fn change_behind_the_guards_shows(place: &dyn Place) {
    let store = place.open();
    fill(&*store).await;
    place.sql(place.unguard_audit()).unwrap();
    place.sql("UPDATE audit SET actor = 'nobody' WHERE sequence = 4").unwrap();
    assert_eq!(store.check_audit().await.unwrap(), AuditState::Broken { sequence: 4 });
    place.sql("DELETE FROM audit WHERE sequence = 2").unwrap();
    assert_eq!(store.check_audit().await.unwrap(), AuditState::Broken { sequence: 2 });
}

fn id(byte: u8) -> EndorsementKeyId {
    EndorsementKeyId::from_bytes([byte; 8])
}

async fn records(store: &dyn Store) -> Vec<KeyRecord> {
    store.endorsement_keys().await.unwrap().into_iter().map(|key| key.record).collect()
}

/// This one key in another state.
fn set(before: &[KeyRecord], key: u8, state: EndorsementKeyState) -> KeyChange {
    let old = before.iter().find(|record| record.key_id == id(key)).unwrap();
    let changed = vec![KeyRecord { state, replaced: Some(Minute(NOW.0 + 1)), ..old.clone() }];
    KeyChange { before: before.to_vec(), changed, new: None, deed: key_deed() }
}

pub(super) async fn one_endorsement_key_is_current_and_rotations_do_not_cross(place: &dyn Place) {
    use EndorsementKeyState::{Current, Previous, Revoked};
    let store = place.open();
    let change = |change| store.change_keys(change, act());
    assert_eq!(records(&*store).await, []);
    assert_eq!(change(rotation(&[], id(1))).await.unwrap(), KeysChanged::Yes);
    let one = records(&*store).await;
    assert_eq!(one, [key_record(id(1))]);
    assert_eq!(store.endorsement_keys().await.unwrap()[0].sealed, [4, 5, 6]);
    // Another that knew of none, or of another.
    assert_eq!(change(rotation(&[], id(2))).await.unwrap(), KeysChanged::Conflict);
    assert_eq!(change(rotation(&[key_record(id(9))], id(2))).await.unwrap(), KeysChanged::Conflict);
    assert_eq!(change(rotation(&one, id(2))).await.unwrap(), KeysChanged::Yes);
    assert_eq!(change(rotation(&one, id(3))).await.unwrap(), KeysChanged::Conflict, "decided upon an old list");
    let two = records(&*store).await;
    let states = |records: &[KeyRecord]| records.iter().map(|key| (key.state, key.replaced)).collect::<Vec<_>>();
    assert_eq!(states(&two), [(Previous, Some(NOW)), (Current, None)]);
    // Not even a decision that was wrong makes a second key current.
    let mut wrong = rotation(&two, id(3));
    wrong.changed.clear();
    assert!(change(wrong).await.is_err());
    assert_eq!(records(&*store).await, two);

    assert_eq!(change(set(&two, 1, Revoked)).await.unwrap(), KeysChanged::Yes);
    assert_eq!(change(set(&two, 1, Revoked)).await.unwrap(), KeysChanged::Conflict);
    assert_eq!(states(&records(&*store).await), [(Revoked, Some(Minute(NOW.0 + 1))), (Current, None)]);
    assert_eq!(log(&*store).await.len(), 3);
}

pub(super) async fn keys_that_never_sign_again_lose_their_private_half(place: &dyn Place) {
    use EndorsementKeyState::{Previous, Retired, Revoked};
    let store = place.open();
    for new in 1..=3 {
        let before = records(&*store).await;
        store.change_keys(rotation(&before, id(new)), act()).await.unwrap();
    }
    for (key, state) in [(1, Retired), (2, Revoked)] {
        let before = records(&*store).await;
        assert_eq!(store.change_keys(set(&before, key, state), act()).await.unwrap(), KeysChanged::Yes);
    }
    let keys = store.endorsement_keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| key.sealed.len()).collect::<Vec<_>>(), [0, 0, 3]);
    let before = records(&*store).await;
    store.change_keys(set(&before, 3, Previous), act()).await.unwrap();
    assert_eq!(store.endorsement_keys().await.unwrap()[2].sealed, [4, 5, 6], "it signs for 90 days");
}

pub(super) async fn of_rotations_at_once_one_succeeds(place: &dyn Place) {
    let store = place.open();
    store.change_keys(rotation(&[], id(1)), act()).await.unwrap();
    let before = records(&*store).await;
    let rotations = (10..20).map(|new| store.change_keys(rotation(&before, id(new)), act()));
    let answers = futures::future::join_all(rotations).await;
    let succeeded = answers.iter().filter(|answer| *answer.as_ref().unwrap() == KeysChanged::Yes).count();
    assert_eq!(succeeded, 1);
    assert_eq!(records(&*store).await.len(), 2);
    assert_eq!(log(&*store).await.len(), 2);
}
