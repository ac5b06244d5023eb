//! Attacks by asking otherwise: another version, authority, network or key.

use birthmark_core::api::provision::ProvisionRequest;
use birthmark_core::hash::Digest;

use super::*;
use crate::endorsement_keys::life::KeyList;
use crate::endorsement_keys::{KeySize, NewKey};
use crate::endorser::new_key;
use crate::keys::{Keys, MasterKey};
use crate::store::{KeyChange, KeysChanged};
use crate::testing::desk::{DAY, key_deed};

#[tokio::test]
async fn downgraded_camera_never_passes() {
    let scene = Scene::new().await;
    let request = ProvisionRequest { min_token_version: 2, ..testing::camera_request(1) };
    let (camera, photo) = (scene.authority.camera_with(request).await, scene.photo(1));
    scene.expect_invalid(&camera.question(), "version 1 of a camera of version 2").await;
    scene.expect_endorsed(&scene.seal(&camera, &photo, 1), &photo).await;

    let strict = Scene::configured(SmaConfig { accept_version_1: false, ..testing::config() }).await;
    let (camera, photo) = (strict.authority.camera(1).await, strict.photo(1));
    strict.expect_invalid(&camera.question(), "version 1 where the policy refuses it").await;
    strict.expect_endorsed(&strict.seal(&camera, &photo, 1), &photo).await;
}

#[tokio::test]
async fn version_1_token_gets_nothing_signed_and_version_2_asks_for_it() {
    let scene = Scene::new().await;
    let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
    let (token, bound) = (camera.seal(), scene.seal(&camera, &photo, 1));
    let mut with_message = bound.question();
    with_message["camera_token"] = wire(&token);
    scene.expect_malformed(&with_message, "version 1 with a blinded message").await;
    for field in ["enc", "key_id", "blinded_message"] {
        let mut lacking = bound.question();
        lacking.as_object_mut().unwrap().remove(field);
        scene.expect_malformed(&lacking, field).await;
    }
    scene.expect_malformed(&question(&bound.token), "version 2 without a blinded message").await;
    assert_eq!(scene.hear(&question(&token)).await.json(), json!({"valid": true, "message": "token_valid"}));
    scene.expect_endorsed(&bound, &photo).await;
}

#[tokio::test]
async fn token_for_another_authority_is_refused_and_not_spent() {
    let scene = Scene::new().await;
    let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
    let bound = scene.seal(&camera, &photo, 1);
    for name in ["OTHER_MFG", "", "simulated_mfg_001"] {
        for mut asked in [bound.question(), camera.question()] {
            asked["manufacturer_authority_id"] = json!(name);
            let (status, problem) = scene.authority.post("/validate", &asked).await;
            assert_eq!((status, problem["code"].as_str()), (422, Some("wrong_authority")));
        }
    }
    assert_eq!(AUTHORITY, scene.authority.sma.authority_id().as_str());
    scene.expect_endorsed(&bound, &photo).await;

    // Sealed to another authority's key.
    let other = Scene::new().await;
    let foreign = Public { token_key: other.public.token_key, ..Public::of(&scene.authority.sma).await };
    scene.expect_invalid(&foreign.seal(&camera, &scene.photo(2), 2).question(), "another token key").await;
}

#[tokio::test]
async fn token_for_another_network_fails() {
    let scene = Scene::new().await;
    let camera = scene.authority.camera(1).await;
    let network = NetworkId(Digest::from_bytes([0x4f; 32]));
    let foreign = Public { network, ..Public::of(&scene.authority.sma).await };
    let photo = Photo::new(&foreign.key, network, 1);
    scene.expect_invalid(&foreign.seal(&camera, &photo, 1).question(), "another network").await;

    let without = Scene::configured(SmaConfig { network_id: None, ..testing::config() }).await;
    let camera = without.authority.camera(1).await;
    scene.expect_invalid(&without.seal(&camera, &without.photo(1), 1).question(), "another authority's camera").await;
    without.expect_invalid(&without.seal(&camera, &without.photo(1), 1).question(), "no network at all").await;
}

#[tokio::test]
async fn unknown_key_signs_nothing_and_spends_nothing() {
    let scene = Scene::new().await;
    let camera = scene.authority.camera(1).await;
    let stranger = Public { key: fresh_key().public, ..Public::of(&scene.authority.sma).await };
    let photo = Photo::new(&stranger.key, stranger.network, 1);
    scene.expect_message(&stranger.seal(&camera, &photo, 1).question(), "rekey").await;
    let photo = scene.photo(1);
    scene.expect_endorsed(&scene.seal(&camera, &photo, 1), &photo).await;
}

#[tokio::test]
async fn swapped_key_id_fails() {
    let scene = Scene::new().await;
    let camera = scene.authority.camera(1).await;
    change(&scene.authority, 0, Change::Rotate).await;
    let new = Public::of(&scene.authority.sma).await;
    assert_ne!(scene.public.key.id(), new.key.id());
    // Both keys can sign it: the answer is about the token, not the form.
    let fits = |photo: &Photo| new.key.is_residue(&photo.blinded.blinded_message);
    let photo = (0..=u8::MAX).map(|number| scene.photo(number)).find(fits).unwrap();
    let bound = scene.seal(&camera, &photo, 1);
    let mut swapped = bound.clone();
    swapped.blinding.key_id = new.key.id();
    scene.expect_invalid(&swapped.question(), "the other key of the authority").await;
    scene.expect_endorsed(&bound, &photo).await;
}

#[tokio::test]
async fn retired_or_revoked_key_signs_nothing_not_even_again() {
    for (days, change_2, signs) in
        [(89, None, true), (90, None, false), (0, None, true), (0, Some(Change::Revoke), false)]
    {
        let scene = Scene::new().await;
        let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
        let bound = scene.seal(&camera, &photo, 1);
        let endorsement = scene.expect_endorsed(&bound, &photo).await;
        let next = scene.photo(2);
        let fresh = scene.seal(&camera, &next, 2);
        change(&scene.authority, days, Change::Rotate).await;
        if let Some(change_2) = change_2 {
            change(&scene.authority, 0, change_2).await;
        }
        if signs {
            assert_eq!(scene.expect_endorsed(&bound, &photo).await, endorsement);
            scene.expect_endorsed(&fresh, &next).await;
        } else {
            scene.expect_message(&bound.question(), "rekey").await;
            scene.expect_message(&fresh.question(), "rekey").await;
            // Its number is free for a token under the new key.
            let public = Public::of(&scene.authority.sma).await;
            let again = Photo::new(&public.key, public.network, 2);
            let answer = scene.hear(&public.seal(&camera, &again, 2).question()).await;
            again.finish(&public.key, &answer.blind_signature());
        }
    }
}

enum Change {
    Rotate,
    /// The oldest key.
    Revoke,
}

/// Carries a change out as if it were so many days ago.
async fn change(authority: &Authority, days_ago: u32, change: Change) {
    let store = authority.sma.store();
    let records = store.endorsement_keys().await.unwrap().into_iter().map(|key| key.record).collect();
    let before = KeyList::new(records).unwrap();
    let mut act = authority.sma.act("admin");
    act.minute.0 -= days_ago * DAY;
    let (after, new) = match change {
        Change::Rotate => {
            let key = fresh_key();
            let master = std::fs::read(authority.folder.path().join("master.key")).unwrap();
            let keys = Keys::derive(&MasterKey::from_slice(&master).unwrap());
            (before.rotate(&key.spki, act.minute).unwrap(), Some(key.seal(keys.row_seal(), &mut OsRng)))
        }
        Change::Revoke => (before.revoke(before.records()[0].key_id, act.minute).unwrap(), None),
    };
    let change = KeyChange::between(&before, &after, new, key_deed());
    assert_eq!(store.change_keys(change, act).await.unwrap(), KeysChanged::Yes);
}

fn fresh_key() -> NewKey {
    new_key(KeySize::default()).unwrap()
}
