//! What the authority could learn if it kept everything: not which of its endorsements is whose.

use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, RsaPublicKey, hazmat};

use super::*;

/// What the authority saw of one photo besides the camera, and what it gave out.
struct Transcript {
    blinded_message: Vec<u8>,
    blind_signature: Vec<u8>,
}

/// Whichever pair of transcript and endorsement somebody suspects, exactly one blinding factor explains
/// it; and factors are drawn evenly. So every assignment is as likely as every other, whatever the
/// authority computes. Tokens, `enc` and nonces add nothing: they are made from the blinded message and
/// secrets of the camera, never from the photo.
#[tokio::test]
async fn transcript_does_not_tell_which_endorsed_photo_was_which() {
    let scene = Scene::new().await;
    let camera = scene.authority.camera(1).await;
    let mut transcripts = Vec::new();
    let mut published = Vec::new();
    for number in 1..=3 {
        let photo = scene.photo(number);
        let bound = scene.seal(&camera, &photo, u64::from(number));
        let asked = bound.question();
        let blind_signature = scene.hear(&asked).await.blind_signature();
        let endorsement = photo.finish(&scene.public.key, &blind_signature);
        let (digest, signature) = (hex::encode(photo.digest.as_bytes()), hex::encode(&endorsement.signature));
        let seen = format!("{asked}{}", hex::encode(&blind_signature));
        assert!(!seen.contains(&digest) && !seen.contains(&signature), "neither goes past the authority");
        assert!(!seen.contains(&hex::encode(&photo.blinded.inverse)));
        transcripts.push(Transcript { blinded_message: bound.blinding.blinded_message, blind_signature });
        published.push((photo.digest, endorsement));
    }
    let key = rsa_key(&scene).await;
    let mut factors = std::collections::BTreeSet::new();
    for seen in &transcripts {
        for (digest, endorsement) in &published {
            let signature = number(&endorsement.signature);
            // blind_signature = signature · r
            let r = multiply(&key, &number(&seen.blind_signature), &inverse(&key, &signature));
            let encoded = hazmat::rsa_encrypt(&key, &signature).unwrap();
            let blinding = hazmat::rsa_encrypt(&key, &r).unwrap();
            assert_eq!(multiply(&key, &encoded, &blinding), number(&seen.blinded_message), "m · r^e");
            // An aggregator that had been given this factor would have come to this endorsement.
            let explained = scene.public.key.finish(
                digest,
                &seen.blinded_message,
                &inverse(&key, &r).to_be_bytes(),
                &seen.blind_signature,
            );
            assert_eq!(explained.as_ref(), Ok(endorsement));
            factors.insert(r.to_be_bytes());
        }
    }
    assert_eq!(factors.len(), 9, "each pair has a factor of its own");
    // A photo that was never endorsed is explained by none of them.
    let (stranger, seen) = (scene.photo(9), &transcripts[0]);
    let r = multiply(&key, &number(&seen.blind_signature), &inverse(&key, &number(&published[0].1.signature)));
    let undo = inverse(&key, &r).to_be_bytes();
    scene.public.key.finish(&stranger.digest, &seen.blinded_message, &undo, &seen.blind_signature).unwrap_err();
}

async fn rsa_key(scene: &Scene) -> RsaPublicKey {
    let statement = scene.authority.sma.statement().await.unwrap();
    RsaPublicKey::from_public_key_der(&statement.endorsement_keys[0].spki).unwrap()
}

fn number(bytes: &[u8]) -> BoxedUint {
    BoxedUint::from_be_slice(bytes, 2048).unwrap()
}

fn multiply(key: &RsaPublicKey, a: &BoxedUint, b: &BoxedUint) -> BoxedUint {
    a.mul_mod(b, key.n())
}

fn inverse(key: &RsaPublicKey, a: &BoxedUint) -> BoxedUint {
    a.invert_mod(key.n()).unwrap()
}
