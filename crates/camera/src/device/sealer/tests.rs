use std::fs;

use birthmark_core::ImageHash;
use birthmark_core::body::{Entries, Entry, Kind, Level, Parent};
use birthmark_core::endorsement::CaptureDigest;
use birthmark_core::keytable::TableKey;
use birthmark_core::network::EndorsementKeyState::{Current, Previous};
use birthmark_core::token::NucHash;
use birthmark_core::token::v2::{DeviceKey, OpenedToken, Opener};
use serde_json::Value;

use super::super::testing::*;
use super::*;

const NUC: [u8; 32] = [9; 32];

fn body(name: &str) -> Body {
    let entry =
        Entry { level: Level::Raw, kind: Kind::File, hash: ImageHash::of(name.as_bytes()), parent: Parent::None };
    Body { authority: AuthorityId::new(AUTHORITY).unwrap(), entries: Entries::new(vec![entry], None, None).unwrap() }
}

fn sealer(folder: &tempfile::TempDir, config: Value, version: Option<TokenVersion>) -> Sealer {
    let path = folder.path().join("device_config.json");
    let config = serde_json::from_value(config).unwrap();
    let credentials = Credentials::at(&path, config, NucHash::from_bytes(NUC), version).unwrap();
    Sealer::new(Arc::new(credentials), OsRng)
}

fn usual(folder: &tempfile::TempDir) -> Sealer {
    sealer(folder, device_config(as_value(&network(&[(1, Current)]))), None)
}

fn open(sealed: &Sealed) -> OpenedToken {
    let network = Network::parse(&network(&[(1, Current)])).unwrap();
    let authority = Opener::new(network.network_id(), &token_secret());
    let blinding = &sealed.binding.as_ref().unwrap().blinding;
    let key = TableKey::from_bytes(TABLE_KEY);
    let opened = authority.open(&sealed.token, &blinding.enc, &blinding.commitment(), &key).unwrap();
    assert!(opened.is_from(&DeviceKey::from_bytes(DEVICE_KEY)));
    assert_eq!(opened.nuc_hash, NucHash::from_bytes(NUC));
    opened
}

#[test]
fn sealed_token_opens_for_the_authority_and_its_signature_endorses_the_body_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = usual(&folder).seal_for(&body("a")).unwrap();
    assert_eq!(sealed.version(), TokenVersion::V2);
    assert_eq!(open(&sealed).counter, 1);

    let binding = sealed.binding.as_ref().unwrap();
    let network = Network::parse(&network(&[(1, Current)])).unwrap();
    let key = &network.endorsement_key(binding.blinding.key_id).unwrap().key;
    let signature = rsa(1).blind_sign(&binding.blinding.blinded_message).unwrap().0;
    let digest = |name| CaptureDigest::of(network.network_id(), key.id(), &body(name).encode());
    let endorsement =
        key.finish(&digest("a"), &binding.blinding.blinded_message, &binding.inverse, &signature).unwrap();
    key.verify(&digest("a"), &endorsement.signature).unwrap();
    assert!(key.verify(&digest("b"), &endorsement.signature).is_err());
}

#[test]
fn tokens_of_one_body_share_nothing_and_their_numbers_rise() {
    let folder = tempfile::tempdir().unwrap();
    let camera = usual(&folder);
    let (one, other) = (camera.seal_for(&body("a")).unwrap(), camera.seal_for(&body("a")).unwrap());
    assert_ne!(one.token.nonce, other.token.nonce);
    let (Some(first), Some(second)) = (&one.binding, &other.binding) else { panic!("both are of version 2") };
    assert!(first.blinding.enc != second.blinding.enc && first.inverse != second.inverse);
    assert_ne!(first.blinding.blinded_message, second.blinding.blinded_message);
    assert_eq!((open(&one).counter, open(&other).counter), (1, 2));
    camera.skip_numbers().unwrap();
    assert_eq!(open(&camera.seal_for(&body("a")).unwrap()).counter, 65 + 65_536);
    // Another program with the same configuration.
    assert_eq!(open(&usual(&folder).seal_for(&body("a")).unwrap()).counter, 65 + 65_536 + 64);
}

#[test]
fn renewed_network_is_sealed_by_at_once_and_one_without_a_key_by_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let camera = usual(&folder);
    let key = |number| endorsement_key(number, Current).key_id;
    assert_eq!(camera.endorsement_key(), Some(key(1)));
    camera.network_file().unwrap().renew(&network(&[(1, Previous), (2, Current)])).unwrap();
    assert_eq!(camera.endorsement_key(), Some(key(2)));
    let sealed = camera.seal_for(&body("a")).unwrap();
    assert_eq!(sealed.binding.unwrap().blinding.key_id, key(2));
    camera.network_file().unwrap().renew(&network(&[(1, Previous), (2, Previous)])).unwrap();
    assert!(matches!(camera.seal_for(&body("a")), Err(SealError::Missing(Missing::EndorsementKey))));
    assert_eq!(camera.endorsement_key(), None);
}

#[test]
fn nothing_is_sealed_without_a_number_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let camera = usual(&folder);
    fs::write(folder.path().join("token_counter"), "damaged").unwrap();
    let error = camera.seal_for(&body("a")).unwrap_err();
    assert!(matches!(error, SealError::Counter(_)) && error.to_string().contains("date +%s"), "{error}");
}

#[test]
fn version_1_is_sealed_where_it_is_asked_for_and_needs_neither_counter_nor_network() {
    let folder = tempfile::tempdir().unwrap();
    let camera = sealer(&folder, device_config(Value::Null), Some(TokenVersion::V1));
    let sealed = camera.seal_for(&body("a")).unwrap();
    assert_eq!((sealed.version(), sealed.binding.is_none()), (TokenVersion::V1, true));
    let opened = v1::open(&sealed.token, &TableKey::from_bytes(TABLE_KEY)).unwrap();
    assert_eq!(opened, NucHash::from_bytes(NUC));
    camera.skip_numbers().unwrap();
    assert!(camera.network_file().is_none() && camera.endorsement_key().is_none());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn json_form_is_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = usual(&folder).seal_for(&body("a")).unwrap();
    let (token, binding) = TokenJson::from(&sealed).parse(None).unwrap();
    assert_eq!(Sealed { token, binding }, sealed);
}
