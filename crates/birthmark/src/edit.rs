//! `birthmark edit`: registers a file as made from another one that is on record.
//!
//! For: software that edits photographs and has a credential of an aggregator; scripts and people alike. Not for:
//! judging what was changed; the registry records that this software says where the file comes from.
//!
//! The edit names its parent by whichever of the parent's hashes is on record: the file's own, that of its picture
//! data, or that of its sensor samples. `docs/PROTOCOL.md` section 2.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::HeaderMap;
use birthmark_core::ImageHash;
use birthmark_core::api::submit::SubmissionStatus;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::body::Kind;
use birthmark_core::ids::AuthorityId;
use birthmark_core::submission::{ImageJson, ManufacturerCert, SubmissionJson};
use birthmark_core::verify::Candidate;
use birthmark_service::client::{BearerToken, ClientOptions, HttpClient};
use birthmark_service::secret_file::{self, FileMode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::runtime::block_on;
use crate::terminal::{Waiting, complain, note, say};
use crate::verify::candidates;

/// Flags of `edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The edited file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What it was made from: a file that is on record.
    #[arg(long, value_name = "FILE", required_unless_present = "parent_hash")]
    parent: Option<PathBuf>,
    /// The same by its hash, where the file is not at hand.
    #[arg(long, value_name = "HEX", conflicts_with = "parent", value_parser = image_hash)]
    parent_hash: Option<ImageHash>,
    /// The software authority's name in the network file.
    #[arg(long, value_name = "NAME")]
    authority_id: AuthorityId,
    /// File that holds the bearer token, of role `software` and for this authority.
    #[arg(long, value_name = "FILE")]
    credential: PathBuf,
    /// The aggregator.
    #[arg(long, env = "AGGREGATOR_URL", value_name = "URL", default_value = "http://localhost:8545")]
    url: String,
    /// How long to wait for the record.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match block_on(register(args)) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn register(args: &Args) -> anyhow::Result<ExitCode> {
    let client = client(args)?;
    let waiting = Waiting::new(format!("registering {}", args.file.display()));
    let own = candidates(&args.file).await?;
    let parents = match (&args.parent, args.parent_hash) {
        (Some(file), _) => candidates(file).await?,
        (None, Some(hash)) => vec![Candidate { kind: Kind::File, hash }],
        (None, None) => anyhow::bail!("give --parent or --parent-hash"),
    };
    let parent = recorded(&client, &parents).await?;
    let submission = submission(args, &own, &parents, parent)?;
    let answer = submit(&client, &submission, Duration::from_secs(args.wait)).await?;
    drop(waiting);
    conclude(args, &own, parent, &answer)
}

fn client(args: &Args) -> anyhow::Result<HttpClient> {
    let token = secret_file::read(&args.credential, MAX_TOKEN)?;
    let token = std::str::from_utf8(&token).context("the credential is not text")?;
    let options = ClientOptions { bearer: Some(BearerToken::new(token.trim())), ..ClientOptions::default() };
    Ok(HttpClient::new(&args.url, &options)?)
}

/// The first of the parent's hashes that is on record. What the server says here decides nothing: the registry
/// refuses an edit of what it does not have.
async fn recorded(client: &HttpClient, parents: &[Candidate]) -> anyhow::Result<ImageHash> {
    for candidate in parents {
        let path = format!("/api/v1/verify/{}?proof=0", candidate.hash);
        if client.get_json::<VerifyAnswer>(&path).await?.body.recorded {
            return Ok(candidate.hash);
        }
    }
    anyhow::bail!("the file that this one was made from is not on record")
}

/// The edited file by its bytes, and by its picture data if it is a JPEG in which that was changed.
fn submission(
    args: &Args,
    own: &[Candidate],
    parents: &[Candidate],
    parent: ImageHash,
) -> anyhow::Result<SubmissionJson> {
    let of_parent = |hash| parents.iter().any(|candidate| candidate.hash == hash);
    let changed = own.iter().filter(|candidate| !of_parent(candidate.hash));
    let image_hashes: Vec<_> = changed
        .map(|candidate| ImageJson {
            image_hash: candidate.hash.to_string(),
            modification_level: 2,
            parent_image_hash: Some(parent.to_string()),
            kind: (candidate.kind == Kind::ImageData).then(|| "image_data".to_owned()),
        })
        .collect();
    anyhow::ensure!(!image_hashes.is_empty(), "{} is the file that it was made from", args.file.display());
    Ok(SubmissionJson {
        submission_type: "software".to_owned(),
        image_hashes,
        camera_token: None,
        manufacturer_cert: Some(ManufacturerCert {
            authority_id: args.authority_id.to_string(),
            validation_endpoint: None,
            camera_token: None,
            key_reference: None,
        }),
        timestamp: None,
        owner_hash: None,
        gps_hash: None,
    })
}

/// Sends it until it has ended or the time is over; sending the same again changes nothing.
async fn submit(client: &HttpClient, submission: &SubmissionJson, wait: Duration) -> anyhow::Result<Value> {
    let until = Instant::now() + wait;
    loop {
        let seconds = until.saturating_duration_since(Instant::now()).as_secs().min(MAX_WAIT);
        let mut headers = HeaderMap::new();
        headers.insert("prefer", format!("wait={seconds}").parse()?);
        match client.post_json_with::<Value>("/api/v1/submit", headers, submission).await {
            Ok(answer) => {
                let pending = matches!(answer.body["status"].as_str(), Some("pending_validation" | "validated"));
                if !pending || Instant::now() >= until {
                    return Ok(answer.body);
                }
            }
            Err(error) if error.is_retryable() && Instant::now() < until => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Says what came of it, and keeps the proof beside the file.
fn conclude(args: &Args, own: &[Candidate], parent: ImageHash, answer: &Value) -> anyhow::Result<ExitCode> {
    let proof = answer["proof"].as_str().map(|text| (beside(&args.file), text));
    if let Some((path, text)) = &proof {
        secret_file::replace(path, text.as_bytes(), FileMode::Public)?;
    }
    let status: SubmissionStatus = serde_json::from_value(answer["status"].clone()).context("the answer's status")?;
    let code = match status {
        SubmissionStatus::Confirmed => ExitCode::SUCCESS,
        SubmissionStatus::Rejected => ExitCode::FAILURE,
        SubmissionStatus::PendingValidation | SubmissionStatus::Validated => ExitCode::from(PENDING),
    };
    if args.json {
        let hashes: Vec<_> = own.iter().map(|candidate| candidate.hash).collect();
        say(json!({
            "file": args.file.to_string_lossy(), "image_hashes": hashes, "parent_image_hash": parent,
            "status": status, "tx_id": answer["tx_id"], "block_height": answer["block_height"],
            "receipt_id": answer["receipt_id"], "reason": answer["reason"],
            "proof": proof.as_ref().map(|(path, _)| path.to_string_lossy()),
        }));
        return Ok(code);
    }
    match status {
        SubmissionStatus::Confirmed => {
            say(format_args!(
                "✓ {}: registered as record {}, made from {parent}",
                args.file.display(),
                answer["tx_id"]
            ));
            if let Some((path, _)) = proof {
                say(format_args!("  Proof: {}", path.display()));
            }
        }
        SubmissionStatus::Rejected => {
            say(format_args!("✗ {}: refused: {}", args.file.display(), answer["reason"].as_str().unwrap_or_default()));
        }
        SubmissionStatus::PendingValidation | SubmissionStatus::Validated => {
            note("accepted, but not on record yet; the same command asks again");
        }
    }
    Ok(code)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".tlog-proof");
    name.into()
}

fn image_hash(text: &str) -> Result<ImageHash, &'static str> {
    ImageHash::from_hex(text).map_err(|_| "must be 64 hex digits")
}

const EXIT_CODES: &str = "\
Exit codes:
  0  on record
  1  refused, or it failed
  2  wrong usage
  3  accepted, but not on record yet; the same command asks again";
const PENDING: u8 = 3;
const MAX_TOKEN: usize = 1024;
const MAX_WAIT: u64 = 30;
const AGAIN: Duration = Duration::from_millis(500);
