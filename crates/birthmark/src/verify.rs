//! `birthmark verify`: is this file the one that a camera registered?
//!
//! The way of a question: `hashes` hashes the file here, `source` finds a proof beside the file or asks
//! a server for one, `birthmark_core::verify` judges it by the policy, `report` says it in plain words.
//!
//! No server is believed: what it sends is checked like any file. The policy comes from the verifier's
//! own disk. Exit codes: `docs/PROTOCOL.md` section 10.

mod hashes;
mod lineage;
mod report;
mod several;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use birthmark_core::absence::{Absence, AbsenceError, AbsenceProof};
use birthmark_core::body::Kind;
use birthmark_core::network::{MAX_FILE_LEN, Trust, TrustError, parse_policy_or_network};
use birthmark_core::proof::ProofBundle;
use birthmark_core::time::{Clock as _, UnixSeconds};
use birthmark_core::verify::{Candidate, Verdict, VerifyError, verify};
use birthmark_service::client::{ClientError, HttpClient};
use birthmark_service::clock::SystemClock;

use crate::runtime::block_on;
use crate::terminal::{Waiting, complain, note};

pub(crate) use report::{Matched, Outcome};
use source::Asking;

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Photographs: JPEG, the DNG beside it, or any registered file.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// An aggregator or a node to ask where there is no proof file. Several are all asked, also beside a proof file,
    /// and their answers compared.
    #[arg(long = "url", alias = "node", value_name = "URL")]
    urls: Vec<String>,
    /// The proof. The default is FILE.tlog-proof, if there is one.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Whom to trust: network.json or a C2SP policy file. The default is ~/.config/birthmark/network.json.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Do not tell the server which photograph it is about: ask for all images whose index key begins alike, some
    /// 256 or more once there are so many, and look among them here. Takes longer. Files of one exposure asked for one
    /// after the other give each other away.
    #[arg(long)]
    private: bool,
    /// With --private: ask for what the file was made from, too. The server can then tell which file it is about, for
    /// hardly another one has a parent under the same digits.
    #[arg(long, requires = "private")]
    lineage: bool,
    /// One JSON object a file.
    #[arg(long)]
    json: bool,
}

/// Why a file could not be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unchecked {
    /// The file, or a file needed to judge it, cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A folder or device.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Nothing in it.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// A proof or policy beyond every sensible size.
    #[error("{} is too large to be what it should be", .0.display())]
    TooLarge(PathBuf),
    /// The policy is refused.
    #[error("the policy {} is refused: {cause}", path.display())]
    Policy {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: birthmark_core::network::TrustFileError,
    },
    /// No policy was given and the default is not there.
    #[error("no policy: give --policy, or put network.json into ~/.config/birthmark")]
    NoPolicy,
    /// Neither a proof nor a server.
    #[error("no proof: there is no {}, so give --proof or --url", .0.display())]
    NoProof(PathBuf),
    /// The address is unusable.
    #[error("the server's address is refused: {0}")]
    Address(String),
    /// The server claims a record that it does not prove.
    #[error("the server says that there is a record, but gives no proof of it")]
    ProofWithheld,
    /// The server's checkpoint says nothing about now.
    #[error("the server's proof of absence is of another time: {0}")]
    Stale(AbsenceError),
    /// The server's checkpoint, which says how many images there are, is not accepted.
    #[error("the server's checkpoint is refused: {0}")]
    Checkpoint(TrustError),
    /// A page of a private look-up is not what was asked for.
    #[error("the server's page of images is unusable: {0}")]
    Page(String),
    /// The server cannot be reached or does not answer as it should.
    #[error("the server cannot tell: {0}")]
    Server(#[from] ClientError),
}

/// By whom a proof must be signed, and how servers are asked for one.
type By<'a> = (&'a Trust, Asking<'a>);

pub(crate) fn run(args: &Args) -> ExitCode {
    let checked = block_on(async { Ok(check_all(args).await) });
    let outcomes = match checked {
        Ok(Ok(outcomes)) => outcomes,
        Ok(Err(unchecked)) => {
            report::unusable(&unchecked, args.json);
            return ExitCode::from(UNCHECKED);
        }
        Err(error) => {
            complain(&error);
            return ExitCode::from(UNCHECKED);
        }
    };
    // 2 beats 3 beats 1 beats 0.
    let worst = outcomes.iter().map(Outcome::exit_code).max_by_key(|code| match code {
        2 => 3,
        3 => 2,
        other => *other,
    });
    ExitCode::from(worst.unwrap_or(UNCHECKED))
}

async fn check_all(args: &Args) -> Result<Vec<Outcome>, Unchecked> {
    let trust = read_trust(args.policy.as_deref())?;
    let servers = args.urls.iter().map(|url| source::server(url)).collect::<Result<Vec<_>, _>>()?;
    let asking =
        if args.private { Asking::Privately { trust: &trust, ancestors: args.lineage } } else { Asking::Openly };
    if args.lineage {
        note("warning: a server that is asked for the parents too can tell which file it is about");
    }
    let mut outcomes = Vec::with_capacity(args.files.len());
    for file in &args.files {
        if servers.len() > 1 && args.proof.is_none() {
            outcomes.push(check_at_all(file, &servers, (&trust, asking), args.json).await);
            continue;
        }
        let outcome = judged(file, args.proof.as_deref(), servers.first(), (&trust, asking)).await;
        report::print(file, &outcome, args.json);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Judges one file by what several servers say.
async fn check_at_all(file: &Path, servers: &[HttpClient], by: By<'_>, as_json: bool) -> Outcome {
    let waiting = Waiting::new(format!("checking {} at {} servers", file.display(), servers.len()));
    let candidates = match candidates(file).await {
        Ok(candidates) => candidates,
        Err(unchecked) => {
            let outcome = Outcome::Unchecked(unchecked);
            report::print(file, &outcome, as_json);
            return outcome;
        }
    };
    let mut answers = several::ask(&candidates, servers, by).await;
    drop(waiting);
    let compared = several::compare(&answers);
    report::print_several(file, &answers, compared.as_ref(), as_json);
    match compared {
        Ok(at) => answers.swap_remove(at).outcome,
        Err(contradiction) => Outcome::Contradiction(contradiction),
    }
}

pub(crate) async fn candidates(file: &Path) -> Result<Vec<Candidate>, Unchecked> {
    let path = file.to_owned();
    tokio::task::spawn_blocking(move || hashes::candidates(&path))
        .await
        .map_err(|cause| Unchecked::Unreadable { path: file.to_owned(), cause: cause.into() })?
}

/// Judges one file, as `demo` does.
#[cfg(feature = "servers")]
pub(crate) async fn check(file: &Path, proof: Option<&Path>, server: Option<&HttpClient>, trust: &Trust) -> Outcome {
    judged(file, proof, server, (trust, Asking::Openly)).await
}

async fn judged(file: &Path, proof: Option<&Path>, server: Option<&HttpClient>, by: (&Trust, Asking<'_>)) -> Outcome {
    match judge(file, proof, server, by).await {
        Ok(outcome) => outcome,
        Err(unchecked) => Outcome::Unchecked(unchecked),
    }
}

/// Finds an answer and checks it.
async fn judge(
    file: &Path,
    proof: Option<&Path>,
    server: Option<&HttpClient>,
    by: By<'_>,
) -> Result<Outcome, Unchecked> {
    let waiting = Waiting::new(format!("checking {}", file.display()));
    let candidates = candidates(file).await?;
    let proofs = source::find(file, &candidates, proof, server, by.1).await?;
    drop(waiting);
    let outcome = weigh(&candidates, proofs, by.0)?;
    Ok(lineage::traced(outcome, server, by).await)
}

/// Checks what was found.
fn weigh(candidates: &[Candidate], found: source::Found, trust: &Trust) -> Result<Outcome, Unchecked> {
    let candidates = candidates.to_vec();
    let text = match found {
        source::Found::Proof(text) => text,
        source::Found::NoRecord { as_of, absence: None } => {
            return Ok(Outcome::NoRecord { candidates, as_of, absence: None });
        }
        source::Found::NoRecord { as_of, absence: Some(proofs) } => {
            return Ok(match absence(&proofs, trust, SystemClock.now()) {
                Ok(absence) => Outcome::NoRecord { candidates, as_of, absence },
                Err(cause @ AbsenceError::TooOld { .. }) => return Err(Unchecked::Stale(cause)),
                Err(cause) => Outcome::BadAbsence(cause),
            });
        }
    };
    let judged = ProofBundle::parse(&text).map_err(VerifyError::from).and_then(|proof| {
        let verdict = verify(&candidates, &proof, trust)?;
        Ok((proof, verdict))
    });
    Ok(match judged {
        Ok((_, Verdict::Match(finding))) => {
            let own = candidates.first().map(|candidate| candidate.hash);
            let matched = match finding.entry.kind {
                Kind::ImageData => Matched::ImageData,
                Kind::File if own == Some(finding.entry.hash) => Matched::File,
                Kind::File => Matched::Raw,
            };
            Outcome::Found(matched, finding, Vec::new())
        }
        Ok((_, Verdict::OtherFile { tx_id })) => Outcome::OtherFile { tx_id },
        Err(cause) => Outcome::BadProof(cause),
    })
}

/// Checks that every hash was absent; gives the oldest of the proofs.
fn absence(proofs: &[AbsenceProof], trust: &Trust, now: UnixSeconds) -> Result<Option<Absence>, AbsenceError> {
    let checked = proofs.iter().map(|proof| proof.verify(trust, now));
    Ok(checked.collect::<Result<Vec<_>, _>>()?.into_iter().min_by_key(|absence| absence.checkpoint_time))
}

/// Reads whom to trust.
pub(crate) fn read_trust(policy: Option<&Path>) -> Result<Trust, Unchecked> {
    let path = match policy {
        Some(path) => path.to_owned(),
        None => default_policy().filter(|path| path.exists()).ok_or(Unchecked::NoPolicy)?,
    };
    let bytes = hashes::read_bounded(&path, MAX_FILE_LEN as u64)?;
    parse_policy_or_network(&bytes).map_err(|cause| Unchecked::Policy { path, cause })
}

fn default_policy() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
    Some(config.join("birthmark").join("network.json"))
}

const EXIT_CODES: &str = "\
Exit codes:
  0  proven: the file, or its picture data, is in a record that is vouched for
  1  no record of this file, or only a claim that nobody vouches for
  2  a proof that does not hold
  3  could not be checked: unreadable file, no policy, unreachable server, wrong usage
Over many files 2 beats 3 beats 1 beats 0.

No server is believed: proofs are checked here, against a policy from your own disk.";
const UNCHECKED: u8 = 3;
