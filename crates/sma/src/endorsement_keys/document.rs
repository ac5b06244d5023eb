//! `authority.json`: what the authority tells those who write the network file.
//!
//! For: building it after each change of keys.
//! Not for: what cameras and verifiers believe; they take the network file's word, which its validators
//! sign. Reading it is `birthmark_core::network`'s.
//!
//! Format: the authority's entry of the network file (`docs/PROTOCOL.md` section 1) without its number:
//! ```json
//! {"id": "SIMULATED_MFG_001", "token_key": "<64 hex>", "rules": {"min_token_version": 1},
//!  "endorsement_keys": [{"key_id": "<16 hex>", "spki": "<base64>", "state": "current"}]}
//! ```

use birthmark_core::ids::AuthorityId;
use birthmark_core::network::{AuthorityStatement, Rules, TokenKey};
use birthmark_core::time::Minute;

use super::life::KeyList;

/// What is true at this time; endorsement keys oldest first.
pub(crate) fn statement(
    id: AuthorityId,
    token_key: TokenKey,
    rules: Rules,
    keys: &KeyList,
    now: Minute,
) -> AuthorityStatement {
    AuthorityStatement { id, token_key: Some(token_key), rules, endorsement_keys: keys.public(now) }
}

/// The file's content: the same statement gives the same bytes.
pub(crate) fn to_json(statement: &AuthorityStatement) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec_pretty(statement)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use birthmark_core::network::{
        EndorsementKeyId, EndorsementKeyState, MinTokenVersion, NetworkBuilder, Revision, Validator,
    };
    use birthmark_core::note::{KeyName, SecretKey};

    use super::*;
    use crate::endorsement_keys::life::tests::{rotated, spki};

    const DAY: u32 = 24 * 60;

    fn stated(keys: &KeyList, now: u32) -> AuthorityStatement {
        let id = AuthorityId::new("SIMULATED_MFG_001").unwrap();
        let rules = Rules { min_token_version: MinTokenVersion::V2 };
        statement(id, TokenKey::from_bytes([0xab; 32]), rules, keys, Minute(now))
    }

    #[test]
    fn file_has_the_fields_of_the_network_files_entry() {
        let text = to_json(&stated(&rotated(2), 3 * DAY)).unwrap();
        let key = |number: u8, state: &str| {
            serde_json::json!({
                "key_id": EndorsementKeyId::of_spki(&spki(number)).to_string(),
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
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).unwrap(), expected);
        let read: AuthorityStatement = birthmark_core::json::from_slice(&text).unwrap();
        assert_eq!(read, stated(&rotated(2), 3 * DAY));
    }

    #[test]
    fn key_past_its_ninety_days_is_published_as_retired() {
        assert_eq!(stated(&rotated(2), 92 * DAY).endorsement_keys[0].state, EndorsementKeyState::Retired);
    }

    #[test]
    fn network_file_takes_every_later_statement_and_no_earlier_one() {
        let secret = |label: u8| SecretKey::from_seed(&[label; 32]);
        let mut builder = NetworkBuilder::new(KeyName::new("example.com/log").unwrap(), Minute(0));
        builder.validators.push(Validator {
            consensus_key: secret(1).public_key(),
            log_key: secret(2).public_key(),
            cosigning_key: secret(3).public_key(),
            p2p_address: None,
        });
        let (mut file, _) = builder.build().unwrap().sign(&[&secret(2)]).unwrap();
        let first = rotated(1);
        let second = rotated(2);
        let revoked = second.revoke(EndorsementKeyId::of_spki(&spki(2)), Minute(5 * DAY)).unwrap();
        let third = revoked.rotate(&spki(3), Minute(100 * DAY)).unwrap();
        let history =
            [stated(&first, DAY), stated(&second, 2 * DAY), stated(&revoked, 5 * DAY), stated(&third, 100 * DAY)];
        for (at, next) in history.iter().enumerate() {
            let mut revision = Revision::of(&file).unwrap();
            revision.set_authority(next.clone()).unwrap();
            (file, _) = revision.finish().unwrap().sign(&[&secret(2)]).unwrap();
            for earlier in history.iter().take(at) {
                assert!(Revision::of(&file).unwrap().set_authority(earlier.clone()).is_err());
            }
        }
    }
}
