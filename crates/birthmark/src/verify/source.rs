//! Where a proof comes from: the file named, the file beside the photograph, or a server.

mod by_prefix;

use std::path::{Path, PathBuf};

use birthmark_core::absence::AbsenceProof;
use birthmark_core::api::verify::{AsOf, VerifyAnswer};
use birthmark_core::network::Trust;
use birthmark_core::verify::Candidate;
use birthmark_service::client::{ClientOptions, HttpClient};

use super::Unchecked;
use super::hashes::read_bounded;

/// What was found.
pub(super) enum Found {
    /// A proof, not looked into yet.
    Proof(String),
    /// A server says that it has no record.
    NoRecord {
        /// Which state of the log it says so of.
        as_of: Option<AsOf>,
        /// A proof of it for every hash of the file, not looked into yet; none if any lacks one.
        absence: Option<Vec<AbsenceProof>>,
    },
}

/// A client for the server to ask.
pub(super) fn server(url: &str) -> Result<HttpClient, Unchecked> {
    HttpClient::new(url, &ClientOptions::default()).map_err(|cause| Unchecked::Address(cause.to_string()))
}

/// How a server is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asking<'a> {
    /// By the hashes themselves.
    Openly,
    /// By prefixes of their index keys, so that the server does not learn which photograph it is about.
    Privately {
        /// Says how many images hide it.
        trust: &'a Trust,
        /// Whether its ancestors are asked for as well, from which the server can tell which one it is.
        ancestors: bool,
    },
}

pub(super) async fn find(
    file: &Path,
    candidates: &[Candidate],
    proof: Option<&Path>,
    server: Option<&HttpClient>,
    asking: Asking<'_>,
) -> Result<Found, Unchecked> {
    // A camera writes one proof for both files of an exposure, beside the JPEG.
    let beside = beside(file);
    let of_jpeg = self::beside(&file.with_extension("jpg"));
    let found = [beside.as_path(), of_jpeg.as_path()].into_iter().find(|path| path.exists());
    if let Some(path) = proof.or(found) {
        let bytes = read_bounded(path, MAX_PROOF)?;
        // Text that is not UTF-8 is a proof that does not hold, not one that cannot be read.
        return Ok(Found::Proof(String::from_utf8_lossy(&bytes).into_owned()));
    }
    ask(candidates, server.ok_or(Unchecked::NoProof(beside))?, asking).await
}

/// What a server says.
pub(super) async fn ask(candidates: &[Candidate], server: &HttpClient, asking: Asking<'_>) -> Result<Found, Unchecked> {
    match asking {
        Asking::Openly => ask_openly(candidates, server).await,
        Asking::Privately { trust, .. } => by_prefix::ask(candidates, server, trust).await,
    }
}

async fn ask_openly(candidates: &[Candidate], server: &HttpClient) -> Result<Found, Unchecked> {
    let mut as_of = None;
    let mut absence = Some(Vec::with_capacity(candidates.len()));
    for candidate in candidates {
        let path = format!("/api/v1/verify/{}?proof=1", candidate.hash);
        let answer = server.get_json::<VerifyAnswer>(&path).await?.body;
        if let Some(record) = answer.record {
            return record.proof.map(Found::Proof).ok_or(Unchecked::ProofWithheld);
        }
        as_of = as_of.or(answer.as_of);
        // A proof about another image proves nothing here.
        let proof = answer.absence.filter(|proof| proof.image_hash == candidate.hash);
        absence = absence.zip(proof).map(|(mut proofs, proof)| {
            proofs.push(*proof);
            proofs
        });
    }
    Ok(Found::NoRecord { as_of, absence })
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".tlog-proof");
    name.into()
}

const MAX_PROOF: u64 = 256 * 1024;
