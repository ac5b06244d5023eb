use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ids::{KeyIndex, TableId};
use crate::json;
use crate::network::EndorsementKeyId;

fn token(ciphertext: usize) -> SealedToken {
    SealedToken {
        table_id: TableId::new(42).unwrap(),
        key_index: KeyIndex::new(7).unwrap(),
        nonce: [1; 12],
        ciphertext: vec![2; ciphertext],
        auth_tag: [3; 16],
    }
}

fn blinding(modulus: usize) -> Blinding {
    Blinding { enc: [4; 32], key_id: EndorsementKeyId::from_bytes([5; 8]), blinded_message: vec![6; modulus] }
}

fn authority() -> AuthorityId {
    AuthorityId::new("SIMULATED_MFG_001").unwrap()
}

#[test]
fn a_question_has_the_fields_of_its_version_and_no_more() {
    let names = |blinding: Option<&Blinding>| {
        let asked = serde_json::to_value(ValidateRequest::of(&token(56), blinding, &authority(), [9; 16])).unwrap();
        (
            asked["camera_token"].as_object().unwrap().len(),
            asked.as_object().unwrap().keys().cloned().collect::<Vec<_>>(),
        )
    };
    let common = ["camera_token", "manufacturer_authority_id", "request_id"];
    let sorted = |more: &[&str]| {
        let mut names: Vec<_> = common.iter().chain(more).map(|name| (*name).to_owned()).collect();
        names.sort();
        names
    };
    let (fields, mut first) = names(None);
    first.sort();
    assert_eq!((fields, first), (5, sorted(&[])));
    let (fields, mut second) = names(Some(&blinding(256)));
    second.sort();
    assert_eq!((fields, second), (5, sorted(&["enc", "key_id", "blinded_message"])), "the inverse stays behind");
}

#[test]
fn questions_and_answers_of_another_form_are_refused() {
    let asked =
        || serde_json::to_value(ValidateRequest::of(&token(56), Some(&blinding(256)), &authority(), [9; 16])).unwrap();
    let refused = |value: &Value| json::from_slice::<ValidateRequest>(value.to_string().as_bytes()).is_err();
    assert!(!refused(&asked()));
    for field in ["camera_token", "manufacturer_authority_id"] {
        let mut without = asked();
        without.as_object_mut().unwrap().remove(field);
        assert!(refused(&without), "{field}");
    }
    for (field, wrong) in
        [("camera_token", json!([])), ("enc", json!(1)), ("key_id", json!({})), ("request_id", json!(7))]
    {
        let mut other = asked();
        other[field] = wrong;
        assert!(refused(&other), "{field}");
    }
    let twice = asked().to_string().replacen('{', "{\"enc\": \"00\", ", 1);
    assert!(json::from_slice::<ValidateRequest>(twice.as_bytes()).is_err(), "a key twice");
    for answer in
        [json!({"valid": 1, "message": ""}), json!({"valid": true}), json!({"message": "token_valid"}), json!([])]
    {
        assert!(json::from_slice::<ValidateAnswer>(answer.to_string().as_bytes()).is_err(), "{answer}");
    }
    let answer = json!({"valid": true, "message": "token_valid", "later": 1});
    let read: ValidateAnswer = json::from_slice(answer.to_string().as_bytes()).unwrap();
    assert_eq!(read, ValidateAnswer { valid: true, message: "token_valid".to_owned(), endorsement: None });
}

#[test]
fn only_what_another_token_could_change_asks_to_reseal() {
    for (message, reseals) in [
        (Message::Valid, false),
        (Message::Invalid, false),
        (Message::Used, true),
        (Message::Stale, true),
        (Message::Rekey, true),
    ] {
        assert_eq!(Message::asks_to_reseal(message.text()), reseals, "{message:?}");
    }
    assert!(!Message::asks_to_reseal("malformed_token"));
}

proptest! {
    #[test]
    fn every_question_round_trips(
        (enc, key_id, request_id) in any::<([u8; 32], [u8; 8], [u8; 16])>(), name in "[ -~]{1,64}",
        blinded_message in prop::collection::vec(any::<u8>(), 256..=512), second: bool,
    ) {
        let authority = AuthorityId::new(name).unwrap();
        let token = token(if second { 56 } else { 32 });
        let blinding = Blinding { enc, key_id: EndorsementKeyId::from_bytes(key_id), blinded_message };
        let asked = ValidateRequest::of(&token, second.then_some(&blinding), &authority, request_id);
        let bytes = serde_json::to_vec(&BatchRequest { requests: vec![asked] }).unwrap();
        let mut read: BatchRequest = json::from_slice(&bytes).unwrap();
        let read = read.requests.remove(0);
        prop_assert_eq!(read.camera_token.parse_sealed(None), Ok(token));
        prop_assert_eq!(read.manufacturer_authority_id, authority.as_str());
        prop_assert_eq!(read.request_id, Some(hex::encode(request_id)));
        match (read.enc, read.key_id, read.blinded_message) {
            (Some(enc), Some(key_id), Some(message)) => {
                prop_assert!(second);
                prop_assert_eq!(Blinding::parse(&enc, &key_id, &message), Ok(blinding));
            }
            none => prop_assert!(!second && none == (None, None, None)),
        }
    }

    #[test]
    fn every_answer_round_trips(valid: bool, message in ".{0,40}", endorsement in prop::option::of("[0-9a-f]{0,1024}")) {
        let answer = ValidateAnswer { valid, message, endorsement };
        let bytes = serde_json::to_vec(&BatchAnswer { results: vec![answer.clone()] }).unwrap();
        let read: BatchAnswer = json::from_slice(&bytes).unwrap();
        prop_assert_eq!(read.results, vec![answer]);
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes: Vec<u8>, text in ".{0,200}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            prop_assert!(json::from_slice::<ValidateRequest>(bytes).is_err());
            prop_assert!(json::from_slice::<BatchRequest>(bytes).is_err());
            prop_assert!(json::from_slice::<BatchAnswer>(bytes).is_err());
        }
    }

    #[test]
    fn blindings_are_of_the_documented_lengths_or_refused(
        enc in prop_oneof!["[0-9a-fA-F]{62,66}", ".{0,10}"], key_id in prop_oneof!["[0-9a-fA-F]{14,18}", ".{0,10}"],
        message in prop_oneof!["[0-9a-f]{508,516}", "[0-9a-f]{1020,1028}", ".{0,10}"],
    ) {
        if let Ok(read) = Blinding::parse(&enc, &key_id, &message) {
            prop_assert!((256..=512).contains(&read.blinded_message.len()));
            prop_assert_eq!(hex::encode(read.enc), enc.to_ascii_lowercase());
            prop_assert_eq!(hex::encode(&read.blinded_message), message);
        }
    }
}
