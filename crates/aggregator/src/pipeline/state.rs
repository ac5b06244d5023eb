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
//! A version 2 token is passed with an endorsement or not at all: nothing moves its row to validated at
//! a lower assurance.

use birthmark_core::api::submit::SubmissionStatus;
use birthmark_core::api::validate::Message;
use birthmark_core::batch::Assurance;
use birthmark_core::endorsement::Endorsement;
use birthmark_core::ids::{Height, TxId};

/// Where a submission stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// On disk, with its token.
    Received,
    /// The authority passed its token, which is gone. What vouches for the body now is kept beside it.
    Validated(Voucher),
    /// On record.
    Confirmed(Recorded),
    /// Refused for good.
    Rejected(Reason),
}

/// What vouches for a body whose token passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Voucher {
    /// The authority's word to us: all that a version 1 token gets.
    Word,
    /// The authority's signature under this very body, which anybody can check: version 2.
    Endorsement(Endorsement),
}

/// Where the registry recorded a body, and at which assurance at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) tx_id: TxId,
    pub(crate) block_height: Height,
    pub(crate) assurance: Assurance,
}

/// Why a token that the authority passed got no verdict all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Withheld {
    /// The blind signature is missing or wrong: the authority erred, and may do better next time.
    EndorsementFailed,
    /// Our network file does not have the key, so that nothing can be checked: ours is the older file.
    UnknownKey,
}

/// What was learnt about a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The authority passed its token, and what it said for it holds.
    Passed(Voucher),
    /// The authority failed its token.
    Failed(Reason),
    /// The registry has it on record.
    Recorded(Recorded),
    /// The registry will never take it.
    Refused(Reason),
    /// The authority passed its token, but what it said for it cannot be used.
    Withheld(Withheld),
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
        (State::Received, Event::Passed(voucher)) => {
            (State::Validated(voucher), &[Effect::EraseToken, Effect::WakePoster])
        }
        (State::Received, Event::Failed(reason)) => {
            (State::Rejected(reason), &[Effect::EraseToken, Effect::WakeWaiters])
        }
        (State::Validated(_), Event::Recorded(recorded)) => (State::Confirmed(recorded), &[Effect::WakeWaiters]),
        (State::Validated(_), Event::Refused(reason)) => (State::Rejected(reason), &[Effect::WakeWaiters]),
        (state @ State::Received, Event::Withheld(_) | Event::Undecided)
        | (state @ State::Validated(_), Event::Undecided) => (state, &[Effect::TryAgain]),
        (state @ State::Received, Event::Recorded(_) | Event::Refused(_))
        | (state @ State::Validated(_), Event::Passed(_) | Event::Failed(_) | Event::Withheld(_))
        | (state @ (State::Confirmed(_) | State::Rejected(_)), _) => (state, &[]),
    }
}

impl State {
    pub(crate) const fn status(&self) -> SubmissionStatus {
        match self {
            Self::Received => SubmissionStatus::PendingValidation,
            Self::Validated(_) => SubmissionStatus::Validated,
            Self::Confirmed(_) => SubmissionStatus::Confirmed,
            Self::Rejected(_) => SubmissionStatus::Rejected,
        }
    }

    pub(crate) const fn is_end(&self) -> bool {
        match self {
            Self::Received | Self::Validated(_) => false,
            Self::Confirmed(_) | Self::Rejected(_) => true,
        }
    }

    /// How much the record is worth, or will be; none before the verdict and after a rejection.
    pub(crate) const fn assurance(&self) -> Option<Assurance> {
        match self {
            Self::Received | Self::Rejected(_) => None,
            Self::Validated(voucher) => Some(voucher.assurance()),
            Self::Confirmed(recorded) => Some(recorded.assurance),
        }
    }
}

impl Voucher {
    pub(crate) const fn assurance(&self) -> Assurance {
        match self {
            Self::Word => Assurance::Attested,
            Self::Endorsement(_) => Assurance::Endorsed,
        }
    }

    /// `key_id ‖ signature`, or nothing.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::Word => None,
            Self::Endorsement(endorsement) => Some(endorsement.encode()),
        }
    }
}

impl Withheld {
    /// As operators see it in figures and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EndorsementFailed => "endorsement_failed",
            Self::UnknownKey => "unknown_endorsement_key",
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

    /// One of the authority's messages.
    pub(crate) fn of(message: Message) -> Self {
        Self(message.text().to_owned())
    }

    /// The authority could not read the token, or would not be able to.
    pub(crate) fn malformed_token() -> Self {
        Self("malformed_token".to_owned())
    }

    /// The authority signed what it was asked to sign, but that was not this photo: the camera erred.
    pub(crate) fn binding_mismatch() -> Self {
        Self("binding_mismatch".to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// True where the camera should seal a new token for the same photo.
    pub(crate) fn asks_to_reseal(&self) -> bool {
        Message::asks_to_reseal(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use birthmark_core::network::EndorsementKeyId;

    use super::*;

    const RECORDED: Recorded = Recorded { tx_id: TxId(7), block_height: Height(3), assurance: Assurance::Attested };

    fn reason() -> Reason {
        Reason::of_text("token_used", "")
    }

    fn events() -> Vec<Event> {
        vec![
            Event::Passed(Voucher::Word),
            Event::Failed(reason()),
            Event::Recorded(RECORDED),
            Event::Refused(reason()),
            Event::Withheld(Withheld::EndorsementFailed),
            Event::Withheld(Withheld::UnknownKey),
            Event::Undecided,
        ]
    }

    fn states() -> [State; 4] {
        [State::Received, State::Validated(Voucher::Word), State::Confirmed(RECORDED), State::Rejected(reason())]
    }

    #[test]
    fn every_move_is_one_of_the_diagram() {
        let moves: Vec<_> = states()
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
                (SubmissionStatus::PendingValidation, Event::Passed(Voucher::Word), SubmissionStatus::Validated),
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
        for state in states() {
            for event in events() {
                let (after, effects) = next(state.clone(), event);
                assert_eq!(effects.contains(&Effect::WakeWaiters), after.is_end() && !state.is_end());
            }
        }
    }

    #[test]
    fn error_is_never_an_end() {
        for event in
            [Event::Undecided, Event::Withheld(Withheld::EndorsementFailed), Event::Withheld(Withheld::UnknownKey)]
        {
            assert_eq!(next(State::Received, event), (State::Received, &[Effect::TryAgain][..]));
        }
        let validated = State::Validated(Voucher::Word);
        assert_eq!(next(validated.clone(), Event::Undecided), (validated, &[Effect::TryAgain][..]));
    }

    #[test]
    fn what_vouched_goes_with_the_move_and_is_never_lowered() {
        let key_id = EndorsementKeyId::from_bytes([1; 8]);
        let voucher = Voucher::Endorsement(Endorsement { key_id, signature: vec![2; 256] });
        let (state, _) = next(State::Received, Event::Passed(voucher.clone()));
        assert_eq!((state.assurance(), &state), (Some(Assurance::Endorsed), &State::Validated(voucher)));
        assert_eq!(next(state.clone(), Event::Passed(Voucher::Word)).0, state);
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
