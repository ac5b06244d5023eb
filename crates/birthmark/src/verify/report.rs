//! What came out, in plain words or JSON: what is proven, and what is not.

mod origin;

use std::path::Path;

use birthmark_core::absence::{Absence, AbsenceError};
use birthmark_core::api::verify::AsOf;
use birthmark_core::batch::Assurance;
use birthmark_core::body::Level;
use birthmark_core::ids::TxId;
use birthmark_core::network::EndorsementKeyState;
use birthmark_core::time::UnixSeconds;
use birthmark_core::verify::{Candidate, EndorsementCheck, Finding, VerifyError};
use serde_json::{Value, json};

use super::Unchecked;
use super::lineage::Ancestor;
use super::several::{Answer, Contradiction};
use crate::terminal::{note, say};

/// What of the file is the registered thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    /// All of its bytes.
    File,
    /// A JPEG's picture data; not what is around it.
    ImageData,
    /// A DNG's sensor samples; not what is around them.
    Raw,
}

/// What came out for one file.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The file is in the proven record, and comes from these.
    Found(Matched, Box<Finding>, Vec<Ancestor>),
    /// A server says that it has no record.
    NoRecord {
        /// What was asked for.
        candidates: Vec<Candidate>,
        /// Of which state of the log.
        as_of: Option<AsOf>,
        /// What proves it, if anything does.
        absence: Option<Absence>,
    },
    /// The server's proof that it has no record does not hold.
    BadAbsence(AbsenceError),
    /// The proof holds for another file.
    OtherFile {
        /// The record that it proves.
        tx_id: TxId,
    },
    /// The proof does not hold.
    BadProof(VerifyError),
    /// Servers prove what cannot be true together.
    Contradiction(Contradiction),
    /// Nothing could be said.
    Unchecked(Unchecked),
}

impl Outcome {
    /// 0 proven, 1 no record or asserted only, 2 a proof that does not hold, 3 could not be checked.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Found(_, finding, _) if finding.is_vouched_for() => 0,
            Self::Found(..) | Self::NoRecord { .. } | Self::OtherFile { .. } => 1,
            Self::BadProof(_) | Self::BadAbsence(_) | Self::Contradiction(_) => 2,
            Self::Unchecked(_) => 3,
        }
    }

    /// How much the proven record is worth.
    #[cfg(feature = "servers")]
    pub(crate) fn assurance(&self) -> Option<Assurance> {
        match self {
            Self::Found(_, finding, _) => Some(finding.record.assurance),
            Self::NoRecord { .. }
            | Self::OtherFile { .. }
            | Self::BadProof(_)
            | Self::BadAbsence(_)
            | Self::Contradiction(_)
            | Self::Unchecked(_) => None,
        }
    }

    /// Says it in plain words.
    #[cfg(feature = "servers")]
    pub(crate) fn print(&self, file: &Path) {
        in_words(file, self);
    }

    /// Which check failed, and how.
    fn failed_check(&self) -> Option<String> {
        match self {
            Self::Found(..) | Self::NoRecord { .. } | Self::OtherFile { .. } => None,
            Self::BadProof(cause) => Some(cause.to_string()),
            Self::BadAbsence(cause) => Some(cause.to_string()),
            Self::Contradiction(cause) => Some(cause.to_string()),
            Self::Unchecked(cause) => Some(cause.to_string()),
        }
    }

    /// Stable name for JSON.
    const fn name(&self) -> &'static str {
        match self {
            Self::Found(_, finding, _) => match finding.record.assurance {
                Assurance::Asserted => "asserted",
                Assurance::Attested | Assurance::Endorsed => "proven",
            },
            Self::NoRecord { .. } => "no_record",
            Self::OtherFile { .. } => "other_file",
            Self::BadProof(_) | Self::BadAbsence(_) => "bad_proof",
            Self::Contradiction(_) => "contradiction",
            Self::Unchecked(_) => "unchecked",
        }
    }
}

pub(super) fn print(file: &Path, outcome: &Outcome, as_json: bool) {
    if as_json {
        say(to_json(file, outcome));
    } else {
        in_words(file, outcome);
    }
}

/// What all of several servers said together, and each by itself.
pub(super) fn print_several(file: &Path, answers: &[Answer], compared: Result<&usize, &Contradiction>, as_json: bool) {
    let contradiction;
    let outcome = match compared.map(|at| answers.get(*at)) {
        Ok(Some(answer)) => &answer.outcome,
        Ok(None) => return,
        Err(cause) => {
            contradiction = Outcome::Contradiction(cause.clone());
            &contradiction
        }
    };
    let agree = answers.iter().all(|answer| answer.outcome.name() == outcome.name());
    if as_json {
        let mut all = to_json(file, outcome);
        let each = answers.iter().map(|answer| {
            let mut said = json!({"url": answer.server, "result": answer.outcome.name()});
            if let Some(cause) = answer.outcome.failed_check() {
                said["error"] = cause.into();
            }
            said
        });
        all["servers"] = each.collect();
        all["agree"] = agree.into();
        say(all);
        return;
    }
    in_words(file, outcome);
    say(if agree { "  All servers say the same:" } else { "  The servers do not agree:" });
    for Answer { server, outcome, .. } in answers {
        let cause = outcome.failed_check().map(|cause| format!(": {cause}")).unwrap_or_default();
        say(format_args!("    {server}  {}{cause}", outcome.name().replace('_', " ")));
    }
}

/// Wrong usage, before any file was looked at.
pub(super) fn unusable(unchecked: &Unchecked, as_json: bool) {
    if as_json {
        say(json!({"result": "unchecked", "verified": false, "exit_code": 3, "error": unchecked.to_string()}));
    } else {
        note(format_args!("error: {unchecked}"));
    }
}

fn in_words(file: &Path, outcome: &Outcome) {
    let file = file.display();
    match outcome {
        Outcome::Found(matched, finding, lineage) if finding.is_vouched_for() => {
            let what = match matched {
                Matched::File => "",
                Matched::ImageData => ", the same picture data in another file",
                Matched::Raw => ", the same sensor data",
            };
            say(format_args!("✓ {file}: proven{what}{}", origin::caution(lineage)));
            proven(*matched, finding, lineage);
        }
        Outcome::Found(matched, finding, lineage) => {
            say(format_args!("✗ {file}: registered, but nobody vouches for it"));
            proven(*matched, finding, lineage);
        }
        Outcome::NoRecord { candidates, absence: Some(absence), .. } => {
            say(format_args!("✗ {file}: proven absent as of {}", moment(absence.checkpoint_time)));
            say(format_args!(
                "  Proven: none of its hashes was in the log of {} leaves then:",
                absence.checkpoint_size
            ));
            for candidate in candidates {
                say(format_args!("    {}", candidate.hash));
            }
            say(format_args!(
                "  Cosigned by {} of the policy's validators: {}.",
                absence.cosigners.len(),
                absence.cosigners.join(", ")
            ));
            say("  Not proven: that no camera took it. A photograph whose bytes were changed is another file.");
        }
        Outcome::NoRecord { candidates, as_of, absence: None } => {
            say(format_args!("✗ {file}: no record"));
            say("  The server knows none of its hashes:");
            for candidate in candidates {
                say(format_args!("    {}", candidate.hash));
            }
            if let Some(as_of) = as_of {
                say(format_args!("  It says so of a log of {} leaves, {}.", as_of.size, time(as_of.time)));
            }
            say("  Not proven: that there is no record. This is the server's word.");
        }
        Outcome::OtherFile { tx_id } => {
            say(format_args!("✗ {file}: this is not the file that was registered"));
            say(format_args!("  The proof holds, but for another file (record {tx_id}): one of the two was changed."));
        }
        Outcome::BadProof(cause) => {
            say(format_args!("✗ {file}: the proof does not hold"));
            say(format_args!("  {cause}."));
        }
        Outcome::BadAbsence(cause) => {
            say(format_args!("✗ {file}: the server says that there is no record, and its proof does not hold"));
            say(format_args!("  {cause}."));
        }
        Outcome::Contradiction(cause) => {
            say(format_args!("✗ {file}: the servers prove what cannot be true together"));
            say(format_args!("  {cause}."));
        }
        Outcome::Unchecked(cause) => {
            say(format_args!("? {file}: could not be checked"));
            say(format_args!("  {cause}."));
        }
    }
}

fn proven(matched: Matched, finding: &Finding, lineage: &[Ancestor]) {
    let what = match matched {
        Matched::File => "exactly these bytes were",
        Matched::ImageData => "this picture data was",
        Matched::Raw => "these sensor samples were",
    };
    say(format_args!(
        "  Proven: {what} registered {} as record {} ({}).",
        time(finding.recorded_at),
        finding.tx_id,
        finding.entry.level.display().to_lowercase(),
    ));
    match matched {
        Matched::File => {}
        Matched::ImageData => say(
            "  Not covered: the rest of this file, such as orientation, colour profile, date, place, names and anything appended.",
        ),
        Matched::Raw => say(
            "  Not covered: the rest of this file, such as how its colours and crop are to be shown, date, place and names.",
        ),
    }
    origin::lines(lineage).into_iter().for_each(say);
    let authority = finding.authority.as_deref().unwrap_or("an authority that the policy does not name");
    let submitter = finding.submitter.as_deref().unwrap_or("a submitter that the policy does not name");
    say(match finding.record.assurance {
        Assurance::Asserted => format!("  Claimed by {submitter}; no authority vouches for it."),
        Assurance::Attested => match finding.entry.level {
            Level::Raw | Level::Validated => {
                format!("  {submitter} says that {authority} recognised the camera's sensor.")
            }
            Level::Modified => format!("  {submitter} says that {authority} registered it as an edit."),
        },
        Assurance::Endorsed => match finding.endorsement {
            EndorsementCheck::Verified(_) => {
                format!("  {authority} vouches for it; its endorsement was checked here.")
            }
            EndorsementCheck::None | EndorsementCheck::ByValidators => {
                format!("  {authority} vouches for it; endorsement checked by the validators only.")
            }
        },
    });
    if finding.endorsement == EndorsementCheck::Verified(EndorsementKeyState::Revoked) {
        say(
            "  Caution: the key of that endorsement was revoked since. The record stands, but whoever else had the key could have vouched as well.",
        );
    }
    say(format_args!(
        "  Cosigned by {} of the policy's validators{}: {}.",
        finding.cosigners.len(),
        finding.checkpoint_time.map(|at| format!(" {}", time(at))).unwrap_or_default(),
        finding.cosigners.join(", "),
    ));
    say("  Not proven: that the scene was real, who took it, where, or when before it was registered.");
    if authority.contains("SIMULATED") {
        say("  The authority calls itself simulated: this shows the system working, not a real camera.");
    }
}

fn to_json(file: &Path, outcome: &Outcome) -> Value {
    let mut out = json!({
        "file": file.to_string_lossy(),
        "result": outcome.name(),
        "verified": outcome.exit_code() == 0,
        "exit_code": outcome.exit_code(),
    });
    let details = match outcome {
        Outcome::Found(matched, finding, lineage) => json!({
            "match": match matched {
                Matched::File => "file",
                Matched::ImageData => "image_data",
                Matched::Raw => "raw",
            },
            "image_hash": finding.entry.hash,
            "modification_level": finding.entry.level as u8,
            "parent_image_hash": finding.parent,
            "provenance_chain": lineage.iter().map(origin::link).collect::<Vec<_>>(),
            "timestamp": finding.recorded_at,
            "tx_id": finding.tx_id,
            "assurance": finding.record.assurance,
            "endorsement": match finding.endorsement {
                EndorsementCheck::None => "none",
                EndorsementCheck::ByValidators => "validators",
                EndorsementCheck::Verified(_) => "verified",
            },
            "endorsement_key": match finding.endorsement {
                EndorsementCheck::Verified(state) => Some(state),
                EndorsementCheck::None | EndorsementCheck::ByValidators => None,
            },
            "authority_id": finding.authority,
            "aggregator": finding.submitter,
            "checkpoint_size": finding.checkpoint_size,
            "checkpoint_time": finding.checkpoint_time,
            "cosigners": finding.cosigners,
        }),
        Outcome::NoRecord { candidates, as_of, absence } => json!({
            "image_hashes": candidates.iter().map(|candidate| candidate.hash).collect::<Vec<_>>(),
            "as_of": absence.as_ref().map_or(*as_of, |absence| {
                Some(AsOf { size: absence.checkpoint_size, time: absence.checkpoint_time })
            }),
            "absence": if absence.is_some() { "proven" } else { "claimed" },
            "cosigners": absence.as_ref().map(|absence| &absence.cosigners),
        }),
        Outcome::OtherFile { tx_id } => json!({"tx_id": tx_id}),
        Outcome::BadProof(cause) => json!({"error": cause.to_string()}),
        Outcome::BadAbsence(cause) => json!({"error": cause.to_string()}),
        Outcome::Contradiction(cause) => json!({"error": cause.to_string()}),
        Outcome::Unchecked(cause) => json!({"error": cause.to_string()}),
    };
    if let (Value::Object(out), Value::Object(details)) = (&mut out, details) {
        out.extend(details);
    }
    out
}

/// `on 2026-11-23 at 07:55 UTC`: minutes are all that the registry keeps.
fn time(at: UnixSeconds) -> String {
    written(at, "on %Y-%m-%d at %H:%M UTC").unwrap_or_else(|| format!("at {} s", at.0))
}

/// `2026-11-23 07:55 UTC`.
fn moment(at: UnixSeconds) -> String {
    written(at, "%Y-%m-%d %H:%M UTC").unwrap_or_else(|| format!("{} s", at.0))
}

fn written(at: UnixSeconds, format: &str) -> Option<String> {
    let at = i64::try_from(at.0).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map(|at| at.strftime(format).to_string())
}
