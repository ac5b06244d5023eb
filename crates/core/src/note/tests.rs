use proptest::prelude::*;

use super::*;
use crate::time::UnixSeconds;

/// The examples of C2SP signed-note.
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

#[test]
fn the_example_of_the_specification_verifies() {
    let key: VerifierKey = VKEY.parse().unwrap();
    assert_eq!(key.to_string(), VKEY);
    assert_eq!((key.id(), key.kind()), (0x530d_903a, SignatureType::Ed25519));
    let note = Note::parse(NOTE).unwrap();
    assert_eq!(note.to_string(), NOTE);
    let [line] = note.signatures() else { panic!("one line") };
    assert!(key.is_named_by(line));
    assert_eq!(key.check(note.text(), line.signature()), Ok(None));
    assert!(key.check("This is another message.\n", line.signature()).is_err());
}

#[test]
fn malformed_notes_are_refused_by_cause() {
    let line = "\u{2014} a AAAAAAE=\n";
    let many = format!("t\n\n{}", line.repeat(65));
    let long = format!("{}\n\n{line}", "t".repeat(MAX_NOTE_LEN));
    for (bad, cause) in [
        ("", NoteError::NoSeparator),
        ("t\n", NoteError::NoSeparator),
        ("t\n\n", NoteError::NoSeparator),
        (&format!("t\n{line}"), NoteError::NoSeparator),
        (&format!("\n\n{line}"), NoteError::NoSeparator),
        ("t\n\n\u{2014} a AAAAAAE=", NoteError::NoSeparator),
        ("t\r\n\n\u{2014} a AAAAAAE=\n", NoteError::ControlCharacter(1)),
        ("t\n\n\u{2014} a\tAAAAAAE=\n", NoteError::ControlCharacter(8)),
        ("t\n\n- a AAAAAAE=\n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014}  AAAAAAE=\n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014} a+b AAAAAAE=\n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014} a\u{a0}b AAAAAAE=\n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014} a  AAAAAAE=\n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014} a AAAAAAE= \n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014} a AAAAAA==\n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014} a AAAA\n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014} a AAAAAAE\n", NoteError::SignatureLine(1)),
        ("t\n\n\u{2014} a AAAAAAF=\n", NoteError::SignatureLine(1)),
        (&format!("t\n\n{line}x\n"), NoteError::SignatureLine(2)),
        (&many, NoteError::SignatureCount(65)),
        (&long, NoteError::TooLong(long.len())),
    ] {
        assert_eq!(Note::parse(bad), Err(cause), "{bad:.60?}");
    }
    assert_eq!(Note::new("t\n", Vec::new()), Err(NoteError::SignatureCount(0)));
    assert_eq!(Note::parse(&many.replacen(line, "", 1)).unwrap().signatures().len(), 64);
}

#[test]
fn texts_may_have_blank_lines() {
    let note = "a\n\n\nb\n\n\n\u{2014} a AAAAAAE=\n";
    let parsed = Note::parse(note).unwrap();
    assert_eq!(parsed.text(), "a\n\n\nb\n\n");
    assert_eq!(parsed.to_string(), note);
}

#[test]
fn malformed_verifier_keys_are_refused_by_cause() {
    let (head, material) = VKEY.rsplit_once('+').unwrap();
    let other = |bytes: &[u8]| format!("{head}+{}", base64::encode(bytes));
    let mut bytes = base64::decode_bounded(material, 33).unwrap();
    bytes[0] = 6;
    for (bad, cause) in [
        (String::new(), KeyError::Malformed),
        ("example.com/foo".to_owned(), KeyError::Malformed),
        (head.to_owned(), KeyError::Malformed),
        (VKEY.replace("530d903a", "530d903"), KeyError::Malformed),
        (VKEY.replace("530d903a", "0530d903a"), KeyError::Malformed),
        (VKEY.replace("530d903a", "530d903b"), KeyError::KeyId),
        (VKEY.replace("/foo", "/bar"), KeyError::KeyId),
        (VKEY.replace("/foo", "/ foo"), KeyError::Name),
        (VKEY.replace("example.com/foo", ""), KeyError::Name),
        (format!("{VKEY} "), KeyError::Malformed),
        (other(&[]), KeyError::Malformed),
        (other(&[1; 32]), KeyError::Malformed),
        (other(&bytes), KeyError::UnsupportedType(6)),
        // The neutral element, of order 1.
        (other(&[&[1, 1][..], &[0; 31]].concat()), KeyError::PublicKey),
    ] {
        assert_eq!(bad.parse::<VerifierKey>(), Err(cause), "{bad}");
    }
}

#[test]
fn weak_off_curve_and_doubly_encoded_keys_are_refused() {
    let mut above_p = [0xff; 32];
    above_p[31] = 0x7f;
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    // p + 3 encodes y = 3, which is on the curve and not weak.
    let mut second_encoding = above_p;
    second_encoding[0] = 0xf0;
    for bad in [[0; 32], above_p, off_curve, second_encoding] {
        assert_eq!(PublicKey::from_bytes(&bad), Err(KeyError::PublicKey), "{bad:?}");
    }
    assert!(PublicKey::from_hex("٣").is_err());
}

#[test]
fn cosignatures_cover_the_time_and_secrets_are_not_shown() {
    let seed = [7; 32];
    let signer = NoteSigner::cosigner(name("w.example"), SecretKey::from_seed(&seed));
    let line = signer.line("text\n", UnixSeconds(1_679_315_147));
    let time = signer.verifier().check("text\n", line.signature());
    assert_eq!(time, Ok(Some(UnixSeconds(1_679_315_147))));
    let mut later = line.signature().to_vec();
    later[7] ^= 1;
    assert!(signer.verifier().check("text\n", &later).is_err());
    assert!(signer.verifier().check("text\n", &later[..7]).is_err());
    let beyond = signer.line("text\n", UnixSeconds(u64::MAX));
    let limit = UnixSeconds(i64::MAX.unsigned_abs());
    assert_eq!(signer.verifier().check("text\n", beyond.signature()), Ok(Some(limit)));
    let shown = format!("{signer:?}");
    assert!(!shown.contains(&crate::hex::encode(seed)) && !shown.contains("[7, 7"), "{shown}");
    assert_eq!(*signer.secret().seed(), seed);
}

#[test]
fn a_time_beyond_the_limit_is_refused_however_signed() {
    let secret = SecretKey::from_seed(&[7; 32]);
    let key = VerifierKey::new(name("w.example"), SignatureType::CosignatureV1, secret.public_key());
    for (time, holds) in [(1u64 << 63, false), ((1 << 63) - 1, true)] {
        let signature = secret.sign(format!("cosignature/v1\ntime {time}\ntext\n").as_bytes());
        let value = [&time.to_be_bytes()[..], &signature].concat();
        assert_eq!(key.check("text\n", &value).is_ok(), holds, "{time}");
    }
}

proptest! {
    #[test]
    fn notes_round_trip(
        text in "[ -~\u{e9}\n]{1,80}",
        lines in prop::collection::vec(("[a-z/.\u{e9}]{1,20}", any::<u32>(), prop::collection::vec(any::<u8>(), 1..100)), 1..8),
    ) {
        let lines = lines.into_iter().map(|(n, id, bytes)| NoteSignature::new(name(&n), id, bytes)).collect();
        let note = Note::new(format!("{text}\n"), lines).unwrap();
        prop_assert_eq!(Note::parse(&note.to_string()), Ok(note));
    }

    #[test]
    fn a_note_that_is_read_is_the_note_that_would_be_written(note in "([a\n]{0,4}\n\n(\u{2014} [a+]{1,2} [AQg]{6}(A=|E=|==|AA)\n){0,3}){1,2}") {
        if let Ok(parsed) = Note::parse(&note) {
            prop_assert_eq!(parsed.to_string(), note);
        }
    }

    #[test]
    fn verifier_keys_round_trip(seed: [u8; 32], text in "[a-z./\u{e9}]{1,30}", cosigner: bool) {
        let kind = if cosigner { SignatureType::CosignatureV1 } else { SignatureType::Ed25519 };
        let key = VerifierKey::new(name(&text), kind, SecretKey::from_seed(&seed).public_key());
        prop_assert_eq!(key.to_string().parse(), Ok(key));
    }
}
