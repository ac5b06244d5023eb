//! `birthmark node fsck` (also `birthmark fsck`) and `birthmark node rebuild-index`: the ledger of a node that is
//! stopped.
//!
//! ```text
//! {"sound": true, "blocks", "leaves", "root", "images", "endorsements"}
//! {"sound": false, "keyspace", "key", "found", "should_be", "file", "from", "to"}
//! ```
//! With `--repair`, a damaged ledger's line is followed by one of the new ledger, with `"source"` and `"kept"`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use birthmark_core::hex;
use birthmark_core::network::Network;
use birthmark_node::{Damage, NodeError, Progress, Repaired, Sound};
use clap::Args;
use serde_json::{Value, json};

use super::file::NodeFile;
use crate::roles::read_network;
use crate::runtime::block_on;
use crate::terminal::{Waiting, complain, note, say};

/// Which node.
#[derive(Debug, Args)]
pub(crate) struct UpkeepArgs {
    /// The stopped node's folder.
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// The network file [default: what DIR/node.toml says, else /etc/birthmark/network.json].
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
}

/// Flags of `node fsck`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes:\n  0  the ledger is sound, or is sound again\n  1  it is damaged, and was not repaired; the first damaged place is named\n  2  wrong usage\n  3  it could not be checked"
)]
pub(crate) struct FsckArgs {
    #[command(flatten)]
    node: UpkeepArgs,
    /// Make a damaged ledger anew from other nodes, none of which is believed. The old one is kept beside it.
    #[arg(long, requires = "sources")]
    repair: bool,
    /// A node to repair from, `http://host:port`; repeatable: the next one when one fails.
    #[arg(long = "from", value_name = "URL", requires = "repair")]
    sources: Vec<String>,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Checks, and repairs if that is asked for; the exit code says what was found.
pub(crate) fn fsck(args: &FsckArgs) -> ExitCode {
    let network = match args.node.network() {
        Ok(network) => network,
        Err(error) => return unchecked(&error),
    };
    let mut bar = Bar::default();
    let checked = birthmark_node::fsck(&args.node.data, &network, &mut |progress| bar.show(progress));
    drop(bar);
    match checked {
        Ok(Ok(sound)) => {
            say(if args.json { sound_json(&sound).to_string() } else { sound_text(&sound) });
            ExitCode::SUCCESS
        }
        Ok(Err(damage)) => {
            say(if args.json { damage_json(&damage).to_string() } else { damage_text(&damage) });
            if args.repair { repair(args, &network) } else { ExitCode::FAILURE }
        }
        Err(NodeError::NoLedger(_)) if args.repair => repair(args, &network),
        Err(error) => unchecked(&error.into()),
    }
}

fn unchecked(error: &anyhow::Error) -> ExitCode {
    complain(error);
    ExitCode::from(3)
}

fn repair(args: &FsckArgs, network: &Arc<Network>) -> ExitCode {
    let mut bar = Bar::default();
    let mut told = |progress| bar.show(progress);
    let data = &args.node.data;
    let repaired = block_on(async { Ok(birthmark_node::repair(data, network, &args.sources, &mut told).await?) });
    drop(bar);
    match repaired {
        Ok(Repaired { sound, source, kept }) => {
            if args.json {
                let mut line = sound_json(&sound);
                line["source"] = source.into();
                line["kept"] = kept.map(|folder| folder.to_string_lossy().into_owned()).into();
                say(line);
            } else {
                let kept = kept.map(|folder| format!("; the old ledger is {}", folder.display())).unwrap_or_default();
                say(format_args!("repaired from {source}: {}{kept}", sound_text(&sound)));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

pub(super) fn rebuild_index(args: &UpkeepArgs) -> anyhow::Result<()> {
    let network = args.network()?;
    let rebuilt = {
        let _waiting = Waiting::new("rebuilding the index");
        birthmark_node::rebuild_index(&args.data, &network)?
    };
    note(format_args!("rebuilt the index of {} images from {} blocks", rebuilt.images, rebuilt.blocks));
    Ok(())
}

impl UpkeepArgs {
    pub(super) fn network(&self) -> anyhow::Result<Arc<Network>> {
        let settings = self.data.join("node.toml");
        let file = match &self.network {
            Some(file) => file.clone(),
            None if settings.exists() => NodeFile::read(&settings)?.network.unwrap_or_else(|| DEFAULT.into()),
            None => DEFAULT.into(),
        };
        Ok(read_network(Path::new(&file))?.0)
    }
}

/// A bar for each stage.
#[derive(Debug, Default)]
pub(super) struct Bar(Option<(&'static str, u64, Waiting)>);

impl Bar {
    pub(super) fn show(&mut self, Progress { stage, done, total }: Progress) {
        match &mut self.0 {
            Some((shown, before, bar)) if *shown == stage => {
                bar.advance_by(done.saturating_sub(*before));
                *before = done;
            }
            _ => self.0 = Some((stage, 0, Waiting::with_length(format!("checking the {stage}"), total))),
        }
    }
}

fn sound_text(sound: &Sound) -> String {
    format!(
        "sound: {} blocks, {} leaves, {} images, {} endorsements kept",
        sound.head.height.0 + 1,
        sound.head.size,
        sound.images,
        sound.endorsements
    )
}

fn sound_json(sound: &Sound) -> Value {
    json!({
        "sound": true,
        "blocks": sound.head.height.0 + 1,
        "leaves": sound.head.size,
        "root": hex::encode(sound.head.root.as_bytes()),
        "images": sound.images,
        "endorsements": sound.endorsements,
    })
}

fn damage_text(damage: &Damage) -> String {
    let place = damage.location.as_ref();
    let place = place.map(|at| format!("\n  in {}, bytes {} to {}", at.file.display(), at.from, at.to));
    format!("damaged: {damage}{}", place.unwrap_or_default())
}

fn damage_json(damage: &Damage) -> Value {
    let at = damage.location.as_ref();
    json!({
        "sound": false,
        "keyspace": damage.keyspace,
        "key": hex::encode(&damage.key),
        "found": damage.found,
        "should_be": damage.should,
        "file": at.map(|at| at.file.to_string_lossy()),
        "from": at.map(|at| at.from),
        "to": at.map(|at| at.to),
    })
}

const DEFAULT: &str = "/etc/birthmark/network.json";
