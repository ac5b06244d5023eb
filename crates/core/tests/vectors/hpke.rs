//! `rfc9180.json`: the library's functions that `token::v2` calls, with the suite that it names.

use std::convert::Infallible;

use ::hpke::aead::{AeadTag, AesGcm256};
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::X25519HkdfSha256;
use ::hpke::{Deserializable as _, Kem, OpModeR, OpModeS, PskBundle, Serializable as _};
use birthmark_core::hex;
use birthmark_core::token::v2::TokenSecretKey;
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;

use crate::frame::{bytes, read, text};

/// Gives the ephemeral key's input once.
struct Once(Option<Vec<u8>>);

impl TryRng for Once {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("keys are drawn as bytes")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("keys are drawn as bytes")
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        to.copy_from_slice(&self.0.take().expect("one key"));
        Ok(())
    }
}

impl TryCryptoRng for Once {}

#[test]
fn rfc9180_json() {
    let file: Value = serde_json::from_str(&read("rfc9180.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 1);
    for case in cases {
        let suite = ["mode", "kem_id", "kdf_id", "aead_id"].map(|field| case[field].as_u64().unwrap());
        assert_eq!(suite, [1, 0x20, 1, 2]);
        let [info, psk, psk_id, enc] = ["info", "psk", "psk_id", "enc"].map(|field| bytes(case, field));
        // The recipient's keys, as an authority derives its own.
        let seed: [u8; 32] = hex::decode_array(text(case, "ikmR")).unwrap();
        assert_eq!(TokenSecretKey::from_seed(&seed).public().to_string(), text(case, "pkRm"));
        let (_, public) = X25519HkdfSha256::derive_keypair(&seed);
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&bytes(case, "skRm")).unwrap();

        let mode = OpModeS::Psk(PskBundle::new(&psk, &psk_id).unwrap());
        let mut rng = Once(Some(bytes(case, "ikmE")));
        let (sent, mut sender) =
            ::hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&mode, &public, &info, &mut rng)
                .unwrap();
        assert_eq!(sent.to_bytes().as_slice(), enc);
        let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&enc).unwrap();
        for (number, message) in case["encryptions"].as_array().unwrap().iter().enumerate() {
            let [aad, plaintext, sealed] = ["aad", "pt", "ct"].map(|field| bytes(message, field));
            let mut out = plaintext.clone();
            let tag = sender.seal_inout_detached(out.as_mut_slice().into(), &aad).unwrap();
            assert_eq!([out.as_slice(), &tag.to_bytes()].concat(), sealed, "message {number}");
            if number > 0 {
                continue;
            }
            // A token is the first message of its own context.
            let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
            let mut opened = ciphertext.to_vec();
            ::hpke::single_shot_open_inout_detached::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Psk(PskBundle::new(&psk, &psk_id).unwrap()),
                &secret,
                &enc,
                &info,
                opened.as_mut_slice().into(),
                &aad,
                &AeadTag::from_bytes(tag).unwrap(),
            )
            .unwrap();
            assert_eq!(opened, plaintext);
        }
    }
}
