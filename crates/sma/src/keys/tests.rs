use std::collections::HashSet;

use birthmark_core::hex;

use super::*;

fn master() -> MasterKey {
    MasterKey::from_slice(&[7; 32]).unwrap()
}

fn keys() -> Keys {
    Keys::derive(&master())
}

/// Computed with an independent implementation of RFC 5869 and RFC 2104 (Python's `hmac`).
#[test]
fn derivations_have_their_known_answers() {
    let keys = keys();
    let table = |id| hex::encode(keys.table(TableId::new(id).unwrap()).unwrap().expose());
    assert_eq!(table(0), "f3fbf8a0b67bb045a9e20bc793e1a9826c7d52fe80cac9415e92db6f5012d478");
    assert_eq!(table(2499), "d972a228e9b1d3ade5bbaf1ee460718fdfcf05f837efdef8bddd7e6708811a74");
    assert_eq!(hex::encode(master().check()), "ba8333ec1d4610da48e2f9e2d4e8e39b");
    assert_eq!(
        hex::encode(keys.nuc_digest(&NucHash::from_bytes([9; 32])).0),
        "165777dea733e89d846dd976135e2df023a531a0e4312ee5fab2c68afb2811c7"
    );
    assert_eq!(
        hex::encode(keys.repeat_mac(&[b"ab", b"c"])),
        "e96b27323986ffca8fc318cc5c128dfea38095656b0ef79bd2912fb6df0ebe67"
    );
    let first: Vec<u16> = keys.order().active(5000).iter().map(|id| id.value()).collect();
    assert_eq!(first, [1326, 1408, 647, 1361, 686]);
}

/// By Python's `hmac`, as above; the token key's public half by `cryptography`.
#[test]
fn secrets_of_version_2_have_their_known_answers() {
    let keys = keys();
    assert_eq!(
        keys.token_secret().public().to_string(),
        "328214a9336c0398bd82463b7ec8070a9814d92b78c06051093c3d89f6ab7431"
    );
    let nuc = keys.nuc_digest(&NucHash::from_bytes([9; 32]));
    for (generation, key) in [
        (0, "fd9d771afb5f0fab00bf68907923c6d606c93c2d4b51e12fde39e9a39f6d33ad"),
        (1, "7908b5095bf494ab832ca3b6b2cc9ad8068f27383da55d93aafa56e56ac27e22"),
        (u32::MAX, "3a5de2affadeebefa5b0d0a86db0d7774add7ec170d58ceb5fe496f3668f0423"),
    ] {
        assert_eq!(hex::encode(keys.device_key(KeyGeneration(generation), nuc).expose()), key, "{generation}");
    }
    assert_eq!(hex::encode(keys.ca_seed()), "3c7d743e02cf29ad4950ddcc58b2b243242e0b7b5f9aa931e700acd623c0d6d0");
    assert_eq!(hex::encode(keys.counter_digest(&[b"ab", b"c"])), "5d2875a325f1ef3e");
}

/// Sealed with Python's `cryptography`.
#[test]
fn row_sealed_elsewhere_opens() {
    let sealed =
        hex::decode_bounded("000102030405060708090a0b6329e1a84eb62414cf7038df091c4ac80bb78782034e", 64).unwrap();
    assert_eq!(keys().row_seal().open(b"endorsement-key\x01", &sealed).unwrap().as_slice(), b"secret");
}

#[test]
fn every_table_has_a_key_of_its_own() {
    let keys = keys();
    let distinct: HashSet<_> = all_tables().map(|id| *keys.table(id).unwrap().expose()).collect();
    assert_eq!(distinct.len(), 2500);
}

#[test]
fn debug_shows_no_secret() {
    let keys = keys();
    assert_eq!(format!("{keys:?}"), "Keys(redacted)");
    assert_eq!(format!("{:?}", master()), "MasterKey(redacted)");
    assert_eq!(format!("{:?}", keys.no_nuc_digest()), "NucDigest(redacted)");
}

#[test]
fn master_key_of_another_length_is_none() {
    assert!(MasterKey::from_slice(&[0; 31]).is_none());
    assert!(MasterKey::from_slice(&[0; 33]).is_none());
    assert_eq!(MasterKey::from_slice(&[5; 32]).unwrap().expose(), &[5; 32]);
}
