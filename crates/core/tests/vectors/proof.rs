//! `proof.json`: whole proofs, what they prove of a file, and altered ones.

use birthmark_core::ImageHash;
use birthmark_core::base64;
use birthmark_core::body::Kind;
use birthmark_core::hash::Digest;
use birthmark_core::merkle::{MerkleError, TreeHash, leaf_hash, prove_inclusion, root_of};
use birthmark_core::network::{EndorsementRefusal, Trust};
use birthmark_core::proof::{ProofBundle, ProofError};
use birthmark_core::verify::{Candidate, EndorsementCheck, Verdict, VerifyError, verify};
use serde_json::{Value, json};

use crate::endorsed::{forged, genuine};
use crate::frame::{Vectors, decode_code, hash};
use crate::log::{checkpoint_code, code as trust_code, trust, trusts as log_trusts};
use crate::records::{block, capture, edit, leaf, record};
use crate::world::{authorities, checkpoint, endorsement_key, lines, network_file_of, note};

/// The log's trusts, and a later file of the same network in which the authority's key is revoked.
fn trusts() -> Value {
    let mut trusts = log_trusts();
    let mut authorities = authorities();
    authorities[0]["endorsement_keys"] = json!([endorsement_key(1, "revoked"), endorsement_key(3, "current")]);
    trusts["revoked"] = network_file_of(authorities).into();
    trusts
}

/// The log's leaves: genesis, a capture, a block, an endorsed capture with image data, an edit, …
pub(crate) fn leaves() -> Vec<Vec<u8>> {
    let endorsement = Digest::of_parts(&[&genuine()]).to_string();
    let mut list = [
        block(0, &"00".repeat(32)),
        record(1, 1, None, &capture()),
        block(1, &hash("index 1")),
        record(1, 2, Some(&endorsement), &with_picture()),
        record(2, 0, None, &edit()),
        record(1, 1, None, &json!([{"hash": hash("stray"), "kind": "file", "level": 0, "parent": null}])),
        block(2, &hash("index 2")),
    ];
    list[4]["authority"] = 7.into();
    // An authority and a submitter that the network file does not know.
    list[5]["authority"] = 9.into();
    list.iter().map(|fields| leaf(fields).encode()).collect()
}

pub(crate) fn with_picture() -> Value {
    let mut entries = capture();
    entries
        .as_array_mut()
        .unwrap()
        .push(json!({"hash": hash("picture"), "kind": "image_data", "level": 1, "parent": 1}));
    entries
}

pub(crate) struct Tree {
    leaves: Vec<Vec<u8>>,
    hashes: Vec<TreeHash>,
}

impl Tree {
    pub(crate) fn new(leaves: Vec<Vec<u8>>) -> Self {
        let hashes = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        Self { leaves, hashes }
    }

    fn note(&self) -> String {
        let tree = checkpoint(self.leaves.len() as u64, root_of(&self.hashes));
        note(&tree, &lines(&tree, 1, &[0, 3, 2]))
    }

    pub(crate) fn prove(&self, index: usize) -> ProofBundle {
        let mut source = |level: u8, at: u64| {
            let start = usize::try_from(at << level).unwrap();
            Ok::<_, MerkleError>(root_of(&self.hashes[start..start + (1 << level)]))
        };
        ProofBundle {
            leaf: self.leaves[index].clone(),
            endorsement: None,
            index: index as u64,
            path: prove_inclusion(index as u64, self.leaves.len() as u64, &mut source).unwrap(),
            checkpoint: self.note(),
        }
    }
}

fn file(name: &str) -> Value {
    json!([{"kind": "file", "hash": hash(name)}])
}

fn file_and_picture(file: &str, picture: &str) -> Value {
    json!([{"kind": "file", "hash": hash(file)}, {"kind": "image_data", "hash": hash(picture)}])
}

fn candidates(list: &Value) -> Vec<Candidate> {
    let candidate = |fields: &Value| Candidate {
        kind: if fields["kind"] == "file" { Kind::File } else { Kind::ImageData },
        hash: ImageHash::from_hex(fields["hash"].as_str().unwrap()).unwrap(),
    };
    list.as_array().unwrap().iter().map(candidate).collect()
}

fn accepted() -> Vec<(&'static str, &'static str, String, Value)> {
    let tree = Tree::new(leaves());
    let lone = Tree::new(leaves().drain(1..2).collect());
    let endorsed = ProofBundle { endorsement: Some(genuine()), ..tree.prove(3) }.to_string();
    vec![
        ("processed photo", "network", tree.prove(1).to_string(), file("processed")),
        ("raw samples", "network", tree.prove(1).to_string(), file("raw")),
        ("by a bare policy", "policy", tree.prove(1).to_string(), file("processed")),
        ("within epoch 0", "two_epochs", tree.prove(1).to_string(), file("processed")),
        ("endorsed, with the endorsement", "network", endorsed.clone(), file("processed")),
        ("endorsed, without the endorsement", "network", tree.prove(3).to_string(), file("processed")),
        ("endorsed, by a bare policy", "policy", endorsed.clone(), file("processed")),
        ("endorsed, by a key that was revoked since", "revoked", endorsed.clone(), file("processed")),
        ("endorsed, another file", "network", endorsed, file("another")),
        ("same picture data, other file", "network", tree.prove(3).to_string(), file_and_picture("x", "picture")),
        (
            "the file comes before its picture data",
            "network",
            tree.prove(3).to_string(),
            file_and_picture("raw", "picture"),
        ),
        ("an edit with an outside parent", "network", tree.prove(4).to_string(), file("edited")),
        ("an edit of an edit", "network", tree.prove(4).to_string(), file("edited again")),
        ("a tree of one leaf", "network", lone.prove(0).to_string(), file("processed")),
        ("another file", "network", tree.prove(1).to_string(), file("another")),
        ("a picture's hash given as a file's", "network", tree.prove(3).to_string(), file("picture")),
        ("authority unknown to a bare policy", "policy", tree.prove(5).to_string(), file("stray")),
    ]
}

/// One byte of a hash or leaf in its base64, as somebody might try.
fn flipped(text: &str) -> String {
    let mut bytes = base64::decode_bounded(text, 1 << 16).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    base64::encode(bytes)
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn altered() -> Vec<(&'static str, &'static str, String, &'static str)> {
    let tree = Tree::new(leaves());
    let good = tree.prove(1);
    let text = good.to_string();
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let changed = |change: &dyn Fn(&mut ProofBundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        bundle.to_string()
    };
    let extra = |bytes: &[u8]| {
        let (head, rest) = text.split_once("\nindex").unwrap();
        format!("{}\nextra {}\nindex{rest}", head.lines().next().unwrap(), base64::encode(bytes))
    };
    let garbled = |change: fn(&mut Vec<u8>)| {
        let mut list = leaves();
        change(&mut list[1]);
        Tree::new(list).prove(1).to_string()
    };
    let sibling = good.path[0].to_string();
    let root = root_of(&tree.hashes);
    let other = checkpoint(7, leaf_hash(b"another tree"));
    let signed = checkpoint(7, root);
    let mut canonical = sibling.clone().into_bytes();
    // The last digit before the padding carries two unused bits.
    let at = canonical.len() - 2;
    canonical[at] += 1;
    let stray_bits = String::from_utf8(canonical).unwrap();
    let endorsement = [0x5a; 263].to_vec();
    let mut altered = vec![
        ("a changed byte in the leaf", "network", changed(&|b| *b.leaf.last_mut().unwrap() ^= 1), "inclusion"),
        ("a changed hash in the leaf", "network", changed(&|b| b.leaf[20] ^= 1), "inclusion"),
        ("the next leaf", "network", changed(&|b| b.leaf = tree.leaves[2].clone()), "inclusion"),
        ("a changed hash of the path", "network", replaced(&sibling, &flipped(&sibling)), "inclusion"),
        ("path hashes swapped", "network", changed(&|b| b.path.swap(0, 1)), "inclusion"),
        (
            "a path hash too few",
            "network",
            changed(&|b| {
                b.path.pop();
            }),
            "inclusion",
        ),
        ("a path hash too many", "network", changed(&|b| b.path.push(b.path[0])), "inclusion"),
        ("another index", "network", replaced("index 1", "index 0"), "inclusion"),
        ("an index beyond the tree", "network", replaced("index 1", "index 7"), "inclusion"),
        (
            "a checkpoint of another tree, well signed",
            "network",
            changed(&|b| b.checkpoint = note(&other, &lines(&other, 1, &[0, 3, 2]))),
            "inclusion",
        ),
        ("another root", "network", replaced(&root.to_string(), &leaf_hash(b"x").to_string()), "bad_signature"),
        ("another size", "network", replaced("\n7\n", "\n8\n"), "bad_signature"),
        ("another origin", "network", replaced("\n\nbirthmark.example", "\n\nbirthmarx.example"), "other_origin"),
        (
            "another origin by a bare policy",
            "policy",
            replaced("\n\nbirthmark.example", "\n\nbirthmarx.example"),
            "bad_signature",
        ),
        (
            "a cosignature missing",
            "network",
            changed(&|b| b.checkpoint = note(&signed, &lines(&signed, 1, &[0, 3]))),
            "no_quorum",
        ),
        (
            "the log's line missing",
            "network",
            changed(&|b| b.checkpoint = note(&signed, &lines(&signed, 1, &[0, 3, 2])[1..])),
            "no_log_signature",
        ),
        ("path hash with stray bits", "network", replaced(&sibling, &stray_bits), "path"),
        ("path hash without padding", "network", replaced(&sibling, sibling.trim_end_matches('=')), "path"),
        ("path hash of 31 bytes", "network", replaced(&sibling, &base64::encode([1; 31])), "path"),
        ("extra with a space", "network", replaced("extra ", "extra  "), "extra_line"),
        ("extra without padding", "network", extra(&[1, 0, 1, 7, 0, 0, 0]).replace("==", ""), "extra_line"),
        (
            "no extra line",
            "network",
            format!("c2sp.org/tlog-proof@v1\nindex{}", text.split_once("\nindex").unwrap().1),
            "extra_line",
        ),
        ("extra of version 2", "network", extra(&[2, 0, 1, 7, 0, 0]), "value"),
        ("no leaf in extra", "network", extra(&[1, 0, 0, 0, 0]), "value"),
        ("extra cut short", "network", extra(&[1, 0, 1, 7]), "truncated"),
        ("extra too long", "network", extra(&[1, 0, 1, 7, 0, 0, 0]), "trailing"),
        ("index 01", "network", replaced("index 1", "index 01"), "index_line"),
        ("no index", "network", replaced("index 1\n", ""), "index_line"),
        ("version 2", "network", replaced("tlog-proof@v1", "tlog-proof@v2"), "header"),
        ("nothing", "network", String::new(), "no_checkpoint"),
        ("no blank line before the checkpoint", "network", replaced("\n\n", "\n"), "path"),
        ("a newline too many", "network", text.clone() + "\n", "note"),
        ("carriage returns", "network", text.replace('\n', "\r\n"), "no_checkpoint"),
        (
            "an endorsement that the leaf does not name",
            "network",
            changed(&|b| b.endorsement = Some(endorsement.clone())),
            "endorsement",
        ),
        (
            "another endorsement",
            "network",
            ProofBundle { endorsement: Some(endorsement.clone()), ..tree.prove(3) }.to_string(),
            "endorsement",
        ),
        ("a block's leaf", "network", tree.prove(2).to_string(), "not_a_record"),
        ("an authority that the network does not have", "network", tree.prove(5).to_string(), "unknown_authority"),
        ("a proven leaf of version 2", "network", garbled(|leaf| leaf[0] = 2), "leaf"),
        ("a proven leaf with a byte more", "network", garbled(|leaf| leaf.push(0)), "leaf"),
    ];
    altered.extend(forged());
    altered
}

const fn proof_code(error: &ProofError) -> &'static str {
    match error {
        ProofError::TooLong(_) => "too_long",
        ProofError::Header => "header",
        ProofError::ExtraLine => "extra_line",
        ProofError::Extra(cause) => decode_code(cause),
        ProofError::IndexLine => "index_line",
        ProofError::Path(_) => "path",
        ProofError::NoCheckpoint => "no_checkpoint",
        ProofError::Checkpoint(cause) => checkpoint_code(cause),
        ProofError::Trust(cause) => trust_code(cause),
        ProofError::Inclusion(_) => "inclusion",
    }
}

const fn code(error: &VerifyError) -> &'static str {
    match error {
        VerifyError::Proof(cause) => proof_code(cause),
        VerifyError::Leaf(_) => "leaf",
        VerifyError::NotARecord => "not_a_record",
        VerifyError::Endorsement => "endorsement",
        VerifyError::EndorsementRefused(EndorsementRefusal::UnknownKey) => "unknown_endorsement_key",
        VerifyError::EndorsementRefused(EndorsementRefusal::Endorsement(_)) => "bad_endorsement",
        VerifyError::UnknownAuthority => "unknown_authority",
    }
}

fn judge(text: &str, files: &Value, trust: &Trust) -> Result<Verdict, VerifyError> {
    let bundle = ProofBundle::parse(text)?;
    assert_eq!(bundle.to_string(), text, "a text that is read is the text that would be written");
    verify(&candidates(files), &bundle, trust)
}

fn verdict(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::OtherFile { tx_id } => json!({"match": "other_file", "tx_id": tx_id}),
        Verdict::Match(finding) => json!({
            "match": if finding.entry.kind == Kind::File { "file" } else { "image_data" },
            "tx_id": finding.tx_id, "image_hash": finding.entry.hash, "level": finding.entry.level as u8,
            "parent": finding.parent, "recorded_at": finding.recorded_at, "assurance": finding.record.assurance,
            "endorsement": match finding.endorsement {
                EndorsementCheck::None => "none",
                EndorsementCheck::ByValidators => "validators",
                EndorsementCheck::Verified(_) => "verified",
            },
            "endorsement_key": match finding.endorsement {
                EndorsementCheck::Verified(state) => json!(state),
                EndorsementCheck::None | EndorsementCheck::ByValidators => Value::Null,
            },
            "authority": finding.authority, "submitter": finding.submitter, "checkpoint_size": finding.checkpoint_size,
            "checkpoint_time": finding.checkpoint_time, "cosigners": finding.cosigners,
        }),
    }
}

#[test]
fn proof_json() {
    let trusts = trusts();
    let cases: Vec<Value> = accepted()
        .into_iter()
        .map(|(name, by, text, files)| {
            let found = judge(&text, &files, &trust(&trusts, by)).unwrap_or_else(|e| panic!("{name}: {e}"));
            json!({"name": name, "trust": by, "proof": text, "files": files, "verdict": verdict(&found)})
        })
        .collect();
    let altered: Vec<Value> = altered()
        .into_iter()
        .map(|(name, by, text, reason)| {
            let error = judge(&text, &file("processed"), &trust(&trusts, by)).expect_err(name);
            assert_eq!(code(&error), reason, "{name}: {error}");
            json!({"name": name, "trust": by, "proof": text, "files": file("processed"), "reason": reason})
        })
        .collect();
    Vectors::new("proof.json", "10: proof bundle")
        .with("trust", trusts)
        .with("cases", cases.into())
        .with("altered", altered.into())
        .check();
}
