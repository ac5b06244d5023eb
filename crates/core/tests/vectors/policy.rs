//! `policy.json`: C2SP policies, whom they need, and what is refused.

use std::fmt::Write as _;

use birthmark_core::base64;
use birthmark_core::hash::Digest;
use birthmark_core::policy::{Policy, PolicyError};
use serde_json::{Value, json};

use crate::frame::{Vectors, unhex};
use crate::world::{cosigner, log_signer, policy_of};

fn log(number: usize) -> String {
    log_signer(number).verifier().to_string()
}

fn witness(number: usize) -> String {
    cosigner(number).verifier().to_string()
}

/// A verifier key over bytes that need be no key.
fn vkey(name: &str, kind: u8, key: &[u8]) -> String {
    let material = [&[kind][..], key].concat();
    let id = Digest::of_parts(&[name.as_bytes(), b"\n", &material]).to_string();
    format!("{name}+{}+{}", id.get(..8).unwrap(), base64::encode(material))
}

/// Two of three, of which one is itself a group of any of two; one witness counts for nothing.
fn nested() -> String {
    let mut text = format!("# nested\n\nlog\t{}  https://log.example/\n", log(0));
    for number in 0..5 {
        writeln!(text, "witness w{number} {}", witness(number)).unwrap();
    }
    text + "group pair any w0 w1\n \tgroup all-of all w2\n#group no\ngroup top 2 pair all-of w3\nquorum top"
}

fn accepted() -> Vec<(&'static str, String)> {
    let (log, first) = (log(0), witness(0));
    vec![
        ("one validator", policy_of(&[0])),
        ("four validators", policy_of(&[0, 1, 2, 3])),
        ("seven validators", policy_of(&[0, 1, 2, 3, 4, 5, 6])),
        ("groups of groups, comments, tabs", nested()),
        ("one witness", format!("log {log}\nwitness w {first} https://w.example/\nquorum w\n")),
        ("no cosignatures", format!("quorum none\nlog {log}\nwitness w {first}\n")),
        ("upper case key id", {
            let (name, rest) = log.split_once('+').unwrap();
            let (id, key) = rest.split_once('+').unwrap();
            format!("log {name}+{}+{key}\nquorum none\n", id.to_uppercase())
        }),
    ]
}

const fn code(error: &PolicyError) -> &'static str {
    match error {
        PolicyError::TooLong(_) => "too_long",
        PolicyError::NotUtf8 => "not_utf8",
        PolicyError::ControlCharacter { .. } => "control_character",
        PolicyError::Syntax { .. } => "syntax",
        PolicyError::Key { .. } => "key",
        PolicyError::KeyType { .. } => "key_type",
        PolicyError::DuplicateKey { .. } => "duplicate_key",
        PolicyError::Name { .. } => "name",
        PolicyError::UndefinedName { .. } => "undefined_name",
        PolicyError::MemberTwice { .. } => "member_twice",
        PolicyError::Threshold { .. } => "threshold",
        PolicyError::TooMany { .. } => "too_many",
        PolicyError::QuorumLines => "quorum_lines",
    }
}

fn refused() -> Vec<(&'static str, String, &'static str)> {
    let base = format!("log {}\nwitness w0 {}\nwitness w1 {}\n", log(0), witness(0), witness(1));
    let with = |more: &str| format!("{base}{more}\n");
    let keyed = |key: &str| format!("log {key}\nquorum none\n");
    let log_key = log(0);
    // The neutral element, twice one point, y = 2 which is on no point, an order of 8, y = p + 1.
    let small = format!("01{}", "00".repeat(31));
    let off_curve = format!("02{}", "00".repeat(31));
    let eighth = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let beyond_p = format!("ee{}7f", "ff".repeat(30));
    let material = log_key.rsplit('+').next().unwrap();
    let replaced = |from: &str, to: &str| keyed(&log_key.replacen(from, to, 1));
    vec![
        ("nothing", String::new(), "quorum_lines"),
        ("no quorum", base.clone(), "quorum_lines"),
        ("two quorums", with("quorum w0\nquorum w0"), "quorum_lines"),
        ("another keyword", with("Quorum w0"), "syntax"),
        ("a keyword that JavaScript's objects have", with("__proto__ w0"), "syntax"),
        ("a threshold that JavaScript's objects have", with("group g toString w0\nquorum g"), "threshold"),
        ("a quorum of two names", with("quorum w0 w1"), "syntax"),
        ("a group of nobody", with("group g 1\nquorum g"), "syntax"),
        ("carriage returns", with("quorum w0\r"), "control_character"),
        ("DEL", with("quorum w0 \u{7f}"), "control_character"),
        ("an undefined name", with("quorum w9"), "undefined_name"),
        ("a name defined below", with("quorum g\ngroup g 1 w0"), "undefined_name"),
        ("a log is no member", with("group g 1 birthmark.example/vectors\nquorum g"), "undefined_name"),
        ("a group in itself", with("group g 1 g\nquorum g"), "undefined_name"),
        ("a member twice", with("group g 1 w0 w0\nquorum g"), "member_twice"),
        ("a member of two groups", with("group g 1 w0\ngroup h 1 w0\nquorum g"), "member_twice"),
        ("a name twice", with(&format!("witness w0 {}\nquorum w0", witness(2))), "name"),
        ("a group named as a witness", with("group w0 1 w1\nquorum w0"), "name"),
        ("a group named none", with("group none 1 w1\nquorum w0"), "name"),
        ("threshold 0", with("group g 0 w0\nquorum g"), "threshold"),
        ("threshold beyond the members", with("group g 3 w0 w1\nquorum g"), "threshold"),
        ("threshold 01", with("group g 01 w0\nquorum g"), "threshold"),
        ("threshold +1", with("group g +1 w0\nquorum g"), "threshold"),
        ("a cosigner's key for a log", keyed(&witness(0)), "key_type"),
        ("a log's key for a witness", with(&format!("witness w {log_key}\nquorum w")), "key_type"),
        ("a log's key twice", with(&format!("log {log_key}\nquorum w0")), "duplicate_key"),
        (
            "a witness' key under another name",
            with(&format!(
                "witness w {}\nquorum w0",
                vkey("another", 4, cosigner(0).verifier().public_key().as_bytes())
            )),
            "duplicate_key",
        ),
        ("another key id", replaced("+", "+0"), "key"),
        ("the id of another key", keyed(&format!("birthmark.example/vectors+00000000+{material}")), "key"),
        ("no name", keyed(&vkey("", 1, log_signer(0).verifier().public_key().as_bytes())), "key"),
        ("base64 without padding", keyed(&vkey("n", 1, &[0; 33])), "key"),
        ("31 bytes", keyed(&vkey("n", 1, &[5; 31])), "key"),
        ("signature type 2", keyed(&vkey("n", 2, log_signer(0).verifier().public_key().as_bytes())), "key"),
        ("a key of order 1", keyed(&vkey("n", 1, &unhex(&small))), "key"),
        ("a key of order 8", keyed(&vkey("n", 1, &unhex(eighth))), "key"),
        ("a key that is no point", keyed(&vkey("n", 1, &unhex(&off_curve))), "key"),
        ("a key beyond p", keyed(&vkey("n", 1, &unhex(&beyond_p))), "key"),
    ]
}

#[test]
fn policy_json() {
    let cases: Vec<Value> = accepted()
        .into_iter()
        .map(|(name, text)| {
            let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let canonical = policy.to_string();
            assert_eq!(Policy::parse(canonical.as_bytes()).unwrap(), policy, "{name}");
            let names: Vec<&str> = policy.witnesses().iter().map(birthmark_core::policy::Witness::name).collect();
            let count: Vec<&&str> = names.iter().enumerate().filter(|(at, _)| policy.counts(*at)).map(|(_, n)| n).collect();
            // Bit i of a number: witness i has cosigned.
            let enough: Vec<u32> =
                (0..1 << names.len()).filter(|set| policy.is_satisfied_by(|at| set & (1 << at) != 0)).collect();
            json!({"name": name, "policy": text, "canonical": canonical, "witnesses": names, "counting": count, "enough": enough})
        })
        .collect();
    let refused: Vec<Value> = refused()
        .into_iter()
        .map(|(name, text, reason)| {
            let error = Policy::parse(text.as_bytes()).expect_err(name);
            assert_eq!(code(&error), reason, "{name}: {error}");
            json!({"name": name, "policy": text, "reason": reason})
        })
        .collect();
    Vectors::new("policy.json", "1 and 8: C2SP tlog-policy")
        .with("cases", cases.into())
        .with("refused", refused.into())
        .check();
}
