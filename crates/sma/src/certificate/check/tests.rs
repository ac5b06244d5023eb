use birthmark_service::random::OsRng;
use proptest::prelude::*;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType,
};

use super::*;
use crate::certificate::authority::Lifetime;
use crate::certificate::tests::{Device, NOW, ca, camera, chain, device_key, impostor};

fn ders(chain: &str) -> Vec<Vec<u8>> {
    pem::decode(chain).unwrap()
}

fn leaf() -> Vec<u8> {
    ders(&chain()).remove(0)
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

#[test]
fn chain_and_leaf_alone_name_device_and_key() {
    let (ca, chain) = (ca(), chain());
    let identity = ca.anchor().check_chain(&chain, NOW).unwrap();
    assert_eq!(identity.serial, camera().serial);
    assert_eq!(identity.key, device_key().public_key());
    assert_eq!(identity.not_after.0, NOW.0 + 1826 * 86400);
    let alone = chain.replace(ca.pem(), "");
    assert_ne!(alone, chain);
    assert_eq!(ca.anchor().check_chain(&alone, NOW), Ok(identity));
}

#[test]
fn anchor_is_the_same_read_back() {
    let ca = ca();
    assert_eq!(Anchor::parse(&ders(ca.pem())[0]).as_ref(), Ok(ca.anchor()));
}

#[test]
fn every_second_outside_its_time_is_refused() {
    let (ca, chain) = (ca(), chain());
    let end = NOW.0 + 1826 * 86400;
    let at = |seconds| ca.anchor().check_chain(&chain, UnixSeconds(seconds)).map(drop);
    // The device's begins five minutes earlier, the CA's with the minute.
    assert_eq!(at(NOW.0 - 1), Err(CheckError::NotYetValid));
    assert_eq!(at(NOW.0), Ok(()));
    assert_eq!(at(end), Ok(()));
    assert_eq!(at(end + 1), Err(CheckError::Expired));
    assert_eq!(at(u64::MAX), Err(CheckError::Expired));
    let later = ca.issue(&camera().subject(), Lifetime::DEFAULT, UnixSeconds(NOW.0 + 1000), &mut OsRng).unwrap();
    let before = UnixSeconds(NOW.0 + 699);
    assert_eq!(ca.anchor().check_chain(&later.chain, before), Err(CheckError::NotYetValid));
    assert!(ca.anchor().check_chain(&later.chain, UnixSeconds(NOW.0 + 700)).is_ok());
}

#[test]
fn chains_of_others_are_refused() {
    let (ca, impostor) = (ca(), impostor());
    let theirs = impostor.issue(&camera().subject(), Lifetime::DEFAULT, NOW, &mut OsRng).unwrap().chain;
    let their_leaf = theirs.replace(impostor.pem(), "");
    let refused = |chain: &str| ca.anchor().check_chain(chain, NOW).unwrap_err();
    assert_eq!(refused(&theirs), CheckError::AnotherAuthority);
    assert_eq!(refused(&their_leaf), CheckError::NotOurs);
    assert_eq!(refused(&[&their_leaf, ca.pem()].concat()), CheckError::NotOurs);
    let leaf = chain().replace(ca.pem(), "");
    assert_eq!(refused(&[ca.pem(), &leaf].concat()), CheckError::AnotherAuthority);
    assert_eq!(refused(&[leaf.as_str(), &leaf].concat()), CheckError::AnotherAuthority);
    assert_eq!(refused(&chain().repeat(2)), CheckError::Pem(PemError::Count));
    assert_eq!(refused("-----BEGIN CERTIFICATE-----"), CheckError::Pem(PemError::Line { line: 1 }));
}

#[test]
fn cas_own_certificate_is_no_devices() {
    let ca = ca();
    assert_eq!(ca.anchor().check_chain(ca.pem(), NOW), Err(CheckError::Usage));
    assert_eq!(ca.anchor().check_chain(&ca.pem().repeat(2), NOW), Err(CheckError::Usage));
}

/// All of these bear our CA's good signature.
#[test]
fn certificates_for_other_uses_are_refused() {
    let ca = ca();
    let refused =
        |alter: &dyn Fn(&mut CertificateParams)| ca.anchor().check(ca.issue_altered(alter).der(), NOW, 0).unwrap_err();
    assert!(ca.anchor().check(ca.issue_altered(|_| ()).der(), NOW, 0).is_ok());
    let alterations: [&dyn Fn(&mut CertificateParams); 10] = [
        &|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        &|p| p.is_ca = IsCa::NoCa,
        &|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign],
        &|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign),
        &|p| p.key_usages.push(KeyUsagePurpose::DecipherOnly),
        &|p| p.key_usages.clear(),
        &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        &|p| p.extended_key_usages.clear(),
        &|p| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            unknown.set_criticality(true);
            p.custom_extensions.push(unknown);
        },
        // Name constraints in which nothing can be read.
        &|p| p.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 30], vec![1])),
    ];
    for (at, alter) in alterations.into_iter().enumerate() {
        assert_eq!(refused(alter), CheckError::Usage, "alteration {at}");
    }
    let twice = |p: &mut CertificateParams| {
        p.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0]));
    };
    assert_eq!(refused(&twice), CheckError::Malformed);
    let short = |p: &mut CertificateParams| p.serial_number = Some(vec![1].into());
    assert_eq!(refused(&short), CheckError::Malformed);
}

#[test]
fn names_that_contradict_each_other_are_refused() {
    let ca = ca();
    let alterations: [&dyn Fn(&mut CertificateParams); 7] = [
        &|p| p.subject_alt_names.clear(),
        &|p| p.subject_alt_names = vec![uri("urn:birthmark:device:PI_CAMERA_002")],
        &|p| p.subject_alt_names = vec![uri("urn:birthmark:device:PI%5FCAMERA_001")],
        &|p| p.subject_alt_names.push(uri("urn:birthmark:device:PI_CAMERA_001")),
        &|p| p.subject_alt_names = vec![SanType::DnsName("camera.example".try_into().unwrap())],
        &|p| assert!(p.distinguished_name.remove(DnType::CustomDnType(vec![2, 5, 4, 5]))),
        &|p| p.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), "PI_CAMERA_002"),
    ];
    for (at, alter) in alterations.into_iter().enumerate() {
        let certificate = ca.issue_altered(alter);
        assert_eq!(ca.anchor().check(certificate.der(), NOW, 0), Err(CheckError::Names), "alteration {at}");
    }
}

#[test]
fn unsound_cas_are_no_anchor() {
    let ca = ca();
    let refused = |alter: &dyn Fn(&mut CertificateParams)| Anchor::parse(ca.self_altered(alter).der()).unwrap_err();
    let alterations: [&dyn Fn(&mut CertificateParams); 5] = [
        &|p| p.is_ca = IsCa::ExplicitNoCa,
        &|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        &|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)),
        &|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        &|p| p.key_usages.clear(),
    ];
    for (at, alter) in alterations.into_iter().enumerate() {
        assert_eq!(refused(alter), CheckError::Usage, "alteration {at}");
    }
    assert_eq!(Anchor::parse(&leaf()), Err(CheckError::NotOurs));
    assert_eq!(Anchor::parse(&[]), Err(CheckError::Malformed));
}

#[test]
fn every_flipped_bit_and_every_other_length_is_refused() {
    let (ca, leaf) = (ca(), leaf());
    for bit in 0..8 * leaf.len() {
        let mut altered = leaf.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(ca.anchor().check(&altered, NOW, 0).is_err(), "bit {bit}");
    }
    for length in 0..leaf.len() {
        assert!(ca.anchor().check(&leaf[..length], NOW, 0).is_err(), "{length} bytes");
    }
    for tail in [vec![0], leaf.clone(), vec![0; MAX_DER]] {
        assert_eq!(ca.anchor().check(&[leaf.clone(), tail].concat(), NOW, 0), Err(CheckError::Malformed));
    }
}

#[test]
fn key_of_small_order_is_refused() {
    let spki = |key: [u8; 32]| {
        let head = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        [head.as_slice(), &key].concat()
    };
    let read = |der: &[u8]| {
        use x509_parser::prelude::FromDer;
        public_key(&SubjectPublicKeyInfo::from_der(der).unwrap().1)
    };
    let good = *device_key().public_key().as_bytes();
    assert_eq!(read(&spki(good)), Ok(device_key().public_key()));
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(read(&spki(identity)), Err(CheckError::Malformed));
    let mut ed448 = spki(good);
    ed448[8] = 0x71;
    assert_eq!(read(&ed448), Err(CheckError::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_serial_and_family_comes_back(serial in "[ -~]{1,64}", family in "[ -~]{1,128}") {
        let device = Device::new(&serial, &family);
        let issued = ca().issue(&device.subject(), Lifetime::DEFAULT, NOW, &mut OsRng).unwrap();
        let identity = ca().anchor().check_chain(&issued.chain, NOW).unwrap();
        prop_assert_eq!(identity.serial, device.serial);
        prop_assert_eq!(identity.number, issued.number);
        prop_assert_eq!(identity.not_after, issued.not_after);
    }

    #[test]
    fn no_bytes_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        at in any::<proptest::sample::Index>(),
        len in 0_usize..40,
    ) {
        let anchor = ca();
        prop_assert!(anchor.anchor().check(&bytes, NOW, 0).is_err());
        prop_assert!(Anchor::parse(&bytes).is_err());
        // Written over a certificate, they reach deeper.
        let mut altered = leaf();
        let from = at.index(altered.len());
        for (to, byte) in altered.iter_mut().skip(from).zip(bytes.iter().take(len)) {
            *to = *byte;
        }
        if altered != leaf() {
            let _ = anchor.anchor().check(&altered, NOW, 0);
            let _ = Anchor::parse(&altered);
        }
    }
}
