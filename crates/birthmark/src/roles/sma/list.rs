//! `birthmark sma provision --csv FILE --out DIR`: many cameras from a list.
//!
//! For: handing the list on in batches, one file for each camera. Not for: the list's format (`rows`); nor
//! what a camera is given (`birthmark_sma`).
//!
//! Batches are one transaction each; a batch's
//! files are written right after it. A process that is killed between the two leaves at most one batch of
//! cameras without files: `--skip-existing` goes on and names them, `sma device reprovision` helps them.

mod rows;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::ids::DeviceSerial;
use birthmark_service::client::{ClientError, HttpClient};
use birthmark_service::secret_file;
use birthmark_sma::{ControlError, ProvisionError, Sma};
use futures::StreamExt as _;
use serde::Serialize;
use zeroize::Zeroizing;

use self::rows::{Refused, Row, parse};
use super::desk::{Desk, percent_encoded};
use crate::terminal::{self, Waiting};

/// How to go about it.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) out: PathBuf,
    pub(super) min_token_version: u8,
    pub(super) check_first: bool,
    pub(super) skip_existing: bool,
    pub(super) json: bool,
}

/// What became of the list.
#[derive(Debug, Default, Serialize)]
struct Report {
    provisioned: usize,
    /// Provisioned earlier.
    skipped: usize,
    /// Those of them whose file is not in the folder.
    without_file: Vec<DeviceSerial>,
    refused: Vec<Refused>,
}

pub(super) async fn provision(desk: &Desk, list: &Path, options: &Options) -> anyhow::Result<()> {
    let text = Zeroizing::new(read(list)?);
    let (mut rows, refused) = parse(&text, options.min_token_version)?;
    let mut report = Report { refused, ..Report::default() };
    std::fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    if let Desk::Here(sma) = desk {
        rows = known_apart(sma, rows, options, &mut report).await?;
    }
    files_apart(&mut rows, options, &mut report);
    if options.check_first && !report.refused.is_empty() {
        complain(&report.refused);
        bail!("{} of the list's lines are refused; nothing was provisioned", report.refused.len());
    }
    let bar = Waiting::with_length("provisioning", rows.len() as u64);
    for batch in batches(rows) {
        let (lines, requests): (Vec<_>, Vec<_>) = batch.into_iter().map(|row| (row.line, row.request)).unzip();
        let serials: Vec<_> = requests.iter().map(|request| request.device_serial.clone()).collect();
        let answers = match desk {
            Desk::Here(sma) => here(sma, requests).await?,
            Desk::There(client) => there(client, requests).await,
        };
        let mut configs = Vec::with_capacity(answers.len());
        for ((line, serial), answer) in lines.into_iter().zip(serials).zip(answers) {
            bar.advance();
            match answer {
                Ok(config) => configs.push(config),
                Err(Failed::Known) if options.skip_existing => skip(&serial, options, &mut report),
                Err(Failed::Known) => report.refused.push(Refused { line, cause: KNOWN.to_owned() }),
                Err(Failed::Refused(cause)) => report.refused.push(Refused { line, cause }),
                Err(Failed::Fatal(error)) => {
                    write_all(&options.out, &configs)?;
                    return Err(
                        error.context(format!("line {line}, after {} cameras", report.provisioned + configs.len()))
                    );
                }
            }
        }
        write_all(&options.out, &configs)?;
        report.provisioned += configs.len();
    }
    drop(bar);
    finish(&report, options.json)
}

fn read(list: &Path) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(list).with_context(|| format!("cannot read {}", list.display()))?.len();
    anyhow::ensure!(length <= MAX_LIST, "{}: longer than {MAX_LIST} bytes", list.display());
    std::fs::read(list).with_context(|| format!("cannot read {}", list.display()))
}

/// Takes out the cameras that are registered.
async fn known_apart(sma: &Sma, rows: Vec<Row>, options: &Options, report: &mut Report) -> anyhow::Result<Vec<Row>> {
    let mut new = Vec::with_capacity(rows.len());
    for row in rows {
        match sma.control().device(row.request.device_serial.clone()).await {
            Err(ControlError::Unknown) => new.push(row),
            Err(ControlError::Store(error)) => return Err(error.into()),
            Ok(_) if options.skip_existing => skip(&row.request.device_serial, options, report),
            Ok(_) => report.refused.push(Refused { line: row.line, cause: KNOWN.to_owned() }),
        }
    }
    Ok(new)
}

/// Takes out the cameras whose file would be written over: its secrets may be a camera's.
fn files_apart(rows: &mut Vec<Row>, options: &Options, report: &mut Report) {
    rows.retain(|row| {
        let file = file_of(&options.out, &row.request.device_serial);
        let free = !file.exists();
        if !free && options.skip_existing {
            // At a server that is not asked before: it is provisioned, or the file is another's.
            report.skipped += 1;
        } else if !free {
            report.refused.push(Refused { line: row.line, cause: format!("{} exists already", file.display()) });
        }
        free
    });
}

fn skip(serial: &DeviceSerial, options: &Options, report: &mut Report) {
    report.skipped += 1;
    if !file_of(&options.out, serial).exists() {
        report.without_file.push(serial.clone());
    }
}

fn batches(rows: Vec<Row>) -> impl Iterator<Item = Vec<Row>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || Some(rows.by_ref().take(BATCH).collect::<Vec<_>>()).filter(|batch| !batch.is_empty()))
}

enum Failed {
    /// A camera of the serial is registered.
    Known,
    /// Something is wrong with this camera alone.
    Refused(String),
    /// With the authority; nothing more is tried.
    Fatal(anyhow::Error),
}

async fn here(sma: &Sma, requests: Vec<ProvisionRequest>) -> anyhow::Result<Vec<Result<DeviceConfig, Failed>>> {
    let answers = sma.provision_many(requests).await?;
    let failed = |error: ProvisionError| match error {
        ProvisionError::DuplicateSerial => Failed::Known,
        ProvisionError::Store(_) | ProvisionError::Certificate(_) | ProvisionError::NotIssuing(_) => {
            Failed::Fatal(error.into())
        }
        ProvisionError::NucHash(_)
        | ProvisionError::TokenVersion
        | ProvisionError::Tpm(_)
        | ProvisionError::DuplicateNucHash => Failed::Refused(error.to_string()),
    };
    Ok(answers.into_iter().map(|answer| answer.map_err(failed)).collect())
}

/// Some at a time, in their order.
async fn there(client: &HttpClient, requests: Vec<ProvisionRequest>) -> Vec<Result<DeviceConfig, Failed>> {
    let ask = |request: ProvisionRequest| async move {
        let answer = client.post_json::<DeviceConfig>("/api/v1/devices/provision", &request).await;
        answer.map(|answer| answer.body).map_err(|error| match &error {
            ClientError::Status { code: Some(code), .. } if code == "duplicate_serial" => Failed::Known,
            ClientError::Status { code: Some(code), .. } if code == "duplicate_nuc_hash" => {
                Failed::Refused("a camera of another serial has this nuc_hash".to_owned())
            }
            _ => Failed::Fatal(error.into()),
        })
    };
    futures::stream::iter(requests.into_iter().map(ask)).buffered(AT_ONCE).collect().await
}

/// One file for each camera, mode 0600, several at a time: each waits for the disk.
fn write_all(out: &Path, configs: &[DeviceConfig]) -> anyhow::Result<()> {
    let write = |config: &DeviceConfig| -> anyhow::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec_pretty(config)?);
        Ok(secret_file::create(&file_of(out, &config.device_serial), &text)?)
    };
    let write_part = |part: &[DeviceConfig]| -> Vec<(DeviceSerial, anyhow::Error)> {
        part.iter().filter_map(|config| Some((config.device_serial.clone(), write(config).err()?))).collect()
    };
    let failed = std::thread::scope(|scope| -> anyhow::Result<Vec<_>> {
        let parts = configs.chunks(configs.len().div_ceil(AT_ONCE).max(1));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || write_part(part))).collect();
        let parts = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        let parts = parts.collect::<Result<Vec<_>, _>>().map_err(|_| anyhow::anyhow!("writing files ended early"))?;
        Ok(parts.into_iter().flatten().collect())
    })?;
    for (serial, error) in &failed {
        terminal::note(format_args!("{serial} is provisioned, but its file was not written: {error}"));
    }
    anyhow::ensure!(
        failed.is_empty(),
        "files were not written; give those cameras new secrets: sma device reprovision"
    );
    Ok(())
}

fn file_of(out: &Path, serial: &DeviceSerial) -> PathBuf {
    out.join(format!("{}.json", percent_encoded(serial)))
}

fn complain(refused: &[Refused]) {
    for Refused { line, cause } in refused.iter().take(SHOWN) {
        terminal::note(format_args!("line {line}: {cause}"));
    }
    if refused.len() > SHOWN {
        terminal::note(format_args!("… and {} more", refused.len() - SHOWN));
    }
}

fn finish(report: &Report, json: bool) -> anyhow::Result<()> {
    complain(&report.refused);
    for serial in report.without_file.iter().take(SHOWN) {
        terminal::note(format_args!(
            "{serial} was provisioned earlier, and its file is not here: sma device reprovision"
        ));
    }
    if json {
        terminal::say(serde_json::to_string(report)?);
    } else {
        let Report { provisioned, skipped, refused, .. } = report;
        terminal::say(format_args!(
            "{provisioned} cameras provisioned, {skipped} were so before, {} lines refused",
            refused.len()
        ));
    }
    anyhow::ensure!(report.refused.is_empty(), "{} of the list's lines were refused", report.refused.len());
    Ok(())
}

const KNOWN: &str = "a camera with this serial is provisioned already (--skip-existing passes over it)";
/// A camera in a transaction: this many at most are left without a file by a kill.
const BATCH: usize = 256;
const AT_ONCE: usize = 8;
const SHOWN: usize = 50;
/// More than half a million cameras.
const MAX_LIST: u64 = 64 * 1024 * 1024;
