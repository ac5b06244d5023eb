//! Where a proven file comes from, parent by parent, back to the sensor.
//!
//! For: the provenance that `verify` shows. Each link is proven like the file itself: by the file's own record, or by
//! the proof of the parent's record that a server gives. Not for: believing the chain that a server tells.
//!
//! A server that is not to learn which file it is about is asked for no parents, unless the user wants it: it could look
//! for the record that has a hash under the first prefix and a parent under the second.

use std::collections::HashSet;

use birthmark_core::ImageHash;
use birthmark_core::batch::Assurance;
use birthmark_core::body::{Kind, Level};
use birthmark_core::proof::ProofBundle;
use birthmark_core::verify::{Candidate, Finding, Verdict, verify};
use birthmark_service::client::HttpClient;

use super::source::{self, Asking, Found};
use super::{By, Outcome};

/// One image on the way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ancestor {
    pub(crate) hash: ImageHash,
    /// What is proven of it; none where nobody could be asked, or nothing was proven.
    pub(crate) proven: Option<Proven>,
}

/// What the record of an ancestor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) level: Level,
    /// How much that record is worth.
    pub(crate) assurance: Assurance,
    /// Who vouches for it, if the policy has names.
    pub(crate) authority: Option<String>,
}

/// The same outcome, with the lineage of what was found.
pub(super) async fn traced(outcome: Outcome, server: Option<&HttpClient>, by: By<'_>) -> Outcome {
    match outcome {
        Outcome::Found(matched, finding, _) => {
            let lineage = trace(&finding, server, by).await;
            Outcome::Found(matched, finding, lineage)
        }
        other => other,
    }
}

async fn trace(finding: &Finding, server: Option<&HttpClient>, by: By<'_>) -> Vec<Ancestor> {
    let server = server.filter(|_| !matches!(by.1, Asking::Privately { ancestors: false, .. }));
    let mut lineage = Vec::new();
    let mut seen = HashSet::from([finding.entry.hash]);
    let (mut record, mut authority, mut next) = (finding.record.clone(), finding.authority.clone(), finding.parent);
    // A record that nobody vouches for may name any parent, so a circle is possible and has to end.
    while let Some(hash) = next.filter(|hash| seen.insert(*hash) && lineage.len() < MAX_ANCESTORS) {
        let own = record.entries.as_slice().iter().find(|entry| entry.hash == hash).copied();
        let level = if let Some(entry) = own {
            next = record.entries.parent_hash(&entry);
            entry.level
        } else {
            let parent = match server {
                Some(server) => look_up(hash, server, by).await,
                None => None,
            };
            let Some(parent) = parent else {
                lineage.push(Ancestor { hash, proven: None });
                break;
            };
            (record, authority, next) = (parent.record, parent.authority, parent.parent);
            parent.entry.level
        };
        let proven = Proven { level, assurance: record.assurance, authority: authority.clone() };
        lineage.push(Ancestor { hash, proven: Some(proven) });
    }
    lineage
}

/// The proven record of an image, if the server has one.
async fn look_up(hash: ImageHash, server: &HttpClient, (trust, asking): By<'_>) -> Option<Finding> {
    let as_kind = |kind| Candidate { kind, hash };
    let found = source::ask(&[as_kind(Kind::File)], server, asking).await.ok()?;
    let Found::Proof(text) = found else { return None };
    let proof = ProofBundle::parse(&text).ok()?;
    match verify(&[Kind::File, Kind::ImageData].map(as_kind), &proof, trust).ok()? {
        Verdict::Match(finding) => Some(*finding),
        Verdict::OtherFile { .. } => None,
    }
}

const MAX_ANCESTORS: usize = 64;
