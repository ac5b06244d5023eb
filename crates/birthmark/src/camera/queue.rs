//! `birthmark camera queue list | retry | export`: what became of the photographs, and what a person decides.
//!
//! Works beside a camera that photographs and submits. No row is ever deleted. Not for: sending
//! (`camera capture` takes up whatever is queued).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use birthmark_camera::queue::{Photo, PhotoState, Queue};
use birthmark_service::secret_file;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::terminal::{Waiting, note, say};

/// What the camera has captured.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the photographs, the oldest first, and how far each is.
    List(ListArgs),
    /// Queue photographs again that were refused for good, with new tokens.
    ///
    /// For after a mistake of others was mended: a camera restored, a quota raised, an authority put right. They are sent
    /// the next time the camera captures.
    Retry(RetryArgs),
    /// Copy photographs with their proofs into another folder.
    ///
    /// A JPEG, its DNG and, where it is on record, its proof each, and `queue.json` with what `list --json` prints. Nothing
    /// is written over; what was copied before is compared and left.
    Export(ExportArgs),
}

/// Whose queue.
#[derive(Debug, Args)]
struct Place {
    /// What provisioning handed out; the queue lies beside it.
    #[arg(long, default_value = "/etc/birthmark/device_config.json", value_name = "FILE")]
    config: PathBuf,
    /// Folder of queue and photographs. The default is the configuration's own.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Flags of `camera queue list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those in this state.
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// One JSON object a photograph.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Flags of `camera queue retry`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["numbers", "all"]))]
pub(crate) struct RetryArgs {
    /// Numbers of photographs, as in their names.
    #[arg(value_name = "NUMBER")]
    numbers: Vec<u64>,
    /// All that were refused.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Place,
}

/// Flags of `camera queue export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Numbers of photographs, as in their names. Without any, all.
    #[arg(value_name = "NUMBER")]
    numbers: Vec<u64>,
    /// The folder to copy to; made if it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// How far a photograph is, on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// Not taken in by an aggregator yet.
    Queued,
    /// Taken in, not on record yet.
    Sent,
    /// On record for good.
    Confirmed,
    /// Refused for good.
    Parked,
}

pub(super) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(args).await,
        Command::Retry(args) => retry(args).await,
        Command::Export(args) => export(args).await,
    }
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let (queue, _) = args.place.open().await?;
    let photos = queue.photos(args.state.map(Into::into)).await?;
    for photo in &photos {
        if args.json { say(describe(photo)) } else { say(line(photo)) }
    }
    if !args.json {
        let counts = queue.counts().await?;
        note(format_args!(
            "{} queued, {} sent, {} confirmed ({} without proof yet), {} parked",
            counts.queued, counts.sent, counts.confirmed, counts.without_proof, counts.parked
        ));
    }
    queue.close().await;
    Ok(())
}

async fn retry(args: &RetryArgs) -> anyhow::Result<()> {
    let (queue, _) = args.place.open().await?;
    let photos = chosen(&queue, &args.numbers).await?;
    let mut again = 0;
    for photo in &photos {
        if photo.state == PhotoState::Parked {
            queue.retry(photo.id).await?;
            again += 1;
        } else if !args.all {
            note(format_args!("{} is {} and left as it is", photo.photo.frame, word(photo.state)));
        }
    }
    queue.close().await;
    say(format_args!("{again} queued again; sent with the next capture"));
    Ok(())
}

async fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let (queue, data) = args.place.open().await?;
    let photos = chosen(&queue, &args.numbers).await?;
    queue.close().await;
    let out = args.out.clone();
    let copied = tokio::task::spawn_blocking(move || copy_all(&photos, &data, &out)).await??;
    say(format_args!("{copied} files copied to {}", args.out.display()));
    Ok(())
}

impl Place {
    /// The queue and the data folder. A queue that is not there is not made.
    async fn open(&self) -> anyhow::Result<(Queue, PathBuf)> {
        let beside = self.config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let data = self.data.clone().unwrap_or_else(|| beside.to_owned());
        ensure!(data.join(QUEUE).exists(), "there is no queue in {}", data.display());
        let folder = data.clone();
        Ok((tokio::task::spawn_blocking(move || Queue::open(&folder)).await??, data))
    }
}

/// The photographs of these numbers, or all.
async fn chosen(queue: &Queue, numbers: &[u64]) -> anyhow::Result<Vec<Photo>> {
    let mut photos = queue.photos(None).await?;
    if !numbers.is_empty() {
        let there: BTreeSet<_> = photos.iter().map(|photo| photo.photo.frame).collect();
        if let Some(missing) = numbers.iter().find(|number| !there.contains(number)) {
            bail!("there is no photograph {missing} in the queue");
        }
        photos.retain(|photo| numbers.contains(&photo.photo.frame));
    }
    Ok(photos)
}

fn copy_all(photos: &[Photo], data: &Path, out: &Path) -> anyhow::Result<usize> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let bar = Waiting::with_length("copying", photos.len() as u64);
    let mut copied = 0;
    for photo in photos {
        let files = [Some(&photo.photo.jpeg), Some(&photo.photo.dng), photo.proof.as_ref()];
        for file in files.into_iter().flatten() {
            copied += usize::from(copy(&data.join(file), out)?);
        }
        bar.advance();
    }
    let described: Vec<_> = photos.iter().map(describe).collect();
    let list = serde_json::to_vec_pretty(&described)?;
    secret_file::replace(&out.join("queue.json"), &list, secret_file::FileMode::Secret)?;
    secret_file::sync_folder(out)?;
    Ok(copied)
}

/// Copies a file, durably. False if the same is there already.
fn copy(from: &Path, out: &Path) -> anyhow::Result<bool> {
    let to = out.join(from.file_name().context("a photograph without a name")?);
    let unread = || format!("cannot copy {} to {}", from.display(), to.display());
    if to.exists() {
        ensure!(same(from, &to).with_context(unread)?, "{} is another file, and not written over", to.display());
        return Ok(false);
    }
    // Under another name until it is whole.
    let part = to.with_added_extension("part");
    let copied =
        fs::copy(from, &part).and_then(|_| File::open(&part)?.sync_all()).and_then(|()| fs::rename(&part, &to));
    copied.with_context(unread)?;
    Ok(true)
}

fn same(one: &Path, other: &Path) -> io::Result<bool> {
    // Photographs are some megabytes.
    Ok(fs::metadata(one)?.len() == fs::metadata(other)?.len() && fs::read(one)? == fs::read(other)?)
}

/// Without its token, which is a secret.
fn describe(photo: &Photo) -> Value {
    json!({
        "number": photo.photo.frame,
        "state": word(photo.state),
        "taken_at": photo.photo.taken_at,
        "jpeg": photo.photo.jpeg,
        "dng": photo.photo.dng,
        "raw_hash": photo.photo.hashes.raw,
        "processed_hash": photo.photo.hashes.processed,
        "image_data_hash": photo.photo.hashes.image_data,
        "receipt_id": photo.receipt,
        "aggregator": photo.aggregator,
        "tx_id": photo.recorded.map(|recorded| recorded.tx_id),
        "block_height": photo.recorded.map(|recorded| recorded.block_height),
        "proof": photo.proof,
        "attempts": photo.attempts,
        "last_error": photo.last_error,
    })
}

fn line(photo: &Photo) -> String {
    let more = match (photo.recorded, &photo.last_error) {
        (Some(recorded), _) => format!("record {}", recorded.tx_id.0),
        (None, Some(error)) => error.clone(),
        (None, None) => String::new(),
    };
    format!("{:<9}  {}  {more}", word(photo.state), photo.photo.jpeg.display()).trim_end().to_owned()
}

const fn word(state: PhotoState) -> &'static str {
    match state {
        PhotoState::Queued => "queued",
        PhotoState::Sent => "sent",
        PhotoState::Confirmed => "confirmed",
        PhotoState::Parked => "parked",
    }
}

impl From<State> for PhotoState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Sent => Self::Sent,
            State::Confirmed => Self::Confirmed,
            State::Parked => Self::Parked,
        }
    }
}

const QUEUE: &str = "queue.db";
