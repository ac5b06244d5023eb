//! Values of a row as both databases keep them.
//!
//! For: `sqlite` and `postgres`, so that a row means the same in both. Not for: the token (`token`).
//!
//! ```text
//! state: 0 received, 1 validated, 2 confirmed, 3 rejected
//! ```

use birthmark_core::batch::Assurance;
use birthmark_core::body::Body;
use birthmark_core::codec::DecodeError;
use birthmark_core::endorsement::Endorsement;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::submission::{CameraSubmission, Submission};
use birthmark_core::token::SealedToken;

use super::{Bound, NewRow, token};
use crate::pipeline::state::{Reason, Recorded, State, Voucher};

/// By what a submission is looked up.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) idempotency: Digest,
    /// Of the encoded body.
    pub(super) digest: Digest,
    pub(super) body: Vec<u8>,
}

/// The columns of a state.
#[derive(Debug, Default)]
pub(super) struct StateColumns {
    pub(super) state: i64,
    pub(super) endorsement: Option<Vec<u8>>,
    pub(super) tx_id: Option<i64>,
    pub(super) block_height: Option<i64>,
    pub(super) reason: Option<String>,
}

/// A row that holds what this program never writes. It names the part, not the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("a submission's assurance contradicts what is stored for it")]
    Aim,
    #[error("a submission's state is {0}, or lacks what belongs to it")]
    State(i64),
    #[error("a submission's {0} cannot be read")]
    Part(&'static str),
    #[error("a submission's token cannot be read: {0}")]
    Token(#[from] DecodeError),
}

impl NewRow {
    /// The assurance aimed at.
    pub(super) const fn aim(&self) -> Assurance {
        match &self.submission {
            Submission::Camera(CameraSubmission { binding: Some(_), .. }) => Assurance::Endorsed,
            // Who may register edits of an authority is known by its credential: our word, as for version 1.
            Submission::Camera(_) | Submission::Software(_) => Assurance::Attested,
        }
    }

    /// Where it begins.
    pub(super) const fn state(&self) -> State {
        match &self.submission {
            Submission::Camera(_) => State::Received,
            Submission::Software(_) => State::Validated(Voucher::Word),
        }
    }

    /// Whether what is known of it ends the matter.
    pub(super) const fn is_taken_up_again(&self, known: &State) -> bool {
        matches!((&self.submission, known), (Submission::Software(_), State::Rejected(_)))
    }

    pub(super) fn keys(&self) -> Keys {
        let body = self.submission.body().encode();
        Keys { idempotency: self.submission.idempotency_key(), digest: Digest::of_parts(&[&body]), body }
    }
}

impl StateColumns {
    pub(super) fn of(state: &State) -> Self {
        let number = state_number(state);
        match state {
            State::Received => Self { state: number, ..Self::default() },
            State::Validated(voucher) => Self { state: number, endorsement: voucher.encode(), ..Self::default() },
            // Both databases' integers are signed; the two numbers keep their bits.
            State::Confirmed(Recorded { tx_id, block_height, assurance: _ }) => Self {
                state: number,
                tx_id: Some(tx_id.0.cast_signed()),
                block_height: Some(block_height.0.cast_signed()),
                ..Self::default()
            },
            State::Rejected(reason) => {
                Self { state: number, reason: Some(reason.as_str().to_owned()), ..Self::default() }
            }
        }
    }

    pub(super) fn into_state(self, assurance: Assurance) -> Result<State, RowError> {
        match self {
            Self { state: 0, .. } => Ok(State::Received),
            Self { state: 1, endorsement, .. } => Ok(State::Validated(voucher(assurance, endorsement)?)),
            Self { state: 2, tx_id: Some(tx_id), block_height: Some(height), .. } => {
                Ok(State::Confirmed(recorded(tx_id, height, assurance)))
            }
            Self { state: 3, reason: Some(reason), .. } => Ok(State::Rejected(Reason::of_text(&reason, "unknown"))),
            Self { state, .. } => Err(RowError::State(state)),
        }
    }
}

pub(super) const fn state_number(state: &State) -> i64 {
    match state {
        State::Received => 0,
        State::Validated(_) => 1,
        State::Confirmed(_) => 2,
        State::Rejected(_) => 3,
    }
}

pub(super) const fn recorded(tx_id: i64, height: i64, assurance: Assurance) -> Recorded {
    Recorded { tx_id: TxId(tx_id.cast_unsigned()), block_height: Height(height.cast_unsigned()), assurance }
}

pub(super) fn assurance(number: u8) -> Result<Assurance, RowError> {
    Assurance::from_number(number).map_err(|_| RowError::Part("assurance"))
}

pub(super) fn body(bytes: &[u8]) -> Result<Body, RowError> {
    Body::decode(bytes).map_err(|_| RowError::Part("body"))
}

/// Of a row in state 1.
pub(super) fn voucher(assurance: Assurance, endorsement: Option<Vec<u8>>) -> Result<Voucher, RowError> {
    match (assurance, endorsement) {
        (Assurance::Attested, None) => Ok(Voucher::Word),
        (Assurance::Endorsed, Some(bytes)) => {
            Endorsement::decode(&bytes).map(Voucher::Endorsement).map_err(|_| RowError::Part("endorsement"))
        }
        (Assurance::Asserted | Assurance::Attested | Assurance::Endorsed, _) => Err(RowError::Aim),
    }
}

/// The token of a row in state 0, and what it is bound to; the body is given where the row aims at an
/// endorsement.
pub(super) fn token_of(bytes: &[u8], body: Option<Vec<u8>>) -> Result<(SealedToken, Option<Bound>), RowError> {
    let (token, binding) = token::decode(bytes)?;
    match (binding, body) {
        (Some(binding), Some(body)) => Ok((token, Some(Bound { binding, body }))),
        (None, None) => Ok((token, None)),
        // Never taken for version 1: that would lower its assurance.
        (Some(_), None) | (None, Some(_)) => Err(RowError::Aim),
    }
}
