use std::fs;

use birthmark_core::network::EndorsementKeyState::{Current, Previous, Retired, Revoked};
use birthmark_core::network::Network;
use serde_json::json;

use super::super::testing::*;
use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn config(&self) -> PathBuf {
        self.path("device_config.json")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, value: &Value) -> Result<NetworkFile, NetworkFileError> {
        NetworkFile::open(&self.config(), &NetworkSource::parse(value).unwrap())
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != LOCK_FILE).collect();
        names.sort();
        names
    }
}

fn named(file: &[u8]) -> Value {
    json!({"url": "http://127.0.0.1:8546/network.json", "sha256": Digest::of_parts(&[file]).to_string()})
}

/// The number of the current endorsement key.
fn key_of(file: &NetworkFile) -> u8 {
    let network = file.current();
    let current = network.authorities()[0].current_endorsement_key().unwrap().key_id;
    if current == endorsement_key(1, Current).key_id { 1 } else { 2 }
}

fn first() -> Vec<u8> {
    network(&[(1, Current)])
}

fn second() -> Vec<u8> {
    network(&[(1, Previous), (2, Current)])
}

#[test]
fn both_forms_are_told_apart_and_others_are_none() {
    assert!(matches!(NetworkSource::parse(&as_value(&first())), Some(NetworkSource::Embedded(_))));
    assert!(matches!(NetworkSource::parse(&named(&first())), Some(NetworkSource::Beside(_))));
    for neither in [
        json!({}),
        json!([]),
        json!("http://a/network.json"),
        json!({"url": "http://a"}),
        json!({"sha256": "00"}),
        json!({"url": "http://a", "sha256": "00"}),
        json!({"url": 1, "sha256": "0".repeat(64)}),
    ] {
        assert!(NetworkSource::parse(&neither).is_none(), "{neither}");
    }
}

#[test]
fn embedded_file_is_used_and_a_newer_one_beside_it_preferred() {
    let folder = Folder::new();
    assert_eq!(key_of(&folder.open(&as_value(&first())).unwrap()), 1);
    fs::write(folder.path(FILE), second()).unwrap();
    assert_eq!(key_of(&folder.open(&as_value(&first())).unwrap()), 2);
    fs::write(folder.path(FILE), first()).unwrap();
    assert_eq!(key_of(&folder.open(&as_value(&second())).unwrap()), 2, "an older one is not");
    for unusable in [b"no network".to_vec(), network_of(2, |b| b.authorities = vec![authority(&[(2, Current)])])] {
        fs::write(folder.path(FILE), &unusable).unwrap();
        assert_eq!(key_of(&folder.open(&as_value(&first())).unwrap()), 1);
        assert_eq!(fs::read(folder.path(FILE)).unwrap(), unusable, "left as it is");
    }
}

#[test]
fn embedded_file_that_does_not_hold_is_refused() {
    let folder = Folder::new();
    let mut forged = as_value(&first());
    forged["signatures"][0]["signature"] = json!("00".repeat(64));
    assert!(matches!(folder.open(&forged), Err(NetworkFileError::Embedded(NetworkError::BadSignature(1)))));
}

#[test]
fn file_that_is_named_must_lie_there_with_that_hash() {
    let folder = Folder::new();
    let value = named(&first());
    let absent = folder.open(&value).unwrap_err();
    assert!(matches!(absent, NetworkFileError::Absent { .. }) && absent.to_string().contains("camera provision"));
    fs::write(folder.path(FILE), first()).unwrap();
    assert_eq!(key_of(&folder.open(&value).unwrap()), 1);
    // Newer, but nothing shows that it is of the network that was meant.
    fs::write(folder.path(FILE), second()).unwrap();
    assert!(matches!(folder.open(&value), Err(NetworkFileError::OtherHash { .. })));
    fs::write(folder.path(FILE), b"\n").unwrap();
    assert!(matches!(folder.open(&value), Err(NetworkFileError::OtherHash { .. })));
    let garbage = named(b"\n");
    assert!(matches!(folder.open(&garbage), Err(NetworkFileError::Unusable { .. })));
    fs::remove_file(folder.path(FILE)).unwrap();
    fs::create_dir(folder.path(FILE)).unwrap();
    assert!(matches!(folder.open(&value), Err(NetworkFileError::Read { .. })));
}

#[test]
fn newer_file_is_stored_and_used_after_a_restart() {
    for value in [as_value(&first()), named(&first())] {
        let folder = Folder::new();
        if value.get("url").is_some() {
            fs::write(folder.path(FILE), first()).unwrap();
        }
        let file = folder.open(&value).unwrap();
        assert_eq!(file.renew(&first()).unwrap(), Succession::Same);
        assert_eq!(file.renew(&second()).unwrap(), Succession::Newer);
        assert_eq!(file.renew(&second()).unwrap(), Succession::Same);
        assert_eq!(key_of(&file), 2);
        assert_eq!(fs::read(folder.path(FILE)).unwrap(), second());
        assert_eq!(key_of(&folder.open(&value).unwrap()), 2);
        let third = network(&[(1, Revoked), (2, Current)]);
        assert_eq!(file.renew(&third).unwrap(), Succession::Newer);
        let reopened = folder.open(&value).unwrap();
        assert_eq!(reopened.current().authorities()[0].endorsement_keys[0].state, Revoked);
        assert!(matches!(reopened.renew(&first()), Err(RenewalError::Refused(Refusal::KeyState(_)))));
    }
}

#[test]
fn file_named_by_its_hash_is_kept_for_comparison() {
    let folder = Folder::new();
    fs::write(folder.path(FILE), first()).unwrap();
    folder.open(&named(&first())).unwrap().renew(&second()).unwrap();
    assert_eq!(folder.names(), [FILE, PINNED_FILE]);
    assert_eq!(fs::read(folder.path(PINNED_FILE)).unwrap(), first());
    fs::remove_file(folder.path(FILE)).unwrap();
    assert_eq!(key_of(&folder.open(&named(&first())).unwrap()), 1, "the newer one is lost, not the camera");
}

#[test]
fn offered_files_that_do_not_hold_or_do_not_follow_are_refused() {
    let folder = Folder::new();
    let file = folder.open(&as_value(&first())).unwrap();
    let mut forged: Value = serde_json::from_slice(&second()).unwrap();
    forged["signatures"][0]["signature"] = json!("00".repeat(64));
    let stranger = rewritten(&second(), 2, |_| ());
    let longer = [second(), vec![b' '; MAX_FILE_LEN]].concat();
    for unusable in [b"".to_vec(), b"{}".to_vec(), forged.to_string().into_bytes(), stranger, longer] {
        assert!(matches!(file.renew(&unusable), Err(RenewalError::Unusable(_))));
    }
    let other_network = network_of(2, |b| b.authorities = vec![authority(&[(1, Previous), (2, Current)])]);
    assert!(matches!(file.renew(&other_network), Err(RenewalError::Refused(Refusal::OtherNetwork))));
    let missing_key = network(&[(2, Current)]);
    assert!(matches!(file.renew(&missing_key), Err(RenewalError::Refused(Refusal::KeyMissing(_)))));
    assert_eq!(key_of(&file), 1);
    assert!(folder.names().is_empty(), "nothing was stored");
}

#[test]
fn what_another_process_has_stored_is_not_set_back() {
    let folder = Folder::new();
    let (one, other) = (folder.open(&as_value(&first())).unwrap(), folder.open(&as_value(&first())).unwrap());
    let newest = network(&[(1, Retired), (2, Current)]);
    assert_eq!(other.renew(&newest).unwrap(), Succession::Newer);
    assert_eq!(key_of(&one), 1);
    // Older than what is stored by now.
    assert!(matches!(one.renew(&second()), Err(RenewalError::Refused(Refusal::KeyState(_)))));
    assert_eq!((key_of(&one), fs::read(folder.path(FILE)).unwrap()), (2, newest));

    let third = folder.open(&as_value(&first())).unwrap();
    assert_eq!(third.current().authorities()[0].endorsement_keys[0].state, Retired);
    fs::write(folder.path(FILE), network(&[(1, Revoked), (2, Current)])).unwrap();
    third.reread().unwrap();
    assert_eq!(third.current().authorities()[0].endorsement_keys[0].state, Revoked);
}

#[test]
fn strange_file_in_its_place_is_never_overwritten() {
    for strange in [b"my notes".to_vec(), network_of(2, |_| ())] {
        let folder = Folder::new();
        fs::write(folder.path(FILE), &strange).unwrap();
        let file = folder.open(&as_value(&first())).unwrap();
        assert!(matches!(file.renew(&second()), Err(RenewalError::Occupied { .. })));
        assert_eq!(fs::read(folder.path(FILE)).unwrap(), strange);
        let network = Network::parse(&first()).unwrap();
        let stored = store_pinned(&folder.config(), &first(), &network);
        assert!(matches!(stored, Err(RenewalError::Occupied { .. })), "{stored:?}");
        assert_eq!(fs::read(folder.path(FILE)).unwrap(), strange);
        fs::remove_file(folder.path(FILE)).unwrap();
        assert_eq!(file.renew(&second()).unwrap(), Succession::Newer);
    }
}

#[test]
fn fetched_file_takes_no_newer_ones_place() {
    let folder = Folder::new();
    let store = |bytes: &[u8]| store_pinned(&folder.config(), bytes, &Network::parse(bytes).unwrap()).unwrap();
    store(&first());
    assert_eq!(folder.names(), [FILE]);
    store(&second());
    assert_eq!((folder.names(), fs::read(folder.path(FILE)).unwrap()), (vec![FILE.to_owned()], second()));
    store(&first());
    assert_eq!(folder.names(), [FILE, PINNED_FILE]);
    assert_eq!(key_of(&folder.open(&named(&first())).unwrap()), 2);
}
