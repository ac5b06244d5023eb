//! What a TPM's response code means for a camera.
//!
//! For: one error with its remedy for each cause that an owner can meet. Not for: the texts (`element`).

use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Kind;

use crate::device::TpmError;

/// Names the cause of an error; `doing` says what was asked.
pub(super) fn refused(doing: &'static str) -> impl Fn(Error) -> TpmError {
    move |error| {
        let kind = match error {
            Error::Tss2Error(code) => code.kind(),
            Error::WrapperError(_) => None,
        };
        match kind {
            Some(Kind::Lockout) => TpmError::LockedOut,
            Some(Kind::BadAuth | Kind::AuthFail | Kind::AuthMissing) => TpmError::OwnerPassword,
            Some(
                Kind::ObjectMemory
                | Kind::SessionMemory
                | Kind::Memory
                | Kind::SessionHandles
                | Kind::ObjectHandles
                | Kind::ContextGap
                | Kind::TooManyContexts,
            ) => TpmError::Exhausted,
            Some(Kind::NvSpace) => TpmError::NvFull,
            Some(Kind::Integrity) => TpmError::Damaged,
            Some(Kind::Initialize) => TpmError::NotStarted,
            Some(Kind::Failure) => TpmError::Failure,
            Some(Kind::Retry | Kind::Testing | Kind::NvRate | Kind::Yielded | Kind::NvUnavailable) => TpmError::Busy,
            _ => TpmError::Refused { doing, cause: error.to_string() },
        }
    }
}

/// Whether it says that there is nothing under a handle.
pub(super) fn is_missing(error: Error) -> bool {
    matches!(error, Error::Tss2Error(code) if code.kind() == Some(Kind::Handle))
}

/// Whether it says that nothing has been written to an NV index since it was made.
pub(super) fn is_unwritten(error: Error) -> bool {
    matches!(error, Error::Tss2Error(code) if code.kind() == Some(Kind::NvUninitialized))
}

/// Whether it says that an NV index is taken.
pub(super) fn is_taken(error: Error) -> bool {
    matches!(error, Error::Tss2Error(code) if code.kind() == Some(Kind::NvDefined))
}
