//! `birthmark node snapshot export` and `import`: a stopped node's ledger as one file, and a ledger out of one.
//!
//! ```text
//! {"snapshot": "FILE", "blocks", "leaves", "root"}
//! ```

use std::path::{Path, PathBuf};

use birthmark_core::hex;
use birthmark_node::snapshot::{self, Snapshot};
use clap::{Args, Subcommand};
use serde_json::json;

use super::upkeep::{Bar, UpkeepArgs};
use crate::terminal::{note, say};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a stopped node's published ledger into a file.
    Export(ExportArgs),
    /// Make the ledger of a node that has none out of such a file. All of it is checked first.
    Import(ImportArgs),
}

/// Flags of `node snapshot export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    node: UpkeepArgs,
    /// The file to write. It must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Flags of `node snapshot import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    node: UpkeepArgs,
    /// The snapshot.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    let mut bar = Bar::default();
    match command {
        Command::Export(ExportArgs { node, out, json }) => {
            let told = &mut |progress| bar.show(progress);
            let done = snapshot::export(&node.data, &node.network()?, out, told)?;
            drop(bar);
            report(&done, out, "wrote", *json);
        }
        Command::Import(ImportArgs { node, file, json }) => {
            let told = &mut |progress| bar.show(progress);
            let done = snapshot::import(&node.data, &node.network()?, file, told)?;
            drop(bar);
            report(&done, file, "checked and put in place", *json);
        }
    }
    Ok(())
}

fn report(Snapshot { head }: &Snapshot, file: &Path, done: &str, as_json: bool) {
    let blocks = head.height.0 + 1;
    if as_json {
        let root = hex::encode(head.root.as_bytes());
        say(json!({"snapshot": file.to_string_lossy(), "blocks": blocks, "leaves": head.size, "root": root}));
    } else {
        note(format_args!("{done}: {blocks} blocks, {} leaves", head.size));
    }
}
