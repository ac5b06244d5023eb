//! What waits, and how it moves.

use std::collections::BTreeSet;

use birthmark_core::batch::Assurance;
use birthmark_core::time::UnixSeconds;

use super::Place;
use crate::pipeline::state::{Reason, State, Voucher};
use crate::retention::forget;
use crate::store::testing::{
    AUTHORITY, at, bound_row, confirm, endorsed, go, id_of, put_all, row, sealed_anew, waiting,
};
use crate::store::{Backlog, Move, RowId, StoreError};

pub(super) async fn rows_under_way_are_skipped_and_the_limit_counts_the_others(place: &dyn Place) {
    let store = place.open();
    for number in 1..=5 {
        put_all(&store, [row(number)]).await;
    }
    let all = waiting(&store, &[], 9).await;
    assert_eq!(all.len(), 5);
    assert_eq!(waiting(&store, &all[..2], 2).await, all[2..4]);
    assert_eq!(waiting(&store, &all, 9).await, []);
    assert!(store.to_validate("B".to_owned(), BTreeSet::new(), 9).await.unwrap().is_empty());
    for id in &all {
        assert!(go(&store, *id, State::Received, State::Validated(Voucher::Word)).await.unwrap());
    }
    let skip: BTreeSet<_> = all[..2].iter().copied().collect();
    let posted = store.to_post(skip, 2).await.unwrap();
    assert_eq!(posted.iter().map(|row| row.id).collect::<Vec<_>>(), all[2..4]);
    assert_eq!((&posted[0].body, posted[0].receipt), (row(3).submission.body(), row(3).receipt));
    assert_eq!(waiting(&store, &[], 9).await, []);
}

pub(super) async fn move_from_a_state_that_a_row_has_left_changes_nothing(place: &dyn Place) {
    let store = place.open();
    put_all(&store, [row(1), row(2)]).await;
    let ids = [id_of(&store, row(1).receipt).await, id_of(&store, row(2).receipt).await];
    let rejected = State::Rejected(Reason::of_text("token_invalid", ""));
    assert!(go(&store, ids[0], State::Received, rejected.clone()).await.unwrap());
    let pass = |id| Move { id, from: State::Received, to: State::Validated(Voucher::Word) };
    assert_eq!(store.advance(vec![pass(ids[0]), pass(ids[1])]).await.unwrap(), [false, true]);
    assert_eq!(store.receipt(row(1).receipt).await.unwrap().unwrap().state, rejected);
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 0, validated: 1 });
}

pub(super) async fn greatest_numbers_come_back_as_they_were(place: &dyn Place) {
    let store = place.open();
    confirm(&store, row(1), Voucher::Word, u64::MAX).await;
    let state = store.receipt(row(1).receipt).await.unwrap().unwrap().state;
    assert_eq!(state, State::Confirmed(at(u64::MAX, Assurance::Attested)));
}

pub(super) async fn oldest_unfinished_is_that_of_either_queue(place: &dyn Place) {
    let store = place.open();
    let oldest = async || store.oldest_unfinished(vec![AUTHORITY.to_owned(), "B".to_owned()]).await.unwrap();
    assert_eq!(oldest().await, None);
    put_all(&store, [row(1)]).await;
    put_all(&store, [row(2)]).await;
    let id = id_of(&store, row(1).receipt).await;
    assert_eq!(oldest().await, Some(UnixSeconds(1001)));
    let validated = State::Validated(Voucher::Word);
    assert!(go(&store, id, State::Received, validated.clone()).await.unwrap());
    assert_eq!(oldest().await, Some(UnixSeconds(1001)));
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 1, validated: 1 });
    assert!(go(&store, id, validated, State::Rejected(Reason::of_text("x", ""))).await.unwrap());
    assert_eq!(oldest().await, Some(UnixSeconds(1002)));
}

pub(super) async fn awaited_authorities_are_those_of_unjudged_rows(place: &dyn Place) {
    let store = place.open();
    assert!(store.awaited_authorities().await.unwrap().is_empty());
    put_all(&store, [row(1), row(2)]).await;
    assert_eq!(store.awaited_authorities().await.unwrap(), [AUTHORITY]);
    for id in waiting(&store, &[], 9).await {
        assert!(go(&store, id, State::Received, State::Validated(Voucher::Word)).await.unwrap());
    }
    assert!(store.awaited_authorities().await.unwrap().is_empty());
}

pub(super) async fn endorsement_is_stored_with_the_verdict_outlives_a_restart_and_goes_with_the_record(
    place: &dyn Place,
) {
    let store = place.open();
    put_all(&store, [bound_row(1)]).await;
    let id = id_of(&store, bound_row(1).receipt).await;
    let validated = State::Validated(endorsed());
    assert!(go(&store, id, State::Received, validated.clone()).await.unwrap());
    store.close().await;

    let store = place.open();
    let [waiting] = store.to_post(BTreeSet::new(), 9).await.unwrap().try_into().unwrap();
    assert_eq!(waiting.voucher, endorsed());
    assert_eq!(store.receipt(waiting.receipt).await.unwrap().unwrap().state, validated);
    let end = State::Confirmed(at(7, Assurance::Endorsed));
    assert!(go(&store, id, validated, end.clone()).await.unwrap());
    assert_eq!(store.receipt(waiting.receipt).await.unwrap().unwrap().state, end);
    assert_eq!(place.number("SELECT count(*) FROM submission WHERE endorsement IS NOT NULL"), 0);
}

pub(super) async fn token_goes_with_the_verdict(place: &dyn Place) {
    let store = place.open();
    put_all(&store, [row(1), bound_row(2), row(3)]).await;
    let left = || place.number("SELECT count(*) FROM submission WHERE token IS NOT NULL");
    assert_eq!(left(), 3);
    let id = id_of(&store, row(1).receipt).await;
    assert!(go(&store, id, State::Received, State::Rejected(Reason::malformed_token())).await.unwrap());
    assert_eq!(left(), 2);
    let id = id_of(&store, bound_row(2).receipt).await;
    assert!(go(&store, id, State::Received, State::Validated(endorsed())).await.unwrap());
    assert_eq!(left(), 1);
}

/// The last line of defence: whatever the program does, the database takes no such row.
pub(super) async fn row_cannot_be_validated_below_or_above_its_aim(place: &dyn Place) {
    let store = place.open();
    for (new, voucher) in [(row(1), endorsed()), (bound_row(2), Voucher::Word)] {
        let receipt = new.receipt;
        put_all(&store, [new]).await;
        let id = id_of(&store, receipt).await;
        go(&store, id, State::Received, State::Validated(voucher)).await.unwrap_err();
        assert_eq!(store.receipt(receipt).await.unwrap().unwrap().state, State::Received);
    }
}

pub(super) async fn everything_unfinished_is_there_after_a_restart(place: &dyn Place) {
    let store = place.open();
    put_all(&store, (1..=30).map(row)).await;
    put_all(&store, [sealed_anew(row(1), 90)]).await;
    let ids = waiting(&store, &[], 10).await;
    for id in &ids {
        assert!(go(&store, *id, State::Received, State::Validated(Voucher::Word)).await.unwrap());
    }
    // Not closed: killed.
    drop(store);
    let store = place.open();
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 21, validated: 10 });
    assert_eq!(waiting(&store, &[], 99).await.len(), 21);
    let posted: BTreeSet<_> = store.to_post(BTreeSet::new(), 99).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(posted, ids.into_iter().collect());
}

pub(super) async fn ended_rows_are_forgotten_by_age_and_unfinished_ones_never(place: &dyn Place) {
    let store = place.open();
    // Of the photographs 1 to 6 the even ones end, and there are many more that end early.
    put_all(&store, (1..=6).map(row)).await;
    for number in [2, 4, 6] {
        let id = id_of(&store, row(number).receipt).await;
        assert!(go(&store, id, State::Received, State::Rejected(Reason::malformed_token())).await.unwrap());
    }
    let early = |number| crate::store::NewRow { received_at: UnixSeconds(500), ..sealed_anew(row(9), number) };
    put_all(&store, (10_000..12_500).map(early)).await;
    for _ in 0..3 {
        let ids = waiting(&store, &[], 1000).await;
        let reject = |id: RowId| Move { id, from: State::Received, to: State::Rejected(Reason::malformed_token()) };
        let early = store.to_validate(AUTHORITY.to_owned(), BTreeSet::new(), 1000).await.unwrap();
        let early = early.iter().filter(|row| row.receipt.as_u128() >= 10_000).map(|row| reject(row.id)).collect();
        store.advance(early).await.unwrap();
        assert!(ids.len() >= 3);
    }
    forget(&*store, UnixSeconds(1005)).await;
    let mut left = Vec::new();
    for number in 1..=6 {
        if store.receipt(row(number).receipt).await.unwrap().is_some() {
            left.push(number);
        }
    }
    assert_eq!(left, [1, 3, 5, 6]);
    forget(&*store, UnixSeconds(9999)).await;
    assert_eq!(place.number("SELECT count(*) FROM submission"), 3);
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 3, validated: 0 });
    // What was forgotten is new.
    put_all(&store, [row(2)]).await;
}

pub(super) async fn closed_store_gives_errors(place: &dyn Place) {
    let store = place.open();
    put_all(&store, [row(1)]).await;
    let id = id_of(&store, row(1).receipt).await;
    store.health().await.unwrap();
    store.close().await;
    let closed = |error: StoreError| assert!(matches!(error, StoreError::Closed(_)), "{error}");
    closed(store.take_in(vec![crate::store::testing::placed(row(2))]).await.unwrap_err());
    closed(go(&store, id, State::Received, State::Validated(Voucher::Word)).await.unwrap_err());
    closed(store.receipt(row(1).receipt).await.unwrap_err());
    closed(store.to_post(BTreeSet::new(), 9).await.unwrap_err());
    closed(store.health().await.unwrap_err());
}
