//! Edits: who may register them, and of what.
//!
//! For: everything that is asked before an edit is stored. Not for: the last word on parents, which is the registry's
//! when it records the edit.
//!
//! The credential has the role `software`, and its line in the file says `authority=<name>`, an authority of the
//! network file: the software speaks in that name and in no other. `docs/PROTOCOL.md` section 2.

use birthmark_core::ImageHash;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::body::{Body, Parent};
use birthmark_core::json;
use birthmark_service::problem::Problem;
use http::StatusCode;

use super::intake::unknown_authority;
use super::who::Who;
use crate::aggregator::Inner;
use crate::registry::{ProofWish, Question};

/// Refuses edits of others than this authority's software, and of what is not on record.
pub(super) async fn check(inner: &Inner, who: &Who, body: &Body) -> Result<(), Problem> {
    let caller = who.caller.as_ref().ok_or_else(no_credential)?;
    let may = caller.require(&["software"]).is_ok() && caller.attribute("authority") == Some(body.authority.as_str());
    if !may {
        return Err(no_credential());
    }
    if !inner.knows_authority(&body.authority) {
        return Err(unknown_authority());
    }
    let parents = body.entries.as_slice().iter().filter_map(|entry| match entry.parent {
        Parent::Explicit(hash) => Some(hash),
        Parent::None | Parent::Entry(_) => None,
    });
    let mut asked: Vec<ImageHash> = Vec::new();
    for parent in parents {
        if asked.contains(&parent) {
            continue;
        }
        asked.push(parent);
        match is_recorded(inner, parent).await {
            Some(true) => {}
            Some(false) => return Err(unknown_parent()),
            // The registry will say when it can be asked; what is accepted is not lost.
            None => break,
        }
    }
    Ok(())
}

/// Whether it is on record; nothing if the registry cannot be asked.
async fn is_recorded(inner: &Inner, hash: ImageHash) -> Option<bool> {
    let answer = inner.registry.ask(&Question::Hash(hash, ProofWish::Without)).await.ok()?;
    Some(json::from_slice::<VerifyAnswer>(&answer).ok()?.recorded)
}

fn no_credential() -> Problem {
    let title = "edits need the credential of a registered software authority";
    Problem::new(StatusCode::FORBIDDEN, "software_authority_required", title)
}

fn unknown_parent() -> Problem {
    let title = "what the edit was made from is not on record";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_parent", title)
}
