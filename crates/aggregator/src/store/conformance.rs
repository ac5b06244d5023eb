//! What every store must do, run against each of them.
//!
//! For: one suite, so that no rule holds in one database only. Not for: what only one of them can meet
//! (`sqlite::tests`, `postgres::tests`).

mod intake;
mod queues;

use std::sync::Arc;

use futures::future::BoxFuture;

use super::Store;

/// One empty database, which can be opened several times, one after the other.
pub(super) trait Place: Send + Sync {
    fn open(&self) -> Arc<dyn Store>;

    /// A number that a query gives.
    fn number(&self, query: &str) -> i64;
}

/// A name and what is to be shown.
type Case = (&'static str, for<'a> fn(&'a dyn Place) -> BoxFuture<'a, ()>);

macro_rules! cases {
    ($($module:ident::$case:ident,)*) => {
        &[$((stringify!($case), |place| Box::pin($module::$case(place)))),*]
    };
}

const SUITE: &[Case] = cases![
    intake::new_row_is_there_for_its_receipt_and_in_its_queue,
    intake::same_submission_is_found_again_whatever_became_of_it,
    intake::batch_is_answered_in_its_order_and_sees_itself,
    intake::without_a_place_nothing_is_written_and_repeats_are_answered,
    intake::of_the_same_submission_at_once_one_is_new,
    intake::record_answers_for_what_aims_no_higher,
    intake::rejected_and_pending_rows_block_no_other_token,
    intake::edit_waits_for_its_record_only_and_is_taken_up_again_after_a_refusal,
    queues::rows_under_way_are_skipped_and_the_limit_counts_the_others,
    queues::move_from_a_state_that_a_row_has_left_changes_nothing,
    queues::greatest_numbers_come_back_as_they_were,
    queues::oldest_unfinished_is_that_of_either_queue,
    queues::awaited_authorities_are_those_of_unjudged_rows,
    queues::endorsement_is_stored_with_the_verdict_outlives_a_restart_and_goes_with_the_record,
    queues::token_goes_with_the_verdict,
    queues::row_cannot_be_validated_below_or_above_its_aim,
    queues::everything_unfinished_is_there_after_a_restart,
    queues::ended_rows_are_forgotten_by_age_and_unfinished_ones_never,
    queues::closed_store_gives_errors,
];

/// Runs all of it, each case in a place of its own.
pub(super) async fn run(fresh: impl Fn(usize) -> Box<dyn Place>) {
    for (number, (name, case)) in SUITE.iter().enumerate() {
        println!("{name}");
        case(&*fresh(number)).await;
    }
}
