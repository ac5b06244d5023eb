use proptest::prelude::*;

use super::*;
use crate::hex;
use crate::ids::{AuthorityId, SubmitterName};
use crate::network::{EndorsementKey, EndorsementKeyId, EndorsementKeyState, MinTokenVersion, Rules, TokenKey};
use crate::note::SecretKey;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn act(change: Change) -> Act {
    let network = NetworkId(Digest::from_bytes([1; 32]));
    Act { network, number: 2, previous: Digest::from_bytes([3; 32]), epoch: Epoch(4), change }
}

fn validator(seed: u8, p2p_address: Option<&str>) -> Validator {
    Validator {
        consensus_key: key(seed).public_key(),
        log_key: key(seed + 1).public_key(),
        cosigning_key: key(seed + 2).public_key(),
        p2p_address: p2p_address.map(str::to_owned),
    }
}

fn authority(keys: u8) -> Authority {
    let states = [
        EndorsementKeyState::Current,
        EndorsementKeyState::Previous,
        EndorsementKeyState::Retired,
        EndorsementKeyState::Revoked,
    ];
    let key = |number: u8| {
        let spki = vec![number; 300];
        let state = states[usize::from(number % 4)];
        EndorsementKey { key_id: EndorsementKeyId::of_spki(&spki), spki, state }
    };
    Authority {
        number: AuthorityNumber(7),
        id: AuthorityId::new("MFG").unwrap(),
        token_key: (keys > 0).then(|| TokenKey::from_bytes([9; 32])),
        rules: Rules { min_token_version: if keys > 0 { MinTokenVersion::V2 } else { MinTokenVersion::V1 } },
        endorsement_keys: (0..keys).map(key).collect(),
    }
}

fn changes() -> Vec<Change> {
    vec![
        Change::AddValidator(Box::new(validator(10, Some("node.example:8547")))),
        Change::AddValidator(Box::new(validator(10, None))),
        Change::RemoveValidator(key(1).public_key()),
        Change::SetAuthority(Box::new(authority(0))),
        Change::SetAuthority(Box::new(authority(64))),
        Change::RemoveAuthority(AuthorityNumber(5)),
        Change::AddSubmitter(Submitter {
            number: SubmitterNumber(6),
            name: SubmitterName::new("aggregator").unwrap(),
            key: key(2).public_key(),
        }),
        Change::RemoveSubmitter(SubmitterNumber(6)),
    ]
}

#[test]
fn every_change_has_the_stated_layout_and_round_trips() {
    for change in changes() {
        let act = act(change);
        let bytes = act.encode();
        assert_eq!(Act::decode(&bytes), Ok(act.clone()), "{}", act.change);
        assert!(bytes.len() <= MAX_ACT);
    }
    let head = format!("01{}00000002{}00000004", "01".repeat(32), "03".repeat(32));
    let submitter = key(2).public_key();
    let expected = [
        (changes().remove(5), "040005".to_owned()),
        (changes().remove(6), format!("0500060a{}{submitter}", hex::encode("aggregator"))),
        (changes().remove(7), "060006".to_owned()),
        (changes().remove(2), format!("02{}", key(1).public_key())),
        (changes().remove(3), format!("03000703{}010000", hex::encode("MFG"))),
    ];
    for (change, tail) in expected {
        assert_eq!(hex::encode(act(change).encode()), format!("{head}{tail}"));
    }
}

#[test]
fn truncated_extended_and_wrong_bytes_are_refused() {
    for change in changes().into_iter().filter(|change| *change != changes()[4]) {
        let good = act(change).encode();
        for cut in 0..good.len() {
            assert!(Act::decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Act::decode(&[good.as_slice(), &[0]].concat()).is_err());
        for (at, value) in [(0, 0), (0, 2), (73, 0), (73, 7)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Act::decode(&bad).is_err(), "byte {at} = {value}");
        }
    }
    assert!(matches!(Act::decode(&vec![1; MAX_ACT + 1]), Err(ActError::TooLong(_))));
    let spaced = act(changes().remove(0)).encode();
    let (address, weak) = (spaced.len() - 1, 74);
    let mut bad = spaced.clone();
    bad[address] = b'\n';
    assert!(matches!(Act::decode(&bad), Err(ActError::Decode(DecodeError::Text(_)))));
    let mut bad = spaced;
    bad[weak..weak + 32].fill(0);
    assert!(matches!(Act::decode(&bad), Err(ActError::Key(_))));
}

#[test]
fn approvals_are_sorted_count_once_and_hold_for_their_act_alone() {
    let act = act(Change::RemoveSubmitter(SubmitterNumber(1)));
    let mut approved = ApprovedAct::new(act.clone(), Vec::new());
    for seed in [3, 1, 2, 2] {
        approved.approve(&key(seed));
    }
    assert_eq!(approved.approvals().len(), 3);
    assert!(approved.approvals().is_sorted_by(|a, b| a.key < b.key));
    let other = Act { number: 3, ..act.clone() };
    for approval in approved.approvals() {
        assert!(approval.holds_for(&act));
        assert!(!approval.holds_for(&other));
    }
    let bytes = approved.encode();
    assert_eq!(ApprovedAct::decode(&bytes), Ok(approved.clone()));
    let twice = {
        let mut bytes = bytes.clone();
        let at = bytes.len() - 2 * 96;
        bytes.copy_within(at - 96..at - 64, at);
        bytes
    };
    assert_eq!(ApprovedAct::decode(&twice), Err(ActError::Order));
    let mut many = bytes.clone();
    let count = bytes.len() - 3 * 96 - 1;
    many[count] = 23;
    assert!(ApprovedAct::decode(&many).is_err());
    let file = serde_json::to_vec(&ActFile::from(&approved)).unwrap();
    assert_eq!(ActFile::parse(&file).unwrap(), approved);
}

#[test]
fn files_that_are_no_acts_are_refused() {
    assert!(matches!(ActFile::parse(&vec![b' '; MAX_ACT_FILE + 1]), Err(ActFileError::TooLong(_))));
    for (file, cause) in [
        ("", "not an act's file"),
        ("{}", "not an act's file"),
        ("{\"act\": \"x\"}", "hex"),
        ("{\"act\": \"01\"}", "truncated"),
        ("{\"act\": \"\", \"approvals\": [{\"key\": \"00\", \"signature\": \"\"}]}", "not an act's file"),
    ] {
        let error = ActFile::parse(file.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(cause), "{file}: {error}");
    }
}

proptest! {
    #[test]
    fn whatever_decodes_is_the_only_spelling(which in 0usize..8, at: prop::sample::Index, byte: u8) {
        let mut approved = ApprovedAct::new(act(changes().remove(which)), Vec::new());
        approved.approve(&key(1));
        let mut bytes = approved.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = ApprovedAct::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Act::decode(&bytes);
        let _ = ApprovedAct::decode(&bytes);
        let _ = ActFile::parse(&bytes);
    }
}
