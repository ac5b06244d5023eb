//! What administrators are shown: devices, audit log, keys.
//!
//! For: the shapes in which HTTP answers and the command line prints, the same for both.
//! Not for: rows (`devices`, `audit`). Nothing here holds a secret, says when a camera was used, or names
//! its tables, by which its tokens could be told from others.
//!
//! Format: `docs/PROTOCOL.md` section 4.

use birthmark_core::hex;
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::network::{AuthorityStatement, EndorsementKeyId};
use birthmark_core::time::{Minute, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::audit::{AuditRow, AuditState, Chain};
use crate::devices::{Device, Status};
use crate::quota::{Quota, QuotaOverride};
use crate::replay::Day;

/// A device's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its serial.
    pub device_serial: DeviceSerial,
    /// Its family.
    pub device_family: DeviceFamily,
    /// Whether its tokens may pass.
    pub status: Status,
    /// The oldest token that is accepted from it: 1 or 2.
    pub min_token_version: u8,
    /// How many times it was provisioned anew.
    pub key_generation: u32,
    /// When it was registered, to the minute.
    pub registered: UnixSeconds,
    /// The limits that hold for it.
    pub quota: Quota,
    /// Those of them that are its own.
    pub own_quota: QuotaOverride,
    /// Tokens that passed today (UTC).
    pub passed_today: u32,
}

/// A part of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Oldest first.
    pub rows: Vec<AuditEntry>,
    /// What to ask for next; null after the last row.
    pub next: Option<u64>,
}

/// One act of an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// From 1, without gaps.
    pub sequence: u64,
    /// To the minute.
    pub time: UnixSeconds,
    /// The credential's name, or `local`.
    pub actor: String,
    /// Such as `device.revoke`.
    pub act: String,
    /// A serial, a key id or nothing.
    pub subject: String,
    /// More about it.
    pub detail: String,
    /// 64 hex digits: the chain's digest with this row.
    pub digest: String,
}

/// Follows the audit log's chain, row by row from the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditChain(Chain);

/// What a check of the whole audit log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditCheck {
    /// Every row follows from the one before. To be noted elsewhere: that the newest rows are missing shows
    /// only against an older note.
    Intact {
        /// How many rows.
        rows: u64,
        /// 64 hex digits: the last row's digest.
        digest: String,
    },
    /// Somebody changed the log behind the authority's back.
    Broken {
        /// The first row that does not follow.
        row: u64,
    },
}

/// The authority's keys after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChangeView {
    /// The key that became current or was revoked.
    pub key_id: EndorsementKeyId,
    /// As `authority.json` has it now.
    pub authority: AuthorityStatement,
}

impl DeviceView {
    pub(crate) fn of(device: Device, general: Quota, now: Minute) -> Self {
        let Device { serial, family, status, min_token_version, generation, created, quota, tally, .. } = device;
        Self {
            device_serial: serial,
            device_family: family,
            status,
            min_token_version: min_token_version.number(),
            key_generation: generation.0,
            registered: created.start(),
            quota: general.of_device(quota),
            own_quota: quota,
            passed_today: tally.on(Day::of(now)).count,
        }
    }
}

impl AuditPage {
    /// `limit`: as many as were asked for at most.
    pub(crate) fn of(rows: Vec<AuditRow>, limit: u32) -> Self {
        let is_full = u32::try_from(rows.len()).is_ok_and(|count| count >= limit);
        let next = rows.last().filter(|_| is_full).map(|row| row.sequence);
        Self { rows: rows.into_iter().map(AuditEntry::from).collect(), next }
    }
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        let AuditRow { sequence, minute, actor, act, subject, detail, digest } = row;
        Self { sequence, time: minute.start(), actor, act, subject, detail, digest: hex::encode(digest) }
    }
}

impl AuditChain {
    /// Goes on to the next row, or says that it does not follow.
    pub fn follow(&mut self, entry: &AuditEntry) -> Result<(), AuditCheck> {
        let broken = AuditCheck::Broken { row: self.0.sequence.saturating_add(1) };
        let Ok(digest) = hex::decode_array(&entry.digest) else { return Err(broken) };
        let row = AuditRow {
            sequence: entry.sequence,
            minute: entry.time.minute(),
            actor: entry.actor.clone(),
            act: entry.act.clone(),
            subject: entry.subject.clone(),
            detail: entry.detail.clone(),
            digest,
        };
        self.0.follow(&row).map_err(|_| broken)
    }

    /// What was found once the last row was followed.
    pub fn end(self) -> AuditCheck {
        AuditState::Intact(self.0).into()
    }
}

impl From<AuditState> for AuditCheck {
    fn from(state: AuditState) -> Self {
        match state {
            AuditState::Intact(chain) => Self::Intact { rows: chain.sequence, digest: hex::encode(chain.digest) },
            AuditState::Broken { sequence } => Self::Broken { row: sequence },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Act, Deed};

    fn rows(count: u64) -> Vec<AuditRow> {
        let mut chain = Chain::default();
        let act = Act { actor: "office".to_owned(), minute: Minute(28_887_660) };
        let deed = |n| Deed { act: "device.revoke", subject: format!("CAM_{n}"), detail: String::new() };
        (0..count).map(|n| chain.append(&act, deed(n))).collect()
    }

    #[test]
    fn page_says_where_the_next_begins_until_there_is_none() {
        let page = AuditPage::of(rows(3), 3);
        assert_eq!((page.rows.len(), page.next), (3, Some(3)));
        assert_eq!(AuditPage::of(rows(3), 4).next, None);
        assert_eq!(AuditPage::of(rows(0), 4), AuditPage { rows: vec![], next: None });
    }

    #[test]
    fn whoever_reads_the_log_can_check_it_without_believing_the_server() {
        let rows = rows(3);
        let entries: Vec<_> = rows.iter().cloned().map(AuditEntry::from).collect();
        let check = |entries: &[AuditEntry]| {
            let mut chain = AuditChain::default();
            entries.iter().try_for_each(|entry| chain.follow(entry)).map_or_else(|broken| broken, |()| chain.end())
        };
        let digest = hex::encode(rows[2].digest);
        assert_eq!(check(&entries), AuditCheck::Intact { rows: 3, digest });
        assert_eq!(check(&entries[1..]), AuditCheck::Broken { row: 1 });
        let mut changed = entries.clone();
        changed[1].subject = "CAM_9".to_owned();
        assert_eq!(check(&changed), AuditCheck::Broken { row: 2 });
        let mut no_digest = entries;
        no_digest[2].digest = "zz".to_owned();
        assert_eq!(check(&no_digest), AuditCheck::Broken { row: 3 });
    }

    #[test]
    fn shapes_are_as_documented() {
        let entry = serde_json::to_value(AuditEntry::from(rows(1).remove(0))).unwrap();
        let fields: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["act", "actor", "detail", "digest", "sequence", "subject", "time"]);
        assert_eq!(entry["time"], 28_887_660u64 * 60);
        assert_eq!(
            serde_json::to_value(AuditCheck::Broken { row: 7 }).unwrap(),
            serde_json::json!({"broken": {"row": 7}})
        );
    }
}
