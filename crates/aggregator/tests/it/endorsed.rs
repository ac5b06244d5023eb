//! Version 2 tokens from receipt to endorsed record, with an authority that signs wrongly on the way.

use birthmark_core::batch::Assurance;
use birthmark_core::endorsement::Endorsement;
use birthmark_core::hex;
use birthmark_core::network::EndorsementKeyState;
use birthmark_core::proof::ProofBundle;
use birthmark_core::submission::{CameraSubmission, Submission};
use serde_json::{Value, json};

use crate::camera::{bound, sealed_for};
use crate::script::Act;
use crate::sma::{BAD, REKEY, STALE, Signing, USED};
use crate::world::{AUTHORITY, World, column, submission, submission_of};

/// Every way to pass a token without a good endorsement.
const FAILURES: &[Signing] =
    &[Signing::Missing, Signing::Wrong, Signing::WrongKey, Signing::TooLong, Signing::NotHex, Signing::Wrong];

fn parsed(submission: &Value) -> CameraSubmission {
    let Ok(Submission::Camera(camera)) = Submission::from_json(submission.to_string().as_bytes()) else {
        panic!("a camera's submission was given")
    };
    camera
}

fn assurances(world: &World) -> Vec<Assurance> {
    world.node.records().iter().map(birthmark_core::batch::Transaction::assurance).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn capture_is_recorded_with_an_endorsement_that_anybody_can_check() {
    let world = World::new().await;
    let running = world.start().await;
    let photo = bound(&world, 1);
    let reply = running.submit_and_hear(&photo).await;
    assert_eq!((reply.status, &reply.body["status"]), (200, &json!("confirmed")));
    assert_eq!(reply.body["assurance"], "endorsed");

    let [record] = world.node.records().try_into().unwrap();
    let (camera, authority) = (parsed(&photo), world.network.authority_by_id(&record.body().authority).unwrap());
    assert_eq!((record.body(), record.assurance()), (&camera.body, Assurance::Endorsed));
    let state = world.network.check_endorsement(authority.number, record.endorsement(), &camera.body.encode());
    assert_eq!(state, Ok(EndorsementKeyState::Current));
    let key_id = Endorsement::decode(record.endorsement()).unwrap().key_id;
    assert_eq!(key_id, camera.binding.unwrap().blinding.key_id);

    // The proof carries it, to whoever waited and to whoever asks later.
    let proof = ProofBundle::parse(reply.body["proof"].as_str().unwrap()).unwrap();
    assert_eq!(proof.endorsement.as_deref(), Some(record.endorsement()));
    assert_eq!(running.receipt(&reply).await, reply.body);
    assert_eq!(world.sma.asked().len(), 1);
}

#[tokio::test]
async fn assurance_is_told_as_soon_as_it_is_known() {
    let world = World::new().await;
    world.sma.script.always(Act::Status(503));
    world.node.script.always(Act::Status(503));
    let running = world.start().await;
    let replies = [running.submit(&bound(&world, 1)).await, running.submit(&submission(2)).await];
    for reply in &replies {
        assert_eq!(running.receipt(reply).await.get("assurance"), None);
    }
    world.sma.script.always(Act::Serve);
    running.until(|figures| figures["validated"] == 2).await;
    for (reply, assurance) in replies.iter().zip(["endorsed", "attested"]) {
        let receipt = running.receipt(reply).await;
        assert_eq!((&receipt["status"], &receipt["assurance"]), (&json!("validated"), &json!(assurance)));
    }
    world.node.script.always(Act::Serve);
    running.until(|figures| figures["confirmed_since_start"] == 2).await;
    for (reply, assurance) in replies.iter().zip(["endorsed", "attested"]) {
        assert_eq!(running.receipt(reply).await["assurance"], assurance);
    }
}

#[tokio::test]
async fn no_broken_endorsement_is_a_verdict_or_a_lower_assurance() {
    let world = World::new().await;
    world.sma.sign_first(FAILURES);
    let running = world.start().await;
    let end = running.end_of(&bound(&world, 1)).await;
    assert_eq!((&end["status"], &end["assurance"]), (&json!("confirmed"), &json!("endorsed")), "{end}");
    let asked = world.sma.asked();
    assert_eq!(asked.len(), FAILURES.len() + 1);
    assert!(asked.iter().all(|id| *id == asked[0]), "a repeat must carry the first request id: {asked:?}");
    assert_eq!(assurances(&world), [Assurance::Endorsed]);
}

#[tokio::test]
async fn authority_that_cannot_sign_is_seen_and_what_needs_no_signature_goes_on() {
    let world = World::new().await;
    world.sma.sign_always(Signing::Wrong);
    let running = world.start().await;
    let photos: Vec<_> = (1..=3).map(|number| bound(&world, number)).collect();
    for photo in &photos {
        running.submit(photo).await;
    }
    let held = json!([{"authority": AUTHORITY, "cause": "endorsement_failed", "submissions": 3}]);
    let figures = running.until(|figures| figures["held"] == held).await;
    assert_eq!((&figures["pending"], &figures["rejected_since_start"]), (&json!(3), &json!(0)));
    assert_eq!(figures["troubled"], json!([AUTHORITY]));
    assert_eq!(running.end_of(&submission(4)).await["assurance"], "attested");
    assert_eq!(world.node.log().len(), 1);

    world.sma.sign_always(Signing::Right);
    for photo in &photos {
        assert_eq!(running.end_of(photo).await["assurance"], "endorsed");
    }
    let figures = running.get("/api/v1/status").await.body;
    assert_eq!((&figures["held"], &figures["troubled"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn token_on_another_photo_is_rejected_and_nothing_is_recorded() {
    let world = World::new().await;
    let running = world.start().await;
    let genuine = bound(&world, 1);
    // Who saw the token in transit puts it under a photo of their own.
    let mut stolen = submission(2);
    stolen["camera_token"] = genuine["camera_token"].clone();
    // A camera that mixes up what it keeps for two photos.
    let mut confused = bound(&world, 3);
    confused["camera_token"]["binding"]["inverse"] = genuine["camera_token"]["binding"]["inverse"].clone();
    let mut no_residue = bound(&world, 4);
    no_residue["camera_token"]["binding"]["inverse"] = json!("ff".repeat(256));
    for wrong in [stolen, confused, no_residue] {
        let end = running.end_of(&wrong).await;
        assert_eq!((&end["status"], &end["reason"]), (&json!("rejected"), &json!("binding_mismatch")));
        assert_eq!(end["reseal"], false);
    }
    assert!(world.node.log().is_empty());
    assert_eq!(running.end_of(&genuine).await["assurance"], "endorsed");
}

#[tokio::test]
async fn changed_bit_of_token_or_binding_is_no_endorsement() {
    let world = World::new().await;
    let running = world.start().await;
    let flipped = |number: u8, path: &str| {
        let mut photo = bound(&world, number);
        let field = photo["camera_token"].pointer_mut(path).unwrap();
        let mut bytes = hex::decode_bounded(field.as_str().unwrap(), 512).unwrap();
        bytes[7] ^= 1;
        *field = json!(hex::encode(bytes));
        photo
    };
    for (number, path) in (1..).zip([
        "/ciphertext",
        "/auth_tag",
        "/nonce",
        "/binding/enc",
        "/binding/key_id",
        "/binding/blinded_message",
        "/binding/inverse",
    ]) {
        let end = running.end_of(&flipped(number, path)).await;
        let expected = if path == "/binding/inverse" { "binding_mismatch" } else { "token_invalid" };
        assert_eq!((&end["status"], &end["reason"]), (&json!("rejected"), &json!(expected)), "{path}");
    }
    assert!(world.node.log().is_empty());
}

#[tokio::test]
async fn reasons_that_ask_for_another_token_say_so() {
    let world = World::new().await;
    let running = world.start().await;
    for (number, table, reason) in [(1, USED, "token_used"), (2, STALE, "token_stale"), (3, REKEY, "rekey")] {
        for rejected in [submission_of(number, table), sealed_for(&world, &submission(number), table, 1)] {
            let end = running.end_of(&rejected).await;
            assert_eq!((&end["status"], &end["reason"]), (&json!("rejected"), &json!(reason)));
            assert_eq!((&end["reseal"], end.get("assurance")), (&json!(true), None));
        }
        let sealed_anew = bound(&world, number);
        assert_eq!(running.end_of(&sealed_anew).await["assurance"], "endorsed");
    }
}

#[tokio::test]
async fn both_versions_go_together_each_at_its_own_assurance() {
    let world = World::new().await;
    world.sma.script.first(&[Act::Hold]);
    world.node.script.first(&[Act::Hold]);
    let running = world.start_with(|config| config.in_flight = 1).await;
    running.submit(&submission(100)).await;
    world.sma.script.called(1).await;
    // One of them is signed wrongly at first: it alone is asked about again.
    world.sma.sign_first(&[Signing::Right, Signing::Wrong]);
    let mixed: Vec<_> = (1..=8)
        .map(|number| match number % 4 {
            0 => submission(number),
            1 => sealed_for(&world, &submission(number), BAD, 1),
            _ => bound(&world, number),
        })
        .collect();
    for photo in &mixed {
        running.submit(photo).await;
    }
    world.sma.script.release();
    world.node.script.called(1).await;
    running.until(|figures| figures["validated"] == 7).await;
    world.node.script.release();
    for (number, photo) in (1..).zip(&mixed) {
        let end = running.end_of(photo).await;
        let expected = match number % 4 {
            0 => json!("attested"),
            1 => Value::Null,
            _ => json!("endorsed"),
        };
        assert_eq!(end["assurance"], expected, "{number}: {end}");
    }
    assert_eq!(world.sma.sizes(), [1, 8, 1]);
    let mut recorded = assurances(&world);
    recorded.sort_unstable();
    assert_eq!(recorded, [vec![Assurance::Attested; 3], vec![Assurance::Endorsed; 4]].concat());
}

#[tokio::test]
async fn endorsement_outlives_a_death_between_verdict_and_record() {
    let world = World::new().await;
    world.node.script.always(Act::Status(503));
    let running = world.start().await;
    let photo = bound(&world, 1);
    running.submit(&photo).await;
    world.node.script.called(1).await;
    running.kill().await;
    let kept = column::<Option<Vec<u8>>>(world.folder.path(), "endorsement").remove(0).expect("on disk");

    world.node.script.always(Act::Serve);
    let running = world.start().await;
    assert_eq!(running.end_of(&photo).await["assurance"], "endorsed");
    assert_eq!(world.sma.asked().len(), 1);
    assert_eq!(world.node.records()[0].endorsement(), kept);
    assert_eq!(column::<Option<Vec<u8>>>(world.folder.path(), "endorsement"), [None]);
}

#[tokio::test]
async fn pass_that_was_lost_on_its_way_is_endorsed_at_the_second_time() {
    let world = World::new().await;
    world.sma.script.first(&[Act::ServeAndCut]);
    world.node.script.first(&[Act::ServeAndCut, Act::OnlyAccept]);
    let running = world.start().await;
    assert_eq!(running.end_of(&bound(&world, 1)).await["assurance"], "endorsed");
    assert_eq!(assurances(&world), [Assurance::Endorsed]);
}

/// The authority, whose word alone would link a camera to a photo, is never given the means.
#[tokio::test]
async fn authority_is_sent_nothing_of_a_photo_and_nothing_that_undoes_the_blinding() {
    let world = World::new().await;
    world.sma.script.first(&[Act::Hold]);
    world.sma.sign_first(&[Signing::Right, Signing::Wrong]);
    let running = world.start_with(|config| config.in_flight = 1).await;
    // Asked about alone, together, and alone again.
    let photos: Vec<_> = (1..=5).map(|number| bound(&world, number)).collect();
    let mut replies = Vec::new();
    for photo in &photos {
        replies.push(running.submit(photo).await);
        world.sma.script.called(1).await;
    }
    world.sma.script.release();
    for photo in &photos {
        assert_eq!(running.end_of(photo).await["assurance"], "endorsed");
    }
    let traffic = world.sma.traffic();
    // Hex is compared in one case.
    let text = traffic.to_ascii_lowercase();
    let sent = |bytes: &[u8]| contains(&traffic, bytes) || contains(&text, hex::encode(bytes).as_bytes());
    for (photo, reply) in photos.iter().zip(&replies) {
        let camera = parsed(photo);
        let binding = camera.binding.as_ref().unwrap();
        assert!(sent(&binding.blinding.blinded_message), "the search must be able to find");
        assert!(sent(&camera.token.nonce), "the search must be able to find");
        for part in binding.inverse.chunks(16) {
            assert!(!sent(part), "a part of the inverse");
        }
        for entry in camera.body.entries.as_slice() {
            assert!(!sent(&entry.hash.as_bytes()[..8]) && !sent(&entry.hash.as_bytes()[24..]), "an image hash");
        }
        assert!(!sent(&camera.body.encode()[..]) && !sent(camera.body.digest().as_bytes()), "a body");
        assert!(!sent(camera.idempotency_key().as_bytes()), "an idempotency key");
        assert!(!contains(&text, reply.body["receipt_id"].as_str().unwrap().as_bytes()), "a receipt");
    }
    for word in ["inverse", "image", "timestamp", "1733259600", "receipt", "hash"] {
        assert!(!contains(&text, word.as_bytes()), "{word}");
    }
}

#[tokio::test]
async fn attested_record_is_raised_by_an_endorsed_submission_of_the_same_photo() {
    let world = World::new().await;
    let running = world.start().await;
    let attested = running.submit_and_hear(&submission(1)).await;
    assert_eq!((&attested.body["assurance"], &attested.body["tx_id"]), (&json!("attested"), &json!(0)));
    // It aims higher than what is on record, so it is not answered with that.
    let raised = running.submit_and_hear(&bound(&world, 1)).await;
    assert_eq!((&raised.body["assurance"], &raised.body["tx_id"]), (&json!("endorsed"), &json!(1)));
    assert!(ProofBundle::parse(raised.body["proof"].as_str().unwrap()).unwrap().endorsement.is_some());
    assert_eq!(assurances(&world), [Assurance::Attested, Assurance::Endorsed]);

    // From now on either aim is met, whatever the token.
    let calls = (world.sma.script.calls(), world.node.script.calls());
    let known = json!({"status": "confirmed", "assurance": "endorsed", "tx_id": 1, "block_height": 101});
    for again in [bound(&world, 1), crate::world::resealed(&submission(1), 99, BAD)] {
        let reply = running.submit(&again).await;
        assert_eq!((reply.status, &reply.body), (200, &known));
    }
    assert_eq!((world.sma.script.calls(), world.node.script.calls()), calls);
    // The first receipt tells what it did before.
    assert_eq!(running.receipt(&attested).await["assurance"], "attested");
}

#[tokio::test]
async fn endorsed_record_is_not_lowered_by_a_version_1_token_that_was_under_way() {
    let world = World::new().await;
    world.node.script.always(Act::Status(503));
    let running = world.start().await;
    let photos = [bound(&world, 1), submission(1)];
    for photo in &photos {
        running.submit(photo).await;
    }
    running.until(|figures| figures["validated"] == 2).await;
    world.node.script.always(Act::Serve);
    running.until(|figures| figures["confirmed_since_start"] == 2).await;
    assert_eq!(running.end_of(&photos[0]).await["assurance"], "endorsed");
    assert_eq!(running.end_of(&photos[1]).await["assurance"], "attested");
    assert_eq!(*assurances(&world).iter().max().unwrap(), Assurance::Endorsed);
}
