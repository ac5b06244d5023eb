//! The verdict on a token.
//!
//! For: [`judge`], the rules in one place, and the one transaction in which a token is looked up, judged
//! and, if it passes, recorded. Not for: the request's form (`question`) or HTTP (`http`).
//!
//! Rules: `docs/PROTOCOL.md` sections 3 and 5.
//!
//! Whatever is wrong with a token, the same steps are made: open, digest, look up the device, look up
//! the use, wait for the commit. So neither the answer nor its delay tells an unknown camera from a
//! revoked one or from a forgery. The device is read in the transaction that records the pass, so a
//! revocation that was committed before is always seen.

use birthmark_core::api::validate::Message;
use birthmark_core::ids::TableId;
use birthmark_core::token;
use rusqlite::Connection;

use crate::devices::{self, Standing, Status, TokenVersion};
use crate::keys::{Keys, NucDigest};
use crate::question::{AskedToken, Question};
use crate::replay::{self, Day, PriorUse, RepeatDigest, UseId};

/// A question after the cryptography, ready for the database. Holds no secret.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The table whose key opened the token; `None` if nothing did.
    opened: Option<TableId>,
    nuc_digest: NucDigest,
    use_id: UseId,
    repeat: Option<RepeatDigest>,
}

/// What the authority accepts, whatever the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) accept_version_1: bool,
}

/// Opens the token and computes what is looked up.
pub(crate) fn prepare(keys: &Keys, caller: &str, question: &Question) -> Prepared {
    let AskedToken::Unbound(sealed) = &question.token else {
        return Prepared { opened: None, nuc_digest: keys.no_nuc_digest(), use_id: UseId::default(), repeat: None };
    };
    let nuc_hash = keys.table(sealed.table_id).and_then(|key| token::v1::open(sealed, key).ok());
    Prepared {
        opened: nuc_hash.is_some().then_some(sealed.table_id),
        nuc_digest: nuc_hash.map_or_else(|| keys.no_nuc_digest(), |nuc_hash| keys.nuc_digest(&nuc_hash)),
        use_id: UseId::of(sealed),
        repeat: question.request_id.map(|request| RepeatDigest::of(keys, caller, request, sealed)),
    }
}

/// Judges one question and records its token if it passes for the first time.
pub(crate) fn decide(
    connection: &Connection,
    prepared: &Prepared,
    policy: Policy,
    day: Day,
) -> rusqlite::Result<Message> {
    let device = devices::find(connection, &prepared.nuc_digest)?;
    let prior = replay::look_up(connection, prepared.use_id, prepared.repeat.as_ref())?;
    let verdict = judge(prepared.opened, device.as_ref(), prior, policy);
    if verdict == Message::Valid && prior == PriorUse::None {
        replay::record(connection, prepared.use_id, prepared.repeat.as_ref(), day)?;
    }
    Ok(verdict)
}

/// The rules. `opened` is the table whose key opened the token, `device` the one whose fingerprint
/// was inside.
fn judge(opened: Option<TableId>, device: Option<&Standing>, prior: PriorUse, policy: Policy) -> Message {
    let Some(table) = opened else { return Message::Invalid };
    let may_pass = policy.accept_version_1 && device.is_some_and(|device| accepts_version_1(device, table));
    match (prior, may_pass) {
        // The first verdict again, even if the device was revoked since: that pass was given already.
        (PriorUse::SameQuestion, _) | (PriorUse::None, true) => Message::Valid,
        (PriorUse::Another, true) => Message::Used,
        (PriorUse::None | PriorUse::Another, false) => Message::Invalid,
    }
}

/// Whether the device may pass with a version 1 token of this table.
fn accepts_version_1(device: &Standing, table: TableId) -> bool {
    device.status == Status::Active && device.tables.contains(table) && device.min_token_version == TokenVersion::One
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::AssignedTables;

    const ANY: Policy = Policy { accept_version_1: true };
    const VERSION_2_ONLY: Policy = Policy { accept_version_1: false };

    fn table(id: u16) -> TableId {
        TableId::new(id).unwrap()
    }

    fn device() -> Standing {
        Standing {
            status: Status::Active,
            tables: AssignedTables::from_bytes(&[0, 1, 0, 2, 0, 3]).unwrap(),
            min_token_version: TokenVersion::One,
        }
    }

    #[test]
    fn an_active_device_passes_once_with_each_of_its_tables() {
        for id in [1, 2, 3] {
            assert_eq!(judge(Some(table(id)), Some(&device()), PriorUse::None, ANY), Message::Valid);
            assert_eq!(judge(Some(table(id)), Some(&device()), PriorUse::Another, ANY), Message::Used);
        }
    }

    #[test]
    fn everything_else_is_invalid_whether_it_was_used_or_not() {
        let revoked = Standing { status: Status::Revoked, ..device() };
        let version_2 = Standing { min_token_version: TokenVersion::Two, ..device() };
        for prior in [PriorUse::None, PriorUse::Another] {
            for (case, verdict) in [
                ("forged", judge(None, Some(&device()), prior, ANY)),
                ("unknown", judge(Some(table(1)), None, prior, ANY)),
                ("foreign table", judge(Some(table(4)), Some(&device()), prior, ANY)),
                ("revoked", judge(Some(table(1)), Some(&revoked), prior, ANY)),
                ("downgraded", judge(Some(table(1)), Some(&version_2), prior, ANY)),
                ("policy", judge(Some(table(1)), Some(&device()), prior, VERSION_2_ONLY)),
            ] {
                assert_eq!(verdict, Message::Invalid, "{case}, {prior:?}");
            }
        }
    }

    #[test]
    fn the_same_question_gets_its_first_verdict_whatever_has_changed() {
        let revoked = Standing { status: Status::Revoked, ..device() };
        assert_eq!(judge(Some(table(1)), Some(&revoked), PriorUse::SameQuestion, VERSION_2_ONLY), Message::Valid);
    }

    #[test]
    fn a_forgery_never_gets_anothers_verdict() {
        assert_eq!(judge(None, Some(&device()), PriorUse::SameQuestion, ANY), Message::Invalid);
    }
}
