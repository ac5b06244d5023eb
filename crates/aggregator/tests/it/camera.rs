//! A camera that seals version 2 tokens, with keys that the scripted authority knows.

use std::sync::atomic::{AtomicU64, Ordering};

use birthmark_core::endorsement::{CaptureDigest, PublicKey};
use birthmark_core::ids::{KeyIndex, TableId};
use birthmark_core::submission::Submission;
use birthmark_core::token::v2::Seal;
use birthmark_core::token::{Binding, Blinding, NucHash, TokenJson};
use birthmark_service::random::OsRng;
use serde_json::{Value, json};

use crate::sma::{GOOD, device_key, signing_key, table_key, token_secret};
use crate::world::{World, submission};

static COUNTER: AtomicU64 = AtomicU64::new(1);

/// A photo's submission with a version 2 token, which passes and is endorsed under key 1.
pub(crate) fn bound(world: &World, number: u8) -> Value {
    sealed_for(world, &submission(number), GOOD, 1)
}

/// The same photo under a fresh version 2 token of a table, blinded for a key of `vectors/keys`.
pub(crate) fn sealed_for(world: &World, photo: &Value, table: u64, key: u8) -> Value {
    let network = world.network.network_id();
    let body = Submission::from_json(photo.to_string().as_bytes()).unwrap().body().encode();
    let spki = signing_key(key).public_key().unwrap().to_der().unwrap();
    let key = PublicKey::from_spki(&spki).unwrap();
    let blinded = key.blind(&CaptureDigest::of(network, key.id(), &body), &mut OsRng).unwrap();
    let mut blinding = Blinding { enc: [0; 32], key_id: key.id(), blinded_message: blinded.blinded_message.clone() };
    let seal = Seal {
        network,
        token_key: token_secret().public(),
        table: (TableId::new(u16::try_from(table).unwrap()).unwrap(), &table_key(table)),
        key_index: KeyIndex::new(7).unwrap(),
        commitment: &blinding.commitment(),
        nuc_hash: &NucHash::from_bytes([9; 32]),
        device_key: &device_key(),
        counter: COUNTER.fetch_add(1, Ordering::Relaxed),
    };
    let (token, enc) = seal.seal(&mut OsRng).unwrap();
    blinding.enc = enc;
    let mut sealed = photo.clone();
    sealed["camera_token"] =
        json!(TokenJson::of(&token, Some(&Binding { blinding, inverse: blinded.inverse.clone() })));
    sealed
}
