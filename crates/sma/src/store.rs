//! What the authority remembers, behind one trait: devices, used tokens, endorsement keys, the audit log.
//!
//! For: [`Store`], which SQLite (one machine, the default) and PostgreSQL (several authorities at once)
//! implement alike; `conformance` holds both to it.
//! Not for: what the rows mean (`devices`, `rules`, `audit`).
//!
//! Every answer of success was durable before it was given. Every act of an admin is written together
//! with its row of the audit log, or not at all. An error is never a verdict: nothing was judged, or it is
//! not known what was; the caller asks again and gets the same answer as it would have got.

#[cfg(test)]
mod conformance;
mod error;
#[cfg(test)]
mod killed;
mod open;
mod postgres;
mod sqlite;

use birthmark_core::ids::{AuthorityId, DeviceSerial};
use birthmark_core::network::EndorsementKeyState;
use birthmark_core::time::Minute;
use futures::future::BoxFuture;

use crate::audit::{Act, AuditRow, AuditState, Deed};
use crate::devices::{Changed, Device, DeviceId, Duplicate, NewDevice, NotRenewed, Page, Registered, Renewal, Status};
use crate::endorsement_keys::life::{KeyList, KeyRecord};
use crate::keys::MasterKey;
use crate::quota::{Notice, QuotaOverride};
use crate::rules::{Prepared, Verdict};

pub(crate) use birthmark_service::postgres::block_on;
pub use error::{StoreError, StoreOpenError};
#[cfg(test)]
pub(crate) use open::database_path;
pub(crate) use open::{Location, master_key_path};

/// A store's answer, which comes later.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Questions that one caller wants answered together.
#[derive(Debug)]
pub(crate) struct Asked {
    /// In their order.
    pub(crate) questions: Vec<Prepared>,
    /// When.
    pub(crate) now: Minute,
    /// What comes after the verdict would not begin sooner for it: a store may wait a little for questions that
    /// share the cost of a commit.
    pub(crate) can_wait: bool,
}

/// The authority's database.
pub(crate) trait Store: std::fmt::Debug + Send + Sync {
    /// Whose it is; `None` if `init` never finished.
    fn installation(&self) -> Answer<'_, Option<Installation>>;

    /// Writes whose it is, unless something would be lost by that.
    fn install(&self, installation: Installation) -> Answer<'_, Installed>;

    /// Judges questions in their order, in one transaction.
    fn judge(&self, asked: Asked) -> Answer<'_, Judged>;

    /// Registers cameras, all in one transaction: one answer for each, in their order. A duplicate does
    /// not hold up the others.
    fn register(&self, devices: Vec<NewDevice>, act: Act) -> Answer<'_, Vec<Result<Registered, Duplicate>>>;

    /// Gives a camera new tables and a new key. Its counters stay.
    fn renew(&self, renewal: Renewal, act: Act) -> Answer<'_, Result<Registered, NotRenewed>>;

    /// Revokes or restores: no token that is judged after the answer sees the old status.
    fn set_status(&self, serial: DeviceSerial, status: Status, act: Act) -> Answer<'_, Changed>;

    /// Sets a device's own limits.
    fn set_quota(&self, serial: DeviceSerial, quota: QuotaOverride, act: Act) -> Answer<'_, Changed>;

    /// The device of this serial.
    fn device(&self, serial: DeviceSerial) -> Answer<'_, Option<Device>>;

    /// What a device's TPM showed, as it was registered.
    fn tpm_evidence(&self, device: DeviceId) -> Answer<'_, Option<String>>;

    /// Devices in the order of their registration.
    fn devices(&self, page: Page) -> Answer<'_, Vec<Device>>;

    /// All endorsement keys, the oldest first.
    fn endorsement_keys(&self) -> Answer<'_, Vec<StoredKey>>;

    /// Changes endorsement keys as one act: everything, or nothing if they are not as expected (another
    /// authority of the same database was faster). The private halves of keys that will never sign again
    /// are destroyed.
    fn change_keys(&self, change: KeyChange, act: Act) -> Answer<'_, KeysChanged>;

    /// Writes a deed that changes nothing else here.
    fn record(&self, deed: Deed, act: Act) -> Answer<'_, ()>;

    /// The audit log after this row, oldest first.
    fn audit(&self, after: u64, limit: u32) -> Answer<'_, Vec<AuditRow>>;

    /// Follows the audit log's chain from its beginning.
    fn check_audit(&self) -> Answer<'_, AuditState>;

    /// Figures for metrics.
    fn counts(&self) -> Answer<'_, Counts>;

    /// Whether it works: an error says why not.
    fn health(&self) -> Answer<'_, ()>;

    /// Finishes what waits and closes. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Whose installation a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) authority_id: AuthorityId,
    pub(crate) key_check: [u8; 16],
    pub(crate) created: Minute,
}

/// What became of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    Yes,
    /// It is in use: another key would make all that it holds worthless.
    InUse,
}

/// Verdicts in the order of their questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) verdicts: Vec<Verdict>,
    /// What the operator is to be told of which device.
    pub(crate) notices: Vec<(DeviceSerial, Notice)>,
}

/// An endorsement key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) record: KeyRecord,
    /// The private half, encrypted; empty once the key will never sign again.
    pub(crate) sealed: Vec<u8>,
}

/// One act upon endorsement keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyChange {
    /// All keys that the decision was made upon.
    pub(crate) before: Vec<KeyRecord>,
    /// Those of them that change, as they are afterwards.
    pub(crate) changed: Vec<KeyRecord>,
    pub(crate) new: Option<StoredKey>,
    pub(crate) deed: Deed,
}

/// What became of a change of endorsement keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeysChanged {
    Yes,
    /// Somebody else has changed them; look again.
    Conflict,
}

/// Figures of a database. None says anything of a single device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) devices: u64,
    pub(crate) revoked: u64,
    pub(crate) audit_rows: u64,
}

impl Installation {
    pub(crate) fn belongs_to(&self, master: &MasterKey) -> bool {
        self.key_check == master.check()
    }
}

impl KeyChange {
    /// The way from one list to the next; `sealed` is the private half of the key that only the next one
    /// has.
    pub(crate) fn between(before: &KeyList, after: &KeyList, sealed: Option<Vec<u8>>, deed: Deed) -> Self {
        let is_new = |record: &&KeyRecord| !before.records().iter().any(|known| known.key_id == record.key_id);
        let new = after.records().iter().find(is_new).cloned();
        let changed = after.records().iter().filter(|record| !is_new(record) && !before.records().contains(record));
        Self {
            before: before.records().to_vec(),
            changed: changed.cloned().collect(),
            new: new.zip(sealed).map(|(record, sealed)| StoredKey { record, sealed }),
            deed,
        }
    }
}

/// The word that stands for a state in both databases.
const fn state_text(state: EndorsementKeyState) -> &'static str {
    match state {
        EndorsementKeyState::Current => "current",
        EndorsementKeyState::Previous => "previous",
        EndorsementKeyState::Retired => "retired",
        EndorsementKeyState::Revoked => "revoked",
    }
}

fn state_from_text(text: &str) -> Option<EndorsementKeyState> {
    match text {
        "current" => Some(EndorsementKeyState::Current),
        "previous" => Some(EndorsementKeyState::Previous),
        "retired" => Some(EndorsementKeyState::Retired),
        "revoked" => Some(EndorsementKeyState::Revoked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endorsement_keys::life::tests::spki;
    use crate::testing::desk::{DAY, NOW, key_deed};

    #[test]
    fn way_between_two_lists_holds_what_changes_and_the_new_key_with_its_private_half() {
        let none = KeyList::default();
        let one = none.rotate(&spki(1), NOW).unwrap();
        let first = KeyChange::between(&none, &one, Some(vec![7]), key_deed());
        assert_eq!((first.before, first.changed), (vec![], vec![]));
        assert_eq!(first.new, Some(StoredKey { record: one.records()[0].clone(), sealed: vec![7] }));

        let later = Minute(NOW.0 + DAY);
        let two = one.rotate(&spki(2), later).unwrap();
        let second = KeyChange::between(&one, &two, Some(vec![8]), key_deed());
        assert_eq!(second.before, one.records());
        assert_eq!(second.changed, two.records()[..1]);
        assert_eq!(second.changed[0].replaced, Some(later));
        assert_eq!(second.new.unwrap().record, two.records()[1]);

        let revoked = two.revoke(two.records()[1].key_id, later).unwrap();
        let third = KeyChange::between(&two, &revoked, None, key_deed());
        assert_eq!((third.changed.as_slice(), third.new), (&revoked.records()[1..], None));
    }
}
