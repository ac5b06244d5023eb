use proptest::prelude::*;
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

/// RFC 9474 appendix A.3: a message that is no digest of ours, under a key of 4096 bits.
#[test]
fn rfc_9474_known_answer() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../../../vectors/rfc9474.json")).unwrap();
    let [case] = file["cases"].as_array().unwrap().as_slice() else { panic!("one case of our suite") };
    assert_eq!(case["name"], "RSABSSA-SHA384-PSS-Deterministic");
    let [n, e, message, inverse, blinded_message, blind_signature, signature, encoded] =
        ["n", "e", "prepared_msg", "inv", "blinded_msg", "blind_sig", "sig", "encoded_msg"]
            .map(|field| crate::hex::decode_bounded(case[field].as_str().unwrap(), MAX_MODULUS).unwrap());
    let number = |bytes: &[u8]| BoxedUint::from_be_slice_vartime(bytes);
    let key = rsa::RsaPublicKey::new(number(&n), number(&e)).unwrap();
    let spki = PublicKeySha384PSSDeterministic::new(key).to_der().unwrap();
    let key = PublicKey::from_spki(&spki).unwrap();
    assert_eq!((key.modulus_len(), &key.modulus), (MAX_MODULUS, &n));
    assert_eq!(key.undo(&blind_signature).as_ref(), Some(&blinded_message));
    assert_eq!(key.undo(&signature).as_ref(), Some(&encoded));
    assert_eq!(key.finish_message(&message, &blinded_message, &inverse, &blind_signature).as_ref(), Ok(&signature));
    assert_eq!(key.verify_message(&message, &signature), Ok(()));
    assert_eq!(key.verify_message(&encoded, &signature), Err(EndorsementError::Signature));
    let other = key.finish_message(&encoded, &blinded_message, &inverse, &blind_signature);
    assert_eq!(other, Err(FinishError::Binding));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_capture_can_be_endorsed_blindly(body: Vec<u8>, network: [u8; 32], seed: u64) {
        let key = public_key(1);
        let digest = CaptureDigest::of(NetworkId(Digest::from_bytes(network)), key.id(), &body);
        let blinded = key.blind(&digest, &mut StdRng::seed_from_u64(seed)).unwrap();
        prop_assert!(key.is_residue(&blinded.blinded_message));
        let signature = sign(1, &blinded.blinded_message);
        let endorsement = key.finish(&digest, &blinded.blinded_message, &blinded.inverse, &signature).unwrap();
        prop_assert_eq!(key.verify(&digest, &endorsement.signature), Ok(()));
    }

    #[test]
    fn any_bytes_are_refused_without_panic(
        signature in prop::collection::vec(any::<u8>(), 0..600),
        inverse in prop::collection::vec(any::<u8>(), 256),
        same_length: [[u8; 32]; 8],
    ) {
        let (key, blinded) = (public_key(1), blinded(b"photo"));
        for signature in [signature.as_slice(), &same_length.concat()] {
            prop_assert_eq!(key.verify(&digest(b"photo"), signature), Err(EndorsementError::Signature));
            let finished = key.finish(&digest(b"photo"), &blinded.blinded_message, &inverse, signature);
            prop_assert!(finished.is_err());
        }
        prop_assert!(PublicKey::from_spki(&signature).is_err());
    }
}

proptest! {
    #[test]
    fn every_endorsement_round_trips(id: [u8; 8], signature in prop::collection::vec(any::<u8>(), 0..600)) {
        let bytes = [id.as_slice(), &signature].concat();
        let fits = (MIN_MODULUS..=MAX_MODULUS).contains(&signature.len());
        match Endorsement::decode(&bytes) {
            Ok(read) => {
                prop_assert!(fits);
                prop_assert_eq!((read.key_id.as_bytes(), &read.signature), (&id, &signature));
                prop_assert_eq!(read.encode(), bytes);
            }
            Err(refused) => prop_assert!(!fits && refused == EndorsementError::Length),
        }
    }

    /// Whatever a changed byte makes of a key, it is another key or none.
    #[test]
    fn a_changed_byte_of_a_key_never_gives_the_same_key(at: prop::sample::Index, byte: u8) {
        let mut spki = secret_key(1).public_key().unwrap().to_der().unwrap();
        let good = spki.clone();
        let at = at.index(spki.len());
        spki[at] = byte;
        if let Ok(key) = PublicKey::from_spki(&spki) {
            prop_assert_eq!(key.id() == public_key(1).id(), spki == good);
            prop_assert_eq!(key == public_key(1), spki == good);
        }
    }
}
