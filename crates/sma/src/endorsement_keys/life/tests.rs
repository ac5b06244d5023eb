use EndorsementKeyState::{Current, Previous, Retired, Revoked};
use proptest::prelude::*;

use super::*;
use crate::signer::testing::software;

const DAY: u32 = 24 * 60;

/// Public halves that nobody has the private half of: a published one with another modulus.
pub(crate) fn spki(number: u8) -> Vec<u8> {
    let head = birthmark_core::hex::decode_bounded("30820122300d06092a864886f70d01010105000382010f00", 64).unwrap();
    let mut spki = [head.as_slice(), &[0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00]].concat();
    spki.extend([0xc1; 254]);
    spki.extend([number, 0x01, 0x02, 0x03, 0x01, 0x00, 0x01]);
    spki
}

fn id(number: u8) -> EndorsementKeyId {
    EndorsementKeyId::of_spki(&spki(number))
}

/// Keys 1 to `count`, one made current each day.
pub(crate) fn rotated(count: u8) -> KeyList {
    (1..=count)
        .fold(KeyList::default(), |keys, number| keys.rotate(&spki(number), Minute(u32::from(number) * DAY)).unwrap())
}

fn states(keys: &KeyList) -> Vec<EndorsementKeyState> {
    keys.records().iter().map(|record| record.state).collect()
}

fn signing(keys: &KeyList, now: Minute) -> Vec<EndorsementKeyId> {
    keys.records().iter().filter(|record| record.signs_at(now)).map(|record| record.key_id).collect()
}

#[test]
fn rotation_makes_one_current_and_keeps_the_old_one_for_ninety_days() {
    let now = Minute(1000 * DAY);
    let first = KeyList::default().rotate(&spki(1), Minute(7)).unwrap();
    assert_eq!(signing(&first, now), [id(1)]);
    let keys = first.rotate(&spki(2), now).unwrap();
    assert_eq!(states(&keys), [Previous, Current]);
    assert_eq!(keys.current().map(|record| record.key_id), Some(id(2)));
    assert_eq!(keys.records()[0].replaced, Some(now));
    assert_eq!((keys.records()[1].created, keys.records()[1].replaced), (now, None));
    let last = Minute(now.0 + 90 * DAY - 1);
    let over = Minute(now.0 + 90 * DAY);
    assert_eq!(signing(&keys, last), [id(1), id(2)]);
    assert_eq!(signing(&keys, over), [id(2)], "whether or not anyone has expired it");
    assert!(signing(&keys, last).contains(&id(1)));
    assert!(!signing(&keys, over).contains(&id(1)));
    assert!(!signing(&keys, now).contains(&id(3)));
    assert_eq!(states(&keys.expire(last)), [Previous, Current]);
    assert_eq!(states(&keys.expire(over)), [Retired, Current]);
}

#[test]
fn a_clock_set_back_retires_nothing_early_and_brings_nothing_back() {
    let keys = rotated(2);
    assert_eq!(signing(&keys, Minute(0)), [id(1), id(2)]);
    let expired = keys.expire(Minute(400 * DAY));
    assert_eq!(signing(&expired, Minute(0)), [id(2)]);
}

#[test]
fn each_of_several_replaced_keys_has_ninety_days_of_its_own() {
    // Replaced on days 2 and 3.
    let keys = rotated(3);
    assert_eq!(signing(&keys, Minute(91 * DAY)), [id(1), id(2), id(3)]);
    assert_eq!(signing(&keys, Minute(92 * DAY)), [id(2), id(3)]);
    assert_eq!(signing(&keys, Minute(93 * DAY)), [id(3)]);
}

#[test]
fn revoked_key_signs_nothing_at_once_and_stays_listed() {
    let now = Minute(10 * DAY);
    let keys = rotated(2).revoke(id(2), now).unwrap();
    assert_eq!(states(&keys), [Previous, Revoked]);
    assert_eq!(signing(&keys, now), [id(1)]);
    assert!(keys.current().is_none(), "no older key takes its place by itself");
    assert_eq!(keys.records()[1].replaced, Some(now));
    let keys = keys.revoke(id(1), now).unwrap();
    assert!(signing(&keys, Minute(0)).is_empty());
    let keys = keys.rotate(&spki(3), now).unwrap();
    assert_eq!(states(&keys), [Revoked, Revoked, Current]);
    assert_eq!(states(&keys.expire(Minute(u32::MAX))), [Revoked, Revoked, Current]);
}

#[test]
fn retired_key_can_still_be_revoked() {
    let keys = rotated(2).expire(Minute(400 * DAY)).revoke(id(1), Minute(401 * DAY)).unwrap();
    assert_eq!(states(&keys), [Revoked, Current]);
    assert_eq!(keys.records()[0].replaced, Some(Minute(2 * DAY)));
}

#[test]
fn no_key_comes_back() {
    let now = Minute(DAY);
    let keys = rotated(2).expire(Minute(400 * DAY)).revoke(id(2), now).unwrap();
    assert_eq!(keys.rotate(&spki(1), now), Err(ChangeError::Known(id(1))), "retired");
    assert_eq!(keys.rotate(&spki(2), now), Err(ChangeError::Known(id(2))), "revoked");
    assert_eq!(keys.revoke(id(2), now), Err(ChangeError::Revoked(id(2))));
    assert_eq!(keys.revoke(id(9), now), Err(ChangeError::Unknown(id(9))));
    let current = rotated(1);
    assert_eq!(current.rotate(&spki(1), now), Err(ChangeError::Known(id(1))), "current");
}

#[test]
fn unusable_and_surplus_keys_are_refused() {
    assert_eq!(KeyList::default().rotate(b"spki", Minute(0)), Err(ChangeError::Unusable(KeyError)));
    let full = rotated(64);
    assert_eq!(full.rotate(&spki(65), Minute(65 * DAY)), Err(ChangeError::Full));
    assert_eq!(KeyList::new(full.records().to_vec()).unwrap(), full);
}

#[test]
fn records_that_contradict_themselves_are_refused() {
    let good = rotated(2).records().to_vec();
    let altered = |change: &dyn Fn(&mut Vec<KeyRecord>)| {
        let mut records = good.clone();
        change(&mut records);
        KeyList::new(records).unwrap_err()
    };
    assert_eq!(altered(&|r| r[0].spki = spki(3)), KeyListError::ForeignId(id(1)));
    assert_eq!(altered(&|r| r[0].spki.truncate(9)), KeyListError::Unusable(id(1), KeyError));
    assert_eq!(altered(&|r| r.push(r[0].clone())), KeyListError::Twice(id(1)));
    assert_eq!(altered(&|r| r[0].replaced = None), KeyListError::Contradiction(id(1)));
    assert_eq!(altered(&|r| r[1].replaced = Some(Minute(0))), KeyListError::Contradiction(id(2)));
    assert_eq!(altered(&|r| (r[0].state, r[0].replaced) = (Current, None)), KeyListError::SeveralCurrent);
    assert_eq!(altered(&|r| *r = vec![r[0].clone(); 65]), KeyListError::TooMany { got: 65 });
}

#[test]
fn real_key_rotates_in() {
    let signer = software(1);
    let spki = rsa_spki(&*signer);
    let keys = KeyList::default().rotate(&spki, Minute(0)).unwrap();
    assert_eq!(keys.current().unwrap().key_id, signer.key_id());
}

fn rsa_spki(signer: &dyn crate::signer::Signer) -> Vec<u8> {
    use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey};
    let secret = rsa::RsaPrivateKey::from_pkcs8_der(&crate::signer::testing::pkcs8(1)).unwrap();
    let spki = secret.to_public_key().to_public_key_der().unwrap().into_vec();
    assert_eq!(EndorsementKeyId::of_spki(&spki), signer.key_id());
    spki
}

#[derive(Clone, Debug)]
enum Act {
    Rotate,
    Expire,
    Revoke(u8),
}

proptest! {
    /// Whatever is done in whatever order: what was written can be read, at most one key is current,
    /// nothing leaves the list, a revoked key stays revoked, and only current and previous ones sign.
    #[test]
    fn every_history_keeps_the_rules(
        acts in proptest::collection::vec(
            (
                prop_oneof![Just(Act::Rotate), Just(Act::Expire), (1_u8..20).prop_map(Act::Revoke)],
                0_u32..60 * DAY,
            ),
            0..20,
        ),
    ) {
        let (mut keys, mut now, mut made) = (KeyList::default(), 0_u32, 0_u8);
        for (act, later) in acts {
            now += later;
            let before = keys.clone();
            keys = match act {
                Act::Rotate => {
                    made += 1;
                    keys.rotate(&spki(made), Minute(now)).unwrap()
                }
                Act::Expire => keys.expire(Minute(now)),
                Act::Revoke(number) => keys.revoke(id(number), Minute(now)).unwrap_or(keys),
            };
            prop_assert_eq!(&KeyList::new(keys.records().to_vec()).unwrap(), &keys);
            for (old, new) in before.records().iter().zip(keys.records()) {
                prop_assert_eq!((old.key_id, &old.spki, old.created), (new.key_id, &new.spki, new.created));
                prop_assert!(old.state != Revoked || new.state == Revoked);
                prop_assert!(new.state != Current || old.state == Current);
            }
            prop_assert!(keys.records().len() >= before.records().len());
            for record in keys.records().iter().filter(|record| record.signs_at(Minute(now))) {
                prop_assert!(matches!(record.state, Current | Previous));
            }
        }
    }
}
