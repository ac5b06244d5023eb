//! What an answer of the aggregator means for a photograph.
//!
//! For: `upload`. Pure: nothing is sent, stored or waited for here.
//! Not for: what is then done about it.
//!
//! Errors are never verdicts (`docs/PROTOCOL.md` section 2): only an answer that will be the same for
//! ever parks a photograph.

use std::time::Duration;

use birthmark_core::api::submit::SubmissionStatus;
use birthmark_core::api::validate::Message;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::leaf::Leaf;
use birthmark_core::proof::ProofBundle;
use birthmark_service::client::ClientError;
use serde::Deserialize;
use uuid::Uuid;

use crate::queue::{PhotoHashes, Recorded};

/// Answers to `POST /api/v1/submit` and `GET /api/v1/submission/{receipt_id}` in one shape; one that
/// says "on record already" has no receipt.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reply {
    receipt_id: Option<Uuid>,
    status: SubmissionStatus,
    tx_id: Option<u64>,
    block_height: Option<u64>,
    reason: Option<String>,
    reseal: Option<bool>,
    proof: Option<String>,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To take the submission in.
    Submit,
    /// How far a receipt is.
    Receipt,
}

/// What the answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken in, not at its end.
    Pending { receipt: Uuid },
    /// On record.
    Confirmed { receipt: Option<Uuid>, recorded: Recorded, proof: Option<String> },
    /// The token is used up; the photograph is not.
    Reseal { why: Why, reason: String },
    /// Refused for good.
    Refused { reason: String },
    /// The receipt is not known there.
    Forgotten,
    /// No verdict.
    Again { error: String, retry_after: Option<Duration>, taken: Taken },
}

/// Whether an aggregator that gave no verdict may have the submission all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It never got it, or said that it does not take it now.
    No,
    /// The answer was lost, or is none.
    Perhaps,
}

/// Why another token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its number, or it itself, has passed before.
    Used,
    /// Its number is below those that the authority remembers.
    Stale,
    /// Its endorsement key signs no more.
    Rekey,
    /// Unsaid.
    Other,
}

/// What a success says. Answers that contradict themselves are no verdict.
pub(super) fn of_reply(reply: Reply) -> Verdict {
    let Reply { receipt_id, status, tx_id, block_height, reason, reseal, proof } = reply;
    let recorded = tx_id.zip(block_height).and_then(|(tx_id, height)| recorded(tx_id, height));
    match (status, receipt_id, recorded) {
        (SubmissionStatus::PendingValidation | SubmissionStatus::Validated, Some(receipt), _) => {
            Verdict::Pending { receipt }
        }
        (SubmissionStatus::Confirmed, receipt, Some(recorded)) => Verdict::Confirmed { receipt, recorded, proof },
        (SubmissionStatus::Rejected, Some(_), _) => {
            let reason = reason.map_or_else(|| "rejected without a reason".to_owned(), |text| printable(&text));
            if reseal == Some(true) {
                Verdict::Reseal { why: why(&reason), reason }
            } else {
                Verdict::Refused { reason }
            }
        }
        (SubmissionStatus::PendingValidation | SubmissionStatus::Validated | SubmissionStatus::Rejected, None, _)
        | (SubmissionStatus::Confirmed, _, None) => {
            let error = "the aggregator's answer lacks fields".to_owned();
            Verdict::Again { error, retry_after: None, taken: Taken::Perhaps }
        }
    }
}

/// What a failure says.
pub(super) fn of_error(error: &ClientError, asked: Asked) -> Verdict {
    let status = error.status().map(|status| status.as_u16());
    match (asked, status) {
        (Asked::Submit, Some(400 | 403 | 413 | 415 | 422)) => Verdict::Refused { reason: error.to_string() },
        (Asked::Receipt, Some(404 | 422)) => Verdict::Forgotten,
        _ => Verdict::Again { error: error.to_string(), retry_after: error.retry_after(), taken: taken(error) },
    }
}

/// A server error, and what looks like one of a server in between, may come after the submission was stored.
fn taken(error: &ClientError) -> Taken {
    match error {
        ClientError::Connect { .. } | ClientError::Request { .. } => Taken::No,
        ClientError::Status { status, .. } if matches!(status.as_u16(), 300..=407 | 409..=499 | 503) => Taken::No,
        ClientError::Status { .. }
        | ClientError::Timeout { .. }
        | ClientError::Broken { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Malformed { .. } => Taken::Perhaps,
    }
}

/// Whether a text is a proof about this photograph at this place of the log. That its checkpoint is to
/// be trusted is the verifier's to find out.
pub(super) fn proves(text: &str, hashes: &PhotoHashes, recorded: Recorded) -> bool {
    let Ok(bundle) = ProofBundle::parse(text) else { return false };
    let Ok(Leaf::Record(record)) = Leaf::decode(&bundle.leaf) else { return false };
    let entries = record.entries.as_slice();
    let holds = |hash| entries.iter().any(|entry| entry.hash == hash);
    bundle.index == recorded.tx_id.0 && holds(hashes.raw) && holds(hashes.processed)
}

/// The authority's fixed messages.
fn why(reason: &str) -> Why {
    let known = [(Message::Used, Why::Used), (Message::Stale, Why::Stale), (Message::Rekey, Why::Rekey)];
    known.into_iter().find(|(message, _)| message.text() == reason).map_or(Why::Other, |(_, why)| why)
}

/// Numbers that the queue can keep.
fn recorded(tx_id: u64, block_height: u64) -> Option<Recorded> {
    let fits = |number| i64::try_from(number).is_ok();
    (fits(tx_id) && fits(block_height)).then_some(Recorded { tx_id: TxId(tx_id), block_height: Height(block_height) })
}

/// A server's words, short and without anything that moves a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(MAX_REASON).collect()
}

const MAX_REASON: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(json: &str) -> Verdict {
        of_reply(birthmark_core::json::from_slice(json.as_bytes()).unwrap())
    }

    const ID: &str = r#""receipt_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7""#;

    #[test]
    fn every_status_has_its_meaning() {
        let receipt = Uuid::parse_str("7c9e6679-7425-40de-944b-e07fc1f90ae7").unwrap();
        for status in ["pending_validation", "validated"] {
            let json = format!(r#"{{{ID}, "status": "{status}", "message": "x"}}"#);
            assert_eq!(reply(&json), Verdict::Pending { receipt });
        }
        let recorded = Recorded { tx_id: TxId(4), block_height: Height(2) };
        assert_eq!(
            reply(&format!(r#"{{{ID}, "status": "confirmed", "tx_id": 4, "block_height": 2, "proof": "p"}}"#)),
            Verdict::Confirmed { receipt: Some(receipt), recorded, proof: Some("p".to_owned()) }
        );
        assert_eq!(
            reply(r#"{"status": "confirmed", "tx_id": 4, "block_height": 2}"#),
            Verdict::Confirmed { receipt: None, recorded, proof: None }
        );
        for (reason, why) in [
            ("token_used", Why::Used),
            ("token_stale", Why::Stale),
            ("rekey", Why::Rekey),
            ("another_time", Why::Other),
        ] {
            assert_eq!(
                reply(&format!(r#"{{{ID}, "status": "rejected", "reason": "{reason}", "reseal": true}}"#)),
                Verdict::Reseal { why, reason: reason.to_owned() }
            );
        }
        assert_eq!(
            reply(&format!(r#"{{{ID}, "status": "rejected", "reason": "a\u001b[2J", "reseal": false}}"#)),
            Verdict::Refused { reason: "a?[2J".to_owned() }
        );
    }

    #[test]
    fn answers_that_contradict_themselves_are_no_verdict() {
        for json in [
            r#"{"status": "pending_validation"}"#.to_owned(),
            r#"{"status": "rejected", "reason": "x"}"#.to_owned(),
            format!(r#"{{{ID}, "status": "confirmed"}}"#),
            format!(r#"{{{ID}, "status": "confirmed", "tx_id": 4}}"#),
            format!(r#"{{{ID}, "status": "confirmed", "tx_id": 18446744073709551615, "block_height": 1}}"#),
        ] {
            assert!(matches!(reply(&json), Verdict::Again { .. }), "{json}");
        }
    }

    #[test]
    fn only_answers_that_stay_the_same_are_final() {
        let error = |status: u16| ClientError::Status {
            origin: "http://a".to_owned(),
            status: status.try_into().unwrap(),
            code: Some("wrong_token".to_owned()),
            retry_after: None,
        };
        for status in [400, 403, 413, 415, 422] {
            let verdict = of_error(&error(status), Asked::Submit);
            assert!(
                matches!(&verdict, Verdict::Refused { reason } if reason.contains("wrong_token")),
                "{status} {verdict:?}"
            );
        }
        for status in [301, 401, 404, 405, 408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(of_error(&error(status), Asked::Submit), Verdict::Again { .. }), "{status}");
        }
        assert_eq!(of_error(&error(404), Asked::Receipt), Verdict::Forgotten);
        assert!(matches!(of_error(&error(400), Asked::Receipt), Verdict::Again { .. }));
        let timeout = ClientError::Timeout { origin: "http://a".to_owned() };
        assert!(matches!(of_error(&timeout, Asked::Submit), Verdict::Again { taken: Taken::Perhaps, .. }));
        let taken = |status| match of_error(&error(status), Asked::Submit) {
            Verdict::Again { taken, .. } => taken,
            other => panic!("{other:?}"),
        };
        for status in [301, 401, 404, 405, 425, 429, 503] {
            assert_eq!(taken(status), Taken::No, "{status}");
        }
        for status in [408, 500, 502, 504] {
            assert_eq!(taken(status), Taken::Perhaps, "{status}");
        }
    }
}
