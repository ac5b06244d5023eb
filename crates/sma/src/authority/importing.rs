//! Taking over another installation's tables and devices, and handing out one's own.
//!
//! For: the seed's two files. Not for: their formats (`seed`), or when they are read (the binary).

use std::io;
use std::path::{Path, PathBuf};

use birthmark_service::random::OsRng;
use birthmark_service::secret_file::{self, FileMode, SecretFileError};
use zeroize::Zeroizing;

use super::{Inner, Sma, SmaError};
use crate::audit::{self, Deed};
use crate::devices::{DeviceId, Duplicate, NewDevice, Page, Status, Which};
use crate::keys::{Keys, NucDigest};
use crate::seed::{self, Fingerprint, ImportedTables, RegistryError, SeedDevice, TablesError};
use crate::store::{self, Store, StoreError};

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Tables whose keys are now those of the file.
    pub tables: usize,
    /// Devices that are new here.
    pub devices: usize,
    /// Devices that were there already and stayed as they were.
    pub existing: usize,
    /// Devices that were revoked, because the file says so.
    pub revoked: usize,
}

/// Why nothing, or not everything, was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The tables' file.
    #[error("key tables: {0}")]
    Tables(#[from] TablesError),
    /// The registry's file.
    #[error("device registry: {0}")]
    Registry(#[from] RegistryError),
    /// Their cameras hold keys of the tables that are in use.
    #[error("cameras are registered here already, and other key tables would make their keys worthless")]
    TablesInUse,
    /// They cannot be exchanged any more.
    #[error("key tables were imported here before, and these are others")]
    OtherTables,
    /// The sealed file.
    #[error("tables.sealed: {0}")]
    File(#[from] SecretFileError),
    /// A camera of another serial has the sensor; cameras before it in the file are registered.
    #[error("device {entry}: a camera of another serial has its sensor already")]
    DuplicateSensor {
        /// 1-based.
        entry: usize,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes up the tables that were imported into this installation, if any were. Blocks.
///
/// The audit log says whether, before the first camera: nothing can be imported after it.
pub(super) fn adopt_tables(data_dir: &Path, keys: &Keys, store: &dyn Store) -> Result<(), SmaError> {
    // SQLite reads on tokio's threads, and whoever opens an authority need not have any yet.
    let runtime = match tokio::runtime::Handle::try_current() {
        Ok(_) => None,
        Err(_) => Some(tokio::runtime::Builder::new_current_thread().build()),
    };
    let failed = |source| SmaError::Folder { path: data_dir.to_owned(), source };
    let runtime = runtime.transpose().map_err(failed)?;
    let entered = runtime.as_ref().map(tokio::runtime::Runtime::enter);
    let check = store::block_on(imported_check(store))?;
    drop(entered);
    let Some(check) = check else { return Ok(()) };
    let path = sealed_path(data_dir);
    let missing = || SmaError::ImportedTables { path: path.clone() };
    let sealed = match secret_file::read(&path, seed::MAX_SEALED) {
        Ok(sealed) => sealed,
        Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(SmaError::MasterKey(error)),
    };
    let tables = ImportedTables::open(&sealed, keys.row_seal()).filter(|tables| tables.check() == check);
    keys.adopt_tables(tables.ok_or_else(missing)?);
    Ok(())
}

async fn imported_check(store: &dyn Store) -> Result<Option<String>, StoreError> {
    let (mut after, mut check) = (0, None);
    loop {
        let rows = store.audit(after, ROWS_AT_ONCE).await?;
        let Some(last) = rows.last() else { return Ok(check) };
        after = last.sequence;
        for row in rows {
            match row.act.as_str() {
                IMPORT_ACT => check = Some(row.subject),
                "device.provision" => return Ok(check),
                _ => {}
            }
        }
    }
}

impl Sma {
    /// How many devices are registered.
    pub async fn device_count(&self) -> Result<u64, StoreError> {
        Ok(self.store().counts().await?.devices)
    }

    /// Takes over the seed's `key_tables.json` and `device_registry.json`: first reads both in full, then
    /// the tables, then the devices, those that the file says are revoked before the others. Devices that are
    /// here stay as they are, so an import that was interrupted can be started again.
    ///
    /// No other server of the authority may run meanwhile: it would not know the new tables.
    pub async fn import(
        &self,
        key_tables: Option<&[u8]>,
        device_registry: Option<&[u8]>,
    ) -> Result<Imported, ImportError> {
        let tables = key_tables.map(seed::read_tables).transpose()?;
        let devices = match device_registry {
            Some(json) => seed::read_registry(json, self.0.keys.check())?,
            None => Vec::new(),
        };
        let mut done = Imported::default();
        if let Some(tables) = tables {
            done.tables = self.import_tables(tables).await?;
        }
        let devices: Vec<_> = devices.into_iter().enumerate().map(|(at, device)| (at + 1, device)).collect();
        let (revoked, active): (Vec<_>, Vec<_>) =
            devices.into_iter().partition(|(_, device)| device.status == Status::Revoked);
        let serials: Vec<_> = revoked.iter().map(|(_, device)| device.serial.clone()).collect();
        self.import_devices(revoked, &mut done).await?;
        for serial in serials {
            let changed = self.store().set_status(serial, Status::Revoked, self.act(audit::LOCAL)).await?;
            done.revoked += usize::from(changed == crate::devices::Changed::Yes);
        }
        self.0.revocations.forget();
        self.import_devices(active, &mut done).await?;
        Ok(done)
    }

    async fn import_tables(&self, tables: ImportedTables) -> Result<usize, ImportError> {
        let Inner { keys, data_dir, .. } = &*self.0;
        let count = tables.len();
        match keys.imported_tables() {
            Some(known) if known.check() == tables.check() => return Ok(count),
            Some(_) => return Err(ImportError::OtherTables),
            None => {}
        }
        if self.device_count().await? > 0 {
            return Err(ImportError::TablesInUse);
        }
        // The row of the audit log is what puts the file in force.
        secret_file::replace(&sealed_path(data_dir), &tables.seal(keys.row_seal(), &mut OsRng), FileMode::Secret)?;
        let deed = Deed { act: IMPORT_ACT, subject: tables.check(), detail: format!("{count} tables") };
        self.store().record(deed, self.act(audit::LOCAL)).await?;
        keys.adopt_tables(tables);
        Ok(count)
    }

    async fn import_devices(&self, devices: Vec<(usize, SeedDevice)>, done: &mut Imported) -> Result<(), ImportError> {
        let (entries, devices): (Vec<_>, Vec<_>) =
            devices.into_iter().map(|(entry, device)| (entry, self.new_device(device))).unzip();
        for (entries, devices) in entries.chunks(DEVICES_AT_ONCE).zip(devices.chunks(DEVICES_AT_ONCE)) {
            let answers = self.store().register(devices.to_vec(), self.act(audit::LOCAL)).await?;
            for (entry, answer) in entries.iter().zip(answers) {
                match answer {
                    Ok(_) => done.devices += 1,
                    Err(Duplicate::Serial) => done.existing += 1,
                    Err(Duplicate::NucHash) => return Err(ImportError::DuplicateSensor { entry: *entry }),
                }
            }
        }
        Ok(())
    }

    fn new_device(&self, device: SeedDevice) -> NewDevice {
        let nuc_digest = match device.fingerprint {
            Fingerprint::Hash(hash) => self.0.keys.nuc_digest(&hash),
            Fingerprint::Digest(digest) => NucDigest(digest),
        };
        NewDevice {
            serial: device.serial,
            family: device.family,
            nuc_digest,
            min_token_version: device.min_token_version,
            created: self.now().minute(),
            tables: device.tables,
            tpm: None,
        }
    }

    /// All table keys as the seed's `key_tables.json`. Whoever has it can open every version 1 token.
    pub fn export_tables(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        Ok(seed::write_tables(&self.0.keys)?)
    }

    /// All devices as the seed's `device_registry.json`, without fingerprints.
    pub async fn export_registry(&self) -> Result<Vec<u8>, StoreError> {
        let mut devices = Vec::new();
        let mut after: Option<DeviceId> = None;
        loop {
            let page = self.store().devices(Page { which: Which::All, after, limit: ROWS_AT_ONCE }).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            devices.extend(page);
        }
        seed::write_registry(&devices, self.0.keys.check()).map_err(|_| StoreError::Panicked)
    }
}

fn sealed_path(data_dir: &Path) -> PathBuf {
    data_dir.join("tables.sealed")
}

const IMPORT_ACT: &str = "tables.import";
const ROWS_AT_ONCE: u32 = 1000;
const DEVICES_AT_ONCE: usize = 1000;

#[cfg(test)]
mod tests;
