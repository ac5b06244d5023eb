//! Attacks that make a token, or change one: by strangers, and by a camera that shares a table.

use birthmark_core::network::EndorsementKeyId;
use birthmark_core::token::v1;
use birthmark_core::token::v2::{Opener, TokenSecretKey};

use super::*;
use crate::keys::{Keys, MasterKey};

fn secrets(authority: &Authority) -> Keys {
    let master = std::fs::read(authority.folder.path().join("master.key")).unwrap();
    Keys::derive(&MasterKey::from_slice(&master).unwrap())
}

#[tokio::test]
async fn swapped_photo_is_not_endorsed() {
    let scene = Scene::new().await;
    let (camera, photo, other) = (scene.authority.camera(1).await, scene.photo(1), scene.photo(2));
    let bound = scene.seal(&camera, &photo, 1);
    let mut swapped = bound.clone();
    swapped.blinding.blinded_message.clone_from(&other.blinded.blinded_message);
    scene.expect_invalid(&swapped.question(), "before the real one").await;
    scene.expect_endorsed(&bound, &photo).await;
    scene.expect_invalid(&swapped.question(), "after the real one").await;
    let endorsed = scene.hear(&bound.question()).await.blind_signature();
    let Blinded { blinded_message, inverse } = &other.blinded;
    scene.public.key.finish(&other.digest, blinded_message, inverse, &endorsed).unwrap_err();
}

#[tokio::test]
async fn token_of_a_table_that_is_not_the_cameras_fails() {
    let scene = Scene::new().await;
    let (camera, keys) = (scene.authority.camera(1).await, secrets(&scene.authority));
    let own: Vec<TableId> = camera.config.tables.iter().map(|grant| grant.table_id).collect();
    let foreign = (0..=TableId::MAX).map(|id| TableId::new(id).unwrap()).find(|id| !own.contains(id)).unwrap();
    let photo = scene.photo(1);
    let seal_2 = |id| {
        let (table, blinding) = ((id, keys.table(id).unwrap()), photo.blinding(&scene.public.key));
        scene.public.seal_by(table, &camera.nuc_hash, &device_key(&camera), (blinding, 1))
    };
    let seal_1 = |id| {
        let table = (id, keys.table(id).unwrap());
        question(&v1::seal(table, KeyIndex::new(7).unwrap(), &camera.nuc_hash, &mut OsRng))
    };
    scene.expect_invalid(&seal_1(foreign), "version 1").await;
    scene.expect_invalid(&seal_2(foreign).question(), "version 2").await;
    // What was derived here are the real keys.
    assert_eq!(scene.hear(&seal_1(own[1])).await.message(), "token_valid");
    scene.expect_endorsed(&seal_2(own[2]), &photo).await;
}

#[tokio::test]
async fn same_table_forger_makes_no_token_of_another_camera() {
    let scene = Scene::new().await;
    let (victim, forger) = (scene.authority.camera(1).await, scene.authority.camera(2).await);
    // Few tables are active: all cameras have all of them.
    let table = victim.table_keys().remove(0);
    assert!(forger.table_keys().iter().any(|(id, _)| *id == table.0), "they share the table");
    let photo = scene.photo(1);
    let seal = |nuc_hash: &NucHash, key: &DeviceKey| {
        let blinding = photo.blinding(&scene.public.key);
        scene.public.seal_by((table.0, &table.1), nuc_hash, key, (blinding, 1))
    };
    let impostor = seal(&victim.nuc_hash, &device_key(&forger));
    scene.expect_invalid(&impostor.question(), "the victim's fingerprint, the forger's key").await;
    let guessed = seal(&victim.nuc_hash, &DeviceKey::from_bytes([0; 32]));
    scene.expect_invalid(&guessed.question(), "the victim's fingerprint, a guessed key").await;
    let lent = seal(&forger.nuc_hash, &device_key(&victim));
    scene.expect_invalid(&lent.question(), "the forger's fingerprint, the victim's key").await;
    let stranger = seal(&NucHash::from_bytes([0x77; 32]), &device_key(&forger));
    scene.expect_invalid(&stranger.question(), "a fingerprint of no camera").await;
    // None of them has used up the victim's number.
    scene.expect_endorsed(&seal(&victim.nuc_hash, &device_key(&victim)), &photo).await;
}

#[tokio::test]
async fn same_table_reader_opens_nothing() {
    let scene = Scene::new().await;
    let (victim, reader) = (scene.authority.camera(1).await, scene.authority.camera(2).await);
    let Bound { token, blinding } = scene.seal(&victim, &scene.photo(1), 1);
    let tables = reader.table_keys();
    let table = &tables.iter().find(|(id, _)| *id == token.table_id).expect("they share the table").1;
    let open = |secret: &TokenSecretKey, network| {
        Opener::new(network, secret).open(&token, &blinding.enc, &blinding.commitment(), table)
    };
    for seed in [[0; 32], [7; 32], *device_key(&reader).expose()] {
        open(&TokenSecretKey::from_seed(&seed), testing::network()).unwrap_err();
    }
    // The seed's way: the table's key alone is enough for version 1, and only there.
    v1::open(&token, table).unwrap_err();
    let real = secrets(&scene.authority);
    let opened = open(real.token_secret(), testing::network()).unwrap();
    assert_eq!(opened.nuc_hash, victim.nuc_hash);
    assert!(opened.is_from(&device_key(&victim)) && !opened.is_from(&device_key(&reader)));
}

#[tokio::test]
async fn truncated_or_extended_ciphertext_never_passes() {
    let scene = Scene::new().await;
    let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
    let (one, two) = (camera.seal(), scene.seal(&camera, &photo, 1));
    for length in 1..=128 {
        let cut = |token: &SealedToken| {
            let mut token = token.clone();
            token.ciphertext.resize(length, 0);
            token
        };
        let mut bound = two.question();
        bound["camera_token"] = wire(&cut(&one));
        if length == 56 {
            scene.expect_malformed(&question(&cut(&one)), "version 1 as long as version 2").await;
            scene.expect_malformed(&question(&two.token), "version 2 bare").await;
            scene.expect_invalid(&bound, "version 1 as long as version 2, with the rest").await;
        } else {
            if length != 32 {
                scene.expect_invalid(&question(&cut(&one)), &format!("version 1, {length} bytes")).await;
            }
            scene.expect_invalid(&question(&cut(&two.token)), &format!("version 2 bare, {length} bytes")).await;
            scene.expect_malformed(&bound, &format!("version 1 bound, {length} bytes")).await;
            bound["camera_token"] = wire(&cut(&two.token));
            scene.expect_malformed(&bound, &format!("version 2, {length} bytes")).await;
        }
    }
    for length in [0, 129] {
        let mut asked = two.question();
        asked["camera_token"]["ciphertext"] = json!("00".repeat(length));
        scene.expect_malformed(&asked, "a length that no token has").await;
    }
    assert_eq!(scene.authority.uses(), 0);
    assert_eq!(scene.hear(&question(&one)).await.message(), "token_valid");
    scene.expect_endorsed(&two, &photo).await;
}

#[tokio::test]
async fn flipped_bit_in_any_field_of_version_1_fails() {
    let scene = Scene::new().await;
    let real = scene.authority.camera(1).await.seal();
    for (bit, at) in [1, 0x80].into_iter().flat_map(|bit| (0..60).map(move |at| (bit, at))) {
        let mut forged = real.clone();
        match at {
            0..32 => forged.ciphertext[at] ^= bit,
            32..48 => forged.auth_tag[at - 32] ^= bit,
            _ => forged.nonce[at - 48] ^= bit,
        }
        scene.expect_invalid(&question(&forged), &format!("byte {at}, bit {bit:#x}")).await;
    }
    for forged in flipped_numbers(&real) {
        scene.expect_invalid(&question(&forged), "table or index").await;
    }
    assert_eq!(scene.authority.uses(), 0);
    assert_eq!(scene.hear(&question(&real)).await.message(), "token_valid");
}

#[tokio::test]
async fn flipped_bit_in_any_field_of_version_2_fails() {
    let scene = Scene::new().await;
    let (camera, photo) = (scene.authority.camera(1).await, scene.photo(1));
    let real = scene.seal(&camera, &photo, 1);
    let fields: [(&str, usize, Field); 5] = [
        ("ciphertext", 56, |bound| &mut bound.token.ciphertext),
        ("tag", 16, |bound| &mut bound.token.auth_tag),
        ("nonce", 12, |bound| &mut bound.token.nonce),
        // X25519 ignores the highest bit, HPKE does not.
        ("enc", 32, |bound| &mut bound.blinding.enc),
        ("blinded_message", 256, |bound| &mut bound.blinding.blinded_message),
    ];
    for (name, length, field) in fields {
        for (bit, at) in [1, 0x80].into_iter().flat_map(|bit| (0..length).map(move |at| (bit, at))) {
            let mut forged = real.clone();
            assert_eq!(field(&mut forged).len(), length);
            field(&mut forged)[at] ^= bit;
            let what = format!("{name}, byte {at}, bit {bit:#x}");
            if scene.public.key.is_residue(&forged.blinding.blinded_message) {
                scene.expect_invalid(&forged.question(), &what).await;
            } else {
                scene.expect_malformed(&forged.question(), &what).await;
            }
        }
    }
    for bit in 0..64 {
        let id = u64::from_be_bytes(*real.blinding.key_id.as_bytes()) ^ (1 << bit);
        let mut forged = real.clone();
        forged.blinding.key_id = EndorsementKeyId::from_bytes(id.to_be_bytes());
        scene.expect_invalid(&forged.question(), &format!("key_id, bit {bit}")).await;
    }
    for token in flipped_numbers(&real.token) {
        let forged = Bound { token, ..real.clone() };
        scene.expect_invalid(&forged.question(), "table or index").await;
    }
    // All that used nothing up.
    scene.expect_endorsed(&real, &photo).await;
}

/// The bytes of one field.
type Field = fn(&mut Bound) -> &mut [u8];

/// The token with every bit of its table and index flipped that leaves them in range.
fn flipped_numbers(token: &SealedToken) -> Vec<SealedToken> {
    let flipped = |value: u16| (0..12).map(move |bit| value ^ (1 << bit));
    let tables = flipped(token.table_id.value()).filter_map(|id| TableId::new(id).ok());
    let tables = tables.map(|table_id| SealedToken { table_id, ..token.clone() });
    let indexes = flipped(token.key_index.value()).filter_map(|index| KeyIndex::new(index).ok());
    tables.chain(indexes.map(|key_index| SealedToken { key_index, ..token.clone() })).collect()
}
