use proptest::prelude::*;

use super::*;

/// What `camera provision` brought from a swtpm with a certificate, for `PI_CAMERA_001`.
pub(crate) fn evidence() -> TpmAttestation {
    serde_json::from_str(include_str!("evidence.json")).unwrap()
}

fn serial(name: &str) -> DeviceSerial {
    DeviceSerial::new(name).unwrap()
}

fn judged(change: impl FnOnce(&mut TpmAttestation)) -> Result<(), TpmEvidenceError> {
    let mut evidence = evidence();
    change(&mut evidence);
    check(&evidence, &serial("PI_CAMERA_001"))
}

/// The text's bytes changed.
fn bytes_changed(text: &mut String, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = base64::decode_bounded(text, MAX_PART).unwrap();
    change(&mut bytes);
    *text = base64::encode(bytes);
}

#[test]
fn evidence_of_a_real_tpm_holds_with_its_certificate_and_without() {
    judged(|_| ()).unwrap();
    judged(|evidence| evidence.endorsement_certificate = None).unwrap();
}

#[test]
fn evidence_serves_for_its_own_camera_alone() {
    assert_eq!(check(&evidence(), &serial("PI_CAMERA_002")), Err(TpmEvidenceError::Statement));
}

#[test]
fn keys_that_could_leave_the_tpm_or_sign_anything_are_refused() {
    // The attributes are the four bytes after type and name algorithm.
    for bit in [1, 4, 5, 16, 17, 18] {
        let flip = |bytes: &mut Vec<u8>| bytes[7 - bit / 8] ^= 1 << (bit % 8);
        for (what, text) in [("endorsement_key", 0), ("attestation_key", 1), ("storage_key", 2)] {
            let refused = judged(|evidence| {
                let keys = [&mut evidence.endorsement_key, &mut evidence.attestation_key, &mut evidence.storage_key];
                bytes_changed(keys.into_iter().nth(text).unwrap(), flip);
            });
            assert_eq!(refused, Err(TpmEvidenceError::Attributes(what)), "bit {bit}");
        }
    }
}

#[test]
fn another_storage_key_statement_signature_or_certificate_is_refused() {
    let other = judged(|evidence| evidence.storage_key.clone_from(&evidence.endorsement_key));
    assert_eq!(other, Err(TpmEvidenceError::Statement), "the endorsement key was not certified");
    let changed = judged(|evidence| bytes_changed(&mut evidence.certify_info, |bytes| bytes[60] ^= 1));
    assert_eq!(changed, Err(TpmEvidenceError::Signature));
    let changed = judged(|evidence| bytes_changed(&mut evidence.signature, |bytes| bytes[40] ^= 1));
    assert_eq!(changed, Err(TpmEvidenceError::Signature));
    let short = judged(|evidence| evidence.signature = base64::encode([1; 63]));
    assert_eq!(short, Err(TpmEvidenceError::Signature));
    let certificate = judged(|evidence| evidence.endorsement_key.clone_from(&evidence.storage_key));
    assert_eq!(certificate, Err(TpmEvidenceError::Certificate), "of another key");
    let certificate = judged(|evidence| evidence.endorsement_certificate = Some(base64::encode([0x30; 90])));
    assert_eq!(certificate, Err(TpmEvidenceError::Certificate));
    let long = judged(|evidence| evidence.certify_info = base64::encode([0; 5000]));
    assert_eq!(long, Err(TpmEvidenceError::Encoding("certify_info")));
}

#[test]
fn cut_or_prolonged_structures_are_refused() {
    let whole = base64::decode_bounded(&evidence().attestation_key, MAX_PART).unwrap();
    for length in 0..whole.len() {
        assert!(Public::parse(&whole[..length]).is_none(), "{length}");
    }
    assert!(Public::parse(&[whole.as_slice(), &[0]].concat()).is_none());
    let whole = base64::decode_bounded(&evidence().certify_info, MAX_PART).unwrap();
    for length in 0..whole.len() {
        assert!(CertifyInfo::parse(&whole[..length]).is_none(), "{length}");
    }
    assert!(CertifyInfo::parse(&[whole.as_slice(), &[0]].concat()).is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Public::parse(&bytes);
        let _ = CertifyInfo::parse(&bytes);
    }

    #[test]
    fn one_changed_byte_anywhere_is_never_taken(place in 0usize..10_000, change in 1u8..) {
        let parts = [0, 1, 2, 3];
        let part = parts[place % parts.len()];
        let judged = judged(|evidence| {
            let texts =
                [&mut evidence.attestation_key, &mut evidence.storage_key, &mut evidence.certify_info, &mut evidence.signature];
            bytes_changed(texts.into_iter().nth(part).unwrap(), |bytes| {
                let place = place / parts.len() % bytes.len();
                bytes[place] ^= change;
            });
        });
        prop_assert!(judged.is_err());
    }
}
