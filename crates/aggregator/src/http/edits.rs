//! Edits: who may register them, and of what.
//!
//! For: everything that is asked before an edit is stored. Not for: the last word on parents, which is the registry's
//! when it records the edit.
//!
//! The credential has the role `software`, and its line in the file says `authority=<name>`, an authority of the
//! network file: the software speaks in that name and in no other. `docs/PROTOCOL.md` section 2.

use std::collections::BTreeSet;
use std::time::Duration;

use birthmark_core::ImageHash;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::body::{Body, Parent};
use birthmark_core::json;
use birthmark_service::problem::Problem;
use futures::{StreamExt as _, stream};
use http::StatusCode;

use super::intake::unknown_authority;
use super::who::Who;
use crate::aggregator::Inner;
use crate::registry::{ProofWish, Question};

/// Refuses edits of others than this authority's software.
pub(super) fn check(inner: &Inner, who: &Who, body: &Body) -> Result<(), Problem> {
    let caller = who.caller.as_ref().ok_or_else(no_credential)?;
    let may = caller.require(&["software"]).is_ok() && caller.attribute("authority") == Some(body.authority.as_str());
    if !may {
        return Err(no_credential());
    }
    if !inner.knows_authority(&body.authority) {
        return Err(unknown_authority());
    }
    Ok(())
}

/// What an edit was made from that is not in it.
pub(super) fn outside_parents(body: &Body) -> impl Iterator<Item = ImageHash> {
    body.entries.as_slice().iter().filter_map(|entry| match entry.parent {
        Parent::Explicit(hash) => Some(hash),
        Parent::None | Parent::Entry(_) => None,
    })
}

/// Which of these are not on record. Of those about which the registry cannot be asked, all together within
/// [`ASKING_TIME`], it will say so when it can: what is accepted is not lost.
pub(super) async fn not_recorded(inner: &Inner, parents: BTreeSet<ImageHash>) -> BTreeSet<ImageHash> {
    let mut missing = BTreeSet::new();
    let asking = async {
        let answers = stream::iter(parents).map(|parent| async move { (parent, is_recorded(inner, parent).await) });
        let mut answers = answers.buffer_unordered(ASKED_AT_ONCE);
        while let Some((parent, Some(is_recorded))) = answers.next().await {
            if !is_recorded {
                missing.insert(parent);
            }
        }
    };
    let _ = tokio::time::timeout(ASKING_TIME, asking).await;
    missing
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

pub(super) fn unknown_parent() -> Problem {
    let title = "what the edit was made from is not on record";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_parent", title)
}

/// For all parents of a request: its client waits.
const ASKING_TIME: Duration = Duration::from_secs(5);
const ASKED_AT_ONCE: usize = 8;
