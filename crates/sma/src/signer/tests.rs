use birthmark_core::endorsement::CaptureDigest;
use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::NetworkId;
use birthmark_service::random::OsRng;
use rand_core::Rng;
use rsa::BoxedUint;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};

use super::software::SoftwareSigner;
use super::testing::{pkcs8, software};
use super::*;

/// Every signer that this program can be built with.
fn signers(pkcs8: &[u8]) -> Vec<Arc<dyn Signer>> {
    vec![
        Arc::new(SoftwareSigner::from_pkcs8(pkcs8).unwrap()),
        #[cfg(feature = "openssl")]
        Arc::new(openssl::OpenSslSigner::from_pkcs8(pkcs8).unwrap()),
    ]
}

/// The known answer of RFC 9474, appendix A.3.
struct Vector {
    pkcs8: Vec<u8>,
    blinded_message: Vec<u8>,
    blind_signature: Vec<u8>,
}

impl Vector {
    fn read() -> Self {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../../../vectors/rfc9474.json")).unwrap();
        let case = &file["cases"][0];
        assert_eq!(case["name"], "RSABSSA-SHA384-PSS-Deterministic");
        let bytes = |field: &str| hex::decode_bounded(case[field].as_str().unwrap(), 512).unwrap();
        let number = |field: &str, bits| BoxedUint::from_be_slice(&bytes(field), bits).unwrap();
        let primes = vec![number("p", 2048), number("q", 2048)];
        let key = rsa::RsaPrivateKey::from_components(number("n", 4096), number("e", 32), number("d", 4096), primes);
        Self {
            pkcs8: key.unwrap().to_pkcs8_der().unwrap().as_bytes().to_vec(),
            blinded_message: bytes("blinded_msg"),
            blind_signature: bytes("blind_sig"),
        }
    }
}

#[test]
fn blind_signature_is_the_rfcs() {
    let vector = Vector::read();
    for signer in signers(&vector.pkcs8) {
        assert_eq!(signer.modulus_len(), 512);
        assert_eq!(signer.sign(&vector.blinded_message).unwrap(), vector.blind_signature, "{signer:?}");
    }
}

#[test]
fn what_is_signed_unblinds_to_an_endorsement() {
    for signer in signers(&pkcs8(1)) {
        let key = signer.public_key();
        let network = NetworkId(Digest::of_parts(&[b"network"]));
        let digest = CaptureDigest::of(network, key.id(), b"body");
        let blinded = key.blind(&digest, &mut OsRng).unwrap();
        let signature = signer.sign(&blinded.blinded_message).unwrap();
        let endorsement = key.finish(&digest, &blinded.blinded_message, &blinded.inverse, &signature).unwrap();
        assert_eq!(endorsement.key_id, signer.key_id());
        key.verify(&digest, &endorsement.signature).unwrap();
    }
}

#[test]
fn all_signers_give_the_same_bytes_leading_zeros_included() {
    let signers = signers(&pkcs8(1));
    let mut message = [0; 256];
    for round in 0..32 {
        OsRng.fill_bytes(&mut message);
        message[0] &= 0x3f;
        if round < 2 {
            // 0 and 1 are their own signatures: the result must be filled up to the modulus length.
            message = [0; 256];
            message[255] = round;
        }
        let answers: Vec<_> = signers.iter().map(|signer| signer.sign(&message).unwrap()).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{message:?}");
        assert_eq!(answers[0].len(), 256);
        if round < 2 {
            assert_eq!(answers[0], message);
        }
    }
}

#[test]
fn messages_of_another_length_or_not_below_the_modulus_are_the_callers_fault() {
    for signer in signers(&pkcs8(1)) {
        for length in [0, 1, 255, 257, 512] {
            let error = signer.sign(&vec![1; length]).unwrap_err();
            assert!(matches!(error, SignError::Length { expected: 256, got } if got == length), "{error}");
            assert!(error.is_callers_fault());
        }
        let modulus = modulus(&pkcs8(1));
        for above in [modulus.clone(), vec![0xff; 256]] {
            let error = signer.sign(&above).unwrap_err();
            assert!(matches!(error, SignError::NotBelowModulus), "{error}");
            assert!(error.is_callers_fault());
            assert!(signer.admit(&above).is_err());
        }
        // n - 1 is the greatest message, and its own signature, since d is odd.
        let mut greatest = modulus;
        greatest[255] -= 1;
        signer.admit(&greatest).unwrap();
        assert_eq!(signer.sign(&greatest).unwrap(), greatest);
    }
}

fn modulus(pkcs8: &[u8]) -> Vec<u8> {
    use rsa::traits::PublicKeyParts;
    rsa::RsaPrivateKey::from_pkcs8_der(pkcs8).unwrap().n().as_ref().to_be_bytes().to_vec()
}

#[test]
fn what_is_no_endorsement_key_is_not_loaded() {
    let good = pkcs8(1);
    assert_eq!(load(&good).unwrap().key_id(), software(1).key_id());
    let mut altered = good.clone();
    // Inside the private exponent: the parts no longer fit each other.
    altered[400] ^= 1;
    let extended = [good.as_slice(), &[0]].concat();
    let ed25519 = hex::decode_bounded(&format!("302e020100300506032b657004220420{}", "07".repeat(32)), 64).unwrap();
    for bad in [&[], &good[..good.len() - 1], &altered, &extended, &ed25519] {
        assert!(SoftwareSigner::from_pkcs8(bad).is_err());
        assert!(load(bad).is_err());
    }
}

#[test]
fn debug_shows_the_public_id_alone() {
    for signer in signers(&pkcs8(2)) {
        let shown = format!("{signer:?}");
        assert!(shown.ends_with(&format!("Signer({})", signer.key_id())), "{shown}");
    }
}
