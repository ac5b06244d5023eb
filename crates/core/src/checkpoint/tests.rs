use proptest::prelude::*;

use super::*;
use crate::merkle::leaf_hash;
use crate::note::SecretKey;
use crate::policy::PolicyMember;

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: name("example.com/log"), size: 20_852_163, root: leaf_hash(b"") }
}

/// Four validators; three make a quorum.
struct Four {
    logs: Vec<NoteSigner>,
    cosigners: Vec<NoteSigner>,
    policy: Policy,
}

fn four() -> Four {
    let logs: Vec<_> =
        (1..=4).map(|i| NoteSigner::log(name("example.com/log"), SecretKey::from_seed(&[i; 32]))).collect();
    let cosigners: Vec<_> = (1..=4)
        .map(|i| NoteSigner::cosigner(name(&format!("v{i}.example")), SecretKey::from_seed(&[10 + i; 32])))
        .collect();
    let members: Vec<_> = logs
        .iter()
        .zip(&cosigners)
        .map(|(log, cosigner)| PolicyMember {
            name: cosigner.verifier().name().to_string(),
            log: log.verifier().clone(),
            cosigner: cosigner.verifier().clone(),
        })
        .collect();
    Four { logs, cosigners, policy: Policy::of_validators(&members).unwrap() }
}

impl Four {
    fn log_line(&self) -> NoteSignature {
        checkpoint().log_signature(&self.logs[1]).unwrap()
    }

    fn cosignature(&self, at: usize, time: u64) -> NoteSignature {
        checkpoint().cosign(&self.cosigners[at], UnixSeconds(time)).unwrap()
    }

    fn note(&self, cosignatures: &[NoteSignature]) -> String {
        checkpoint().assemble(self.log_line(), cosignatures).unwrap().to_string()
    }
}

#[test]
fn a_quorum_is_accepted_with_its_least_time_floored_to_the_minute() {
    let net = four();
    let note = net.note(&[net.cosignature(2, 660), net.cosignature(0, 719), net.cosignature(1, 605)]);
    let verified = verify(&note, &net.policy).unwrap();
    assert_eq!(verified.checkpoint, checkpoint());
    assert_eq!(verified.time, Some(UnixSeconds(600)));
    assert_eq!(verified.cosigners, [name("v1.example"), name("v2.example"), name("v3.example")]);
}

#[test]
fn the_order_of_arrival_does_not_change_the_note() {
    let net = four();
    let (a, b, c, later) =
        (net.cosignature(0, 60), net.cosignature(1, 60), net.cosignature(2, 60), net.cosignature(0, 6000));
    let note = net.note(&[a.clone(), b.clone(), c.clone()]);
    assert_eq!(net.note(&[later, c, a.clone(), b, a]), note);
}

#[test]
fn one_cosigner_counts_once_however_often_it_signs() {
    let net = four();
    let lines = [net.log_line(), net.cosignature(0, 60), net.cosignature(0, 120), net.cosignature(1, 120)];
    let note = Note::new(checkpoint().to_string(), lines.to_vec()).unwrap().to_string();
    assert_eq!(verify(&note, &net.policy), Err(CheckpointError::NoQuorum(2)));
    let note = Note::new(checkpoint().to_string(), [&lines[..], &[net.cosignature(3, 240)]].concat()).unwrap();
    let verified = verify(&note.to_string(), &net.policy).unwrap();
    assert_eq!((verified.time, verified.cosigners.len()), (Some(UnixSeconds(60)), 3));
}

#[test]
fn one_wrong_line_of_a_known_key_refuses_the_note() {
    let net = four();
    let good = [net.cosignature(0, 60), net.cosignature(1, 60), net.cosignature(2, 60)];
    let forge = |line: &NoteSignature| {
        let mut bytes = line.signature().to_vec();
        bytes[20] ^= 1;
        NoteSignature::new(line.name().clone(), line.key_id(), bytes)
    };
    for forged in [forge(&net.cosignature(3, 60)), forge(&net.log_line())] {
        let lines = [&[net.log_line()][..], &good, &[forged]].concat();
        let note = Note::new(checkpoint().to_string(), lines).unwrap().to_string();
        assert_eq!(verify(&note, &net.policy), Err(CheckpointError::BadSignature(5)));
    }
}

#[test]
fn unknown_keys_are_ignored_and_do_not_count() {
    let net = four();
    let stranger = NoteSigner::cosigner(name("v3.example"), SecretKey::from_seed(&[99; 32]));
    let unknown = checkpoint().cosign(&stranger, UnixSeconds(0)).unwrap();
    let note = net.note(&[net.cosignature(0, 60), net.cosignature(1, 60), unknown.clone()]);
    assert_eq!(verify(&note, &net.policy), Err(CheckpointError::NoQuorum(2)));
    let note = net.note(&[net.cosignature(0, 60), net.cosignature(1, 60), net.cosignature(3, 60), unknown]);
    assert_eq!(verify(&note, &net.policy).unwrap().time, Some(UnixSeconds(60)));
}

#[test]
fn a_quorum_without_the_log_is_refused() {
    let net = four();
    let lines = (0..4).map(|at| net.cosignature(at, 60)).collect();
    let note = Note::new(checkpoint().to_string(), lines).unwrap().to_string();
    assert_eq!(verify(&note, &net.policy), Err(CheckpointError::NoLogSignature));
}

#[test]
fn a_log_does_not_speak_for_another_origin() {
    let net = four();
    let other = Checkpoint { origin: name("example.com/other"), ..checkpoint() };
    assert_eq!(other.log_signature(&net.logs[0]), Err(CheckpointError::WrongKey));
    let mut lines = vec![net.logs[0].line(&other.to_string(), UnixSeconds(0))];
    lines.extend(net.cosigners.iter().map(|key| other.cosign(key, UnixSeconds(60)).unwrap()));
    let note = Note::new(other.to_string(), lines).unwrap().to_string();
    assert_eq!(verify(&note, &net.policy), Err(CheckpointError::NoLogSignature));
}

#[test]
fn any_changed_text_is_refused() {
    let net = four();
    let note = net.note(&[net.cosignature(0, 60), net.cosignature(1, 60), net.cosignature(2, 60)]);
    assert!(verify(&note.replacen("20852163", "20852164", 1), &net.policy).is_err());
    assert!(verify(&note.replacen("example", "examples", 1), &net.policy).is_err());
    let other_root = note.replacen(&checkpoint().root.to_string(), &leaf_hash(b"x").to_string(), 1);
    assert!(verify(&other_root, &net.policy).is_err());
}

#[test]
fn keys_of_the_wrong_type_do_not_sign() {
    let net = four();
    assert_eq!(checkpoint().log_signature(&net.cosigners[0]), Err(CheckpointError::WrongKey));
    assert_eq!(checkpoint().cosign(&net.logs[0], UnixSeconds(60)), Err(CheckpointError::WrongKey));
}

#[test]
fn texts_that_are_not_three_strict_lines_are_refused() {
    let root = leaf_hash(b"").to_string();
    assert!(format!("o\n0\n{root}\n").parse::<Checkpoint>().is_ok());
    for bad in [
        String::new(),
        "\n".to_owned(),
        "o\n1\n".to_owned(),
        format!("o\n1\n{root}"),
        format!("\n1\n{root}\n"),
        format!("o o\n1\n{root}\n"),
        format!("o+\n1\n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n01\n{root}\n"),
        format!("o\n00\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n 1\n{root}\n"),
        format!("o\n1.0\n{root}\n"),
        format!("o\n٣\n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n1\n{root} \n"),
        format!("o\n1\n{}\n", root.trim_end_matches('=')),
        "o\n1\nAAAA\n".to_owned(),
        format!("o\n1\n{root}\nextension\n"),
        format!("o\n1\n{root}\n\n"),
    ] {
        assert_eq!(bad.parse::<Checkpoint>(), Err(CheckpointError::Malformed), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn checkpoints_round_trip(origin in "[a-z./]{1,40}", size: u64, root: [u8; 32]) {
        let checkpoint = Checkpoint { origin: name(&origin), size, root: TreeHash::from_bytes(root) };
        prop_assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
    }

    #[test]
    fn a_text_that_is_read_is_the_text_that_would_be_written(text in "[a ]{1,3}\n[0-9]{1,3}\n[AQg/+]{42}[A-I]=\n") {
        if let Ok(checkpoint) = text.parse::<Checkpoint>() {
            prop_assert_eq!(checkpoint.to_string(), text);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_note_without_spare_lines_is_noticed(at: prop::sample::Index, bit in 0u8..8) {
        let net = four();
        let note = net.note(&[net.cosignature(0, 60), net.cosignature(1, 60), net.cosignature(2, 60)]);
        let mut bytes = note.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // With exactly a quorum there is no line to spare.
        prop_assert!(std::str::from_utf8(&bytes).ok().is_none_or(|note| verify(note, &net.policy).is_err()));
    }
}

#[test]
fn a_cosigners_line_is_checked_by_its_own_key_and_for_its_own_tree() {
    let net = four();
    let line = net.cosignature(0, 719);
    let own = net.cosigners[0].verifier();
    assert_eq!(checkpoint().check_cosignature(own, &line), Ok(UnixSeconds(660)));
    let other = Checkpoint { size: 7, ..checkpoint() };
    assert_eq!(other.check_cosignature(own, &line), Err(CheckpointError::BadSignature(1)));
    assert_eq!(checkpoint().check_cosignature(net.cosigners[1].verifier(), &line), Err(CheckpointError::WrongKey));
    assert_eq!(checkpoint().check_cosignature(net.logs[1].verifier(), &net.log_line()), Err(CheckpointError::WrongKey));
    let mut later = line.signature().to_vec();
    later[7] ^= 1;
    let later = NoteSignature::new(line.name().clone(), line.key_id(), later);
    assert_eq!(checkpoint().check_cosignature(own, &later), Err(CheckpointError::BadSignature(1)));
}
