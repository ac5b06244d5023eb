use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::note::{KeyName, SecretKey};

fn vkey(name: &str, kind: SignatureType, seed: u8) -> VerifierKey {
    VerifierKey::new(KeyName::new(name).unwrap(), kind, SecretKey::from_seed(&[seed; 32]).public_key())
}

fn log(seed: u8) -> VerifierKey {
    vkey("example.com/log", SignatureType::Ed25519, seed)
}

fn cosigner(seed: u8) -> VerifierKey {
    vkey(&format!("w{seed}.example"), SignatureType::CosignatureV1, seed)
}

fn witnesses(n: u8) -> String {
    (1..=n).map(|i| ["witness W", &i.to_string(), " ", &cosigner(i).to_string(), "\n"].concat()).collect()
}

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text.as_bytes())
}

#[test]
fn nested_groups_decide_as_the_specification_says() {
    let text = format!(
        "# two operators\n\tlog {}  https://log.example/ \n\n{}group X 2 W1 W2 W3\n group Y any W4 W5\n\
         group both all X Y\nquorum both",
        log(9),
        witnesses(6)
    );
    let policy = parse(&text).unwrap();
    assert_eq!(policy.logs()[0].url(), Some("https://log.example/"));
    for (cosigned, expected) in [
        (&[][..], false),
        (&[1, 2], false),
        (&[1, 2, 4], true),
        (&[2, 3, 5], true),
        (&[1, 4, 5], false),
        (&[1, 2, 3, 6], false),
        (&[1, 2, 3, 4, 5, 6], true),
    ] {
        assert_eq!(policy.is_satisfied_by(|at| cosigned.contains(&(at + 1))), expected, "{cosigned:?}");
    }
    assert_eq!((0..7).map(|at| policy.counts(at)).collect::<Vec<_>>(), [true, true, true, true, true, false, false]);
    assert_eq!(parse(&policy.to_string()), Ok(policy));
}

#[test]
fn a_quorum_may_be_one_witness_or_none() {
    let one = parse(&format!("{}quorum W2\n", witnesses(2))).unwrap();
    assert!(one.is_satisfied_by(|at| at == 1) && !one.is_satisfied_by(|at| at == 0));
    let none = parse("quorum none\n").unwrap();
    assert!(none.is_satisfied_by(|_| false) && none.logs().is_empty());
    assert_eq!(none.to_string(), "quorum none\n");
}

#[test]
fn malformed_policies_are_refused_by_cause() {
    let (l, w) = (log(9), cosigner(1));
    let ml_dsa = format!("a+00000000+{}", crate::base64::encode([&[6u8][..], &[0; 1312]].concat()));
    let many: String = (0..65u8).map(|i| ["log ", &log(i + 1).to_string(), "\n"].concat()).collect();
    for (bad, cause) in [
        (String::new(), PolicyError::QuorumLines),
        ("quorum none\nquorum none\n".to_owned(), PolicyError::QuorumLines),
        ("quorum\n".to_owned(), PolicyError::Syntax { line: 1 }),
        ("quorum none none\n".to_owned(), PolicyError::Syntax { line: 1 }),
        ("quorum A\n".to_owned(), PolicyError::UndefinedName { line: 1 }),
        (format!("quorum A\nwitness A {w}\n"), PolicyError::UndefinedName { line: 1 }),
        ("LOG x\nquorum none\n".to_owned(), PolicyError::Syntax { line: 1 }),
        ("log\n".to_owned(), PolicyError::Syntax { line: 1 }),
        (format!("log {l} u v\n"), PolicyError::Syntax { line: 1 }),
        ("log x\n".to_owned(), PolicyError::Key { line: 1, cause: KeyError::Malformed }),
        (format!("log {ml_dsa}\n"), PolicyError::Key { line: 1, cause: KeyError::UnsupportedType(6) }),
        (format!("log {w}\n"), PolicyError::KeyType { line: 1 }),
        (format!("witness A {l}\n"), PolicyError::KeyType { line: 1 }),
        (format!("log {l}\nlog {l}\n"), PolicyError::DuplicateKey { line: 2 }),
        (format!("log {l}\nlog {}\n", vkey("other", SignatureType::Ed25519, 9)), PolicyError::DuplicateKey { line: 2 }),
        (format!("witness A {w}\n witness B {w}\n"), PolicyError::DuplicateKey { line: 2 }),
        (format!("witness none {w}\n"), PolicyError::Name { line: 1 }),
        (format!("witness A {w}\nwitness A {}\n", cosigner(2)), PolicyError::Name { line: 2 }),
        (format!("witness A {w}\ngroup A any A\n"), PolicyError::Name { line: 2 }),
        (format!("witness A {w}\ngroup none any A\n"), PolicyError::Name { line: 2 }),
        (format!("witness A {w}\ngroup G any\n"), PolicyError::Syntax { line: 2 }),
        (format!("witness A {w}\ngroup G any G\n"), PolicyError::UndefinedName { line: 2 }),
        (format!("witness A {w}\ngroup G any none\n"), PolicyError::UndefinedName { line: 2 }),
        (format!("witness A {w}\ngroup G any A A\n"), PolicyError::MemberTwice { line: 2 }),
        (format!("witness A {w}\ngroup G any A\ngroup H any A\n"), PolicyError::MemberTwice { line: 3 }),
        (format!("witness A {w}\ngroup G 0 A\n"), PolicyError::Threshold { line: 2 }),
        (format!("witness A {w}\ngroup G 2 A\n"), PolicyError::Threshold { line: 2 }),
        (format!("witness A {w}\ngroup G 01 A\n"), PolicyError::Threshold { line: 2 }),
        (format!("witness A {w}\ngroup G +1 A\n"), PolicyError::Threshold { line: 2 }),
        (format!("witness A {w}\ngroup G ALL A\n"), PolicyError::Threshold { line: 2 }),
        (many, PolicyError::TooMany { line: 65 }),
        ("quorum none\r\n".to_owned(), PolicyError::ControlCharacter { line: 1 }),
        ("# a\u{0}\n".to_owned(), PolicyError::ControlCharacter { line: 1 }),
        ("quorum\u{a0}none\n".to_owned(), PolicyError::Syntax { line: 1 }),
        ("#".repeat(MAX_POLICY_LEN + 1), PolicyError::TooLong(MAX_POLICY_LEN + 1)),
    ] {
        assert_eq!(parse(&bad), Err(cause), "{bad:.200}");
    }
    assert_eq!(Policy::parse(b"# \xff\nquorum none\n"), Err(PolicyError::NotUtf8));
}

#[test]
fn validators_get_a_log_line_a_witness_and_a_quorum_of_more_than_two_thirds() {
    for (n, k) in [(1u8, 1u8), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (10, 7), (22, 15)] {
        assert_eq!(quorum_size(usize::from(n)), usize::from(k));
        let members: Vec<_> =
            (1..=n).map(|i| PolicyMember { name: format!("v{i}"), log: log(100 + i), cosigner: cosigner(i) }).collect();
        let policy = Policy::of_validators(&members).unwrap();
        assert!(policy.is_satisfied_by(|at| at < usize::from(k)));
        assert!(!policy.is_satisfied_by(|at| at < usize::from(k) - 1));
        let text = policy.to_string();
        assert!(text.contains(&format!("\ngroup validators {k} v1")) && text.ends_with("\nquorum validators\n"));
        assert_eq!(parse(&text), Ok(policy));
    }
    assert_eq!(quorum_size(0), 0);
    assert!(Policy::of_validators(&[]).is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(n in 1u8..8, groups in prop::collection::vec((1usize..4, 1usize..4), 0..6), quorum: prop::sample::Index) {
        let mut text = witnesses(n);
        let mut free: Vec<String> = (1..=n).map(|i| format!("W{i}")).collect();
        let mut names = free.clone();
        for (i, (take, k)) in groups.into_iter().enumerate() {
            let members: Vec<String> = free.drain(..take.min(free.len())).collect();
            writeln!(text, "group G{i} {} {}", k.min(members.len()), members.join(" ")).unwrap();
            free.push(format!("G{i}"));
            names.push(format!("G{i}"));
        }
        writeln!(text, "quorum {}", names[quorum.index(names.len())]).unwrap();
        let policy = parse(&text).unwrap();
        prop_assert_eq!(policy.to_string(), text);
        prop_assert_eq!(parse(&policy.to_string()), Ok(policy));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'\n')], 0..200)) {
        if let Ok(policy) = Policy::parse(&bytes) {
            prop_assert_eq!(parse(&policy.to_string()), Ok(policy));
        }
    }
}
