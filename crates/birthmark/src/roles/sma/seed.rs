//! `birthmark sma export | import`: the seed's `key_tables.json` and `device_registry.json`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use birthmark_service::secret_file;
use birthmark_sma::{Imported, Sma};
use clap::Args;
use zeroize::Zeroizing;

use super::desk::Place;
use crate::terminal;

/// The two files.
#[derive(Debug, Args)]
pub(super) struct SeedFiles {
    /// The seed's `key_tables.json`, mode 0600.
    #[arg(long, env = "KEY_TABLES_PATH", value_name = "FILE")]
    key_tables: Option<PathBuf>,
    /// The seed's `device_registry.json`, mode 0600: it holds fingerprints.
    #[arg(long, env = "DEVICE_REGISTRY_PATH", value_name = "FILE")]
    device_registry: Option<PathBuf>,
}

/// Flags of `sma import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    files: SeedFiles,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Flags of `sma export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write all key tables here, mode 0600. Whoever reads the file can open every version 1 token.
    #[arg(long, value_name = "FILE", required_unless_present = "device_registry")]
    key_tables: Option<PathBuf>,
    /// Write all cameras here, mode 0600, without fingerprints, which the registry does not have.
    #[arg(long, value_name = "FILE")]
    device_registry: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let ImportArgs { files, json, place } = args;
    anyhow::ensure!(
        files.key_tables.is_some() || files.device_registry.is_some(),
        "nothing to import: give --key-tables, --device-registry or both"
    );
    let (tables, registry) = (read(files.key_tables.as_deref())?, read(files.device_registry.as_deref())?);
    let sma = place.open_here().await?;
    let done = sma.import(tables.as_deref().map(Vec::as_slice), registry.as_deref().map(Vec::as_slice)).await;
    sma.close().await;
    let done = done?;
    if json {
        terminal::say(serde_json::to_string(&done)?);
    } else {
        terminal::say(summary(&done));
    }
    Ok(())
}

pub(super) async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { key_tables, device_registry, place } = args;
    for out in [&key_tables, &device_registry].into_iter().flatten() {
        anyhow::ensure!(!out.exists(), "{} exists already, and is not written over", out.display());
    }
    let sma = place.open_here().await?;
    let done = write(&sma, key_tables.as_deref(), device_registry.as_deref()).await;
    sma.close().await;
    done
}

async fn write(sma: &Sma, key_tables: Option<&Path>, device_registry: Option<&Path>) -> anyhow::Result<()> {
    if let Some(path) = key_tables {
        secret_file::create(path, &sma.export_tables()?)?;
        terminal::note(format_args!("key tables written to {}", path.display()));
    }
    if let Some(path) = device_registry {
        secret_file::create(path, &sma.export_registry().await?)?;
        terminal::note(format_args!("cameras written to {}", path.display()));
    }
    Ok(())
}

impl SeedFiles {
    /// Imports what is there, as the seed's programs read their files at the start; never beside cameras.
    pub(super) async fn import_at_start(&self, sma: &Sma) -> anyhow::Result<()> {
        let there = |path: &Option<PathBuf>| path.clone().filter(|path| path.exists());
        let (tables, registry) = (there(&self.key_tables), there(&self.device_registry));
        if tables.is_none() && registry.is_none() {
            return Ok(());
        }
        if sma.device_count().await? > 0 {
            tracing::info!("cameras are registered already, so the seed's files are not imported");
            return Ok(());
        }
        let (tables, registry) = (read(tables.as_deref())?, read(registry.as_deref())?);
        let done = sma.import(tables.as_deref().map(Vec::as_slice), registry.as_deref().map(Vec::as_slice)).await?;
        tracing::info!("{}", summary(&done));
        Ok(())
    }

    /// Whether there is anything to be looked at.
    pub(super) const fn is_given(&self) -> bool {
        self.key_tables.is_some() || self.device_registry.is_some()
    }
}

fn summary(done: &Imported) -> String {
    let Imported { tables, devices, existing, revoked } = done;
    format!("imported: {tables} key tables, {devices} cameras, {revoked} of them revoked; {existing} were here already")
}

fn read(path: Option<&Path>) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let Some(path) = path else { return Ok(None) };
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    anyhow::ensure!(length <= MAX_FILE, "{}: longer than {MAX_FILE} bytes", path.display());
    Ok(Some(secret_file::read(path, usize::try_from(length)?)?))
}

/// The seed's own is 225 MB where all 2.5 million derived keys are in it.
const MAX_FILE: u64 = 512 * 1024 * 1024;
