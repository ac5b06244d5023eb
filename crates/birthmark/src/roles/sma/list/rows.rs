//! The list of cameras itself: read line by line, every bad line named.
//!
//! Not for: which of the cameras are registered already (`list`).
//!
//! ```text
//! device_serial,device_family,nuc_hash[,min_token_version]
//! PI_CAMERA_001,Raspberry Pi HQ Camera,<64 hex>,2
//! ```
//! RFC 4180, UTF-8, columns in any order, a header required. What is said of a line never repeats its
//! content, which holds a sensor's fingerprint.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use birthmark_core::api::provision::ProvisionRequest;
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::token::NucHash;
use serde::Serialize;

/// A line of the list.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) request: ProvisionRequest,
}

/// A line from which no camera was provisioned.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) line: u64,
    pub(super) cause: String,
}

/// The cameras of a list, and the lines that name none.
pub(super) fn parse(text: &[u8], min_token_version: u8) -> anyhow::Result<(Vec<Row>, Vec<Refused>)> {
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
        Ok((ProvisionRequest { device_serial, device_family, nuc_hash, min_token_version, tpm: None }, sensor))
    }
}

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
