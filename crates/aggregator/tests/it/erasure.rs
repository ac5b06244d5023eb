//! Tokens and bindings: sealed at rest, and unreadable for good with their verdict, wherever copies are.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use birthmark_core::submission::{CameraSubmission, Submission};
use serde_json::Value;

use crate::camera::sealed_for;
use crate::script::Act;
use crate::sma::{BAD, GOOD, Signing};
use crate::world::{DEADLINE, World, column, submission};

/// Every file of a folder.
type Files = BTreeMap<String, Vec<u8>>;

fn files(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

fn holds(files: &Files, needle: &[u8]) -> bool {
    files.values().any(|file| file.windows(needle.len()).any(|window| window == needle))
}

/// How many of these stand in the files, each told by its first twelve bytes; in one pass over them.
fn found<'a>(files: &Files, needles: impl IntoIterator<Item = &'a Vec<u8>>) -> usize {
    let wanted: HashSet<&[u8]> = needles.into_iter().map(|needle| &needle[..12]).collect();
    let windows = files.values().flat_map(|file| file.windows(12));
    windows.filter(|window| wanted.contains(window)).collect::<HashSet<_>>().len()
}

fn parsed(submission: &Value) -> CameraSubmission {
    let Ok(Submission::Camera(camera)) = Submission::from_json(submission.to_string().as_bytes()) else {
        panic!("a camera's submission was given")
    };
    camera
}

/// Everything of a token that its authority could know again, in parts, as an overwritten page may leave.
fn secrets(photo: &Value) -> Vec<Vec<u8>> {
    let CameraSubmission { token, binding, .. } = parsed(photo);
    let binding = binding.unwrap();
    let long = [binding.inverse, binding.blinding.blinded_message, token.ciphertext];
    let parts = long.iter().flat_map(|secret| secret.chunks_exact(16).map(<[u8]>::to_vec));
    parts.chain([binding.blinding.enc.to_vec(), token.nonce.to_vec()]).collect()
}

#[tokio::test]
async fn token_is_nowhere_in_the_clear_and_nothing_that_opens_it_outlives_its_verdict() {
    let world = World::new().await;
    world.sma.script.always(Act::Status(503));
    world.node.script.always(Act::Status(503));
    let running = world.start().await;
    // Rows that go and rows that stay for a while side by side, passed and rejected.
    let photos: Vec<_> = (1..=40)
        .map(|number| sealed_for(&world, &submission(number), if number % 3 == 0 { BAD } else { GOOD }, 1))
        .collect();
    for photo in &photos {
        running.submit(photo).await;
    }
    world.sma.script.called(1).await;
    let folder = world.folder.path();
    let before = files(folder);
    let slots: Vec<u32> = column(folder, "key_slot");
    let (tokens, receipts): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (column(folder, "token"), column(folder, "receipt"));
    let keys: Vec<_> = slots.iter().map(|slot| before["token.keys"][*slot as usize * 32..][..32].to_vec()).collect();
    // Whoever copies all files now has everything: that is what must not be so afterwards.
    for ((key, token), (receipt, photo)) in keys.iter().zip(&tokens).zip(receipts.iter().zip(&photos)) {
        let cipher = Aes256Gcm::new_from_slice(key).unwrap();
        let opened = cipher.decrypt(&Nonce::default(), Payload { msg: token, aad: receipt }).unwrap();
        assert!(secrets(photo).iter().all(|secret| opened.windows(secret.len()).any(|window| window == *secret)));
    }
    world.sma.sign_first(&[Signing::Wrong; 9]);
    world.sma.script.always(Act::Serve);
    running.until(|figures| figures["validated"] == 27 && figures["rejected_since_start"] == 13).await;
    assert_eq!(column::<Option<Vec<u8>>>(folder, "token"), vec![None; 40]);
    let erased = async { while found(&files(folder), &keys) > 0 {} };
    tokio::time::timeout(DEADLINE, erased).await.expect("keys are overwritten soon after the verdict");
    // Still running, nothing was checkpointed: copies of the rows are there, and no key to them.
    let after = files(folder);
    assert!(holds(&after, &tokens[0]), "the log still has the sealed token, or the search cannot find");
    let bodies: Vec<_> = photos.iter().map(|photo| parsed(photo).body.encode()[40..].to_vec()).collect();
    assert_eq!(found(&after, &bodies), 40, "the search must be able to find");
    let asked = world.sma.asked();
    let ids = asked.iter().map(|id| birthmark_core::hex::decode_bounded(id, 16).unwrap());
    let secrets: Vec<_> = photos.iter().flat_map(secrets).chain(ids).collect();
    assert_eq!((found(&before, &secrets), found(&after, &secrets)), (0, 0), "parts of tokens are in the clear");
    running.stop().await;
    let left = files(folder);
    assert!(!left.contains_key("aggregator.db-wal"), "closing must have emptied the log");
    assert_eq!(found(&left, &tokens), 0);
}

#[tokio::test]
async fn keys_that_a_crash_left_behind_are_overwritten_at_the_next_start() {
    let world = World::new().await;
    world.sma.script.always(Act::Status(503));
    let running = world.start().await;
    running.submit(&submission(1)).await;
    running.submit(&submission(2)).await;
    running.kill().await;
    let folder = world.folder.path();
    let slots: Vec<u32> = column(folder, "key_slot");
    let file = std::fs::read(folder.join("token.keys")).unwrap();
    let keys: Vec<_> = slots.iter().map(|slot| file[*slot as usize * 32..][..32].to_vec()).collect();
    // A verdict that was durable when the power went, before its key was overwritten.
    let database = rusqlite::Connection::open(folder.join("aggregator.db")).unwrap();
    let verdict = "UPDATE submission SET state = 3, token = NULL, key_slot = NULL, reason = 'x' WHERE id = 1";
    assert_eq!(database.execute(verdict, []).unwrap(), 1);
    drop(database);

    world.sma.script.always(Act::Hold);
    let running = world.start().await;
    let now = files(folder);
    assert_eq!(keys.iter().map(|key| holds(&now, key)).collect::<Vec<_>>(), [false, true]);
    world.sma.script.release();
    world.sma.script.always(Act::Serve);
    assert_eq!(running.end_of(&submission(2)).await["status"], "confirmed");
}
