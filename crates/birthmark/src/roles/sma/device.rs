//! `birthmark sma device show | revoke | restore | quota | reprovision`.

use std::path::PathBuf;

use birthmark_core::ids::DeviceSerial;
use birthmark_sma::{DeviceStatus, DeviceView, QuotaOverride, ReprovisionRequest};
use clap::{Args, Subcommand};

use super::Told;
use super::desk::{Desk, Place, Remote};
use super::provision::hand_over;
use crate::outlet::Outlet;
use crate::terminal;

/// One camera of an authority.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show its status: never a secret, never when it was used.
    Show(DeviceArgs),
    /// Let none of its tokens pass any more, from this moment on.
    ///
    /// What it photographed before stays recorded. It appears in the public list of revocations, as a hash of
    /// its serial. `restore` takes this back.
    Revoke(DeviceArgs),
    /// Take a revocation back.
    Restore(DeviceArgs),
    /// Set its own limits of passes a day; what is not given is the authority's limit again.
    Quota(QuotaArgs),
    /// Give it new secrets and print its `device_config.json`, this once; what it had becomes worthless.
    ///
    /// For a camera that lost its configuration, or whose secrets somebody may have read. Its counters and
    /// its status stay. A revoked camera must be restored first.
    Reprovision(Box<ReprovisionArgs>),
}

/// Flags of `show`, `revoke` and `restore`.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// The camera's serial.
    #[arg(value_name = "SERIAL")]
    serial: DeviceSerial,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Flags of `quota`.
#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    /// Passes of a day at which the log warns.
    #[arg(long, value_name = "N")]
    warn: Option<u32>,
    /// Most passes of a day; 0 lets none pass.
    #[arg(long, value_name = "N")]
    stop: Option<u32>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Flags of `reprovision`.
#[derive(Debug, Args)]
pub(crate) struct ReprovisionArgs {
    /// The camera's serial.
    #[arg(value_name = "SERIAL")]
    serial: DeviceSerial,
    /// The sensor's fingerprint, 64 hex digits: the one that it was registered with.
    #[arg(long, value_name = "HEX")]
    nuc_hash: String,
    /// The oldest token that is accepted from it: 1 or 2. As it was, if left out.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2), value_name = "VERSION")]
    min_token_version: Option<u8>,
    /// Write to this file, mode 0600, instead of printing. Never over another.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    told: Told,
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Show(args) => {
            let desk = args.place.open().await?;
            finish(&desk, desk.device(args.serial).await, args.json).await
        }
        Command::Revoke(args) => {
            let desk = args.place.open().await?;
            finish(&desk, desk.revoke(args.serial).await, args.json).await
        }
        Command::Restore(args) => {
            let desk = args.place.open().await?;
            finish(&desk, desk.restore(args.serial).await, args.json).await
        }
        Command::Quota(QuotaArgs { warn, stop, device }) => {
            let desk = device.place.open().await?;
            let view = desk.set_quota(device.serial, QuotaOverride { warn, stop }).await;
            finish(&desk, view, device.json).await
        }
        Command::Reprovision(args) => {
            let request = ReprovisionRequest { nuc_hash: args.nuc_hash, min_token_version: args.min_token_version };
            let outlet = Outlet::prepare(args.out.as_deref())?;
            let desk = Desk::telling(args.told, &args.remote).await?;
            let config = desk.reprovision(args.serial, request).await;
            desk.close().await;
            hand_over(&config?, outlet)
        }
    }
}

async fn finish(desk: &Desk, view: anyhow::Result<DeviceView>, json: bool) -> anyhow::Result<()> {
    desk.close().await;
    let view = view?;
    if json {
        terminal::say(serde_json::to_string(&view)?);
        return Ok(());
    }
    let status = match view.status {
        DeviceStatus::Active => "active",
        DeviceStatus::Revoked => "revoked",
    };
    let own = |limit: Option<u32>| if limit.is_some() { " (its own)" } else { "" };
    let registered = i64::try_from(view.registered.0).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    terminal::say(format_args!("{}: {status}", view.device_serial));
    terminal::say(format_args!("  family             {}", view.device_family));
    terminal::say(format_args!("  registered         {}", registered.map(|at| at.to_string()).unwrap_or_default()));
    terminal::say(format_args!("  tokens             version {} or newer", view.min_token_version));
    terminal::say(format_args!("  provisioned anew   {} times", view.key_generation));
    terminal::say(format_args!("  passed today       {}", view.passed_today));
    terminal::say(format_args!("  warns at           {} a day{}", view.quota.warn, own(view.own_quota.warn)));
    terminal::say(format_args!("  stops at           {} a day{}", view.quota.stop, own(view.own_quota.stop)));
    Ok(())
}
