//! Checking a stopped node's ledger: everything that follows from something else is computed again.
//!
//! For: [`check`], which names the first place that is not what it should be, and what that should be. In
//! this order: `log` holds blocks against their leaves, leaves against tiles, and the tree against the head
//! and every checkpoint that was signed; `derived` holds index, bodies and endorsements against the leaves; `frames`
//! holds whole blocks against the signatures of their batches.
//!
//! Not for: mending. The index alone can be computed anew (`Ledger::rebuild_index`); what else is lost
//! comes back from other validators, into an empty folder.
//!
//! What is checked is what the store's reader gives, so that a file which cannot be read is damage too.

mod derived;
mod frames;
mod location;
mod log;

use std::path::Path;
use std::sync::Arc;

use birthmark_core::hex;
use birthmark_core::merkle::TreeHash;
use birthmark_core::network::Network;
use fjall::LsmError;

pub use self::location::Location;
use crate::governance::Constitution;
use crate::ledger::{Head, LedgerError};
use crate::store::{ACTS, FORMAT, Section, Store, StoreError, StoreReader};

/// A tree that was signed, and which record of that says so.
#[derive(Clone, Copy, Debug)]
pub struct SignedTree {
    /// Where that stands.
    pub place: &'static str,
    /// Its leaves.
    pub size: u64,
    /// Its root.
    pub root: TreeHash,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being checked.
    pub stage: &'static str,
    /// Leaves (of `blocks`: blocks) so far.
    pub done: u64,
    /// And in all.
    pub total: u64,
}

/// What a check of a ledger that holds together has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// The last block.
    pub head: Head,
    /// Image hashes on record.
    pub images: u64,
    /// Endorsements that are kept.
    pub endorsements: u64,
}

/// The first place that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{keyspace}, key {}: {found}; should be {should}", hex::encode(.key))]
pub struct Damage {
    /// The keyspace of the store.
    pub keyspace: &'static str,
    /// The key; empty where not even that could be read.
    pub key: Vec<u8>,
    /// What is there.
    pub found: String,
    /// What should be.
    pub should: String,
    /// The bytes on disk, where the store says which.
    pub location: Option<Location>,
}

/// Checks the ledger in `folder`, which no other process may have open. `signed` are trees that it must
/// hold besides the checkpoint that it keeps itself. The outer error means that it could not be checked.
pub fn check(
    folder: &Path,
    network: &Network,
    signed: &[SignedTree],
    progress: &mut dyn FnMut(Progress),
) -> Result<Result<Sound, Damage>, LedgerError> {
    match run(folder, network, signed, progress) {
        Ok(sound) => Ok(Ok(sound)),
        Err(Stop::Damaged(damage)) => Ok(Err(*damage)),
        Err(Stop::Failed(cause)) => Err(cause.into()),
    }
}

fn run(
    folder: &Path,
    network: &Network,
    signed: &[SignedTree],
    progress: &mut dyn FnMut(Progress),
) -> Result<Sound, Stop> {
    let at_open = |cause| stop(folder, "the store", &[], cause);
    let store = Arc::new(Store::open(folder).map_err(at_open)?);
    let reader = store.reader();
    let mut check = Check { network: Arc::new(network.before_acts().clone()), reader };
    check.identity()?;
    // With all that the acts in the log have added; what they removed keeps its number and its key.
    check.network = Arc::clone(check.constitution()?.network());
    let head = check.head()?;
    check.log(&head, signed, progress)?;
    let images = check.index(&head, progress)?;
    check.bodies(&head, progress)?;
    let endorsements = check.endorsements()?;
    check.frames(&head, progress)?;
    Ok(Sound { head, images, endorsements })
}

/// Why a check ends early.
enum Stop {
    Damaged(Box<Damage>),
    /// It could not be checked.
    Failed(StoreError),
}

struct Check {
    network: Arc<Network>,
    reader: StoreReader,
}

impl Check {
    /// Another network's ledger is not damaged, and one of another format cannot be checked.
    fn identity(&self) -> Result<(), Stop> {
        let format = self.get(Section::Meta, b"format")?;
        let format = format.ok_or_else(|| damage(Section::Meta, b"format", "missing", "this program's format"))?;
        if *format != [FORMAT] {
            return Err(Stop::Failed(StoreError::OtherFormat(format.first().copied().unwrap_or_default())));
        }
        let network = self.get(Section::Meta, b"network")?;
        let network = network.ok_or_else(|| damage(Section::Meta, b"network", "missing", "the network's id"))?;
        let is_own = *network == *self.network.network_id().as_bytes();
        if is_own { Ok(()) } else { Err(Stop::Failed(StoreError::OtherNetwork)) }
    }

    /// The network with the acts that the log holds, each approved as it must be.
    fn constitution(&self) -> Result<Constitution, Stop> {
        let base = Constitution::new(Arc::clone(&self.network));
        self.in_place(Section::Meta, ACTS.as_bytes(), Constitution::load(&base, &self.reader))
    }

    fn head(&self) -> Result<Head, Stop> {
        let head = self.in_place(Section::Meta, b"head", self.reader.head())?;
        head.ok_or_else(|| damage(Section::Meta, b"head", "missing", "the last block"))
    }

    /// What was read, or where it could not be.
    fn in_place<T>(&self, section: Section, key: &[u8], read: Result<T, StoreError>) -> Result<T, Stop> {
        read.map_err(|cause| stop(self.reader.path(section), section.name(), key, cause))
    }

    fn get(&self, section: Section, key: &[u8]) -> Result<Option<fjall::UserValue>, Stop> {
        self.in_place(section, key, self.reader.raw(section, key))
    }

    /// All of a keyspace in order.
    fn all(&self, section: Section) -> impl Iterator<Item = Result<(fjall::UserKey, fjall::UserValue), Stop>> {
        let mut last = Vec::new();
        self.reader.all(section).map(move |entry| {
            // Of an entry that cannot be read, the one before it is all that is known.
            let (key, value) = self.in_place(section, &last, entry)?;
            last = key.to_vec();
            Ok((key, value))
        })
    }
}

fn damage(section: Section, key: &[u8], found: impl Into<String>, should: impl Into<String>) -> Stop {
    let (found, should) = (found.into(), should.into());
    Stop::Damaged(Box::new(Damage { keyspace: section.name(), key: key.to_vec(), found, should, location: None }))
}

/// A store that does not give its content is damaged, unless the system is what failed.
fn stop(folder: &Path, keyspace: &'static str, key: &[u8], cause: StoreError) -> Stop {
    let (found, location) = match &cause {
        StoreError::Database(
            fjall::Error::Locked
            | fjall::Error::Io(_)
            | fjall::Error::Storage(LsmError::Io(_))
            | fjall::Error::Poisoned,
        )
        | StoreError::OtherNetwork
        | StoreError::OtherFormat(_) => return Stop::Failed(cause),
        StoreError::Database(fjall::Error::Storage(LsmError::ChecksumMismatch { got, expected })) => {
            let sums = [expected, got].map(|sum| sum.into_u128());
            (cause.to_string(), location::of_block(folder, &sums))
        }
        StoreError::Database(_)
        | StoreError::Damaged { .. }
        | StoreError::IndexRoot { .. }
        | StoreError::OtherActs
        | StoreError::IndexUnfinished => (cause.to_string(), None),
    };
    let should = "readable, as it was written".to_owned();
    Stop::Damaged(Box::new(Damage { keyspace, key: key.to_vec(), found, should, location }))
}
