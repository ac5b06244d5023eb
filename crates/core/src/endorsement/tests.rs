use rand::SeedableRng;
use rand::rngs::StdRng;

use super::testing::{public_key, secret_key, sign};
use super::*;

const NETWORK: NetworkId = NetworkId(Digest::from_bytes([3; 32]));

fn digest(body: &[u8]) -> CaptureDigest {
    CaptureDigest::of(NETWORK, public_key(1).id(), body)
}

fn blinded(body: &[u8]) -> Blinded {
    public_key(1).blind(&digest(body), &mut StdRng::seed_from_u64(1)).unwrap()
}

#[test]
fn what_was_signed_blindly_verifies_under_the_capture_and_nothing_else() {
    let (key, blinded) = (public_key(1), blinded(b"photo"));
    let signature = sign(1, &blinded.blinded_message);
    let endorsement = key.finish(&digest(b"photo"), &blinded.blinded_message, &blinded.inverse, &signature).unwrap();
    assert_eq!(endorsement.key_id, key.id());
    assert_eq!(Endorsement::decode(&endorsement.encode()), Ok(endorsement.clone()));
    assert_eq!(key.verify(&digest(b"photo"), &endorsement.signature), Ok(()));
    assert_eq!(key.verify(&digest(b"other"), &endorsement.signature), Err(EndorsementError::Signature));
    assert_eq!(public_key(2).verify(&digest(b"photo"), &endorsement.signature), Err(EndorsementError::Signature));
    let mut changed = endorsement.signature;
    changed[100] ^= 1;
    assert_eq!(key.verify(&digest(b"photo"), &changed), Err(EndorsementError::Signature));
}

#[test]
fn two_blindings_of_one_capture_have_nothing_in_common() {
    let (key, mut rng) = (public_key(1), StdRng::seed_from_u64(2));
    let [a, b] = [(); 2].map(|()| key.blind(&digest(b"photo"), &mut rng).unwrap());
    assert_ne!(a.blinded_message, b.blinded_message);
    assert_ne!(a.inverse, b.inverse);
}

#[test]
fn fault_is_put_where_it_belongs() {
    let (key, blinded) = (public_key(1), blinded(b"photo"));
    let good = sign(1, &blinded.blinded_message);
    let finish = |digest: &CaptureDigest, inverse: &[u8], signature: &[u8]| {
        key.finish(digest, &blinded.blinded_message, inverse, signature)
    };
    // The camera's: another capture, another inverse.
    assert_eq!(finish(&digest(b"other"), &blinded.inverse, &good), Err(FinishError::Binding));
    let mut inverse = blinded.inverse.clone();
    inverse[200] ^= 1;
    assert_eq!(finish(&digest(b"photo"), &inverse, &good), Err(FinishError::Binding));
    assert_eq!(finish(&digest(b"photo"), &[0xff; 256], &good), Err(FinishError::Binding));
    assert_eq!(finish(&digest(b"photo"), &[0; 256], &good), Err(FinishError::Binding));
    assert_eq!(finish(&digest(b"photo"), &blinded.inverse[..255], &good), Err(FinishError::Binding));
    // The authority's: bytes that are no signature of the message, whatever their length.
    let mut wrong = good.clone();
    wrong[200] ^= 1;
    let other = sign(2, &sign_base());
    for signature in [wrong.as_slice(), &[], &good[..255], &[0; 256], &[0xff; 256], &[0xff; 512], &other] {
        assert_eq!(finish(&digest(b"photo"), &blinded.inverse, signature), Err(FinishError::BlindSignature));
    }
}

fn sign_base() -> Vec<u8> {
    let mut small = vec![0; 256];
    small[255] = 2;
    small
}

#[test]
fn key_is_read_in_one_form_only() {
    let spki = secret_key(1).public_key().unwrap().to_der().unwrap();
    assert_eq!(PublicKey::from_spki(&spki).unwrap().id(), EndorsementKeyId::of_spki(&spki));
    let pkcs1 = &spki[24..];
    for bad in [b"".as_slice(), b"bytes", pkcs1, &spki[..spki.len() - 1], &[spki.as_slice(), &[0]].concat()] {
        assert_eq!(PublicKey::from_spki(bad), Err(KeyError), "{} bytes", bad.len());
    }
    // Another exponent, an even modulus.
    let mut exponent = spki.clone();
    *exponent.last_mut().unwrap() = 3;
    assert_eq!(PublicKey::from_spki(&exponent), Err(KeyError));
    for at in 0..spki.len() {
        let mut changed = spki.clone();
        changed[at] ^= 0x40;
        if let Ok(key) = PublicKey::from_spki(&changed) {
            assert_ne!(key.id(), public_key(1).id());
        }
    }
}

#[test]
fn endorsements_of_other_lengths_are_refused() {
    for len in [0, 7, 8, 263, 521, 4096] {
        assert_eq!(Endorsement::decode(&vec![1; len]), Err(EndorsementError::Length), "{len}");
    }
    assert!(Endorsement::decode(&[1; 264]).is_ok());
    assert!(Endorsement::decode(&[1; 520]).is_ok());
}

#[test]
fn debug_shows_neither_inverse_nor_message() {
    assert_eq!(format!("{:?}", blinded(b"photo")), "Blinded(redacted)");
}
