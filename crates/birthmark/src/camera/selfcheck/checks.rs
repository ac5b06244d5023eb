//! The checks one by one, each a line.
//!
//! For: looking, and saying what is wrong with its remedy. The decisions are functions of what was seen.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use birthmark_camera::device::{DeviceError, ElementChoice, ElementKind, Health, Stored, TpmError};
use birthmark_camera::queue::{Counts, Queue};
use birthmark_core::time::UnixSeconds;
use birthmark_service::client::{ClientError, ClientOptions, HttpClient};
use birthmark_service::clock::EARLIEST;
use serde_json::{Value, json};

/// What one check found.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) status: Status,
    pub(super) message: String,
}

/// In the order of what a script should care about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// It could not be told.
    Unknown,
    /// It does not work, or is not what it should be.
    Failed,
}

/// The configuration's check, and what else was found in it.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) check: Check,
    pub(super) aggregator_url: Option<String>,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

impl Check {
    fn new(name: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self { name, status, message: message.into() }
    }

    pub(super) fn to_json(&self) -> Value {
        let Self { name, status, message } = self;
        json!({ "check": name, "status": status.as_str(), "message": message })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.status {
            Status::Ok => "✓",
            Status::Warning => "!",
            Status::Unknown => "?",
            Status::Failed => "✗",
        };
        write!(f, "{mark} {}: {}", self.name, self.message)
    }
}

/// Whether the camera has what its authority handed out, and who can take it away.
pub(super) fn configuration(config: &Path, element: &ElementChoice) -> Configured {
    let check = |status, message: String| Check { name: "secure element", status, message };
    let none = |check| Configured { check, aggregator_url: None };
    let stored = match Stored::read(config) {
        Ok(stored) => stored,
        Err(DeviceError::NotProvisioned { path }) => {
            return none(check(Status::Unknown, format!("{}: not provisioned yet", path.display())));
        }
        Err(error) => return none(check(Status::Failed, error.to_string())),
    };
    let (kind, aggregator_url) = (stored.element(), stored.aggregator_url().to_owned());
    let checked = match element.for_stored(&stored).and_then(|element| element.inspect(config, stored)) {
        Ok(health) => of_element(kind, health),
        Err(error) => check(Status::Failed, error.to_string()),
    };
    Configured { check: checked, aggregator_url: Some(aggregator_url) }
}

fn of_element(kind: ElementKind, health: Health) -> Check {
    let (status, message) = match (kind, health.locked_out) {
        (ElementKind::Software, _) => (
            Status::Warning,
            "software keys, no TPM: whoever copies the configuration can speak for this camera".to_owned(),
        ),
        (ElementKind::Tpm, false) => {
            (Status::Ok, "TPM: keys are sealed in it, it counts tokens and signs for this camera".to_owned())
        }
        (ElementKind::Tpm, true) => (
            Status::Warning,
            format!("TPM: keys are sealed in it and can be used all the same, but {}", TpmError::LockedOut),
        ),
    };
    Check { name: "secure element", status, message }
}

/// The latest time that is certainly past: this program was written, the camera was provisioned.
pub(super) fn clock_floor(config: &Path) -> UnixSeconds {
    let provisioned = fs::metadata(config).and_then(|metadata| metadata.modified()).ok();
    let provisioned =
        provisioned.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs());
    UnixSeconds(provisioned).max(EARLIEST)
}

/// Whether a time server has set the clock since the system started.
pub(crate) fn is_synchronised() -> bool {
    Path::new(SYNCHRONISED).exists()
}

/// Photographs are taken whatever the time, but say it, and certificates need it.
pub(super) fn clock(now: UnixSeconds, floor: UnixSeconds, synchronised: bool) -> Check {
    let check = |status, message: &str| Check::new("clock", status, message);
    // A provisioned file may be a moment younger than a clock that is set back a little.
    if now.0.saturating_add(DAY) < floor.0 {
        return check(Status::Failed, "the clock is behind the time at which this camera was set up; set it");
    }
    if synchronised {
        return check(Status::Ok, "set by a time server");
    }
    check(Status::Warning, "not set by a time server as far as is known; photographs say `unsynced`")
}

/// Whether the next photographs have room, and can be written at all.
pub(super) fn disk(data: &Path) -> Check {
    let check = |status, message: String| Check { name: "disk", status, message };
    let free = match rustix::fs::statvfs(data) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(errno) => return check(Status::Failed, format!("{}: {}", data.display(), io::Error::from(errno))),
    };
    if let Err(error) = try_to_write(data) {
        return check(Status::Failed, format!("{}: cannot be written: {error}", data.display()));
    }
    let photographs = free / PHOTOGRAPH;
    let status = match photographs {
        ..10 => Status::Failed,
        10..100 => Status::Warning,
        _ => Status::Ok,
    };
    check(status, format!("room for about {photographs} photographs of 12 MP"))
}

/// What waits to be sent.
pub(super) async fn queue(data: &Path) -> Check {
    // Nothing is made by looking.
    if !data.join("queue.db").exists() {
        return Check::new("queue", Status::Ok, "empty");
    }
    let folder = data.to_owned();
    let opened = tokio::task::spawn_blocking(move || Queue::open(&folder)).await;
    let counts = match opened {
        Ok(Ok(queue)) => {
            let counts = queue.counts().await;
            queue.close().await;
            counts
        }
        Ok(Err(error)) => return Check::new("queue", Status::Failed, error.to_string()),
        Err(error) => return Check::new("queue", Status::Failed, error.to_string()),
    };
    match counts {
        Ok(counts) => of_counts(counts),
        Err(error) => Check::new("queue", Status::Failed, error.to_string()),
    }
}

fn of_counts(counts: Counts) -> Check {
    let Counts { queued, sent, confirmed, parked, without_proof } = counts;
    let waiting = queued + sent;
    let message = format!("{waiting} to be sent or confirmed, {confirmed} on record, {parked} refused");
    let (status, message) = match (parked, without_proof) {
        (1.., _) => (Status::Warning, message + "; refused ones wait for a decision"),
        (0, 1..) => (Status::Ok, message + &format!(", {without_proof} proofs to be fetched")),
        (0, 0) => (Status::Ok, message),
    };
    Check { name: "queue", status, message }
}

/// Whether the aggregator answers. A camera works for days without it.
pub(super) async fn network(aggregator: Option<&str>) -> Check {
    let check = |status, message: String| Check { name: "network", status, message };
    let Some(url) = aggregator else {
        return check(Status::Unknown, "no aggregator is known before the camera is provisioned".to_owned());
    };
    let options = ClientOptions { connect_timeout: PATIENCE, request_timeout: PATIENCE, ..ClientOptions::default() };
    let client = match HttpClient::new(url, &options) {
        Ok(client) => client,
        Err(error) => return check(Status::Failed, format!("{url}: {error}")),
    };
    match client.get_json::<Value>("/health").await {
        Ok(_) => check(Status::Ok, format!("{url} answers")),
        Err(error) => check(Status::Unknown, not_reached(url, &error)),
    }
}

fn not_reached(url: &str, error: &ClientError) -> String {
    format!("{url} does not answer as an aggregator ({error}); photographs are kept and sent when it does")
}

/// Whether raw is what the sensor saw.
pub(super) fn defect_correction(parameter: &Path) -> Check {
    let check = |status, message: &str| Check::new("defect correction", status, message);
    let mut value = String::new();
    let read = File::open(parameter).and_then(|file| file.take(16).read_to_string(&mut value));
    match (read, value.trim()) {
        (Err(_), _) => check(Status::Ok, "not an IMX477, or its driver cannot tell"),
        (Ok(_), "0" | "N") => check(Status::Ok, "off: raw is what the sensor saw"),
        (Ok(_), _) => check(
            Status::Warning,
            "on: the sensor replaces pixels in raw; echo 0 > /sys/module/imx477/parameters/dpc_enable",
        ),
    }
}

/// As a photograph is written: a file, to the disk, and gone again.
fn try_to_write(data: &Path) -> io::Result<()> {
    let path = data.join(format!(".selfcheck-{}", std::process::id()));
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// A JPEG and a DNG.
const PHOTOGRAPH: u64 = 32_000_000;
const DAY: u64 = 86_400;
/// What systemd-timesyncd, Raspberry Pi OS's own, leaves behind once the clock is set.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_at_1970_is_wrong_and_an_unsynchronised_one_a_warning() {
        let floor = EARLIEST;
        let status = |now, synchronised| clock(UnixSeconds(now), floor, synchronised).status;
        assert_eq!(status(0, false), Status::Failed);
        assert_eq!(status(0, true), Status::Failed);
        assert_eq!(status(EARLIEST.0 + 1, false), Status::Warning);
        assert_eq!(status(EARLIEST.0 - 1, true), Status::Ok, "an hour or two is no matter");
    }

    #[test]
    fn folder_that_cannot_be_written_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        assert_ne!(disk(folder.path()).status, Status::Failed);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
        assert_eq!(disk(Path::new("/proc")).status, Status::Failed);
        assert_eq!(disk(Path::new("/nowhere")).status, Status::Failed);
    }

    #[test]
    fn refused_photographs_are_a_warning() {
        let counts = Counts { queued: 2, sent: 1, confirmed: 5, parked: 0, without_proof: 0 };
        let check = of_counts(counts);
        assert_eq!(
            (check.status, check.message.as_str()),
            (Status::Ok, "3 to be sent or confirmed, 5 on record, 0 refused")
        );
        assert_eq!(of_counts(Counts { parked: 1, ..counts }).status, Status::Warning);
    }

    #[test]
    fn defect_correction_is_read_from_the_driver() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dpc_enable");
        assert_eq!(defect_correction(&path).status, Status::Ok);
        for (value, status) in [("0\n", Status::Ok), ("1\n", Status::Warning)] {
            fs::write(&path, value).unwrap();
            assert_eq!(defect_correction(&path).status, status);
        }
    }

    #[test]
    fn worst_status_decides() {
        assert!(Status::Failed > Status::Unknown && Status::Unknown > Status::Warning && Status::Warning > Status::Ok);
    }
}
