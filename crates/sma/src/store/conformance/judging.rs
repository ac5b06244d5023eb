//! Tokens: what passes, what is remembered, what is seen at once.

use birthmark_core::api::validate::Message;
use birthmark_core::network::{EndorsementKeyId, EndorsementKeyState};
use birthmark_core::time::Minute;

use super::Place;
use crate::counters::Highest;
use crate::devices::Status;
use crate::endorsement_keys::life::KeyRecord;
use crate::question::{AskedToken, Question};
use crate::quota::{Notice, QuotaOverride};
use crate::rules::Verdict;
use crate::store::{KeyChange, KeysChanged, StoreError};
use crate::testing::desk::{Camera, DAY, Desk, NOW, act, asked_anew, key_deed, rotation};

const INVALID: Verdict = Verdict::Failed(Message::Invalid);
const USED: Verdict = Verdict::Failed(Message::Used);
const STALE: Verdict = Verdict::Failed(Message::Stale);
const REKEY: Verdict = Verdict::Failed(Message::Rekey);

pub(super) async fn version_1_token_passes_once_and_its_question_again(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    let question = camera.version_1();
    assert_eq!(desk.ask(&question).await, Verdict::Passed);
    assert_eq!(desk.ask(&question).await, Verdict::Passed);
    assert_eq!(desk.ask(&asked_anew(&question)).await, USED);
    assert_eq!(desk.ask_as("gate-2", &question, NOW).await.unwrap(), USED);
    let anonymous = Question { request_id: None, ..asked_anew(&question) };
    assert_eq!(desk.ask(&anonymous).await, USED);
    // Without a request id no repeat is known.
    let anonymous = Question { request_id: None, ..camera.version_1() };
    assert_eq!(desk.ask(&anonymous).await, Verdict::Passed);
    assert_eq!(desk.ask(&anonymous).await, USED);
    assert_eq!(desk.store.device(camera.serial).await.unwrap().unwrap().tally.count, 2);
}

pub(super) async fn version_2_counter_passes_once_and_its_token_again(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    let (first, rival) = (camera.version_2(1), camera.version_2(1));
    assert_eq!(desk.ask(&first).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&first).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&asked_anew(&first)).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&rival).await, USED);
    assert_eq!(desk.ask_as("gate-2", &first, NOW).await.unwrap(), Verdict::PassedToSign);
    let device = desk.store.device(camera.serial.clone()).await.unwrap().unwrap();
    assert_eq!((device.highest, device.tally.count), (Highest::from_value(1).unwrap(), 1));
    for never in [0, 1 << 63, u64::MAX] {
        assert_eq!(desk.ask(&camera.version_2(never)).await, INVALID, "{never}");
    }
    let last = i64::MAX as u64;
    assert_eq!(desk.ask(&camera.version_2(last)).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&camera.version_2(2)).await, STALE);
}

pub(super) async fn window_of_counters_moves_and_forgets(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    let (low, high) = (camera.version_2(10), camera.version_2(1034));
    assert_eq!(desk.ask(&low).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&camera.version_2(1033)).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&low).await, Verdict::PassedToSign, "the last that is remembered");
    // Within the window out of order, each once.
    for counter in [500, 11, 1032] {
        assert_eq!(desk.ask(&camera.version_2(counter)).await, Verdict::PassedToSign, "{counter}");
        assert_eq!(desk.ask(&camera.version_2(counter)).await, USED, "{counter}");
    }
    // The same slot as 10, which is forgotten by that.
    assert_eq!(desk.ask(&high).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&low).await, STALE);
    assert_eq!(desk.ask(&high).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&camera.version_2(12)).await, Verdict::PassedToSign);
    // As after a lost counter file: far ahead.
    assert_eq!(desk.ask(&camera.version_2(1034 + 65_536)).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&high).await, STALE);
}

pub(super) async fn batch_sees_its_own_effects(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let (one, two) = (desk.camera(1).await, desk.camera(2).await);
    let (token, bound, other) = (one.version_1(), one.version_2(1), two.version_1());
    let (again, rival, next) = (asked_anew(&token), one.version_2(1), one.version_2(1025));
    let batch = [&token, &bound, &token, &again, &rival, &other, &bound, &next, &bound];
    let judged = desk.ask_batch(&batch).await;
    let sign = Verdict::PassedToSign;
    let expected = [Verdict::Passed, sign, Verdict::Passed, USED, USED, Verdict::Passed, sign, sign, STALE];
    assert_eq!(judged.verdicts, expected);
    let device = desk.store.device(one.serial).await.unwrap().unwrap();
    assert_eq!((device.tally.count, device.highest), (3, Highest::from_value(1025).unwrap()));
    // And what it wrote is what it saw.
    assert_eq!(desk.ask(&again).await, USED);
    assert_eq!(desk.ask(&next).await, Verdict::PassedToSign);
    assert_eq!(desk.ask_batch(&[]).await.verdicts, []);
}

pub(super) async fn token_without_a_device_uses_nothing_up(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    let (token, bound) = (camera.version_1(), camera.version_2(1));
    let stranger = Camera { nuc_hash: crate::testing::desk::nuc_hash(99), ..camera.clone() };
    for question in [stranger.version_1(), stranger.version_2(1), forged(&token), forged(&bound)] {
        assert_eq!(desk.ask(&question).await, INVALID);
    }
    assert_eq!(desk.ask(&token).await, Verdict::Passed);
    assert_eq!(desk.ask(&bound).await, Verdict::PassedToSign);
}

/// The same token with a flipped bit in its tag.
fn forged(question: &Question) -> Question {
    let mut forged = asked_anew(question);
    match &mut forged.token {
        AskedToken::Unbound(token) | AskedToken::Bound(token, _) => token.auth_tag[3] ^= 1,
    }
    forged
}

pub(super) async fn revoked_device_fails_at_once_and_passes_when_restored(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    let (token, bound) = (camera.version_1(), camera.version_2(1));
    assert_eq!(desk.ask(&token).await, Verdict::Passed);
    assert_eq!(desk.ask(&bound).await, Verdict::PassedToSign);
    for round in 2..7 {
        desk.store.set_status(camera.serial.clone(), Status::Revoked, act()).await.unwrap();
        assert_eq!(desk.ask(&camera.version_1()).await, INVALID);
        assert_eq!(desk.ask(&camera.version_2(round)).await, INVALID);
        assert_eq!(desk.ask(&camera.version_2(1)).await, INVALID, "not that it was used");
        assert_eq!(desk.ask(&token).await, Verdict::Passed, "that pass was given before");
        assert_eq!(desk.ask(&asked_anew(&token)).await, INVALID);
        assert_eq!(desk.ask(&bound).await, INVALID, "nothing is signed for it any more");
        desk.store.set_status(camera.serial.clone(), Status::Active, act()).await.unwrap();
        assert_eq!(desk.ask(&camera.version_1()).await, Verdict::Passed);
        assert_eq!(desk.ask(&bound).await, Verdict::PassedToSign);
        assert_eq!(desk.ask(&camera.version_2(round)).await, Verdict::PassedToSign);
    }
}

pub(super) async fn quota_stops_new_tokens_and_not_repeats(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    let limits = QuotaOverride { warn: Some(2), stop: Some(3) };
    desk.store.set_quota(camera.serial.clone(), limits, act()).await.unwrap();
    let (token, bound) = (camera.version_1(), camera.version_2(1));
    assert_eq!(desk.ask_batch(&[&token]).await.notices, []);
    let judged = desk.ask_batch(&[&bound, &bound]).await;
    assert_eq!(judged.notices, [(camera.serial.clone(), Notice::Near)]);
    let judged = desk.ask_batch(&[&token, &bound, &camera.version_1()]).await;
    assert_eq!(judged.notices, [(camera.serial.clone(), Notice::Last)]);
    // Full.
    for question in [camera.version_1(), camera.version_2(2), camera.version_2(1), asked_anew(&token)] {
        assert_eq!(desk.ask(&question).await, INVALID);
    }
    assert_eq!(desk.ask(&token).await, Verdict::Passed);
    assert_eq!(desk.ask(&bound).await, Verdict::PassedToSign);
    // The authority's own limit is far off.
    desk.store.set_quota(camera.serial.clone(), QuotaOverride::default(), act()).await.unwrap();
    assert_eq!(desk.ask(&camera.version_2(2)).await, Verdict::PassedToSign);
    desk.store.set_quota(camera.serial.clone(), limits, act()).await.unwrap();
    assert_eq!(desk.ask(&camera.version_2(3)).await, INVALID);
    let tomorrow = Minute(NOW.0 + DAY);
    assert_eq!(desk.ask_at(&camera.version_2(3), tomorrow).await, Verdict::PassedToSign);
    let tally = desk.store.device(camera.serial).await.unwrap().unwrap().tally;
    assert_eq!((tally.count, tally.day), (1, crate::replay::Day::of(tomorrow)));
}

pub(super) async fn endorsement_key_that_signs_no_more_asks_for_another(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    let next = EndorsementKeyId::from_bytes([0xe2; 8]);
    let early = camera.version_2_for(next, 1);
    assert_eq!(desk.ask(&early).await, REKEY);
    let (until, old) = (Minute(NOW.0 + 90 * DAY), camera.version_2(2));
    assert_eq!(desk.ask(&old).await, Verdict::PassedToSign);
    let records =
        async || -> Vec<_> { desk.store.endorsement_keys().await.unwrap().into_iter().map(|key| key.record).collect() };
    let rotated = desk.store.change_keys(rotation(&records().await, next), act()).await.unwrap();
    assert_eq!(rotated, KeysChanged::Yes);
    assert_eq!(desk.ask(&early).await, Verdict::PassedToSign, "its counter was not used up");
    assert_eq!(desk.ask_at(&camera.version_2(3), Minute(until.0 - 1)).await, Verdict::PassedToSign);
    assert_eq!(desk.ask_at(&camera.version_2(4), until).await, REKEY);
    assert_eq!(desk.ask_at(&old, until).await, REKEY, "it cannot be signed again");
    assert_eq!(desk.ask_at(&camera.version_2(2), until).await, USED, "told before rekey");
    assert_eq!(desk.ask_at(&camera.version_2_for(next, 4), until).await, Verdict::PassedToSign);
    let before = records().await;
    let changed = vec![KeyRecord { state: EndorsementKeyState::Revoked, ..before[0].clone() }];
    let revocation = KeyChange { before, changed, new: None, deed: key_deed() };
    assert_eq!(desk.store.change_keys(revocation, act()).await.unwrap(), KeysChanged::Yes);
    assert_eq!(desk.ask(&camera.version_2(5)).await, REKEY);
    // What else is wrong is told first.
    desk.store.set_status(camera.serial.clone(), Status::Revoked, act()).await.unwrap();
    assert_eq!(desk.ask(&camera.version_2(5)).await, INVALID);
}

pub(super) async fn of_questions_at_once_about_one_token_one_passes(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    for round in 1..=10 {
        let token = camera.version_1();
        let anew: Vec<_> = (0..20).map(|_| asked_anew(&token)).collect();
        let verdicts = futures::future::join_all(anew.iter().map(|question| desk.ask(question))).await;
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Passed).count(), 1);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == USED).count(), 19);
        let rivals: Vec<_> = (0..20).map(|_| camera.version_2(round)).collect();
        let verdicts = futures::future::join_all(rivals.iter().map(|question| desk.ask(question))).await;
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::PassedToSign).count(), 1);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == USED).count(), 19);
    }
}

pub(super) async fn tokens_of_one_device_at_once_all_pass_and_are_counted(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let (one, two) = (desk.camera(1).await, desk.camera(2).await);
    let questions: Vec<_> = (1..=100)
        .flat_map(|counter| [one.version_1(), two.version_1(), one.version_2(counter), two.version_2(counter)])
        .collect();
    let verdicts = futures::future::join_all(questions.iter().map(|question| desk.ask(question))).await;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Passed | Verdict::PassedToSign)));
    for camera in [one, two] {
        let device = desk.store.device(camera.serial).await.unwrap().unwrap();
        assert_eq!((device.tally.count, device.highest), (200, Highest::from_value(100).unwrap()));
    }
}

pub(super) async fn everything_is_remembered_by_the_next_process(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    let revoked = desk.camera(2).await;
    let (token, bound) = (camera.version_1(), camera.version_2(40));
    desk.ask_batch(&[&token, &bound]).await;
    desk.store.set_status(revoked.serial.clone(), Status::Revoked, act()).await.unwrap();
    let (device, audit) =
        (desk.store.device(camera.serial.clone()).await.unwrap(), desk.store.audit(0, 9).await.unwrap());
    desk.store.close().await;

    let desk = Desk::reopen(place.open());
    assert_eq!(desk.store.device(camera.serial.clone()).await.unwrap(), device);
    assert_eq!(desk.store.audit(0, 9).await.unwrap(), audit);
    assert_eq!(desk.ask(&token).await, Verdict::Passed);
    assert_eq!(desk.ask(&asked_anew(&token)).await, USED);
    assert_eq!(desk.ask(&bound).await, Verdict::PassedToSign);
    assert_eq!(desk.ask(&camera.version_2(40)).await, USED);
    assert_eq!(desk.ask(&revoked.version_1()).await, INVALID);
    assert_eq!(desk.ask(&camera.version_2(41)).await, Verdict::PassedToSign);
}

pub(super) async fn unreadable_row_is_an_error_for_its_own_device_alone(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let (good, bad) = (desk.camera(1).await, desk.camera(2).await);
    let id = desk.id(&bad).await.0;
    // 0xffff is no table; the length is right.
    let damage = format!("UPDATE device_registry SET tables = {} WHERE id = {id}", place.bytes("ffff"));
    place.sql(&damage).unwrap();
    let questions: Vec<_> = (0..20).flat_map(|_| [good.version_1(), bad.version_1()]).collect();
    let answers =
        futures::future::join_all(questions.iter().map(|question| desk.ask_as("gate-1", question, NOW))).await;
    for pair in answers.chunks(2) {
        assert_eq!(*pair[0].as_ref().unwrap(), Verdict::Passed);
        assert!(matches!(&pair[1], Err(StoreError::Damaged(_) | StoreError::Sqlite(_))), "{:?}", pair[1]);
    }
}

pub(super) async fn closed_store_gives_errors_and_no_verdicts(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let camera = desk.camera(1).await;
    desk.store.close().await;
    let closed = |error: StoreError| assert!(matches!(error, StoreError::Closed(_)), "{error}");
    closed(desk.ask_as("gate-1", &camera.version_1(), NOW).await.unwrap_err());
    closed(desk.store.device(camera.serial.clone()).await.unwrap_err());
    closed(desk.store.set_status(camera.serial, Status::Revoked, act()).await.unwrap_err());
    closed(desk.store.health().await.unwrap_err());
    desk.store.close().await;
}
