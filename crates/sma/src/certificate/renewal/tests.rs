use birthmark_core::note::SecretKey;
use proptest::prelude::*;

use super::*;
use crate::certificate::tests::{NOW, ca, camera, chain, device_key, impostor};

const DAY: u64 = 24 * 60 * 60;
/// [`chain`]'s last second.
const END: u64 = NOW.0 + 1826 * DAY;

fn leaf_pem() -> String {
    chain().replace(ca().pem(), "")
}

fn request(key: &SecretKey, certificate: String, time: u64) -> RenewalRequest {
    let time = UnixSeconds(time);
    let leaf = pem::decode(&certificate).unwrap().remove(0);
    RenewalRequest { certificate, time, signature: hex::encode(key.sign(&message(time, &leaf))) }
}

fn check(request: &RenewalRequest, now: u64) -> Result<(), RenewalError> {
    request.check(ca().anchor(), UnixSeconds(now)).map(drop)
}

/// Signed with Python's `cryptography`.
#[test]
fn message_has_its_known_answer() {
    let signed = message(NOW, b"leaf");
    assert_eq!(
        hex::encode(&signed),
        "62697274686d61726b2f72656e65772f763100000000674f71509f91161f43433e49a6de6db680d79f60159f2e4ac9172621a12846428158440b"
    );
    let signature = hex::decode_array::<64>("90a95825130008b6741f6266ca0d20eca02490c14cb4d3c38f138c296c2129d0ab68e4d8f826972733348248476625cd3d717108206543f761e884d155c6cf0d").unwrap();
    assert!(device_key().public_key().verifies(&signed, &signature));
}

#[test]
fn holder_of_the_key_is_recognised() {
    let request = request(&device_key(), leaf_pem(), NOW.0);
    let device = request.check(ca().anchor(), NOW).unwrap();
    assert_eq!((device.serial, device.key), (camera().serial, device_key().public_key()));
}

#[test]
fn request_reads_from_json() {
    let written = request(&device_key(), leaf_pem(), NOW.0);
    let json = serde_json::to_vec(&written).unwrap();
    let read: RenewalRequest = birthmark_core::json::from_slice(&json).unwrap();
    assert!(check(&read, NOW.0).is_ok());
    for field in ["certificate", "time", "signature"] {
        let mut value = serde_json::to_value(&written).unwrap();
        value.as_object_mut().unwrap().remove(field);
        assert!(serde_json::from_value::<RenewalRequest>(value).is_err(), "{field}");
    }
}

#[test]
fn time_may_be_five_minutes_off() {
    let request = request(&device_key(), leaf_pem(), NOW.0 + 1000);
    for (now, expected) in [
        (NOW.0 + 699, Err(RenewalError::Time)),
        (NOW.0 + 700, Ok(())),
        (NOW.0 + 1300, Ok(())),
        (NOW.0 + 1301, Err(RenewalError::Time)),
    ] {
        assert_eq!(check(&request, now), expected, "{now}");
    }
    assert_eq!(check(&self::request(&device_key(), leaf_pem(), u64::MAX), NOW.0), Err(RenewalError::Time));
}

#[test]
fn certificate_may_be_over_for_a_year() {
    let at = |time| check(&request(&device_key(), leaf_pem(), time), time);
    assert_eq!(at(END + 1), Ok(()));
    assert_eq!(at(END + 365 * DAY), Ok(()));
    assert_eq!(at(END + 365 * DAY + 1), Err(RenewalError::Certificate(CheckError::Expired)));
    // For everything but renewing, it is over.
    assert_eq!(ca().anchor().check_chain(&leaf_pem(), UnixSeconds(END + 1)), Err(CheckError::Expired));
}

#[test]
fn nobody_else_renews_it() {
    let good = request(&device_key(), leaf_pem(), NOW.0);
    let other = SecretKey::from_seed(&[9; 32]);
    assert_eq!(check(&request(&other, leaf_pem(), NOW.0), NOW.0), Err(RenewalError::Signature));
    let moved = RenewalRequest { time: UnixSeconds(NOW.0 + 1), ..good.clone() };
    assert_eq!(check(&moved, NOW.0), Err(RenewalError::Signature));
    // The same device's next certificate: each is asked for with its own.
    let swapped = RenewalRequest { certificate: leaf_pem(), ..good.clone() };
    assert_eq!(check(&swapped, NOW.0), Err(RenewalError::Signature));
    for signature in [String::new(), good.signature.replacen(|_| true, "x", 1), format!("{}00", good.signature)] {
        let request = RenewalRequest { signature, ..good.clone() };
        assert_eq!(check(&request, NOW.0), Err(RenewalError::Signature), "{request:?}");
    }
}

#[test]
fn certificate_must_be_ours_and_alone() {
    let theirs = impostor().issue(
        &camera().subject(),
        crate::certificate::authority::Lifetime::DEFAULT,
        NOW,
        &mut birthmark_service::random::OsRng,
    );
    let theirs = theirs.unwrap().chain.replace(impostor().pem(), "");
    let refused = |certificate| check(&request(&device_key(), certificate, NOW.0), NOW.0).unwrap_err();
    assert_eq!(refused(theirs), RenewalError::Certificate(CheckError::NotOurs));
    assert_eq!(refused(chain()), RenewalError::Chain);
    assert_eq!(refused(ca().pem().to_owned()), RenewalError::Certificate(CheckError::Usage));
    let request = RenewalRequest { certificate: "PEM".to_owned(), ..request(&device_key(), leaf_pem(), NOW.0) };
    assert!(matches!(check(&request, NOW.0), Err(RenewalError::Certificate(CheckError::Pem(_)))));
}

proptest! {
    #[test]
    fn no_request_panics(certificate in "\\PC{0,100}", time: u64, signature in "[0-9a-f]{128}") {
        let request = RenewalRequest { certificate, time: UnixSeconds(time), signature };
        prop_assert!(check(&request, time).is_err());
    }
}
