use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

struct World {
    secret: TokenSecretKey,
    table_key: TableKey,
    device_key: DeviceKey,
    commitment: Commitment,
}

const NETWORK: NetworkId = NetworkId(Digest::from_bytes([1; 32]));
const OTHER_NETWORK: NetworkId = NetworkId(Digest::from_bytes([2; 32]));
const COUNTER_1: u64 = 0x0102_0304_0506_0708;

fn world() -> World {
    World {
        secret: TokenSecretKey::from_seed(&[4; 32]),
        table_key: TableKey::from_bytes([5; 32]),
        device_key: DeviceKey::from_bytes([6; 32]),
        commitment: Commitment::of(EndorsementKeyId::from_bytes([7; 8]), &[8; 256]),
    }
}

impl World {
    fn seal(&self) -> (SealedToken, [u8; 32]) {
        let seal = Seal {
            network: NETWORK,
            token_key: self.secret.public(),
            table: (TableId::new(42).unwrap(), &self.table_key),
            key_index: KeyIndex::new(7).unwrap(),
            commitment: &self.commitment,
            nuc_hash: &NucHash::from_bytes([9; 32]),
            device_key: &self.device_key,
            counter: COUNTER_1,
        };
        seal.seal(&mut StdRng::seed_from_u64(1)).unwrap()
    }

    fn open(&self, token: &SealedToken, enc: &[u8; 32]) -> Result<OpenedToken, OpenError> {
        Opener::new(NETWORK, &self.secret).open(token, enc, &self.commitment, &self.table_key)
    }
}

#[test]
fn authority_reads_what_the_device_sealed() {
    let world = world();
    let (token, enc) = world.seal();
    assert_eq!(token.ciphertext.len(), V2_CIPHERTEXT);
    let opened = world.open(&token, &enc).unwrap();
    assert_eq!((opened.nuc_hash.expose(), opened.counter), (&[9; 32], COUNTER_1));
    assert!(opened.is_from(&world.device_key));
    assert!(!opened.is_from(&DeviceKey::from_bytes([0; 32])));
}

#[test]
fn everything_that_a_token_is_tied_to_counts() {
    let world = world();
    let (token, enc) = world.seal();
    let forged = |result: Result<OpenedToken, OpenError>| assert_eq!(result.unwrap_err(), OpenError::Forged);
    let opener = Opener::new(NETWORK, &world.secret);
    // Another photo's blinded message, another key's id, network, authority, table key.
    for commitment in [
        Commitment::of(EndorsementKeyId::from_bytes([7; 8]), &[9; 256]),
        Commitment::of(EndorsementKeyId::from_bytes([8; 8]), &[8; 256]),
    ] {
        forged(opener.open(&token, &enc, &commitment, &world.table_key));
    }
    forged(Opener::new(OTHER_NETWORK, &world.secret).open(&token, &enc, &world.commitment, &world.table_key));
    let other = TokenSecretKey::from_seed(&[0; 32]);
    forged(Opener::new(NETWORK, &other).open(&token, &enc, &world.commitment, &world.table_key));
    forged(opener.open(&token, &enc, &world.commitment, &TableKey::from_bytes([0; 32])));
    // The numbers that choose the key are part of it too.
    forged(world.open(&SealedToken { table_id: TableId::new(43).unwrap(), ..token.clone() }, &enc));
    forged(world.open(&SealedToken { key_index: KeyIndex::new(8).unwrap(), ..token.clone() }, &enc));
    // A low-order point as the encapsulated key.
    forged(world.open(&token, &[0; 32]));
    for len in [0, 32, 55, 57, 128] {
        let token = SealedToken { ciphertext: vec![0; len], ..token.clone() };
        assert_eq!(world.open(&token, &enc).unwrap_err(), OpenError::Length);
    }
}

#[test]
fn every_flipped_bit_of_a_token_is_found() {
    let world = world();
    let (token, enc) = world.seal();
    for bit in 0..56 * 8 {
        let mut changed = token.clone();
        changed.ciphertext[bit / 8] ^= 1 << (bit % 8);
        assert!(world.open(&changed, &enc).is_err());
    }
    for bit in 0..16 * 8 {
        let mut changed = token.clone();
        changed.auth_tag[bit / 8] ^= 1 << (bit % 8);
        assert!(world.open(&changed, &enc).is_err());
    }
    for bit in 0..12 * 8 {
        let mut changed = token.clone();
        changed.nonce[bit / 8] ^= 1 << (bit % 8);
        assert!(world.open(&changed, &enc).is_err());
    }
    for bit in 0..32 * 8 {
        let mut enc = enc;
        enc[bit / 8] ^= 1 << (bit % 8);
        assert!(world.open(&token, &enc).is_err(), "bit {bit} of enc");
    }
}

#[test]
fn token_key_that_gives_no_secret_is_refused() {
    let world = world();
    let seal = Seal {
        network: NETWORK,
        token_key: TokenKey::from_bytes([0; 32]),
        table: (TableId::new(42).unwrap(), &world.table_key),
        key_index: KeyIndex::new(7).unwrap(),
        commitment: &world.commitment,
        nuc_hash: &NucHash::from_bytes([9; 32]),
        device_key: &world.device_key,
        counter: 1,
    };
    assert_eq!(seal.seal(&mut StdRng::seed_from_u64(1)), Err(SealError));
}

#[test]
fn debug_shows_no_secret() {
    let world = world();
    assert_eq!(format!("{:?}", world.secret), "TokenSecretKey(redacted)");
    assert_eq!(format!("{:?}", world.device_key), "DeviceKey(redacted)");
    assert_eq!(format!("{:?}", Opener::new(NETWORK, &world.secret)), "Opener(redacted)");
    let (token, enc) = world.seal();
    let shown = format!("{:?}", world.open(&token, &enc).unwrap());
    assert!(shown.contains("NucHash(redacted)") && !shown.contains("9, 9, 9"), "{shown}");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_panic(
        ciphertext in proptest::collection::vec(any::<u8>(), 0..130),
        (auth_tag, nonce, enc) in any::<([u8; 16], [u8; 12], [u8; 32])>(),
    ) {
        let world = world();
        let token = SealedToken {
            table_id: TableId::new(1).unwrap(), key_index: KeyIndex::new(1).unwrap(), nonce, ciphertext, auth_tag,
        };
        prop_assert!(world.open(&token, &enc).is_err());
    }
}
