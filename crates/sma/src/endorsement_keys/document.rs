//! `authority.json`: what the authority tells those who write the network file.
//!
//! For: building it after each change of keys, and reading it back.
//! Not for: what cameras and verifiers believe; they take the network file's word, which its validators sign.
//!
//! Format: the authority's entry of the network file (`docs/PROTOCOL.md` section 1) without its number:
//! ```json
//! {"id": "SIMULATED_MFG_001", "token_key": "<64 hex>", "rules": {"min_token_version": 1},
//!  "endorsement_keys": [{"key_id": "<16 hex>", "spki": "<base64>", "state": "current"}]}
//! ```

use birthmark_core::ids::AuthorityId;
use birthmark_core::json::{self, JsonError};
use birthmark_core::network::{EndorsementKey, Rules, TokenKey};
use birthmark_core::time::Minute;
use serde::{Deserialize, Serialize};

use super::life::KeyList;

/// The public half of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthorityDocument {
    /// Its name.
    pub(crate) id: AuthorityId,
    /// To which version 2 tokens are sealed.
    pub(crate) token_key: TokenKey,
    /// What the network shall demand of its submissions.
    pub(crate) rules: Rules,
    /// Every endorsement key that it has ever used, oldest first.
    pub(crate) endorsement_keys: Vec<EndorsementKey>,
}

/// Longer than any document: 64 keys of 4096 bits.
pub(crate) const MAX_DOCUMENT: usize = 128 * 1024;

impl AuthorityDocument {
    /// What is true at this time.
    pub(crate) fn new(id: AuthorityId, token_key: TokenKey, rules: Rules, keys: &KeyList, now: Minute) -> Self {
        Self { id, token_key, rules, endorsement_keys: keys.public(now) }
    }

    /// The file's content: the same document gives the same bytes.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the file's content, at most [`MAX_DOCUMENT`] bytes. Whether keys and ids fit each other is
    /// checked where the network file is read.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use birthmark_core::network::{EndorsementKeyState, MinTokenVersion};

    use super::*;
    use crate::endorsement_keys::life::tests::{rotated, spki};

    fn document(now: Minute) -> AuthorityDocument {
        let id = AuthorityId::new("SIMULATED_MFG_001").unwrap();
        let rules = Rules { min_token_version: MinTokenVersion::V2 };
        AuthorityDocument::new(id, TokenKey::from_bytes([0xab; 32]), rules, &rotated(2), now)
    }

    #[test]
    fn file_has_the_fields_of_the_network_files_entry() {
        let json: serde_json::Value =
            serde_json::from_slice(&document(Minute(3 * 24 * 60)).to_json().unwrap()).unwrap();
        let key = |number: u8, state: &str| {
            serde_json::json!({
                "key_id": birthmark_core::network::EndorsementKeyId::of_spki(&spki(number)).to_string(),
                "spki": birthmark_core::base64::encode(spki(number)),
                "state": state,
            })
        };
        let expected = serde_json::json!({
            "id": "SIMULATED_MFG_001",
            "token_key": "ab".repeat(32),
            "rules": {"min_token_version": 2},
            "endorsement_keys": [key(1, "previous"), key(2, "current")],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn key_past_its_ninety_days_is_published_as_retired() {
        let keys = document(Minute(92 * 24 * 60)).endorsement_keys;
        assert_eq!(keys[0].state, EndorsementKeyState::Retired);
    }

    #[test]
    fn document_reads_back_and_never_grows_beyond_its_bound() {
        let written = document(Minute(0));
        assert_eq!(AuthorityDocument::parse(&written.to_json().unwrap()).unwrap(), written);
        let full = AuthorityDocument {
            endorsement_keys: (0..64)
                .map(|n| EndorsementKey { spki: vec![n; 600], ..written.endorsement_keys[0].clone() })
                .collect(),
            ..written
        };
        let text = full.to_json().unwrap();
        assert!(text.len() <= MAX_DOCUMENT, "{}", text.len());
        assert_eq!(AuthorityDocument::parse(&text).unwrap(), full);
    }

    #[test]
    fn other_texts_are_refused() {
        let good = String::from_utf8(document(Minute(0)).to_json().unwrap()).unwrap();
        for (from, to) in [
            ("\"id\"", "\"name\""),
            ("SIMULATED_MFG_001", ""),
            ("abab", "ab"),
            ("\"min_token_version\": 2", "\"min_token_version\": 3"),
            ("\"current\"", "\"future\""),
            ("\"previous\"", "\"previous\", \"state\": \"current\""),
            ("}\n", "} {}\n"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(AuthorityDocument::parse(bad.as_bytes()).is_err(), "{from} → {to}");
        }
    }
}
