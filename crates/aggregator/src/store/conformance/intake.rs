//! Taking submissions in.

use birthmark_core::batch::Assurance;
use birthmark_core::time::UnixSeconds;
use futures::future::join_all;
use uuid::Uuid;

use super::Place;
use crate::pipeline::state::{Reason, State, Voucher};
use crate::store::testing::{
    AUTHORITY, BOUND, at, bound_row, camera, confirm, edit, endorsed, go, id_of, placed, put, put_all, row, sealed_anew,
};
use crate::store::{Arrival, Backlog, Intake, Receipt, RequestId};

pub(super) async fn new_row_is_there_for_its_receipt_and_in_its_queue(place: &dyn Place) {
    let store = place.open();
    let (first, second) = (row(1), bound_row(2));
    let expected = |new: &crate::store::NewRow| Receipt {
        id: new.receipt,
        state: State::Received,
        body: new.submission.body().clone(),
        elsewhere: false,
    };
    assert_eq!(put(&store, first.clone()).await, Intake::New(expected(&first)));
    assert_eq!(put(&store, second.clone()).await, Intake::New(expected(&second)));
    assert_eq!(store.receipt(first.receipt).await.unwrap(), Some(expected(&first)));
    assert_eq!(store.receipt(Uuid::from_u128(77)).await.unwrap(), None);
    let rows = store.to_validate(AUTHORITY.to_owned(), std::collections::BTreeSet::new(), 9).await.unwrap();
    let [one, two] = rows.try_into().unwrap();
    assert_eq!((one.request_id, one.token), (RequestId([1; 16]), camera(&first).token.clone()));
    assert!(one.bound.is_none());
    let bound = two.bound.unwrap();
    assert_eq!((two.receipt, two.token), (Uuid::from_u128(BOUND + 2), camera(&second).token.clone()));
    assert_eq!((Some(bound.binding), bound.body), (camera(&second).binding.clone(), second.submission.body().encode()));
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 2, validated: 0 });
}

pub(super) async fn same_submission_is_found_again_whatever_became_of_it(place: &dyn Place) {
    let store = place.open();
    put_all(&store, [row(1), row(2)]).await;
    let id = id_of(&store, row(2).receipt).await;
    let rejected = State::Rejected(Reason::of_text("token_used", ""));
    assert!(go(&store, id, State::Received, rejected.clone()).await.unwrap());
    confirm(&store, row(3), Voucher::Word, 9).await;
    let again = |number| crate::store::NewRow { receipt: Uuid::from_u128(100), ..row(number) };
    for (number, state) in [(1, State::Received), (2, rejected), (3, State::Confirmed(at(9, Assurance::Attested)))] {
        let Intake::Repeat(known) = put(&store, again(number)).await else { panic!("{number} is no repeat") };
        assert_eq!((known.id, known.state), (row(number).receipt, state));
    }
    assert_eq!(place.number("SELECT count(*) FROM submission"), 3);
}

pub(super) async fn batch_is_answered_in_its_order_and_sees_itself(place: &dyn Place) {
    let store = place.open();
    put_all(&store, [row(1)]).await;
    confirm(&store, row(2), Voucher::Word, 5).await;
    let other = |number, receipt: u128| crate::store::NewRow { receipt: Uuid::from_u128(receipt), ..row(number) };
    let arrivals = vec![
        placed(row(4)),
        placed(other(1, 101)),
        placed(other(4, 102)),
        Arrival { row: row(5), place: false },
        placed(sealed_anew(row(2), 103)),
        placed(row(3)),
    ];
    let answers = store.take_in(arrivals).await.unwrap();
    let told = |answer: &Intake| match answer {
        Intake::New(receipt) => ("new", receipt.id.as_u128()),
        Intake::Repeat(receipt) => ("repeat", receipt.id.as_u128()),
        Intake::OnRecord(recorded) => ("on record", recorded.tx_id.0.into()),
        Intake::NoPlace => ("no place", 0),
        Intake::Gone => ("gone", 0),
    };
    let told: Vec<_> = answers.iter().map(told).collect();
    assert_eq!(told, [("new", 4), ("repeat", 1), ("repeat", 4), ("no place", 0), ("on record", 5), ("new", 3)]);
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 3, validated: 0 });
    assert!(store.take_in(Vec::new()).await.unwrap().is_empty());
}

pub(super) async fn without_a_place_nothing_is_written_and_repeats_are_answered(place: &dyn Place) {
    let store = place.open();
    put_all(&store, [row(1)]).await;
    let without = |row| vec![Arrival { row, place: false }];
    assert_eq!(store.take_in(without(row(2))).await.unwrap(), [Intake::NoPlace]);
    assert!(matches!(store.take_in(without(row(1))).await.unwrap()[..], [Intake::Repeat(_)]));
    assert_eq!(place.number("SELECT count(*) FROM submission"), 1);
}

pub(super) async fn of_the_same_submission_at_once_one_is_new(place: &dyn Place) {
    let store = place.open();
    let numbers: Vec<u8> = (0..5).flat_map(|_| 1..=20).collect();
    let asking = numbers.iter().zip(0..).map(|(number, receipt)| {
        let row = crate::store::NewRow { receipt: Uuid::from_u128(5000 + receipt), ..row(*number) };
        put(&store, row)
    });
    let answers = join_all(asking).await;
    for number in 1..=20 {
        let same: Vec<_> = numbers.iter().zip(&answers).filter(|(of, _)| **of == number).map(|(_, a)| a).collect();
        let new = same.iter().filter_map(|answer| match answer {
            Intake::New(receipt) => Some(receipt.id),
            _ => None,
        });
        let [new] = new.collect::<Vec<_>>().try_into().unwrap();
        for answer in same {
            assert!(matches!(answer, Intake::New(known) | Intake::Repeat(known) if known.id == new), "{answer:?}");
        }
    }
    assert_eq!(place.number("SELECT count(*) FROM submission"), 20);
}

pub(super) async fn record_answers_for_what_aims_no_higher(place: &dyn Place) {
    let store = place.open();
    confirm(&store, row(1), Voucher::Word, 5).await;
    let attested = Intake::OnRecord(at(5, Assurance::Attested));
    assert_eq!(put(&store, sealed_anew(row(1), 77)).await, attested);
    confirm(&store, bound_row(1), endorsed(), 9).await;
    let better = Intake::OnRecord(at(9, Assurance::Endorsed));
    assert_eq!(put(&store, sealed_anew(row(1), 78)).await, better);
    assert_eq!(put(&store, sealed_anew(bound_row(1), 79)).await, better);
}

pub(super) async fn rejected_and_pending_rows_block_no_other_token(place: &dyn Place) {
    let store = place.open();
    put_all(&store, [row(1)]).await;
    put_all(&store, [sealed_anew(row(1), 70)]).await;
    let id = id_of(&store, row(1).receipt).await;
    assert!(go(&store, id, State::Received, State::Rejected(Reason::malformed_token())).await.unwrap());
    put_all(&store, [sealed_anew(row(1), 71)]).await;
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 2, validated: 0 });
}

pub(super) async fn edit_waits_for_its_record_only_and_is_taken_up_again_after_a_refusal(place: &dyn Place) {
    let store = place.open();
    let waiting = State::Validated(Voucher::Word);
    let Intake::New(receipt) = put(&store, edit(1)).await else { panic!("it is new") };
    assert_eq!((receipt.state, receipt.id), (waiting.clone(), edit(1).receipt));
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 0, validated: 1 });
    assert!(matches!(put(&store, edit(1)).await, Intake::Repeat(known) if known.state == waiting));
    let to_post = || async { store.to_post(std::collections::BTreeSet::new(), 9).await.unwrap() };
    let row = to_post().await.remove(0);
    assert_eq!((row.body, row.voucher), (edit(1).submission.body().clone(), Voucher::Word));
    let refused = State::Rejected(Reason::of_text("unknown_parent", ""));
    assert!(go(&store, row.id, waiting.clone(), refused.clone()).await.unwrap());
    assert!(to_post().await.is_empty());

    let without = vec![Arrival { row: edit(1), place: false }];
    assert_eq!(store.take_in(without).await.unwrap(), [Intake::NoPlace]);
    let later = crate::store::NewRow { received_at: UnixSeconds(77_000), ..edit(1) };
    let twice = store.take_in(vec![placed(later.clone()), placed(later), placed(edit(2))]).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM submission WHERE received_at = 77000"), 1, "it begins anew");
    assert!(matches!(&twice[0], Intake::New(known) if known.state == waiting && known.id == edit(1).receipt));
    assert!(matches!(&twice[1], Intake::Repeat(known) if known.state == waiting && known.id == edit(1).receipt));
    assert!(matches!(&twice[2], Intake::New(known) if known.id == edit(2).receipt));
    assert_eq!(store.receipt(edit(1).receipt).await.unwrap().unwrap().state, waiting);
    assert_eq!((to_post().await.len(), place.number("SELECT count(*) FROM submission")), (2, 2));
}
