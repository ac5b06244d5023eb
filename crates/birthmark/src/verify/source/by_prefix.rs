//! Asking a server without telling it which photograph it is about.
//!
//! For: `verify --private`. All pages under the first digits of a hash's index key are fetched, whatever is found on
//! the first of them. Not for: believing what comes; it is checked like any other proof.
//!
//! How many digits: so few that some 256 images begin alike. That many there are follows from the size of a log that
//! the validators have signed, never from what the server says.
//!
//! Two prefixes are worth more to the server than one: both hashes of a file stand in one record, and hardly a second
//! record is found under both. So one hash is asked for first, that of the picture data or the sensor samples, whose
//! record names the file's own bytes as well; another only when the first is proven absent, for then no record holds
//! both. The server learns by it that the record has no such hash, which leaves fewer images to be mixed up with:
//! therefore one digit fewer.

use birthmark_core::ImageHash;
use birthmark_core::absence::AbsenceProof;
use birthmark_core::body::{Kind, Level};
use birthmark_core::leaf::Leaf;
use birthmark_core::network::Trust;
use birthmark_core::prefix::{KeyPrefix, MAX_PAGE_LEN, PrefixImage, PrefixPage, Said};
use birthmark_core::proof::ProofBundle;
use birthmark_core::time::Clock as _;
use birthmark_core::verify::Candidate;
use birthmark_service::client::{ClientOptions, HttpClient};
use birthmark_service::clock::SystemClock;

use super::Found;
use crate::terminal::note;
use crate::verify::Unchecked;

/// What the server says, of all hashes.
pub(super) async fn ask(candidates: &[Candidate], server: &HttpClient, trust: &Trust) -> Result<Found, Unchecked> {
    let options = ClientOptions { max_response: MAX_PAGE_LEN, ..ClientOptions::default() };
    let server = HttpClient::new(server.origin(), &options).map_err(|cause| Unchecked::Address(cause.to_string()))?;
    let signed = server.get_bytes("/checkpoint").await?.body;
    let signed = String::from_utf8_lossy(&signed);
    let size = trust.verify_checkpoint(&signed).map_err(Unchecked::Checkpoint)?.checkpoint.size;
    // At most every other leaf is a block's.
    let digits = KeyPrefix::digits_for(size / 2);
    let mut absence = Vec::with_capacity(candidates.len());
    // The last is that of what lies deepest in the file.
    for (place, candidate) in candidates.iter().rev().enumerate() {
        let (digits, alone) = if place == 0 { (digits, true) } else { (digits.saturating_sub(1).max(1), false) };
        let Pages { looked, crowd } = look_up(&server, &candidate.hash, digits, alone).await?;
        match looked {
            Looked::Record(proof) => {
                let server = server.origin();
                note(format_args!("asked privately: for {server} it is one of {crowd} images on record"));
                return Ok(Found::Proof(proof.to_string()));
            }
            Looked::Absent(proof) => {
                // Whoever is told that nothing is there, and does not check it, can be made to ask for all hashes.
                if proof.verify(trust, SystemClock.now()).is_err() {
                    return Ok(Found::NoRecord { as_of: None, absence: Some(vec![proof]) });
                }
                absence.push(proof);
            }
            Looked::Unsaid => return Ok(Found::NoRecord { as_of: None, absence: None }),
        }
    }
    Ok(Found::NoRecord { as_of: None, absence: Some(absence) })
}

/// What came of one hash, and how many images it is hidden among.
struct Pages {
    looked: Looked,
    crowd: usize,
}

/// What came of one hash.
enum Looked {
    Record(ProofBundle),
    Absent(AbsenceProof),
    /// No page spoke of it.
    Unsaid,
}

/// Fetches all pages, and takes the answer out of the one that has it.
async fn look_up(server: &HttpClient, image: &ImageHash, digits: usize, alone: bool) -> Result<Pages, Unchecked> {
    let prefix = KeyPrefix::of(&image.index_key(), digits);
    let unusable = |cause: &str| Unchecked::Page(cause.to_owned());
    let (mut looked, mut from, mut crowd) = (Looked::Unsaid, None, 0);
    for _ in 0..MAX_PAGES {
        let query = from.map(|from| format!("?from={from}")).unwrap_or_default();
        let body = server.get_bytes(&format!("/api/v1/verify/prefix/{prefix}{query}")).await?.body;
        let page = PrefixPage::parse(&body).map_err(|cause| unusable(&cause.to_string()))?;
        if page.prefix != prefix {
            return Err(unusable("it is about another prefix"));
        }
        crowd += page.images.iter().filter(|image| alone || !holds_inner(image)).count();
        match page.about(image).map_err(|cause| unusable(&cause.to_string()))? {
            Said::Record(proof) => looked = Looked::Record(*proof),
            Said::Absent(proof) => looked = Looked::Absent(*proof),
            Said::Elsewhere => {}
        }
        match page.next.filter(|next| prefix.covers(next)) {
            Some(next) if from.is_none_or(|from| from < next) => from = Some(next),
            Some(_) => return Err(unusable("its pages go round in a circle")),
            None => return Ok(Pages { looked, crowd }),
        }
    }
    Err(unusable("it has no end"))
}

/// Whether its record names what lies deeper in a file than the file's own bytes: it would have been found by that.
fn holds_inner(image: &PrefixImage) -> bool {
    let leaf = image.leaf().ok().and_then(|leaf| Leaf::decode(&leaf).ok());
    let Some(Leaf::Record(record)) = leaf else { return false };
    record.entries.as_slice().iter().any(|entry| entry.kind == Kind::ImageData || entry.level == Level::Raw)
}

/// Some eight are to be expected, and sixteen times as many for a second hash; a record has at most eight images.
const MAX_PAGES: usize = 2048;
