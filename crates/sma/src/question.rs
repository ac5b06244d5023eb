//! One question to the authority, checked: does this token pass?
//!
//! For: the form of a request, from the wire's strings to typed values.
//! Not for: the verdict (`validation`); a well-formed question about a worthless token is answered
//! with `"valid": false`, not refused.
//!
//! Format: `docs/PROTOCOL.md` section 3:
//! ```text
//! {"camera_token": {"ciphertext", "auth_tag", "nonce", "table_id", "key_index"},
//!  "manufacturer_authority_id": "…", "request_id": "<32 hex>",
//!  "enc": "<64 hex>", "key_id": "<16 hex>", "blinded_message": "<512 to 1024 hex>"}
//! ```
//! `request_id` may be left out. The last three belong to a version 2 token, all of them or none.

use birthmark_core::api::validate::ValidateRequest;
use birthmark_core::hex::{self, HexError};
use birthmark_core::ids::AuthorityId;
use birthmark_core::token::{Blinding, SealedToken, TokenFieldError, V2_CIPHERTEXT};

use crate::replay::RequestId;

/// A well-formed question.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) token: AskedToken,
    pub(crate) request_id: Option<RequestId>,
}

/// The token asked about, by the way it was sealed.
#[derive(Debug)]
pub(crate) enum AskedToken {
    /// Without binding: version 1 if its ciphertext has that length, else of no version.
    Unbound(SealedToken),
    /// Version 2, with the message that is to be signed if it passes.
    Bound(SealedToken, Blinding),
}

/// Why a request is no question. Its text carries no input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("{0}")]
    Token(TokenFieldError),
    /// It holds what would undo the blinding.
    #[error("camera_token.binding is for the aggregator alone; send enc, key_id and blinded_message")]
    Binding,
    #[error("request_id: {0}")]
    RequestId(HexError),
    #[error("enc, key_id and blinded_message belong to a version 2 token, all three of them")]
    Version,
    #[error("blinded_message is not below the modulus of the key that key_id names, or not as long")]
    Residue,
    #[error("manufacturer_authority_id names another authority than this one")]
    Authority,
}

impl Question {
    /// Checks every field.
    pub(crate) fn parse(request: &ValidateRequest, authority: &AuthorityId) -> Result<Self, FormError> {
        let ValidateRequest { camera_token, manufacturer_authority_id, request_id, enc, key_id, blinded_message } =
            request;
        if manufacturer_authority_id != authority.as_str() {
            return Err(FormError::Authority);
        }
        if camera_token.binding.is_some() {
            return Err(FormError::Binding);
        }
        let request_id = request_id.as_deref().map(hex::decode_array).transpose().map_err(FormError::RequestId)?;
        let token = camera_token.parse_sealed(None).map_err(FormError::Token)?;
        let blinding = match (enc, key_id, blinded_message) {
            (None, None, None) => None,
            (Some(enc), Some(key_id), Some(blinded_message)) => {
                Some(Blinding::parse(enc, key_id, blinded_message).map_err(FormError::Token)?)
            }
            _ => return Err(FormError::Version),
        };
        let token = match (blinding, token.ciphertext.len() == V2_CIPHERTEXT) {
            (None, false) => AskedToken::Unbound(token),
            (Some(blinding), true) => AskedToken::Bound(token, blinding),
            (Some(_), false) | (None, true) => return Err(FormError::Version),
        };
        Ok(Self { token, request_id: request_id.map(RequestId) })
    }
}

impl FormError {
    /// The stable code: in a problem, or as the message of one result of a batch.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Token(_) | Self::Binding | Self::RequestId(_) | Self::Version | Self::Residue => "malformed_token",
            Self::Authority => "wrong_authority",
        }
    }
}

#[cfg(test)]
mod tests {
    use birthmark_core::ids::{KeyIndex, TableId};
    use birthmark_core::token::TokenJson;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parse(request: &Value) -> Result<Question, FormError> {
        let request: ValidateRequest = birthmark_core::json::from_slice(request.to_string().as_bytes()).unwrap();
        Question::parse(&request, &AuthorityId::new("MFG").unwrap())
    }

    fn version_1() -> Value {
        json!({
            "camera_token": {
                "ciphertext": "ab".repeat(32), "auth_tag": "CD".repeat(16), "nonce": "01".repeat(12),
                "table_id": 2499, "key_index": 999,
            },
            "manufacturer_authority_id": "MFG",
        })
    }

    fn version_2() -> Value {
        let mut request = version_1();
        request["camera_token"]["ciphertext"] = json!("ab".repeat(56));
        request["enc"] = json!("11".repeat(32));
        request["key_id"] = json!("22".repeat(8));
        request["blinded_message"] = json!("33".repeat(256));
        request
    }

    /// The error of `request` with the field at `pointer` set to `value`, or taken out for null.
    fn refused(mut request: Value, pointer: &str, value: Value) -> Option<FormError> {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = request.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(field)
        } else {
            parent.insert(field.to_owned(), value)
        };
        parse(&request).err()
    }

    #[test]
    fn seed_shaped_request_is_a_question() {
        let question = parse(&version_1()).unwrap();
        let AskedToken::Unbound(token) = question.token else { panic!("not version 1") };
        assert_eq!((token.table_id.value(), token.key_index.value(), token.nonce), (2499, 999, [1; 12]));
        assert_eq!((token.ciphertext, token.auth_tag), (vec![0xab; 32], [0xcd; 16]));
        assert_eq!(question.request_id, None);
    }

    #[test]
    fn request_id_and_unknown_fields_are_taken() {
        let mut request = version_1();
        request["request_id"] = json!("0F".repeat(16));
        request["image_count"] = json!({"ignored": [1, 2]});
        assert_eq!(parse(&request).unwrap().request_id, Some(RequestId([0x0f; 16])));
    }

    #[test]
    fn version_2_with_its_three_fields_is_a_question() {
        let AskedToken::Bound(token, blinding) = parse(&version_2()).unwrap().token else { panic!("not version 2") };
        assert_eq!(token.ciphertext, [0xab; 56]);
        assert_eq!((blinding.enc, *blinding.key_id.as_bytes()), ([0x11; 32], [0x22; 8]));
        assert_eq!(blinding.blinded_message, [0x33; 256]);
    }

    #[test]
    fn every_wrong_field_is_refused_under_its_code() {
        let odd_tables = [json!(2500), json!(u64::MAX), Value::Null];
        for value in odd_tables {
            assert_eq!(refused(version_1(), "/camera_token/table_id", value).unwrap().code(), "malformed_token");
        }
        for (pointer, value) in [
            ("/camera_token/key_index", json!(1000)),
            ("/camera_token/ciphertext", json!("")),
            ("/camera_token/ciphertext", json!("a")),
            ("/camera_token/ciphertext", json!("ab".repeat(129))),
            ("/camera_token/ciphertext", json!("zz".repeat(32))),
            ("/camera_token/auth_tag", json!("cd".repeat(15))),
            ("/camera_token/nonce", json!("0x".repeat(12))),
            ("/camera_token/nonce", json!("٣".repeat(12))),
            ("/request_id", json!("0f".repeat(15))),
            ("/request_id", json!("")),
            ("/enc", json!("11".repeat(32))),
            ("/blinded_message", json!("33".repeat(256))),
        ] {
            let error = refused(version_1(), pointer, value).unwrap();
            assert_eq!(error.code(), "malformed_token", "{pointer}: {error}");
        }
        let wrong = refused(version_1(), "/manufacturer_authority_id", json!("mfg"));
        assert_eq!(wrong.unwrap().code(), "wrong_authority");
    }

    #[test]
    fn version_2_and_its_fields_come_together_or_not_at_all() {
        for pointer in ["/enc", "/key_id", "/blinded_message"] {
            assert_eq!(refused(version_2(), pointer, Value::Null), Some(FormError::Version), "{pointer}");
        }
        let bare = refused(version_1(), "/camera_token/ciphertext", json!("ab".repeat(56)));
        assert_eq!(bare, Some(FormError::Version));
        let downgraded = refused(version_2(), "/camera_token/ciphertext", json!("ab".repeat(32)));
        assert_eq!(downgraded, Some(FormError::Version));
        for (pointer, value) in [
            ("/enc", json!("11".repeat(31))),
            ("/key_id", json!("22".repeat(9))),
            ("/blinded_message", json!("33".repeat(255))),
            ("/blinded_message", json!("33".repeat(513))),
        ] {
            assert!(matches!(refused(version_2(), pointer, value), Some(FormError::Token(_))), "{pointer}");
        }
    }

    proptest! {
        #[test]
        fn every_unbound_token_survives_the_wire(
            (table, index) in (0..=TableId::MAX, 0..=KeyIndex::MAX),
            (nonce, auth_tag, request) in any::<([u8; 12], [u8; 16], [u8; 16])>(),
            ciphertext in proptest::collection::vec(any::<u8>(), 1..=128).prop_filter("version 2", |c| c.len() != 56),
        ) {
            let (table_id, key_index) = (TableId::new(table).unwrap(), KeyIndex::new(index).unwrap());
            let token = SealedToken { table_id, key_index, nonce, ciphertext, auth_tag };
            let question = parse(&json!({
                "camera_token": TokenJson::from(&token), "manufacturer_authority_id": "MFG",
                "request_id": hex::encode(request),
            })).unwrap();
            prop_assert_eq!(question.request_id, Some(RequestId(request)));
            let AskedToken::Unbound(back) = question.token else { panic!("taken for version 2") };
            prop_assert_eq!(back, token);
        }

        #[test]
        fn any_text_in_any_field_is_refused_or_taken_without_panic(
            field in 0usize..7, text in ".{0,600}", number: u64,
        ) {
            let pointers = ["/camera_token/ciphertext", "/camera_token/auth_tag", "/camera_token/nonce",
                "/camera_token/table_id", "/enc", "/key_id", "/blinded_message"];
            let mut request = version_2();
            let place = request.pointer_mut(pointers[field]).unwrap();
            *place = if place.is_number() { json!(number) } else { json!(text) };
            if let Err(error) = parse(&request) {
                prop_assert_eq!(error.code(), "malformed_token");
                prop_assert!(text.len() < 8 || !error.to_string().contains(&text));
            }
        }
    }

    #[test]
    fn what_would_undo_the_blinding_is_not_taken() {
        let binding = json!({
            "enc": "11".repeat(32), "key_id": "22".repeat(8),
            "blinded_message": "33".repeat(256), "inverse": "44".repeat(256),
        });
        assert_eq!(refused(version_2(), "/camera_token/binding", binding), Some(FormError::Binding));
    }
}
