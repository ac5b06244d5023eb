use birthmark_core::hex;
use birthmark_service::random::OsRng;

use super::*;
use crate::certificate::tests::{Device, NOW, authority, ca, camera};

impl CertificateAuthority {
    /// A certificate for [`camera`] that this CA would not write.
    pub(in crate::certificate) fn issue_altered(
        &self,
        alter: impl FnOnce(&mut CertificateParams),
    ) -> rcgen::Certificate {
        let camera = camera();
        let number = CertificateNumber::from_random([5; 16]);
        let not_after = UnixSeconds(NOW.0 + DAY);
        let mut params = device_params(&camera.subject(), number, NOW, not_after).unwrap();
        alter(&mut params);
        self.sign(&params, camera.subject().key).unwrap()
    }

    /// A CA's own certificate that this CA would not write.
    pub(in crate::certificate) fn self_altered(
        &self,
        alter: impl FnOnce(&mut CertificateParams),
    ) -> rcgen::Certificate {
        let mut params = self.params.clone();
        alter(&mut params);
        params.self_signed(&self.key).unwrap()
    }
}

/// Any change of these bytes would strand every certificate that was issued before it.
#[test]
fn certificate_of_the_ca_is_the_same_bytes_for_ever() {
    assert_eq!(ca().pem(), include_str!("ca.pem"));
}

#[test]
fn name_key_and_minute_of_installation_make_the_certificate() {
    let make = |seed, name, minute| CertificateAuthority::new(&[seed; 32], &authority(name), Minute(minute)).unwrap();
    let one = make(1, "A", 1000);
    assert_eq!(one.pem(), make(1, "A", 1000).pem());
    for other in [make(2, "A", 1000), make(1, "B", 1000), make(1, "A", 1001)] {
        assert_ne!(one.pem(), other.pem());
    }
}

#[test]
fn certificates_hold_as_long_as_asked_and_never_longer_than_the_cas() {
    let (ca, camera) = (ca(), camera());
    let end = ca.anchor().not_after();
    let issue = |days, now| ca.issue(&camera.subject(), Lifetime::from_days(days).unwrap(), now, &mut OsRng);
    assert_eq!(issue(1, NOW).unwrap().not_after.0, NOW.0 + DAY);
    assert_eq!(issue(CA_DAYS, NOW).unwrap().not_after, end);
    let late = UnixSeconds(end.0 - 10);
    let last = issue(1, late).unwrap();
    assert_eq!(last.not_after, end);
    assert!(ca.anchor().check_chain(&last.chain, end).is_ok());
    assert!(matches!(issue(1, end).unwrap_err(), IssueError::CaExpired(CaExpired)));
}

#[test]
fn lifetime_is_a_day_to_twenty_years() {
    assert_eq!(Lifetime::from_days(0), None);
    assert_eq!(Lifetime::from_days(CA_DAYS + 1), None);
    assert_eq!(Lifetime::from_days(1826), Some(Lifetime::DEFAULT));
}

#[test]
fn no_two_certificates_have_one_number() {
    let (ca, camera) = (ca(), camera());
    let issue = || ca.issue(&camera.subject(), Lifetime::DEFAULT, NOW, &mut OsRng).unwrap();
    let (first, second) = (issue(), issue());
    assert_ne!(first.number, second.number);
    assert_eq!(ca.anchor().check_chain(&first.chain, NOW).unwrap().number, first.number);
}

#[test]
fn longest_names_still_fit() {
    let long = CertificateAuthority::new(&[1; 32], &authority(&"N".repeat(64)), NOW.minute()).unwrap();
    assert_eq!(ca_name(&authority(&"N".repeat(64))), format!("{} device CA", "N".repeat(54)));
    let device = Device::new(&"%".repeat(64), &"f".repeat(128));
    let issued = long.issue(&device.subject(), Lifetime::DEFAULT, NOW, &mut OsRng).unwrap();
    assert_eq!(long.anchor().check_chain(&issued.chain, NOW).unwrap().serial, device.serial);
}

#[test]
fn every_character_that_a_name_may_have_can_be_written() {
    let ca = ca();
    for character in (b' '..=b'~').map(char::from) {
        let device = Device::new(&character.to_string(), &character.to_string());
        let issued = ca.issue(&device.subject(), Lifetime::DEFAULT, NOW, &mut OsRng).unwrap();
        assert_eq!(ca.anchor().check_chain(&issued.chain, NOW).unwrap().serial, device.serial);
    }
}

#[test]
fn times_that_a_certificate_cannot_have_are_refused() {
    let far = CertificateAuthority::new(&[1; 32], &authority("A"), Minute(u32::MAX));
    assert!(matches!(far.unwrap_err(), IssueError::Time(_)));
    // A clock that was never set: from 1970 on.
    let ca = CertificateAuthority::new(&[1; 32], &authority("A"), Minute(0)).unwrap();
    let issued = ca.issue(&camera().subject(), Lifetime::DEFAULT, UnixSeconds(0), &mut OsRng).unwrap();
    assert!(ca.anchor().check_chain(&issued.chain, UnixSeconds(0)).is_ok());
}

#[test]
fn debug_shows_the_public_key_alone() {
    let public = "ff1e825716cdf9e72862e3457999af2efc0b080d9864be34ec47a9e9a1ded565";
    assert_eq!(format!("{:?}", ca()), format!("CertificateAuthority({public})"));
    assert_eq!(hex::encode(ca().anchor().key().as_bytes()), public);
}
