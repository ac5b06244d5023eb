use birthmark_core::ids::{KeyIndex, TableId};
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::token::{Binding, Blinding, SealedToken};

use super::*;

fn open() -> (tempfile::TempDir, Queue) {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    (folder, queue)
}

fn photo(frame: u64) -> NewPhoto {
    let hash = |what: &str| ImageHash::of(format!("{what} {frame}").as_bytes());
    NewPhoto {
        frame,
        taken_at: UnixSeconds(1_733_259_600),
        time_source: TimeSource::Rtc,
        jpeg: format!("photos/IMG_{frame:06}.jpg").into(),
        dng: format!("photos/IMG_{frame:06}.dng").into(),
        hashes: PhotoHashes { raw: hash("raw"), processed: hash("jpeg"), image_data: hash("data") },
    }
}

fn token(nonce: u8) -> Sealed {
    let token = SealedToken {
        table_id: TableId::new(1).unwrap(),
        key_index: KeyIndex::new(2).unwrap(),
        nonce: [nonce; 12],
        ciphertext: vec![4; 32],
        auth_tag: [5; 16],
    };
    Sealed { token, binding: None }
}

/// One of version 2.
fn bound(nonce: u8) -> Sealed {
    let Sealed { token, .. } = token(nonce);
    let blinding =
        Blinding { enc: [6; 32], key_id: EndorsementKeyId::from_bytes([7; 8]), blinded_message: vec![0xb1; 256] };
    Sealed {
        token: SealedToken { ciphertext: vec![4; 56], ..token },
        binding: Some(Binding { blinding, inverse: vec![0x1f; 256] }),
    }
}

/// This process, which is alive.
fn own(now: u64) -> Hold {
    Hold { holder: std::process::id(), now: UnixSeconds(now) }
}

const NOW: u64 = 1_000_000;
const A: &str = "http://a.example";

#[tokio::test(flavor = "multi_thread")]
async fn row_reads_back_and_survives_closing() {
    let (folder, queue) = open();
    let id = queue.insert(photo(7)).unwrap();
    queue.close().await;
    let queue = Queue::open(folder.path()).unwrap();
    let row = queue.photo(id).await.unwrap();
    assert_eq!((row.photo, row.state, row.receipt, row.seals), (photo(7), PhotoState::Queued, None, 0));
    assert_eq!(queue.next_frame().unwrap(), 8);
    assert!(queue.has_frame(7).unwrap() && !queue.has_frame(8).unwrap());
    assert!(matches!(queue.photo(PhotoId(99)).await, Err(QueueError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn number_is_taken_once() {
    let (_folder, queue) = open();
    queue.insert(photo(7)).unwrap();
    assert!(queue.insert(photo(7)).is_err());
    assert_eq!(queue.counts().await.unwrap().queued, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_row_is_given_to_nobody_else_until_its_time_is_over_or_its_holder_dead() {
    let (folder, queue) = open();
    let id = queue.insert(photo(1)).unwrap();
    let other = Queue::open(folder.path()).unwrap();
    assert_eq!(queue.claim(own(NOW), 9).await.unwrap().len(), 1);
    assert!(other.claim(own(NOW), 9).await.unwrap().is_empty());
    assert!(other.claim_one(own(NOW + 59), id).await.unwrap().is_none());
    assert!(other.claim_one(own(NOW + 60), id).await.unwrap().is_some(), "time is over");
    // Held until NOW + 120 now; seen by a clock that was set back it must not be held for years.
    assert!(other.claim_one(own(5), id).await.unwrap().is_some(), "clock was set back");
    queue.release(id).await.unwrap();
    let dead = Hold { holder: u32::try_from(i32::MAX).unwrap(), now: UnixSeconds(NOW) };
    assert!(queue.claim_one(dead, id).await.unwrap().is_some());
    assert!(other.claim_one(own(NOW), id).await.unwrap().is_some(), "holder is dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_openers_of_a_new_folder_share_one_queue() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for frame in 0..4 {
            let path = folder.path();
            scope.spawn(move || Queue::open(path).unwrap().insert(photo(frame)).unwrap());
        }
    });
    assert_eq!(Queue::open(folder.path()).unwrap().counts().await.unwrap().queued, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_for_their_time_and_fresh_ones_go_first() {
    let (_folder, queue) = open();
    let first = queue.insert(photo(1)).unwrap();
    let [claimed] = queue.claim(own(NOW), 1).await.unwrap().try_into().unwrap();
    let failed = Change::Failed { error: "refused".to_owned(), next_try: UnixSeconds(NOW + 30) };
    queue.apply(&claimed, failed).await.unwrap();
    let row = queue.photo(first).await.unwrap();
    assert_eq!((row.state, row.attempts, row.last_error.as_deref()), (PhotoState::Queued, 1, Some("refused")));
    assert!(queue.claim(own(NOW + 29), 9).await.unwrap().is_empty());
    let second = queue.insert(photo(2)).unwrap();
    let order: Vec<_> = queue.claim(own(NOW + 30), 9).await.unwrap().iter().map(|c| c.photo.id).collect();
    assert_eq!(order, [second, first]);
    for id in order {
        queue.release(id).await.unwrap();
    }
    // A clock that is set back by years must not stop the queue for years.
    assert_eq!(queue.claim(own(1000), 9).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_token_stays_and_a_late_change_under_an_old_one_is_ignored() {
    let (_folder, queue) = open();
    let id = queue.insert(photo(1)).unwrap();
    let stale = queue.first_token(id, &token(1), A).await.unwrap();
    assert_eq!(queue.first_token(id, &token(2), A).await.unwrap().token, Some(token(1)));
    queue.apply(&stale, Change::Resealed { token: token(3), reason: "token_used".to_owned() }).await.unwrap();
    queue.apply(&stale, Change::Resealed { token: token(4), reason: "token_used".to_owned() }).await.unwrap();
    queue.apply(&stale, Change::Parked { reason: "late".to_owned() }).await.unwrap();
    let claimed = queue.claim_one(own(NOW), id).await.unwrap().unwrap();
    assert_eq!((claimed.token.clone(), claimed.photo.seals), (Some(token(3)), 2));

    let recorded = Recorded { tx_id: TxId(5), block_height: Height(6) };
    queue.apply(&claimed, Change::Confirmed { recorded, proof: None }).await.unwrap();
    queue.apply(&claimed, Change::Forgotten).await.unwrap();
    let row = queue.photo(id).await.unwrap();
    assert_eq!((row.state, row.recorded), (PhotoState::Confirmed, Some(recorded)));
    assert_eq!(queue.unfinished().await.unwrap(), 1, "its proof is missing");
    let claimed = queue.claim_one(own(NOW), id).await.unwrap().unwrap();
    assert_eq!(claimed.token, None, "erased at the end");
    queue.apply(&claimed, Change::Confirmed { recorded, proof: Some("photos/p".into()) }).await.unwrap();
    assert_eq!(queue.unfinished().await.unwrap(), 0);
    assert!(queue.claim_one(own(NOW), id).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_row_waits_for_a_person_and_starts_over_without_its_token() {
    let (_folder, queue) = open();
    let id = queue.insert(photo(1)).unwrap();
    let claimed = queue.first_token(id, &token(1), A).await.unwrap();
    queue.apply(&claimed, Change::Parked { reason: "wrong_token".to_owned() }).await.unwrap();
    assert!(queue.claim(own(NOW), 9).await.unwrap().is_empty());
    assert_eq!(queue.photos(Some(PhotoState::Parked)).await.unwrap()[0].last_error.as_deref(), Some("wrong_token"));
    queue.retry(id).await.unwrap();
    let claimed = queue.claim_one(own(NOW), id).await.unwrap().unwrap();
    assert_eq!((claimed.photo.state, claimed.token), (PhotoState::Queued, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn binding_stays_with_its_token_and_both_are_erased_at_the_end() {
    let (folder, queue) = open();
    let (confirmed, parked) = (queue.insert(photo(1)).unwrap(), queue.insert(photo(2)).unwrap());
    queue.first_token(confirmed, &bound(1), A).await.unwrap();
    queue.first_token(parked, &token(1), A).await.unwrap();
    queue.close().await;

    let queue = Queue::open(folder.path()).unwrap();
    let claimed = queue.first_token(confirmed, &bound(9), A).await.unwrap();
    assert_eq!((claimed.token.clone(), claimed.photo.seals), (Some(bound(1)), 1));
    let shown = format!("{claimed:?}");
    assert!(!shown.contains("1f1f") && !shown.contains("31, 31"), "the inverse is not shown: {shown}");
    let mut late = claimed.clone();
    late.token_text = late.token_text.map(|text| text.replacen("1f", "2f", 1));
    queue.apply(&late, Change::Parked { reason: "another binding".to_owned() }).await.unwrap();
    assert_eq!(queue.photo(confirmed).await.unwrap().state, PhotoState::Queued);
    let recorded = Recorded { tx_id: TxId(5), block_height: Height(6) };
    queue.apply(&claimed, Change::Confirmed { recorded, proof: None }).await.unwrap();
    let claimed = queue.first_token(parked, &bound(9), A).await.unwrap();
    queue.apply(&claimed, Change::Resealed { token: bound(2), reason: "token_used".to_owned() }).await.unwrap();
    let claimed = queue.claim_one(own(NOW), parked).await.unwrap().unwrap();
    assert_eq!(claimed.token, Some(bound(2)));
    queue.apply(&claimed, Change::Parked { reason: "binding_mismatch".to_owned() }).await.unwrap();
    queue.close().await;

    let inverse = "1f".repeat(256);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(inverse.len()).any(|window| window == inverse.as_bytes()), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_of_an_earlier_program_keeps_its_version_1_token() {
    let (folder, queue) = open();
    let id = queue.insert(photo(1)).unwrap();
    let text = r#"{"ciphertext":"0404040404040404040404040404040404040404040404040404040404040404","auth_tag":"05050505050505050505050505050505","nonce":"010101010101010101010101","table_id":1,"key_index":2}"#;
    queue.database.write(move |conn| conn.execute("UPDATE photo SET token = ?1, seals = 1", [text])).await.unwrap();
    queue.close().await;
    let queue = Queue::open(folder.path()).unwrap();
    let claimed = queue.first_token(id, &bound(9), A).await.unwrap();
    assert_eq!((claimed.token.clone(), claimed.photo.seals), (Some(token(1)), 1));
    queue.apply(&claimed, Change::Resealed { token: bound(2), reason: "token_used".to_owned() }).await.unwrap();
    assert_eq!(queue.claim_one(own(NOW), id).await.unwrap().unwrap().token, Some(bound(2)));
}

#[test]
fn missing_folder_is_named() {
    let error = Queue::open(Path::new("/nonexistent/data")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/data"), "{error}");
}
