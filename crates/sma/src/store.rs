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
mod gather;
#[cfg(test)]
mod killed;
mod open;
mod postgres;
mod sqlite;

use birthmark_core::ids::{AuthorityId, DeviceSerial};
use birthmark_core::network::{EndorsementKeyId, EndorsementKeyState};
use birthmark_core::time::Minute;
use futures::future::BoxFuture;

use crate::audit::{Act, AuditRow, AuditState, Deed};
use crate::devices::{Changed, Device, Duplicate, NewDevice, NotRenewed, Page, Registered, Renewal, Status};
use crate::keys::MasterKey;
use crate::quota::QuotaOverride;
use crate::rules::{Prepared, Verdict};

pub use error::{PostgresError, StoreError, StoreOpenError};
#[cfg(test)]
pub(crate) use open::database_path;
pub(crate) use open::{Location, block_on, master_key_path};

/// A store's answer, which comes later.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The authority's database.
pub(crate) trait Store: std::fmt::Debug + Send + Sync {
    /// Whose it is; `None` if `init` never finished.
    fn installation(&self) -> Answer<'_, Option<Installation>>;

    /// Writes whose it is, unless something would be lost by that.
    fn install(&self, installation: Installation) -> Answer<'_, Installed>;

    /// Judges questions in their order, in one transaction.
    fn judge(&self, questions: Vec<Prepared>, now: Minute) -> Answer<'_, Judged>;

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

    /// Devices in the order of their registration.
    fn devices(&self, page: Page) -> Answer<'_, Vec<Device>>;

    /// All endorsement keys, the oldest first.
    fn endorsement_keys(&self) -> Answer<'_, Vec<StoredKey>>;

    /// Changes endorsement keys as one act: everything, or nothing if a key is not as expected (another
    /// authority of the same database was faster).
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
    /// Devices that have just come near their quota.
    pub(crate) warned: Vec<DeviceSerial>,
}

/// An endorsement key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) key_id: EndorsementKeyId,
    /// The public half, in DER.
    pub(crate) spki: Vec<u8>,
    /// The private half, encrypted.
    pub(crate) sealed: Vec<u8>,
    pub(crate) state: EndorsementKeyState,
    pub(crate) created: Minute,
    /// When a previous key stops signing.
    pub(crate) until: Option<Minute>,
}

/// One act upon endorsement keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyChange {
    /// What the decision was made upon: keys that are in these states, and there are no others that are
    /// current.
    pub(crate) transitions: Vec<KeyTransition>,
    pub(crate) insert: Option<StoredKey>,
    pub(crate) deed: Deed,
}

/// A key that goes from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyTransition {
    pub(crate) key_id: EndorsementKeyId,
    pub(crate) from: EndorsementKeyState,
    pub(crate) to: EndorsementKeyState,
    pub(crate) until: Option<Minute>,
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
    /// Whether at most one key is current afterwards. `known`: the keys that are current now, and the one to
    /// be inserted if it is there already.
    fn leaves_one_current(&self, known: &[EndorsementKeyId]) -> bool {
        let inserted = self.insert.as_ref();
        if inserted.is_some_and(|key| known.contains(&key.key_id)) {
            return false;
        }
        let is_current = |state| state == EndorsementKeyState::Current;
        let stays = |id: &EndorsementKeyId| !self.transitions.iter().any(|step| step.key_id == *id);
        let staying = known.iter().filter(|id| stays(id)).count();
        let becoming = self.transitions.iter().filter(|step| is_current(step.to)).count();
        staying + becoming + usize::from(inserted.is_some_and(|key| is_current(key.state))) <= 1
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
