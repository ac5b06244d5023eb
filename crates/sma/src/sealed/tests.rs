use birthmark_core::hex;
use birthmark_service::random::OsRng;
use proptest::prelude::*;

use super::*;

fn master() -> MasterKey {
    MasterKey::from_slice(&[7; 32]).unwrap()
}

fn wrapping(byte: u8) -> WrappingKey {
    WrappingKey::parse(&[byte; 32]).unwrap()
}

/// Sealed with Python's `hmac` and `cryptography`: master key 32 × 7, wrapping key 32 × 3.
fn sealed() -> Vec<u8> {
    hex::decode_bounded(
        "62697274686d61726b2f7365616c65642f76310afef7276342b86532000102030405060708090a0b\
         48aa7a28b5709aeaeadc59e10976bac372a5ccaec1dda0e3ac3460f4975857f9a1323a399f7cb490aad04f0eff62edd6",
        MAX_MASTER_FILE,
    )
    .unwrap()
}

#[test]
fn file_sealed_elsewhere_opens() {
    let (opened, form) = open_master(&sealed(), Some(&wrapping(3))).unwrap();
    assert_eq!(opened.expose(), master().expose());
    assert_eq!(form, MasterForm::Sealed);
}

#[test]
fn raw_file_opens_with_and_without_a_wrapping_key() {
    for wrapping in [None, Some(&wrapping(3))] {
        let (opened, form) = open_master(&[7; 32], wrapping).unwrap();
        assert_eq!(opened.expose(), master().expose());
        assert_eq!(form, MasterForm::Raw);
    }
}

#[test]
fn sealed_file_opens_and_shows_nothing_of_the_key() {
    let file = seal_master(&master(), &wrapping(3), &mut OsRng);
    assert_eq!(file.len(), MAX_MASTER_FILE);
    assert!(!file.windows(4).any(|window| window == [7; 4]));
    assert_eq!(open_master(&file, Some(&wrapping(3))).unwrap().0.expose(), master().expose());
    assert_ne!(*file, *seal_master(&master(), &wrapping(3), &mut OsRng), "a nonce of its own each time");
}

#[test]
fn error_says_whether_key_or_file_is_at_fault() {
    let file = sealed();
    let error = |file: &[u8], wrapping: Option<&WrappingKey>| open_master(file, wrapping).unwrap_err();
    assert_eq!(error(&file, None), MasterFileError::WrappingKeyMissing);
    assert_eq!(error(&file, Some(&wrapping(4))), MasterFileError::WrappingKeyWrong);
    let key = wrapping(3);
    for damaged in [&file[..file.len() - 1], &[&file[..], &[0]].concat(), &file[1..], &[], &[7; 31], &[7; 33]] {
        assert_eq!(error(damaged, Some(&key)), MasterFileError::Damaged, "{damaged:?}");
        assert_eq!(error(damaged, None), MasterFileError::Damaged, "{damaged:?}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let key = wrapping(3);
    for bit in 0..8 * MAX_MASTER_FILE {
        let mut file = sealed();
        file[bit / 8] ^= 1 << (bit % 8);
        // A flip in the check looks like another key's check, and nothing could tell them apart.
        let in_check = (MAGIC.len()..MAGIC.len() + CHECK_BYTES).contains(&(bit / 8));
        let expected = if in_check { MasterFileError::WrappingKeyWrong } else { MasterFileError::Damaged };
        assert_eq!(open_master(&file, Some(&key)).unwrap_err(), expected, "bit {bit}");
    }
}

#[test]
fn row_opens_only_in_its_place_and_under_its_key() {
    let key = RowSealKey::from_bytes([1; 32]);
    let row = key.seal(b"row 1", b"secret", &mut OsRng);
    assert_eq!(key.open(b"row 1", &row).unwrap().as_slice(), b"secret");
    assert_eq!(key.open(b"row 2", &row), Err(RowError));
    assert_eq!(RowSealKey::from_bytes([2; 32]).open(b"row 1", &row), Err(RowError));
    for length in 0..row.len() {
        assert_eq!(key.open(b"row 1", &row[..length]), Err(RowError), "{length}");
    }
    assert_eq!(key.open(b"row 1", &[&row[..], &[0]].concat()), Err(RowError));
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(format!("{:?}", RowSealKey::from_bytes([7; 32])), "RowSealKey(redacted)");
}

proptest! {
    #[test]
    fn rows_round_trip_and_flips_are_noticed(
        aad: Vec<u8>,
        secret in proptest::collection::vec(any::<u8>(), 0..300),
        flip: proptest::sample::Index,
        bit in 0_u32..8,
    ) {
        let key = RowSealKey::from_bytes([9; 32]);
        let mut row = key.seal(&aad, &secret, &mut OsRng);
        let opened = key.open(&aad, &row).unwrap();
        prop_assert_eq!(opened.as_slice(), secret.as_slice());
        let at = flip.index(row.len());
        row[at] ^= 1_u8 << bit;
        prop_assert_eq!(key.open(&aad, &row), Err(RowError));
    }

    #[test]
    fn no_file_content_panics(content in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = open_master(&content, Some(&wrapping(3)));
        let headed = [MAGIC, content.as_slice()].concat();
        let _ = open_master(&headed, Some(&wrapping(3)));
    }
}
