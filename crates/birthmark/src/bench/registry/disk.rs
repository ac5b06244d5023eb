//! What a node's folder occupies, by what it is for.

use std::path::Path;

use crate::bench::disk_usage;

/// Bytes on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occupied {
    /// Archive, votes and candidates of the engine.
    pub(super) consensus: u64,
    /// What the ledger keeps for good.
    pub(super) ledger_tables: u64,
    /// Its write-ahead journal, which is cut again and again.
    pub(super) ledger_journal: u64,
    /// Keys and whatever else.
    pub(super) rest: u64,
}

impl Occupied {
    /// By a node with this folder.
    pub(super) fn by(folder: &Path) -> anyhow::Result<Self> {
        let consensus = disk_usage(&folder.join("consensus"))?;
        let ledger = disk_usage(&folder.join("ledger"))?;
        let ledger_tables = disk_usage(&folder.join("ledger").join("keyspaces"))?;
        let rest = disk_usage(folder)?.saturating_sub(consensus).saturating_sub(ledger);
        Ok(Self { consensus, ledger_tables, ledger_journal: ledger.saturating_sub(ledger_tables), rest })
    }

    /// What came since.
    pub(super) const fn since(&self, before: &Self) -> Self {
        Self {
            consensus: self.consensus.saturating_sub(before.consensus),
            ledger_tables: self.ledger_tables.saturating_sub(before.ledger_tables),
            ledger_journal: self.ledger_journal.saturating_sub(before.ledger_journal),
            rest: self.rest.saturating_sub(before.rest),
        }
    }

    pub(super) const fn all(&self) -> u64 {
        self.consensus + self.ledger_tables + self.ledger_journal + self.rest
    }
}
