//! `birthmark sma provision --csv FILE --out DIR`: many cameras from a list.
//!
//! For: reading and checking the list, handing it on in batches, one file for each camera. Not for: what a
//! camera is given (`birthmark_sma`).
//!
//! ```text
//! device_serial,device_family,nuc_hash[,min_token_version]
//! PI_CAMERA_001,Raspberry Pi HQ Camera,<64 hex>,2
//! ```
//! RFC 4180, UTF-8, columns in any order, a header required. Batches are one transaction each; a batch's
//! files are written right after it. A process that is killed between the two leaves at most one batch of
//! cameras without files: `--skip-existing` goes on and names them, `sma device reprovision` helps them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::token::NucHash;
use birthmark_service::client::{ClientError, HttpClient};
use birthmark_service::secret_file;
use birthmark_sma::{ControlError, ProvisionError, Sma};
use futures::StreamExt as _;
use serde::Serialize;
use zeroize::Zeroizing;

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

/// A line of the list.
#[derive(Debug)]
struct Row {
    line: u64,
    request: ProvisionRequest,
}

/// A line from which no camera was provisioned.
#[derive(Debug, Serialize)]
struct Refused {
    line: u64,
    cause: String,
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

/// The cameras of a list, and the lines that name none.
fn parse(text: &[u8], min_token_version: u8) -> anyhow::Result<(Vec<Row>, Vec<Refused>)> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let columns = Columns::of(reader.headers().context("the list's header")?)?;
    let (mut serials, mut sensors) = (HashMap::new(), HashMap::new());
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    let mut lines = Lines { text, counted: 0, line: 1 };
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = lines.of(error.position());
                refused.push(Refused { line, cause: cause_of(&error) });
                continue;
            }
        };
        let line = lines.of(record.position());
        let (request, sensor) = match columns.request(&record, min_token_version) {
            Ok(read) => read,
            Err(cause) => {
                refused.push(Refused { line, cause });
                continue;
            }
        };
        let serial = serials.insert(request.device_serial.clone(), line);
        let sensor = sensors.insert(*sensor.expose(), line);
        match (serial, sensor) {
            (None, None) => rows.push(Row { line, request }),
            (Some(first), _) => refused.push(Refused { line, cause: format!("has the serial of line {first}") }),
            (None, Some(first)) => refused.push(Refused { line, cause: format!("has the nuc_hash of line {first}") }),
        }
    }
    Ok((rows, refused))
}

/// Numbers lines as an editor does. The reader's own count is off by line ends of two characters and by
/// empty lines before a record.
struct Lines<'a> {
    text: &'a [u8],
    /// So many bytes are counted.
    counted: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line where a record begins. Asked in the records' order.
    fn of(&mut self, record: Option<&csv::Position>) -> u64 {
        let start = record.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.counted);
        let rest = self.text.get(start..).unwrap_or_default();
        let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let end = start.saturating_add(empty);
        let passed = self.text.get(self.counted..end).unwrap_or_default();
        for byte in passed {
            self.line += u64::from(*byte == b'\n');
        }
        self.counted = self.counted.max(end);
        self.line
    }
}

/// Without the line's content, which holds a fingerprint.
fn cause_of(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} fields instead of {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        _ => "cannot be read".to_owned(),
    }
}

struct Columns {
    serial: usize,
    family: usize,
    nuc_hash: usize,
    version: Option<usize>,
}

impl Columns {
    fn of(header: &csv::StringRecord) -> anyhow::Result<Self> {
        let place = |name: &str| header.iter().position(|column| column == name);
        let known = ["device_serial", "device_family", "nuc_hash", "min_token_version"];
        let strange = header.iter().enumerate().any(|(at, name)| !known.contains(&name) || place(name) != Some(at));
        match (place("device_serial"), place("device_family"), place("nuc_hash")) {
            (Some(serial), Some(family), Some(nuc_hash)) if !strange => {
                Ok(Self { serial, family, nuc_hash, version: place("min_token_version") })
            }
            _ => bail!("the list's first line must be device_serial,device_family,nuc_hash[,min_token_version]"),
        }
    }

    fn request(
        &self,
        record: &csv::StringRecord,
        min_token_version: u8,
    ) -> Result<(ProvisionRequest, NucHash), String> {
        let field = |at: usize| record.get(at).unwrap_or_default();
        let device_serial = DeviceSerial::new(field(self.serial)).map_err(|error| error.to_string())?;
        let device_family = DeviceFamily::new(field(self.family)).map_err(|error| error.to_string())?;
        let nuc_hash = field(self.nuc_hash).to_owned();
        let sensor = NucHash::from_hex(&nuc_hash).map_err(|error| format!("nuc_hash: {error}"))?;
        let min_token_version = match self.version.map(field).filter(|text| !text.is_empty()) {
            None => min_token_version,
            Some("1") => 1,
            Some("2") => 2,
            Some(_) => return Err("min_token_version must be 1 or 2".to_owned()),
        };
        Ok((ProvisionRequest { device_serial, device_family, nuc_hash, min_token_version }, sensor))
    }
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
        ProvisionError::Store(_) | ProvisionError::Certificate(_) => Failed::Fatal(error.into()),
        ProvisionError::NucHash(_) | ProvisionError::TokenVersion | ProvisionError::DuplicateNucHash => {
            Failed::Refused(error.to_string())
        }
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
    let failed: Vec<_> = std::thread::scope(|scope| {
        let parts = configs.chunks(configs.len().div_ceil(AT_ONCE).max(1));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || write_part(part))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "device_serial,device_family,nuc_hash,min_token_version\n";

    fn hash(number: u8) -> String {
        birthmark_core::hex::encode([number; 32])
    }

    fn refused(text: &str) -> Vec<(u64, String)> {
        let (_, refused) = parse(text.as_bytes(), 1).unwrap();
        refused.into_iter().map(|Refused { line, cause }| (line, cause)).collect()
    }

    #[test]
    fn list_is_read_with_quotes_either_line_end_and_its_columns_in_any_order() {
        let text = format!(
            "nuc_hash,device_serial,device_family\r\n{},A,\"Canon, \"\"EOS\"\"\"\r\n\r\n {} , B ,F\r\n",
            hash(1),
            hash(2)
        );
        let (rows, refused) = parse(text.as_bytes(), 2).unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        let read: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.line,
                    row.request.device_serial.as_str(),
                    row.request.device_family.as_str(),
                    row.request.min_token_version,
                )
            })
            .collect();
        assert_eq!(read, [(2, "A", "Canon, \"EOS\"", 2), (4, "B", "F", 2)]);
        assert_eq!(rows[1].request.nuc_hash, hash(2));
        let own = format!("{HEADER}A,F,{},1\nB,F,{},\n", hash(1), hash(2));
        let versions: Vec<_> =
            parse(own.as_bytes(), 2).unwrap().0.iter().map(|row| row.request.min_token_version).collect();
        assert_eq!(versions, [1, 2]);
    }

    #[test]
    fn bad_lines_are_named_and_show_no_fingerprint() {
        let (one, two) = (hash(1), hash(2));
        let text = format!(
            "{HEADER}A,F,{one},1\n,F,{two},1\nB,,{two},1\nC,F,zz,1\nD,F,{two},3\nE,F,{two}\nA,F,{two},1\nG,F,{},1\nH,F,{two},2\n",
            one.to_uppercase()
        );
        let refused = refused(&text);
        let lines: Vec<_> = refused.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10], "{refused:?}");
        let causes: Vec<_> = refused.iter().map(|(_, cause)| cause.as_str()).collect();
        assert_eq!(
            causes[3..],
            [
                "min_token_version must be 1 or 2",
                "has 3 fields instead of 4",
                "has the serial of line 2",
                "has the nuc_hash of line 2",
                "has the nuc_hash of line 8",
            ]
        );
        assert!(!format!("{refused:?}").contains(&two));
    }

    #[test]
    fn other_headers_are_refused() {
        for header in [
            "",
            "A,F,00\n",
            "device_serial,nuc_hash\n",
            "device_serial,device_family,nuc_hash,color\n",
            "device_serial,device_family,nuc_hash,nuc_hash\n",
        ] {
            assert!(parse(header.as_bytes(), 1).is_err(), "{header}");
        }
        assert!(parse(HEADER.as_bytes(), 1).unwrap().0.is_empty());
    }
}
