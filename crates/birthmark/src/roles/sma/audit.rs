//! `birthmark sma audit`: the log of administrators' acts.

use anyhow::bail;
use birthmark_sma::AuditCheck;
use clap::Args;

use super::desk::{Desk, Place};
use crate::terminal;

/// Flags of `sma audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Follow the chain of digests from the first row to the last instead of printing rows. Fails if a row was
    /// changed, taken out or put in. Note the digest elsewhere: that the newest rows are missing shows only
    /// against an older note.
    #[arg(long, conflicts_with = "after")]
    check: bool,
    /// Only rows after this number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    after: u64,
    /// Print a JSON object a row, or the check's outcome.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(args: AuditArgs) -> anyhow::Result<()> {
    let AuditArgs { check, after, json, place } = args;
    let desk = place.open().await?;
    let done = if check { check_log(&desk, json).await } else { print_rows(&desk, after, json).await };
    desk.close().await;
    done
}

async fn check_log(desk: &Desk, json: bool) -> anyhow::Result<()> {
    let outcome = desk.check_audit().await?;
    if json {
        terminal::say(serde_json::to_string(&outcome)?);
    }
    match outcome {
        AuditCheck::Intact { rows, digest } => {
            if !json {
                terminal::say(format_args!("{rows} rows, intact; digest {digest}"));
            }
            Ok(())
        }
        AuditCheck::Broken { row } => bail!("the audit log is broken at row {row}: somebody changed it"),
    }
}

async fn print_rows(desk: &Desk, mut after: u64, json: bool) -> anyhow::Result<()> {
    loop {
        let page = desk.audit(after, 1000).await?;
        for row in &page.rows {
            if json {
                terminal::say(serde_json::to_string(row)?);
                continue;
            }
            let time = i64::try_from(row.time.0).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
            let time = time.map(|at| at.to_string()).unwrap_or_default();
            terminal::say(format_args!(
                "{} {time} {} {} {} {}",
                row.sequence, row.actor, row.act, row.subject, row.detail
            ));
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}
