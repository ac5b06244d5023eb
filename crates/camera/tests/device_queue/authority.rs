//! An authority with real keys, and the aggregator's part of an endorsement.
//!
//! It opens what the camera seals, keeps to the rules of `docs/PROTOCOL.md` sections 5 and 6, signs
//! blindly, and then, as the aggregator, unblinds its own signature and checks it against the body.

use std::collections::BTreeMap;

use birthmark_core::api::validate::Message;
use birthmark_core::endorsement::{CaptureDigest, PublicKey};
use birthmark_core::hash::Digest;
use birthmark_core::ids::NetworkId;
use birthmark_core::keytable::TableKey;
use birthmark_core::network::EndorsementKeyState::Current;
use birthmark_core::network::Network;
use birthmark_core::submission::CameraSubmission;
use birthmark_core::token::v2::{DeviceKey, Opener};
use birthmark_core::token::{Binding, v1};

use super::field::Field;
use super::world;

pub(crate) struct Authority {
    network: NetworkId,
    opener: Opener,
    /// Keys of `vectors/keys` that sign now.
    signing: Vec<u8>,
    /// Digests of the tokens that passed, by their number; none for one that another token has used.
    used: BTreeMap<u64, Option<Digest>>,
    /// Numbers of the tokens that passed, in order, repeats included.
    passed: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Passed, and of version 2 endorsed.
    Passed,
    /// Not passed.
    Failed(Message),
}

#[cfg(test)]
impl Authority {
    /// One that signs with these keys.
    pub(crate) fn signing(keys: &[u8]) -> Self {
        let network = Network::parse(&world::network(&[(1, Current)])).unwrap().network_id();
        let opener = Opener::new(network, &world::token_secret());
        Self { network, opener, signing: keys.to_vec(), used: BTreeMap::new(), passed: Vec::new() }
    }

    /// Numbers of the tokens that passed, in order.
    pub(crate) fn passed(&self) -> Vec<u64> {
        self.passed.clone()
    }

    /// Goes on as if this number had been used by a token that is lost.
    pub(crate) fn remember(&mut self, number: u64) {
        self.used.insert(number, None);
    }

    pub(crate) fn sign_with(&mut self, keys: &[u8]) {
        self.signing = keys.to_vec();
    }

    pub(crate) fn judge(&mut self, camera: &CameraSubmission) -> Judged {
        let table = TableKey::from_bytes(world::TABLE_KEY);
        let Some(Binding { blinding, inverse }) = &camera.binding else {
            let opened = v1::open(&camera.token, &table).unwrap();
            assert_eq!(opened, Field::nuc_hash());
            return Judged::Passed;
        };
        let opened = self.opener.open(&camera.token, &blinding.enc, &blinding.commitment(), &table);
        let opened = match opened {
            Ok(opened) if opened.is_from(&DeviceKey::from_bytes(world::DEVICE_KEY)) => opened,
            Ok(_) | Err(_) => return Judged::Failed(Message::Invalid),
        };
        assert_eq!(opened.nuc_hash, Field::nuc_hash());
        let number = opened.counter;
        let digest = Digest::of_parts(&[&camera.token.nonce, &camera.token.ciphertext, &camera.token.auth_tag]);
        let highest = self.used.keys().last().copied().unwrap_or_default();
        match self.used.get(&number) {
            Some(Some(same)) if *same == digest => {}
            Some(_) if number + WINDOW > highest => return Judged::Failed(Message::Used),
            _ if number + WINDOW <= highest => return Judged::Failed(Message::Stale),
            _ => {}
        }
        let signer = self.signing.iter().find(|key| world::endorsement_key(**key, Current).key_id == blinding.key_id);
        let Some(signer) = signer else { return Judged::Failed(Message::Rekey) };
        self.used.insert(number, Some(digest));
        self.passed.push(number);

        // Blind: from here on the authority's part ends and the aggregator's begins.
        let signature = world::rsa(*signer).blind_sign(&blinding.blinded_message).unwrap().0;
        let key = PublicKey::from_spki(&world::endorsement_key(*signer, Current).spki).unwrap();
        let body = camera.body.encode();
        let digest = CaptureDigest::of(self.network, key.id(), &body);
        let endorsement =
            key.finish(&digest, &blinding.blinded_message, inverse, &signature).expect("camera's binding");
        key.verify(&digest, &endorsement.signature).expect("an endorsement of this body");
        Judged::Passed
    }
}

/// Numbers that are remembered.
const WINDOW: u64 = 1024;
