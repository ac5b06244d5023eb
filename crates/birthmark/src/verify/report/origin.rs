//! Where a file comes from, in words and JSON.
//!
//! For: telling an ancestor that an authority vouches for from one that somebody claims: both have a proven record.

use birthmark_core::batch::Assurance;
use serde_json::{Value, json};

use crate::verify::lineage::{Ancestor, Proven};

/// What the head line has to add: whoever vouches for an edit does not vouch for what it was made from.
pub(super) fn caution(lineage: &[Ancestor]) -> &'static str {
    let is_claim = |ancestor: &Ancestor| ancestor.proven.as_ref().is_some_and(Proven::is_claim);
    if lineage.iter().any(is_claim) { ", but nobody vouches for where it comes from" } else { "" }
}

/// A heading and one line for each ancestor.
pub(super) fn lines(lineage: &[Ancestor]) -> Vec<String> {
    let heading = (!lineage.is_empty()).then(|| "  Comes from:".to_owned());
    heading.into_iter().chain(lineage.iter().map(line)).collect()
}

fn line(Ancestor { hash, proven }: &Ancestor) -> String {
    match proven {
        Some(proven @ Proven { level, .. }) if proven.is_claim() => {
            format!("    {hash}  claimed, nobody vouches: {}", level.display().to_lowercase())
        }
        Some(Proven { level, authority, .. }) => {
            let by = authority.as_deref().map(|name| format!(", by {name}")).unwrap_or_default();
            format!("    {hash}  proven: {}{by}", level.display().to_lowercase())
        }
        None => format!("    {hash}  named as parent; its own record was not proven here"),
    }
}

/// `proven` says that the record is proven, `assurance` what it is worth.
pub(super) fn link(Ancestor { hash, proven }: &Ancestor) -> Value {
    json!({
        "image_hash": hash,
        "modification_level": proven.as_ref().map(|proven| proven.level as u8),
        "authority_id": proven.as_ref().and_then(|proven| proven.authority.as_ref()),
        "assurance": proven.as_ref().map(|proven| proven.assurance),
        "proven": proven.is_some(),
    })
}

impl Proven {
    fn is_claim(&self) -> bool {
        self.assurance == Assurance::Asserted
    }
}

#[cfg(test)]
mod tests {
    use birthmark_core::ImageHash;
    use birthmark_core::body::Level;

    use super::*;

    fn ancestor(assurance: Assurance) -> Ancestor {
        let proven = Proven { level: Level::Raw, assurance, authority: Some("MAKER".to_owned()) };
        Ancestor { hash: ImageHash::of(b"it"), proven: Some(proven) }
    }

    #[test]
    fn bare_claim_is_not_shown_as_proven() {
        let lineage = [ancestor(Assurance::Endorsed), ancestor(Assurance::Asserted)];
        let said = lines(&lineage);
        assert!(said[1].ends_with("proven: validated raw, by MAKER"), "{said:?}");
        assert!(said[2].ends_with("claimed, nobody vouches: validated raw"), "{said:?}");
        assert!(caution(&lineage).contains("nobody vouches"));
        assert_eq!(lineage.each_ref().map(|ancestor| link(ancestor)["assurance"].clone()), ["endorsed", "asserted"]);
    }

    #[test]
    fn nothing_is_added_where_somebody_vouches_or_nothing_was_proven() {
        let unknown = Ancestor { hash: ImageHash::of(b"it"), proven: None };
        assert_eq!(caution(&[ancestor(Assurance::Attested), ancestor(Assurance::Endorsed), unknown]), "");
        assert!(lines(&[]).is_empty());
    }
}
