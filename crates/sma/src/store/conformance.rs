//! What every store must do, run against each of them.
//!
//! For: one suite, so that no rule holds in one database only. Not for: what only one of them can meet
//! (`sqlite::tests`, `postgres::tests`).

mod acts;
mod judging;
mod random;
mod registry;

use std::sync::Arc;

use futures::future::BoxFuture;

use super::Store;

/// One empty database, which can be opened several times, one after the other.
pub(super) trait Place: Send + Sync {
    fn open(&self) -> Arc<dyn Store>;

    /// Statements by somebody who may do everything in the database.
    fn sql(&self, statements: &str) -> Result<(), String>;

    /// A literal of these bytes.
    fn bytes(&self, hex: &str) -> String;

    /// What takes the guards off the audit log.
    fn unguard_audit(&self) -> &'static str;
}

/// A name and what is to be shown.
pub(super) type Case = (&'static str, for<'a> fn(&'a dyn Place) -> BoxFuture<'a, ()>);

macro_rules! cases {
    ($($module:ident::$case:ident,)*) => {
        &[$((stringify!($case), |place| Box::pin($module::$case(place)))),*]
    };
}

pub(super) const SUITE: &[Case] = cases![
    registry::installation_is_written_and_never_over_one_in_use,
    registry::camera_gets_three_active_tables_and_shows_its_row,
    registry::evidence_of_a_tpm_is_kept_with_its_device,
    registry::duplicates_are_refused_and_leave_nothing,
    registry::thousands_are_registered_at_once_each_with_an_answer,
    registry::of_registrations_of_one_serial_at_once_one_succeeds,
    registry::pages_list_every_device_once,
    registry::renewal_replaces_keys_and_tables_and_keeps_counters,
    registry::counts_are_those_of_the_rows,
    acts::status_and_quota_change_once_and_are_logged_once,
    acts::audit_log_is_a_chain_that_nobody_can_change,
    acts::change_behind_the_guards_shows,
    acts::one_endorsement_key_is_current_and_rotations_do_not_cross,
    acts::keys_that_never_sign_again_lose_their_private_half,
    acts::of_rotations_at_once_one_succeeds,
    judging::version_1_token_passes_once_and_its_question_again,
    judging::version_2_counter_passes_once_and_its_token_again,
    judging::window_of_counters_moves_and_forgets,
    judging::batch_sees_its_own_effects,
    judging::token_without_a_device_uses_nothing_up,
    judging::revoked_device_fails_at_once_and_passes_when_restored,
    judging::quota_stops_new_tokens_and_not_repeats,
    judging::endorsement_key_that_signs_no_more_asks_for_another,
    judging::of_questions_at_once_about_one_token_one_passes,
    judging::tokens_of_one_device_at_once_all_pass_and_are_counted,
    judging::everything_is_remembered_by_the_next_process,
    random::store_agrees_with_a_full_memory,
    judging::unreadable_row_is_an_error_for_its_own_device_alone,
    judging::closed_store_gives_errors_and_no_verdicts,
];

/// Runs all of it, each case in a place of its own.
pub(super) async fn run(fresh: impl Fn(usize) -> Box<dyn Place>) {
    for (number, (name, case)) in SUITE.iter().enumerate() {
        println!("{name}");
        case(&*fresh(number)).await;
    }
}
