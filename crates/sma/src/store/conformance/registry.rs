//! Installation, registration, renewal, listing.

use std::collections::HashSet;

use birthmark_core::ids::AuthorityId;
use birthmark_core::network::EndorsementKeyState;

use super::Place;
use crate::counters::Highest;
use crate::devices::{DeviceId, Duplicate, NewDevice, NotRenewed, Page, Renewal, Status, TokenVersion, Which};
use crate::keys::KeyGeneration;
use crate::quota::{QuotaOverride, Tally};
use crate::rules::Verdict;
use crate::store::{Counts, Installation, Installed, Store};
use crate::testing::desk::{Camera, Desk, NOW, act, keys, new_device, nuc_hash, serial};

fn failed() -> Verdict {
    Verdict::Failed(birthmark_core::api::validate::Message::Invalid)
}

pub(super) async fn installation_is_written_and_never_over_one_in_use(place: &dyn Place) {
    let store = place.open();
    let installation = |name: &str| Installation {
        authority_id: AuthorityId::new(name).unwrap(),
        key_check: [name.as_bytes()[0]; 16],
        created: NOW,
    };
    assert_eq!(store.installation().await.unwrap(), None);
    assert_eq!(store.install(installation("FIRST")).await.unwrap(), Installed::Yes);
    assert_eq!(store.installation().await.unwrap(), Some(installation("FIRST")));
    store.register(vec![new_device(1)], act()).await.unwrap();
    assert_eq!(store.install(installation("SECOND")).await.unwrap(), Installed::InUse);
    assert_eq!(store.installation().await.unwrap(), Some(installation("FIRST")));
}

pub(super) async fn camera_gets_three_active_tables_and_shows_its_row(place: &dyn Place) {
    let store = place.open();
    let asked = NewDevice { min_token_version: TokenVersion::Two, ..new_device(1) };
    let registered = store.register(vec![asked.clone()], act()).await.unwrap().remove(0).unwrap();
    let tables: HashSet<_> = registered.tables.iter().collect();
    assert_eq!(tables, keys().order().active(0).iter().copied().collect());
    assert_eq!(registered.generation, KeyGeneration(0));

    let device = store.device(serial(1)).await.unwrap().unwrap();
    assert_eq!((device.id, &device.serial, &device.family), (DeviceId(1), &asked.serial, &asked.family));
    assert_eq!((device.nuc_digest, &device.tables), (asked.nuc_digest, &registered.tables));
    assert_eq!((device.min_token_version, device.status), (TokenVersion::Two, Status::Active));
    assert_eq!((device.created, device.generation), (NOW, KeyGeneration(0)));
    assert_eq!((device.quota, device.tally.count, device.highest), (QuotaOverride::default(), 0, Highest::default()));
    assert_eq!(store.device(serial(2)).await.unwrap(), None);
}

pub(super) async fn evidence_of_a_tpm_is_kept_with_its_device(place: &dyn Place) {
    let store = place.open();
    let shown = NewDevice { tpm: Some("{}".to_owned()), ..new_device(2) };
    store.register(vec![new_device(1), shown], act()).await.unwrap();
    assert_eq!(store.tpm_evidence(DeviceId(1)).await.unwrap(), None);
    assert_eq!(store.tpm_evidence(DeviceId(2)).await.unwrap().as_deref(), Some("{}"));
}

pub(super) async fn duplicates_are_refused_and_leave_nothing(place: &dyn Place) {
    let store = place.open();
    store.register(vec![new_device(1)], act()).await.unwrap();
    let same_serial = NewDevice { serial: serial(1), ..new_device(2) };
    let same_sensor = NewDevice { nuc_digest: new_device(1).nuc_digest, ..new_device(3) };
    for (device, refused) in
        [(new_device(1), Duplicate::Serial), (same_serial, Duplicate::Serial), (same_sensor, Duplicate::NucHash)]
    {
        assert_eq!(store.register(vec![device], act()).await.unwrap(), [Err(refused)]);
    }
    assert_eq!(store.counts().await.unwrap(), Counts { devices: 1, revoked: 0, audit_rows: 1 });
    // Neither name nor sensor of those refused is taken.
    let answers = store.register(vec![new_device(2), new_device(3)], act()).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
}

pub(super) async fn thousands_are_registered_at_once_each_with_an_answer(place: &dyn Place) {
    let store = place.open();
    store.register(vec![new_device(500)], act()).await.unwrap();
    let mut list: Vec<_> = (0..3000).map(new_device).collect();
    list.push(new_device(7));
    let answers = store.register(list, act()).await.unwrap();
    for (number, answer) in answers.iter().enumerate() {
        let expected = if number == 500 || number == 3000 { Some(Duplicate::Serial) } else { None };
        assert_eq!(answer.as_ref().err(), expected.as_ref(), "camera {number}");
    }
    assert_eq!(store.counts().await.unwrap(), Counts { devices: 3000, revoked: 0, audit_rows: 3000 });
    let newest = store.device(serial(2999)).await.unwrap().unwrap();
    assert_eq!((newest.id, &newest.tables), (DeviceId(3000), &answers[2999].as_ref().unwrap().tables));
    assert_eq!(store.register(Vec::new(), act()).await.unwrap(), []);
}

pub(super) async fn of_registrations_of_one_serial_at_once_one_succeeds(place: &dyn Place) {
    let store = place.open();
    let asked = (0..20).map(|nuc| {
        let device = NewDevice { nuc_digest: keys().nuc_digest(&nuc_hash(nuc)), ..new_device(1) };
        store.register(vec![device], act())
    });
    let answers = futures::future::join_all(asked).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().remove(0)).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(answers.iter().all(|answer| !matches!(answer, Err(Duplicate::NucHash))));
    assert_eq!(store.counts().await.unwrap().devices, 1);
}

async fn listed(store: &dyn Store, which: Which, limit: u32) -> Vec<String> {
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let page = store.devices(Page { which, after, limit }).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= limit as usize);
        after = Some(last.id);
        all.extend(page.iter().map(|device| device.serial.to_string()));
    }
}

pub(super) async fn pages_list_every_device_once(place: &dyn Place) {
    let store = place.open();
    store.register((1..=10).map(new_device).collect(), act()).await.unwrap();
    for number in [2, 3, 9] {
        store.set_status(serial(number), Status::Revoked, act()).await.unwrap();
    }
    let names = |numbers: &[u32]| numbers.iter().map(|number| serial(*number).to_string()).collect::<Vec<_>>();
    assert_eq!(listed(&*store, Which::All, 3).await, names(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    assert_eq!(listed(&*store, Which::Revoked, 2).await, names(&[2, 3, 9]));
}

pub(super) async fn renewal_replaces_keys_and_tables_and_keeps_counters(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let old = desk.camera(1).await;
    assert_eq!(desk.ask(&old.version_2(5)).await, Verdict::PassedToSign);
    let in_flight = old.version_2(6);
    let renewal =
        || Renewal { serial: serial(1), nuc_digest: new_device(1).nuc_digest, min_token_version: TokenVersion::Two };
    let other = Renewal { nuc_digest: new_device(2).nuc_digest, ..renewal() };
    let unknown = Renewal { serial: serial(9), ..renewal() };
    assert_eq!(desk.store.renew(other, act()).await.unwrap(), Err(NotRenewed::OtherSensor));
    assert_eq!(desk.store.renew(unknown, act()).await.unwrap(), Err(NotRenewed::Unknown));
    desk.store.set_status(serial(1), Status::Revoked, act()).await.unwrap();
    assert_eq!(desk.store.renew(renewal(), act()).await.unwrap(), Err(NotRenewed::Revoked));
    desk.store.set_status(serial(1), Status::Active, act()).await.unwrap();

    let renewed = desk.store.renew(renewal(), act()).await.unwrap().unwrap();
    assert_eq!(renewed.generation, KeyGeneration(1));
    let device = desk.store.device(serial(1)).await.unwrap().unwrap();
    assert_eq!((&device.tables, device.generation), (&renewed.tables, KeyGeneration(1)));
    assert_eq!(device.min_token_version, TokenVersion::Two);
    assert_eq!(device.highest, Highest::from_value(5).unwrap());
    let new = Camera::of(1, renewed);
    assert_eq!(desk.ask(&in_flight).await, failed(), "sealed with the old key");
    assert_eq!(desk.ask(&new.version_1()).await, failed(), "version 2 is asked for now");
    let used = desk.ask(&new.version_2(5)).await;
    assert_eq!(used, Verdict::Failed(birthmark_core::api::validate::Message::Used));
    assert_eq!(desk.ask(&new.version_2(6)).await, Verdict::PassedToSign);
    // Two keys later the one between is worthless too.
    let last = Camera::of(1, desk.store.renew(renewal(), act()).await.unwrap().unwrap());
    assert_eq!(desk.ask(&new.version_2(7)).await, failed());
    assert_eq!(desk.ask(&last.version_2(7)).await, Verdict::PassedToSign);
}

pub(super) async fn counts_are_those_of_the_rows(place: &dyn Place) {
    let desk = Desk::open(place.open()).await;
    let counts = |devices, revoked, audit_rows| Counts { devices, revoked, audit_rows };
    assert_eq!(desk.store.counts().await.unwrap(), counts(0, 0, 1));
    let camera = desk.camera(1).await;
    desk.camera(2).await;
    desk.store.set_status(serial(2), Status::Revoked, act()).await.unwrap();
    desk.ask(&camera.version_1()).await;
    assert_eq!(desk.store.counts().await.unwrap(), counts(2, 1, 4));
    let keys = desk.store.endorsement_keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| key.record.state).collect::<Vec<_>>(), [EndorsementKeyState::Current]);
    let tally = desk.store.device(serial(1)).await.unwrap().unwrap().tally;
    assert_eq!(tally, Tally { day: crate::replay::Day::of(NOW), count: 1 });
    desk.store.health().await.unwrap();
}
