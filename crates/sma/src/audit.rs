//! The audit log: who did what to which device or key, in a chain that shows any later change.
//!
//! For: the rows of admin acts and the arithmetic of their chain.
//! Not for: storing them (`store`: appended in the act's own transaction; the databases refuse to change
//! or delete a row), or validations, which are nobody's act and leave no trace of a time.
//!
//! Format:
//! ```text
//! digest = SHA-256("birthmark/audit/v1" ‖ previous digest (32; zeros before the first row) ‖ be64 sequence ‖
//!              be32 minute ‖ be32 len ‖ actor ‖ be32 len ‖ act ‖ be32 len ‖ subject ‖ be32 len ‖ detail)
//! ```
//! The chain shows a row that was changed, taken out or put in. That the newest rows are missing shows
//! only against a digest that was noted elsewhere.

use birthmark_core::time::Minute;
use sha2::{Digest as _, Sha256};

use crate::devices::{Device, NewDevice, Status};
use crate::quota::QuotaOverride;

/// Who acts, and when.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// The credential's name, or [`LOCAL`].
    pub(crate) actor: String,
    pub(crate) minute: Minute,
}

/// The actor of what is done on the authority's own machine, without a credential.
pub(crate) const LOCAL: &str = "local";

/// What was done. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deed {
    /// Such as `device.revoke`.
    pub(crate) act: &'static str,
    /// A serial, a key id or nothing.
    pub(crate) subject: String,
    pub(crate) detail: String,
}

/// One row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditRow {
    /// From 1, without gaps.
    pub(crate) sequence: u64,
    pub(crate) minute: Minute,
    pub(crate) actor: String,
    pub(crate) act: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
    pub(crate) digest: [u8; 32],
}

/// The end of the chain so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Rows so far.
    pub(crate) sequence: u64,
    /// The last row's.
    pub(crate) digest: [u8; 32],
}

/// What a check of the whole log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditState {
    /// Every row follows from the one before.
    Intact(Chain),
    /// The first row that does not.
    Broken { sequence: u64 },
}

impl Chain {
    /// The row of a new deed, and the chain behind it.
    pub(crate) fn append(&mut self, act: &Act, deed: Deed) -> AuditRow {
        let Deed { act: name, subject, detail } = deed;
        let mut row = AuditRow {
            sequence: self.sequence.saturating_add(1),
            minute: act.minute,
            actor: act.actor.clone(),
            act: name.to_owned(),
            subject,
            detail,
            digest: [0; 32],
        };
        row.digest = digest(&self.digest, &row);
        *self = Self { sequence: row.sequence, digest: row.digest };
        row
    }

    /// Goes on to a row that was read, if it follows.
    pub(crate) fn follow(&mut self, row: &AuditRow) -> Result<(), AuditState> {
        let expected = self.sequence.saturating_add(1);
        if row.sequence != expected || row.digest != digest(&self.digest, row) {
            return Err(AuditState::Broken { sequence: expected });
        }
        *self = Self { sequence: row.sequence, digest: row.digest };
        Ok(())
    }
}

fn digest(previous: &[u8; 32], row: &AuditRow) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"birthmark/audit/v1");
    hasher.update(previous);
    hasher.update(row.sequence.to_be_bytes());
    hasher.update(row.minute.0.to_be_bytes());
    for field in [&row.actor, &row.act, &row.subject, &row.detail] {
        hasher.update(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        hasher.update(field);
    }
    hasher.finalize().into()
}

impl Deed {
    pub(crate) fn provisioned(device: &NewDevice) -> Self {
        Self {
            act: "device.provision",
            subject: device.serial.to_string(),
            detail: format!(
                "min_token_version {}{}",
                device.min_token_version.number(),
                if device.tpm.is_some() { ", keys in a TPM" } else { "" }
            ),
        }
    }

    /// With a TPM's evidence, what it was about is gone: it goes too.
    pub(crate) fn reprovisioned(device: &Device, had_evidence: bool) -> Self {
        Self {
            act: "device.reprovision",
            subject: device.serial.to_string(),
            detail: format!(
                "min_token_version {}, key generation {}{}",
                device.min_token_version.number(),
                device.generation.0,
                if had_evidence { ", TPM evidence dropped" } else { "" }
            ),
        }
    }

    pub(crate) fn status(serial: &str, status: Status) -> Self {
        let act = match status {
            Status::Active => "device.restore",
            Status::Revoked => "device.revoke",
        };
        Self { act, subject: serial.to_owned(), detail: String::new() }
    }

    pub(crate) fn quota(serial: &str, quota: QuotaOverride) -> Self {
        let text = |limit: Option<u32>| limit.map_or_else(|| "default".to_owned(), |limit| limit.to_string());
        Self {
            act: "device.quota",
            subject: serial.to_owned(),
            detail: format!("warn {}, stop {}", text(quota.warn), text(quota.stop)),
        }
    }
}

#[cfg(test)]
mod tests {
    use birthmark_core::hex;
    use proptest::prelude::*;

    use super::*;

    fn act() -> Act {
        Act { actor: "office".to_owned(), minute: Minute(28_887_660) }
    }

    fn deed(subject: &str) -> Deed {
        Deed { act: "device.revoke", subject: subject.to_owned(), detail: "stolen".to_owned() }
    }

    fn rows(n: usize) -> Vec<AuditRow> {
        let mut chain = Chain::default();
        (0..n).map(|i| chain.append(&act(), deed(&format!("CAM_{i}")))).collect()
    }

    fn check(rows: &[AuditRow]) -> AuditState {
        let mut chain = Chain::default();
        for row in rows {
            if let Err(broken) = chain.follow(row) {
                return broken;
            }
        }
        AuditState::Intact(chain)
    }

    /// Computed with Python's `hashlib`.
    #[test]
    fn chain_has_its_known_answer() {
        let rows = rows(2);
        assert_eq!(hex::encode(rows[0].digest), "55558390286595e128827095c8cea94b30c2305ebe17546053aff0e9e50ab9ca");
        assert_eq!(hex::encode(rows[1].digest), "5db5efb1f38ce4940dffbcecc1623d11f9b3f28824a0b231030d901388da9bba");
    }

    #[test]
    fn untouched_log_is_intact_and_an_empty_one_too() {
        assert_eq!(check(&[]), AuditState::Intact(Chain::default()));
        let rows = rows(3);
        assert_eq!(check(&rows), AuditState::Intact(Chain { sequence: 3, digest: rows[2].digest }));
    }

    #[test]
    fn row_taken_out_put_in_or_moved_shows() {
        let whole = rows(4);
        let mut without = whole.clone();
        without.remove(1);
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        let mut twice = whole.clone();
        twice.insert(1, whole[1].clone());
        for (rows, sequence) in [(without, 2), (swapped, 2), (twice, 3)] {
            assert_eq!(check(&rows), AuditState::Broken { sequence });
        }
    }

    proptest! {
        #[test]
        fn any_change_of_any_field_shows(place in 0usize..3, field in 0usize..7, text in ".{0,40}", number: u32) {
            let mut rows = rows(3);
            let row = &mut rows[place];
            let before = row.clone();
            match field {
                0 => row.minute = Minute(number),
                1 => row.actor = text,
                2 => row.act = text,
                3 => row.subject = text,
                4 => row.detail = text,
                5 => row.digest[number as usize % 32] ^= 1,
                _ => row.sequence = u64::from(number),
            }
            prop_assume!(*row != before);
            let sequence = before.sequence;
            prop_assert_eq!(check(&rows), AuditState::Broken { sequence });
        }

        /// Fields cannot lend each other their bytes.
        #[test]
        fn moving_a_boundary_between_fields_shows(text in "[a-z]{2,20}", cut in 1usize..19) {
            prop_assume!(cut < text.len());
            let (subject, detail) = text.split_at(cut);
            let of = |subject: &str, detail: &str| {
                let deed = Deed { act: "x", subject: subject.to_owned(), detail: detail.to_owned() };
                Chain::default().append(&act(), deed).digest
            };
            prop_assert_ne!(of(subject, detail), of(&text, ""));
        }
    }
}
