use proptest::prelude::*;
use serde::Deserialize;

use super::v1::{open, seal_with_nonce};
use super::*;
use crate::endorsement::{MAX_MODULUS, MIN_MODULUS};
use crate::keytable::TableKey;
use crate::network::EndorsementKeyId;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    table_key: String,
    table_id: TableId,
    key_index: KeyIndex,
    key: String,
    nonce: String,
    nuc_hash: String,
    ciphertext: String,
    auth_tag: String,
}

#[test]
fn known_answers_of_an_independent_implementation() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../../../vectors/token-v1.json")).unwrap();
    assert!(!vectors.cases.is_empty());
    for case in vectors.cases {
        let table_key = TableKey::from_bytes(hex::decode_array(&case.table_key).unwrap());
        assert_eq!(hex::encode(table_key.use_key(case.key_index).expose()), case.key);
        let nuc_hash = NucHash::from_hex(&case.nuc_hash).unwrap();
        let nonce = hex::decode_array(&case.nonce).unwrap();
        let token = seal_with_nonce((case.table_id, &table_key), case.key_index, &nuc_hash, nonce);
        assert_eq!(hex::encode(&token.ciphertext), case.ciphertext);
        assert_eq!(hex::encode(token.auth_tag), case.auth_tag);
        assert_eq!(open(&token, &table_key), Ok(nuc_hash));
    }
}

fn token_json() -> TokenJson {
    let key = TableKey::from_bytes([7; 32]);
    let token = seal_with_nonce(
        (TableId::new(42).unwrap(), &key),
        KeyIndex::new(7).unwrap(),
        &NucHash::from_bytes([9; 32]),
        [1; 12],
    );
    TokenJson::from(&token)
}

#[test]
fn tag_may_be_appended_to_the_ciphertext() {
    let apart = token_json();
    let joined = TokenJson {
        ciphertext: apart.ciphertext.clone() + apart.auth_tag.as_deref().unwrap(),
        auth_tag: None,
        ..apart.clone()
    };
    assert_eq!(apart.parse(None).unwrap(), joined.parse(None).unwrap());
}

#[test]
fn numbers_may_stand_in_a_key_reference_but_not_contradict_it() {
    let reference = KeyReference { table_id: 42, key_index: 7 };
    let bare = TokenJson { table_id: None, key_index: None, ..token_json() };
    assert_eq!(bare.parse(Some(reference)).unwrap(), token_json().parse(None).unwrap());
    assert_eq!(bare.parse(None), Err(TokenFieldError::Number("table_id")));
    let other = KeyReference { table_id: 41, key_index: 7 };
    assert_eq!(token_json().parse(Some(other)), Err(TokenFieldError::Number("table_id")));
}

#[test]
fn malformed_fields_are_refused_by_name() {
    type Change = fn(&mut TokenJson);
    let cases: [(&str, Change); 9] = [
        ("ciphertext: ", |t| t.ciphertext = "zz".into()),
        ("ciphertext: ", |t| t.ciphertext = "00".repeat(129)),
        ("ciphertext is empty", |t| t.ciphertext = String::new()),
        ("ciphertext is empty", |t| {
            t.ciphertext = "00".repeat(16);
            t.auth_tag = None;
        }),
        ("auth_tag", |t| t.auth_tag = Some("00".repeat(15))),
        ("nonce", |t| t.nonce = "00".repeat(13)),
        ("table_id", |t| t.table_id = Some(2500)),
        ("key_index", |t| t.key_index = Some(1000)),
        ("binding", |t| t.ciphertext = "00".repeat(V2_CIPHERTEXT)),
    ];
    for (named, change) in cases {
        let mut token = token_json();
        change(&mut token);
        let error = token.parse(None).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn binding_belongs_to_version_2_alone() {
    let binding = BindingJson {
        enc: "00".repeat(32),
        key_id: "00".repeat(8),
        blinded_message: "00".repeat(256),
        inverse: "00".repeat(256),
    };
    let with_v1 = TokenJson { binding: Some(binding.clone()), ..token_json() };
    assert_eq!(with_v1.parse(None), Err(TokenFieldError::Binding));
    let v2 = TokenJson { ciphertext: "00".repeat(V2_CIPHERTEXT), binding: Some(binding.clone()), ..token_json() };
    assert!(v2.parse(None).unwrap().1.is_some());
    let short = BindingJson { inverse: "00".repeat(255), ..binding };
    let v2 = TokenJson { binding: Some(short), ..v2 };
    assert_eq!(v2.parse(None), Err(TokenFieldError::Modulus("binding.inverse")));
}

fn any_binding() -> impl Strategy<Value = Binding> {
    let halves = (MIN_MODULUS..=MAX_MODULUS)
        .prop_flat_map(|len| (prop::collection::vec(any::<u8>(), len), prop::collection::vec(any::<u8>(), len)));
    (any::<[u8; 32]>(), any::<[u8; 8]>(), halves).prop_map(|(enc, key_id, (blinded_message, inverse))| Binding {
        blinding: Blinding { enc, key_id: EndorsementKeyId::from_bytes(key_id), blinded_message },
        inverse,
    })
}

/// Bytes in hex of about the length that a field has, or any text.
fn hex_or_text(len: usize) -> impl Strategy<Value = String> {
    prop_oneof![prop::collection::vec(any::<u8>(), len.saturating_sub(2)..len + 2).prop_map(hex::encode), ".{0,20}",]
}

proptest! {
    #[test]
    fn every_token_of_version_2_round_trips_through_json(
        binding in any_binding(), ciphertext in prop::collection::vec(any::<u8>(), V2_CIPHERTEXT),
        (auth_tag, nonce) in any::<([u8; 16], [u8; 12])>(),
        table in 0u16..=TableId::MAX, index in 0u16..=KeyIndex::MAX,
    ) {
        let token = SealedToken {
            table_id: TableId::new(table).unwrap(), key_index: KeyIndex::new(index).unwrap(), nonce, ciphertext, auth_tag,
        };
        let json = serde_json::to_string(&TokenJson::of(&token, Some(&binding))).unwrap();
        let read: TokenJson = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read.parse(None), Ok((token.clone(), Some(binding))));
        prop_assert_eq!(read.parse_sealed(None), Ok(token));
    }

    #[test]
    fn any_texts_are_a_token_of_the_documented_form_or_refused(
        ciphertext in prop_oneof![hex_or_text(V2_CIPHERTEXT), hex_or_text(V1_CIPHERTEXT), hex_or_text(MAX_CIPHERTEXT)],
        auth_tag in prop::option::of(hex_or_text(16)), nonce in hex_or_text(12),
        table_id: Option<u64>, key_index in prop::option::of(0u64..1002),
        binding in prop::option::of((hex_or_text(32), hex_or_text(8), hex_or_text(256), hex_or_text(256))),
    ) {
        let binding = binding.map(|(enc, key_id, blinded_message, inverse)| {
            BindingJson { enc, key_id, blinded_message, inverse }
        });
        let json = TokenJson { ciphertext, auth_tag, nonce, table_id, key_index, binding };
        if let Ok((token, binding)) = json.parse(None) {
            prop_assert!((1..=MAX_CIPHERTEXT).contains(&token.ciphertext.len()));
            prop_assert_eq!(binding.is_some(), token.ciphertext.len() == V2_CIPHERTEXT);
            let same = |binding: &Binding| binding.inverse.len() == binding.blinding.blinded_message.len();
            prop_assert!(binding.as_ref().is_none_or(same));
            prop_assert_eq!(TokenJson::of(&token, binding.as_ref()).parse(None), Ok((token, binding)));
        }
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_and_any_flipped_bit_does_not(
        key in any::<[u8; 32]>(), nuc in any::<[u8; 32]>(), nonce in any::<[u8; 12]>(),
        table in 0u16..=TableId::MAX, index in 0u16..=KeyIndex::MAX, bit in 0usize..(32 + 16 + 12) * 8,
    ) {
        let key = TableKey::from_bytes(key);
        let nuc = NucHash::from_bytes(nuc);
        let table = TableId::new(table).unwrap();
        let mut token = seal_with_nonce((table, &key), KeyIndex::new(index).unwrap(), &nuc, nonce);
        prop_assert_eq!(open(&token, &key), Ok(nuc));
        let (byte, mask) = (bit / 8, 1u8 << (bit % 8));
        match byte {
            0..32 => token.ciphertext[byte] ^= mask,
            32..48 => token.auth_tag[byte - 32] ^= mask,
            _ => token.nonce[byte - 48] ^= mask,
        }
        prop_assert_eq!(open(&token, &key), Err(OpenError::Forged));
    }

    #[test]
    fn another_table_or_index_does_not_open(key in any::<[u8; 32]>(), index in 0u16..KeyIndex::MAX) {
        let key = TableKey::from_bytes(key);
        let token = seal_with_nonce(
            (TableId::new(0).unwrap(), &key), KeyIndex::new(index).unwrap(), &NucHash::from_bytes([3; 32]), [0; 12],
        );
        prop_assert_eq!(open(&token, &TableKey::from_bytes([0xee; 32])), Err(OpenError::Forged));
        let moved = SealedToken { key_index: KeyIndex::new(index + 1).unwrap(), ..token };
        prop_assert_eq!(open(&moved, &key), Err(OpenError::Forged));
    }
}
