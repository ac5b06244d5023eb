//! `checkpoint.json`: what the log says, who cosigned it, and what does not count.

use birthmark_core::checkpoint::CheckpointError;
use birthmark_core::hex;
use birthmark_core::merkle::{TreeHash, leaf_hash};
use birthmark_core::network::{Trust, TrustError, parse_policy_or_network};
use birthmark_core::note::{KeyName, NoteSignature, NoteSigner};
use birthmark_core::time::UnixSeconds;
use serde_json::{Value, json};

use crate::frame::{Vectors, digest, with_large_s};
use crate::network::two_epochs;
use crate::world::{TIME, checkpoint, cosigner, lines, log_signer, network_file, note, policy_of, secret};

/// What the notes are judged by.
pub(crate) fn trusts() -> Value {
    let bare = format!("log {}\nquorum none\n", log_signer(0).verifier());
    json!({"network": network_file(), "two_epochs": two_epochs(), "policy": policy_of(&[0, 1, 2, 3]), "log_alone": bare})
}

pub(crate) fn trust(trusts: &Value, name: &str) -> Trust {
    parse_policy_or_network(trusts[name].as_str().unwrap().as_bytes()).unwrap()
}

pub(crate) const fn code(error: &TrustError) -> &'static str {
    match error {
        TrustError::Checkpoint(cause) => checkpoint_code(cause),
        TrustError::OtherOrigin => "other_origin",
        TrustError::EpochEnd => "epoch_end",
    }
}

pub(crate) const fn checkpoint_code(error: &CheckpointError) -> &'static str {
    match error {
        CheckpointError::Note(_) => "note",
        CheckpointError::Malformed => "malformed",
        CheckpointError::BadSignature(_) => "bad_signature",
        CheckpointError::NoLogSignature => "no_log_signature",
        CheckpointError::NoQuorum(_) => "no_quorum",
        CheckpointError::WrongKey => "wrong_key",
    }
}

fn signers() -> Value {
    let signer = |kind: u8, seed: String, signer: &NoteSigner| {
        let key = signer.verifier();
        let tree = checkpoint(7, leaf_hash(b"7"));
        let line = match kind {
            1 => tree.log_signature(signer).unwrap(),
            _ => tree.cosign(signer, UnixSeconds(TIME.0 + 59)).unwrap(),
        };
        json!({
            "type": kind, "seed": seed, "key_name": key.name(), "public_key": key.public_key(), "vkey": key.to_string(),
            "text": tree.to_string(), "time": if kind == 1 { Value::Null } else { TIME.0.into() }, "line": line.to_string(),
        })
    };
    let seed = |purpose: &str| hex::encode(*secret(purpose, 0).seed());
    json!([signer(1, seed("log"), &log_signer(0)), signer(4, seed("cosigning"), &cosigner(0))])
}

fn accepted() -> Vec<(&'static str, &'static str, String)> {
    let tree = checkpoint(7, leaf_hash(b"7"));
    let quorum = lines(&tree, 0, &[0, 1, 2]);
    let all = lines(&tree, 3, &[3, 1, 0, 2]);
    let stranger = NoteSigner::cosigner(KeyName::new("stranger.example").unwrap(), secret("stranger", 0));
    let strange = [&quorum[..], &[tree.cosign(&stranger, TIME).unwrap()]].concat();
    let junk = NoteSignature::new(KeyName::new("junk.example").unwrap(), 1, vec![1; 3000]);
    let mut reversed = quorum.clone();
    reversed.reverse();
    let earlier = tree.cosign(&cosigner(1), UnixSeconds(600)).unwrap();
    let later_epoch = checkpoint(101, leaf_hash(b"101"));
    let ended = checkpoint(100, TreeHash::from_bytes(*digest("root of epoch 0").as_bytes()));
    let huge = checkpoint(u64::MAX, leaf_hash(b""));
    let empty = checkpoint(0, birthmark_core::merkle::EMPTY_ROOT);
    vec![
        ("a quorum", "network", note(&tree, &quorum)),
        ("a quorum by a bare policy", "policy", note(&tree, &quorum)),
        ("all, and another validator's log key", "network", note(&tree, &all)),
        ("in another order", "network", note(&tree, &reversed)),
        ("with a stranger's line", "network", note(&tree, &strange)),
        ("with a stranger's line of an unknown type", "network", note(&tree, &[&quorum[..], &[junk]].concat())),
        ("the log's line twice", "network", note(&tree, &[&quorum[..], &quorum[..1]].concat())),
        ("two log lines", "network", note(&tree, &[&quorum[..], &lines(&tree, 1, &[])].concat())),
        ("a cosigner twice, the earliest time holds", "network", note(&tree, &[&quorum[..], &[earlier]].concat())),
        ("no cosignatures needed", "log_alone", note(&tree, &quorum[..1])),
        ("no cosignatures needed, some there", "log_alone", note(&tree, &quorum)),
        ("an empty tree", "network", note(&empty, &lines(&empty, 0, &[0, 1, 2]))),
        ("the largest size", "network", note(&huge, &lines(&huge, 0, &[0, 1, 2]))),
        ("within epoch 0", "two_epochs", note(&tree, &quorum)),
        ("the end of epoch 0", "two_epochs", note(&ended, &lines(&ended, 2, &[1, 2, 3]))),
        ("within epoch 1", "two_epochs", note(&later_epoch, &lines(&later_epoch, 4, &[0, 4, 1]))),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn refused() -> Vec<(&'static str, &'static str, String, &'static str)> {
    let tree = checkpoint(7, leaf_hash(b"7"));
    let quorum = lines(&tree, 0, &[0, 1, 2]);
    let good = note(&tree, &quorum);
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let line_with = |at: usize, change: fn(&mut Vec<u8>)| {
        let mut lines = quorum.clone();
        let mut signature = lines[at].signature().to_vec();
        change(&mut signature);
        lines[at] = NoteSignature::new(lines[at].name().clone(), lines[at].key_id(), signature);
        note(&tree, &lines)
    };
    let root = leaf_hash(b"7").to_string();
    let extended = {
        // Signed as it stands, by keys that would be accepted.
        let text = format!("{tree}extension\n");
        let signature = secret("log", 0).sign(text.as_bytes()).to_vec();
        let line = NoteSignature::new(quorum[0].name().clone(), quorum[0].key_id(), signature);
        birthmark_core::note::Note::new(text, vec![line]).unwrap().to_string()
    };
    let wrong_root = checkpoint(100, leaf_hash(b"another"));
    let later = checkpoint(101, leaf_hash(b"101"));
    let other =
        birthmark_core::checkpoint::Checkpoint { origin: KeyName::new("other.example").unwrap(), ..tree.clone() };
    let other_log = other.log_signature(&NoteSigner::log(other.origin.clone(), secret("log", 0))).unwrap();
    let mut other_lines = lines(&tree, 0, &[]);
    other_lines[0] = other_log;
    other_lines.extend([0, 1, 2].map(|number| other.cosign(&cosigner(number), TIME).unwrap()));
    // A cosigner's key that signs as the log does is the wrong kind of line for either.
    let posing = NoteSigner::log(tree.origin.clone(), secret("cosigning", 0));
    let posing = tree.log_signature(&posing).unwrap();
    let full = |bytes: fn(&[u8]) -> Vec<u8>, at: usize| {
        NoteSignature::new(quorum[at].name().clone(), quorum[at].key_id(), bytes(quorum[at].signature()))
    };
    let unreduced = full(|s| with_large_s(s.try_into().unwrap()).to_vec(), 0);
    vec![
        ("two of three", "network", note(&tree, &quorum[..3]), "no_quorum"),
        ("two of three by a bare policy", "policy", note(&tree, &quorum[..3]), "no_quorum"),
        (
            "one of them three times",
            "network",
            note(&tree, &[&quorum[..2], &quorum[1..2], &quorum[1..2]].concat()),
            "no_quorum",
        ),
        (
            "a stranger instead of the third",
            "network",
            note(
                &tree,
                &[
                    &quorum[..3],
                    &[tree
                        .cosign(
                            &NoteSigner::cosigner(KeyName::new("stranger.example").unwrap(), secret("stranger", 0)),
                            TIME,
                        )
                        .unwrap()],
                ]
                .concat(),
            ),
            "no_quorum",
        ),
        ("no log line", "network", note(&tree, &quorum[1..]), "no_log_signature"),
        (
            "a log line by a cosigner's key",
            "network",
            note(&tree, &[&[posing], &quorum[1..]].concat()),
            "no_log_signature",
        ),
        (
            "another log's key by a bare policy",
            "log_alone",
            note(&tree, &lines(&tree, 1, &[0, 1, 2])),
            "no_log_signature",
        ),
        ("another size", "network", replaced("\n7\n", "\n8\n"), "bad_signature"),
        ("another root", "network", replaced(&root, &leaf_hash(b"8").to_string()), "bad_signature"),
        ("a flipped bit in the log's line", "network", line_with(0, |s| s[5] ^= 1), "bad_signature"),
        ("a flipped bit in a cosignature", "network", line_with(2, |s| s[70] ^= 1), "bad_signature"),
        ("another time in a cosignature", "network", line_with(2, |s| s[7] ^= 1), "bad_signature"),
        (
            "a cosignature without time",
            "network",
            line_with(2, |s| {
                s.drain(..8);
            }),
            "bad_signature",
        ),
        (
            "a log signature cut short",
            "network",
            line_with(0, |s| {
                s.pop();
            }),
            "bad_signature",
        ),
        (
            "a good quorum and one wrong line",
            "network",
            note(
                &tree,
                &[&lines(&tree, 0, &[0, 1, 2])[..], &[full(|s| s.iter().map(|b| b ^ 1).collect(), 3)]].concat(),
            ),
            "bad_signature",
        ),
        ("s not reduced", "network", note(&tree, &[&[unreduced], &quorum[1..]].concat()), "bad_signature"),
        ("another origin", "network", note(&other, &other_lines), "other_origin"),
        ("another origin by a bare policy", "policy", note(&other, &other_lines), "no_log_signature"),
        ("epoch 1 signed by epoch 0", "two_epochs", note(&later, &lines(&later, 0, &[1, 2, 3])), "no_quorum"),
        ("epoch 0 signed by epoch 1", "two_epochs", note(&tree, &lines(&tree, 4, &[0, 1, 4])), "no_log_signature"),
        (
            "another root at the end of epoch 0",
            "two_epochs",
            note(&wrong_root, &lines(&wrong_root, 0, &[0, 1, 2])),
            "epoch_end",
        ),
        ("an extension line", "log_alone", extended, "malformed"),
        ("size 07", "network", replaced("\n7\n", "\n07\n"), "malformed"),
        ("size +7", "network", replaced("\n7\n", "\n+7\n"), "malformed"),
        ("no size", "network", replaced("\n7\n", "\n\n"), "malformed"),
        ("size 2^64", "network", replaced("\n7\n", "\n18446744073709551616\n"), "malformed"),
        ("a root without padding", "network", replaced(&root, root.trim_end_matches('=')), "malformed"),
        ("a root in hex", "network", replaced(&root, &hex::encode(leaf_hash(b"7").as_bytes())), "malformed"),
        ("a space in the origin", "network", replaced("birthmark.example", "birthmark example"), "malformed"),
        ("nothing", "network", String::new(), "note"),
        ("no signatures", "network", format!("{tree}\n"), "note"),
        ("no blank line", "network", replaced("\n\n", "\n"), "note"),
        ("no last newline", "network", good.trim_end_matches('\n').to_owned(), "note"),
        ("a hyphen for the dash", "network", replaced("\u{2014}", "-"), "note"),
        ("two spaces", "network", replaced("\u{2014} ", "\u{2014}  "), "note"),
        ("a carriage return", "network", good.replace('\n', "\r\n"), "note"),
        ("a line of a key id alone", "network", good.clone() + "\u{2014} a AAAAAQ==\n", "note"),
        ("base64 with stray bits", "network", good.clone() + "\u{2014} a AAAAAQF=\n", "note"),
        ("65 lines", "network", note(&tree, &quorum[..1]) + &"\u{2014} a AAAAAQE=\n".repeat(64), "note"),
        ("more than 64 KiB", "network", good + &format!("\u{2014} a {}\n", "AAAA".repeat(16_384)), "note"),
    ]
}

#[test]
fn checkpoint_json() {
    let trusts = trusts();
    let cases: Vec<Value> = accepted()
        .into_iter()
        .map(|(name, by, text)| {
            let verified = trust(&trusts, by).verify_checkpoint(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            let tree = verified.checkpoint;
            // As text, because JavaScript's numbers end at 2^53.
            let size = tree.size.to_string();
            json!({
                "name": name, "trust": by, "note": text, "origin": tree.origin, "size": size, "root": tree.root.to_string(),
                "time": verified.time, "cosigners": verified.cosigners,
            })
        })
        .collect();
    let refused: Vec<Value> = refused()
        .into_iter()
        .map(|(name, by, text, reason)| {
            let error = trust(&trusts, by).verify_checkpoint(&text).expect_err(name);
            assert_eq!(code(&error), reason, "{name}: {error}");
            json!({"name": name, "trust": by, "note": text, "reason": reason})
        })
        .collect();
    Vectors::new("checkpoint.json", "8: log, checkpoint, cosignatures")
        .with("trust", trusts)
        .with("signers", signers())
        .with("cases", cases.into())
        .with("refused", refused.into())
        .check();
}
