//! Asking a server without telling it which photograph it is about.
//!
//! For: `verify --private`. All pages under the first digits of each hash's index key are fetched, whatever is found
//! on the first of them, for all hashes of the file: what is asked for depends on those digits alone. Not for:
//! believing what comes; it is checked like any other proof.
//!
//! How many digits: so few that some 256 images begin alike. That many there are follows from the size of a log that
//! the validators have signed, never from what the server says.

use birthmark_core::ImageHash;
use birthmark_core::absence::AbsenceProof;
use birthmark_core::network::Trust;
use birthmark_core::prefix::{KeyPrefix, MAX_PAGE_LEN, PrefixPage, Said};
use birthmark_core::proof::ProofBundle;
use birthmark_core::verify::Candidate;
use birthmark_service::client::{ClientOptions, HttpClient};

use super::Found;
use crate::verify::Unchecked;

/// What the server says, of all hashes.
pub(super) async fn ask(candidates: &[Candidate], server: &HttpClient, trust: &Trust) -> Result<Found, Unchecked> {
    let options = ClientOptions { max_response: MAX_PAGE_LEN, ..ClientOptions::default() };
    let server = HttpClient::new(server.origin(), &options).map_err(|cause| Unchecked::Address(cause.to_string()))?;
    let note = server.get_bytes("/checkpoint").await?.body;
    let note = String::from_utf8_lossy(&note);
    let size = trust.verify_checkpoint(&note).map_err(Unchecked::Checkpoint)?.checkpoint.size;
    // At most every other leaf is a block's.
    let digits = KeyPrefix::digits_for(size / 2);
    let mut record = None;
    let mut absence = Some(Vec::with_capacity(candidates.len()));
    for candidate in candidates {
        match look_up(&server, &candidate.hash, digits).await? {
            Looked::Record(proof) => record = record.or(Some(proof)),
            Looked::Absent(proof) => absence.iter_mut().for_each(|proofs| proofs.push(proof.clone())),
            Looked::Unsaid => absence = None,
        }
    }
    Ok(match record {
        Some(proof) => Found::Proof(proof.to_string()),
        None => Found::NoRecord { as_of: None, absence },
    })
}

/// What came of one hash.
enum Looked {
    Record(ProofBundle),
    Absent(AbsenceProof),
    /// No page spoke of it.
    Unsaid,
}

/// Fetches all pages, and takes the answer out of the one that has it.
async fn look_up(server: &HttpClient, image: &ImageHash, digits: usize) -> Result<Looked, Unchecked> {
    let prefix = KeyPrefix::of(&image.index_key(), digits);
    let unusable = |cause: &str| Unchecked::Page(cause.to_owned());
    let (mut looked, mut from) = (Looked::Unsaid, None);
    for _ in 0..MAX_PAGES {
        let query = from.map(|from| format!("?from={from}")).unwrap_or_default();
        let body = server.get_bytes(&format!("/api/v1/verify/prefix/{prefix}{query}")).await?.body;
        let page = PrefixPage::parse(&body).map_err(|cause| unusable(&cause.to_string()))?;
        if page.prefix != prefix {
            return Err(unusable("it is about another prefix"));
        }
        match page.about(image).map_err(|cause| unusable(&cause.to_string()))? {
            Said::Record(proof) => looked = Looked::Record(*proof),
            Said::Absent(proof) => looked = Looked::Absent(*proof),
            Said::Elsewhere => {}
        }
        match page.next.filter(|next| prefix.covers(next)) {
            Some(next) if from.is_none_or(|from| from < next) => from = Some(next),
            Some(_) => return Err(unusable("its pages go round in a circle")),
            None => return Ok(looked),
        }
    }
    Err(unusable("it has no end"))
}

/// Some eight are to be expected at most.
const MAX_PAGES: usize = 256;
