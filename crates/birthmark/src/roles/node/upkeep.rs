//! `birthmark node fsck` and `birthmark node rebuild-index`: the ledger of a node that is stopped.
//!
//! ```text
//! {"sound": true, "blocks", "leaves", "root", "images", "endorsements"}
//! {"sound": false, "keyspace", "key", "found", "should_be", "file", "from", "to"}
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use birthmark_core::hex;
use birthmark_core::network::Network;
use birthmark_node::{Damage, Progress, Sound};
use clap::Args;
use serde_json::{Value, json};

use super::file::NodeFile;
use crate::roles::read_network;
use crate::terminal::{Waiting, complain, note, say};

/// Which node.
#[derive(Debug, Args)]
pub(crate) struct UpkeepArgs {
    /// The stopped node's folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The network file [default: what DIR/node.toml says, else /etc/birthmark/network.json].
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
}

/// Flags of `node fsck`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes:\n  0  the ledger is sound\n  1  it is damaged; the first damaged place is named\n  2  wrong usage\n  3  it could not be checked"
)]
pub(crate) struct FsckArgs {
    #[command(flatten)]
    node: UpkeepArgs,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Checks; the exit code says what was found.
pub(crate) fn fsck(args: &FsckArgs) -> ExitCode {
    let mut bar = Bar::default();
    let checked = args
        .node
        .network()
        .and_then(|network| Ok(birthmark_node::fsck(&args.node.data, &network, &mut |progress| bar.show(progress))?));
    drop(bar);
    match checked {
        Ok(Ok(sound)) => {
            say(if args.json { sound_json(&sound).to_string() } else { sound_text(&sound) });
            ExitCode::SUCCESS
        }
        Ok(Err(damage)) => {
            say(if args.json { damage_json(&damage).to_string() } else { damage_text(&damage) });
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&error);
            ExitCode::from(3)
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
    fn network(&self) -> anyhow::Result<Arc<Network>> {
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
struct Bar(Option<(&'static str, u64, Waiting)>);

impl Bar {
    fn show(&mut self, Progress { stage, done, total }: Progress) {
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
