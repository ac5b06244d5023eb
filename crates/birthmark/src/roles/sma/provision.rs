//! `birthmark sma provision`: one camera, or a list of them (`list`).
//!
//! Not for: what a camera is given (`birthmark_sma`).

use std::path::PathBuf;

use anyhow::Context as _;
use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::ids::{DeviceFamily, DeviceSerial};

use super::desk::{Desk, Remote};
use super::{Told, list};
use crate::outlet::Outlet;

/// Flags of `sma provision`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProvisionArgs {
    #[command(flatten)]
    told: Told,
    #[command(flatten)]
    remote: Remote,
    /// The camera's serial.
    #[arg(long, value_name = "SERIAL", required_unless_present = "csv", conflicts_with = "csv")]
    serial: Option<DeviceSerial>,
    /// The camera's family.
    #[arg(long, default_value = "Raspberry Pi HQ Camera", value_name = "NAME")]
    device_family: DeviceFamily,
    /// The sensor's fingerprint, 64 hex digits.
    #[arg(long, value_name = "HEX", required_unless_present = "csv", conflicts_with = "csv")]
    nuc_hash: Option<String>,
    /// The oldest token that is accepted: 1 or 2. In a list, where a line does not say.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    min_token_version: u8,
    /// Write to this file, mode 0600, instead of printing; with --csv, to this folder, a file a camera.
    #[arg(long, value_name = "FILE|DIR")]
    out: Option<PathBuf>,
    /// Provision the cameras of this list.
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with = "device_family")]
    csv: Option<PathBuf>,
    /// Refuse the whole list if one of its lines is bad. With false, the good ones are provisioned.
    #[arg(long, requires = "csv", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    check_first: bool,
    /// Pass over cameras of the list that were provisioned earlier.
    #[arg(long, requires = "csv")]
    skip_existing: bool,
    /// Print what became of the list as JSON.
    #[arg(long, requires = "csv")]
    json: bool,
}

pub(super) async fn run(args: ProvisionArgs) -> anyhow::Result<()> {
    let ProvisionArgs { told, remote, serial, device_family, nuc_hash, min_token_version, out, csv, .. } = args;
    if min_token_version == 2 && !remote.is_given() {
        anyhow::ensure!(
            told.network.is_some(),
            "a camera seals tokens of version 2 for a network: give --network FILE"
        );
    }
    if let (Some(csv), Some(out)) = (&csv, &out) {
        let ProvisionArgs { check_first, skip_existing, json, .. } = args;
        let options = list::Options { out: out.clone(), min_token_version, check_first, skip_existing, json };
        let desk = Desk::telling(told, &remote).await?;
        let done = list::provision(&desk, csv, &options).await;
        desk.close().await;
        return done;
    }
    // Without a list, the parser has asked for both.
    let device_serial = serial.context("--serial is missing")?;
    let nuc_hash = nuc_hash.context("--nuc-hash is missing")?;
    let request = ProvisionRequest { device_serial, device_family, nuc_hash, min_token_version, tpm: None };
    let outlet = Outlet::prepare(out.as_deref())?;
    let desk = Desk::telling(told, &remote).await?;
    let config = desk.provision(request).await;
    desk.close().await;
    hand_over(&config?, outlet)
}

/// Writes what a camera was given, which is said this once.
pub(super) fn hand_over(config: &DeviceConfig, outlet: Outlet) -> anyhow::Result<()> {
    let serial = &config.device_serial;
    let text = zeroize::Zeroizing::new(serde_json::to_string_pretty(config)?);
    let lost = format!(
        "{serial} is registered, but its new configuration is lost; make another with `birthmark sma device reprovision {serial}`"
    );
    outlet.hand_over(&text, &lost)
}
