//! Why a batch got no decision. None of these is a verdict: the rows stay and are asked about again.

use std::time::Duration;

use birthmark_core::json::JsonError;
use birthmark_service::client::ClientError;
use tokio::task::JoinError;

use crate::store::StoreError;

/// One failed attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The call failed, or its answer is an error.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// A success that is not what the protocol has.
    #[error("the answer is malformed: {0}")]
    Answer(#[source] JsonError),
    /// A success with too few or too many results.
    #[error("{got} results came for {wanted} questions")]
    Count {
        /// Results there.
        got: usize,
        /// Questions asked.
        wanted: usize,
    },
    /// The authority at the configured address is another one. Our configuration is at fault, not the
    /// token, so this is no verdict even though it may come as one.
    #[error("the authority at this address goes by another name; check the configuration")]
    WrongAuthority,
    /// Passes without the endorsements that belong to them, and nothing else. The authority errs.
    #[error("endorsement_failed: the authority passed tokens, and its blind signatures are missing or wrong")]
    Endorsement,
    /// Checking what the authority signed broke off, which is a fault of ours.
    #[error("checking endorsements broke off: {0}")]
    Unblinding(#[from] JoinError),
    /// The decision came but could not be stored. The same question gets the same answer again.
    #[error("what was learnt could not be stored: {0}")]
    Store(#[from] StoreError),
}

impl Trouble {
    /// How long the other side asked to be left alone.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.retry_after(),
            Self::Answer(_)
            | Self::Count { .. }
            | Self::WrongAuthority
            | Self::Endorsement
            | Self::Unblinding(_)
            | Self::Store(_) => None,
        }
    }

    /// True where no later attempt of this process can succeed.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_final())
    }
}
