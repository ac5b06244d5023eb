//! How one submission moves from intake to its end: a pure function of state and event.
//!
//! For: [`next`], the only place that decides what an answer of the authority or the registry means for
//! a submission. Not for: asking them (`validate`, `post`), storing (`progress`), or when to try again
//! (`gate`).
//!
//! ```text
//! received ──passed──► validated ──recorded──► confirmed
//!    └──failed──┐          └──refused──┐
//!               ▼                      ▼
//!            rejected               rejected            (an error moves nothing)
//! ```

use birthmark_core::api::submit::SubmissionStatus;
use birthmark_core::api::validate::Message;
use birthmark_core::ids::{Height, TxId};

/// Where a submission stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// On disk, with its token.
    Received,
    /// The authority passed its token, which is gone.
    Validated,
    /// On record.
    Confirmed(Recorded),
    /// Refused for good.
    Rejected(Reason),
}

/// Where the registry recorded a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) tx_id: TxId,
    pub(crate) block_height: Height,
}

/// What was learnt about a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The authority passed its token.
    Passed,
    /// The authority failed its token.
    Failed(Reason),
    /// The registry has it on record.
    Recorded(Recorded),
    /// The registry will never take it.
    Refused(Reason),
    /// An error, or no decision yet: nothing was learnt.
    Undecided,
}

/// What follows from a move, besides storing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// In the same transaction as the new state.
    EraseToken,
    /// There is work for the posting stage.
    WakePoster,
    /// Those who wait for this receipt can be answered.
    WakeWaiters,
    /// Ask again later.
    TryAgain,
}

/// The state after an event, and what else is to be done. An event that does not belong to a state
/// (a late second answer) changes nothing.
pub(crate) fn next(state: State, event: Event) -> (State, &'static [Effect]) {
    match (state, event) {
        (State::Received, Event::Passed) => (State::Validated, &[Effect::EraseToken, Effect::WakePoster]),
        (State::Received, Event::Failed(reason)) => {
            (State::Rejected(reason), &[Effect::EraseToken, Effect::WakeWaiters])
        }
        (State::Validated, Event::Recorded(recorded)) => (State::Confirmed(recorded), &[Effect::WakeWaiters]),
        (State::Validated, Event::Refused(reason)) => (State::Rejected(reason), &[Effect::WakeWaiters]),
        (state @ (State::Received | State::Validated), Event::Undecided) => (state, &[Effect::TryAgain]),
        (state @ State::Received, Event::Recorded(_) | Event::Refused(_))
        | (state @ State::Validated, Event::Passed | Event::Failed(_))
        | (state @ (State::Confirmed(_) | State::Rejected(_)), _) => (state, &[]),
    }
}

impl State {
    pub(crate) const fn status(&self) -> SubmissionStatus {
        match self {
            Self::Received => SubmissionStatus::PendingValidation,
            Self::Validated => SubmissionStatus::Validated,
            Self::Confirmed(_) => SubmissionStatus::Confirmed,
            Self::Rejected(_) => SubmissionStatus::Rejected,
        }
    }

    pub(crate) const fn is_end(&self) -> bool {
        match self {
            Self::Received | Self::Validated => false,
            Self::Confirmed(_) | Self::Rejected(_) => true,
        }
    }
}

/// Why a submission was rejected: a stable word, `token_invalid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason(String);

impl Reason {
    /// Takes another party's word for it if it is one: 1 to 64 of `a-z`, `0-9` and `_`; else `fallback`.
    /// What does not look like a word is not passed on to cameras.
    pub(crate) fn of_text(text: &str, fallback: &'static str) -> Self {
        let plain = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        Self(if plain { text } else { fallback }.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// True where the camera should seal a new token for the same photo.
    pub(crate) fn asks_to_reseal(&self) -> bool {
        Message::asks_to_reseal(&self.0)
    }
}

/// The reason where the authority could not read the token.
pub(crate) const MALFORMED_TOKEN: &str = "malformed_token";

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: Recorded = Recorded { tx_id: TxId(7), block_height: Height(3) };

    fn reason() -> Reason {
        Reason::of_text("token_used", "")
    }

    fn events() -> Vec<Event> {
        vec![
            Event::Passed,
            Event::Failed(reason()),
            Event::Recorded(RECORDED),
            Event::Refused(reason()),
            Event::Undecided,
        ]
    }

    #[test]
    fn every_move_is_one_of_the_diagram() {
        let moves: Vec<_> = [State::Received, State::Validated, State::Confirmed(RECORDED), State::Rejected(reason())]
            .into_iter()
            .flat_map(|state| events().into_iter().map(move |event| (state.clone(), event)))
            .filter_map(|(state, event)| {
                let (after, _) = next(state.clone(), event.clone());
                (after != state).then_some((state.status(), event, after.status()))
            })
            .collect();
        assert_eq!(
            moves,
            [
                (SubmissionStatus::PendingValidation, Event::Passed, SubmissionStatus::Validated),
                (SubmissionStatus::PendingValidation, Event::Failed(reason()), SubmissionStatus::Rejected),
                (SubmissionStatus::Validated, Event::Recorded(RECORDED), SubmissionStatus::Confirmed),
                (SubmissionStatus::Validated, Event::Refused(reason()), SubmissionStatus::Rejected),
            ]
        );
    }

    #[test]
    fn token_is_erased_by_every_verdict_and_by_nothing_else() {
        for event in events() {
            let (after, effects) = next(State::Received, event);
            assert_eq!(effects.contains(&Effect::EraseToken), after != State::Received);
        }
    }

    #[test]
    fn waiters_are_woken_exactly_when_an_end_is_reached() {
        for state in [State::Received, State::Validated, State::Confirmed(RECORDED), State::Rejected(reason())] {
            for event in events() {
                let (after, effects) = next(state.clone(), event);
                assert_eq!(effects.contains(&Effect::WakeWaiters), after.is_end() && !state.is_end());
            }
        }
    }

    #[test]
    fn error_is_never_an_end() {
        assert_eq!(next(State::Received, Event::Undecided), (State::Received, &[Effect::TryAgain][..]));
        assert_eq!(next(State::Validated, Event::Undecided), (State::Validated, &[Effect::TryAgain][..]));
    }

    #[test]
    fn reasons_are_words_or_the_fallback() {
        assert_eq!(Reason::of_text("token_stale", "x").as_str(), "token_stale");
        let long = "a".repeat(65);
        for bad in ["", "Two words", "Ü", "a\nb", "<script>", long.as_str()] {
            assert_eq!(Reason::of_text(bad, "token_invalid").as_str(), "token_invalid");
        }
    }
}
