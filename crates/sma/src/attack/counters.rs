//! Attacks that use a genuine token, or its number, once more.

use super::*;
use crate::Quota;
use crate::devices::Status;

#[tokio::test]
async fn replayed_version_1_token_is_used() {
    let scene = Scene::new().await;
    let asked = scene.authority.camera(1).await.question();
    assert_eq!(scene.hear(&asked_under(1, asked.clone())).await.message(), "token_valid");
    scene.expect_message(&asked_under(2, asked.clone()), "token_used").await;
    scene.expect_message(&asked, "token_used").await;
    assert_eq!(scene.authority.uses(), 1);
}

#[tokio::test]
async fn replayed_version_2_token_gets_the_same_endorsement_and_is_not_counted() {
    let config = SmaConfig { quota: Quota { warn: 1, stop: 2 }, ..testing::config() };
    let scene = Scene::configured(config).await;
    let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
    let bound = scene.seal(&camera, &photo, 1);
    let first = scene.hear(&asked_under(1, bound.question())).await;
    photo.finish(&scene.public.key, &first.blind_signature());
    for request_id in 1..10 {
        assert_eq!(scene.hear(&asked_under(request_id, bound.question())).await, first);
    }
    let second = scene.photo(2);
    scene.expect_endorsed(&scene.seal(&camera, &second, 2), &second).await;
    let third = scene.seal(&camera, &scene.photo(3), 3);
    scene.expect_invalid(&third.question(), "the quota of two is used up").await;
}

#[tokio::test]
async fn used_counter_endorses_no_other_photo() {
    let scene = Scene::new().await;
    let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
    let bound = scene.seal(&camera, &photo, 5);
    let endorsement = scene.expect_endorsed(&bound, &photo).await;
    scene.expect_message(&scene.seal(&camera, &scene.photo(2), 5).question(), "token_used").await;
    // The same photo blinded or only sealed anew is another token, too.
    scene.expect_message(&scene.seal(&camera, &scene.photo(1), 5).question(), "token_used").await;
    scene.expect_message(&scene.seal(&camera, &photo, 5).question(), "token_used").await;
    assert_eq!(scene.expect_endorsed(&bound, &photo).await, endorsement);
    // Another camera's counters are its own.
    let other = scene.authority.camera(2).await;
    let elsewhere = scene.photo(3);
    scene.expect_endorsed(&scene.seal(&other, &elsewhere, 5), &elsewhere).await;
}

#[tokio::test]
async fn stale_counter_endorses_nothing() {
    let scene = Scene::new().await;
    let (camera, highest) = (scene.authority.camera(1).await, scene.photo(1));
    scene.expect_endorsed(&scene.seal(&camera, &highest, 5000), &highest).await;
    for stale in [1, 2952, 5000 - 1024] {
        scene.expect_message(&scene.seal(&camera, &scene.photo(2), stale).question(), "token_stale").await;
    }
    // The last of the window has not been used.
    let late = scene.photo(3);
    scene.expect_endorsed(&scene.seal(&camera, &late, 5000 - 1023), &late).await;
    for nonsense in [0, 1 << 63, u64::MAX] {
        let bound = scene.seal(&camera, &scene.photo(4), nonsense);
        scene.expect_invalid(&bound.question(), "no counter that any camera gives out").await;
    }
}

#[tokio::test]
async fn revoked_camera_gets_nothing_more() {
    let scene = Scene::new().await;
    let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
    let before = scene.seal(&camera, &photo, 1);
    let endorsement = scene.expect_endorsed(&before, &photo).await;
    scene.authority.set_status(&camera, Status::Revoked).await;
    let next = scene.photo(2);
    let fresh = scene.seal(&camera, &next, 2);
    scene.expect_invalid(&camera.question(), "version 1").await;
    scene.expect_invalid(&fresh.question(), "version 2").await;
    scene.expect_invalid(&before.question(), "a repeat would be signed anew").await;
    scene.expect_invalid(&scene.seal(&camera, &next, 1).question(), "a used counter tells no more").await;
    scene.authority.set_status(&camera, Status::Active).await;
    assert_eq!(scene.expect_endorsed(&before, &photo).await, endorsement);
    scene.expect_endorsed(&fresh, &next).await;
}

#[tokio::test]
async fn camera_over_its_quota_gets_nothing_more_that_day() {
    let scene = Scene::configured(SmaConfig { quota: Quota { warn: 1, stop: 2 }, ..testing::config() }).await;
    let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
    assert_eq!(scene.hear(&camera.question()).await.message(), "token_valid");
    scene.expect_endorsed(&scene.seal(&camera, &photo, 1), &photo).await;
    scene.expect_invalid(&camera.question(), "version 1").await;
    scene.expect_invalid(&scene.seal(&camera, &scene.photo(2), 2).question(), "version 2").await;
    // Nobody else pays for it.
    assert_eq!(scene.hear(&scene.authority.camera(2).await.question()).await.message(), "token_valid");
}
