//! What a log asks of a witness (C2SP tlog-witness, `add-checkpoint`), and whether the witness may sign.
//!
//! For: the request's one encoding, and the rule, which is a pure function of it and of what was signed last.
//! Not for: keeping that (`birthmark_node::witness`), or HTTP.
//!
//! ```text
//! old <size>
//! <hash in base64>        0 to 63 lines, from the older tree to the newer
//!
//! <checkpoint, a signed note>
//! ```
//! Every line ends in a newline. Checkpoints with extension lines are refused: this witness does not know what it
//! would sign.

use std::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal, parse_unverified};
use crate::merkle::{EMPTY_ROOT, TreeHash, verify_consistency};
use crate::note::{Note, SignatureType, VerifierKey};

/// The longest request: the longest note, and all lines before it.
pub const MAX_REQUEST: usize = 64 * 1024 + 64 * 45;

/// A request that is well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Leaves in the tree that the log says was signed last.
    pub old_size: u64,
    /// That the new tree extends it.
    pub proof: Vec<TreeHash>,
    /// The new tree.
    pub checkpoint: Checkpoint,
    note: Note,
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The first line is not `old`, a space and a size.
    #[error("the first line is not the old size")]
    OldSize,
    /// A line is no hash, there are too many, or no empty line ends them.
    #[error("the consistency proof is not at most 63 hashes and an empty line")]
    Proof,
    /// What follows is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Why a witness does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The older tree is said to be the larger one.
    #[error("the old size is above the checkpoint's")]
    OldAboveNew,
    /// Another size was signed last.
    #[error("the checkpoint signed last has {0} leaves")]
    Stale(u64),
    /// The same size was signed with another root: the log has forked.
    #[error("another tree of {0} leaves was signed")]
    OtherRoot(u64),
    /// Nothing shows that the new tree extends the one that was signed last.
    #[error("the consistency proof does not hold")]
    BadProof,
}

impl AddCheckpoint {
    /// Reads exactly one request.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        let (first, mut rest) = text.split_once('\n').ok_or(RequestError::OldSize)?;
        let old_size = first.strip_prefix("old ").and_then(parse_decimal).ok_or(RequestError::OldSize)?;
        let mut proof = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n').ok_or(RequestError::Proof)?;
            rest = after;
            if line.is_empty() {
                break;
            }
            if proof.len() >= MAX_PROOF {
                return Err(RequestError::Proof);
            }
            proof.push(TreeHash::from_base64(line).map_err(|_| RequestError::Proof)?);
        }
        let (note, checkpoint) = parse_unverified(rest)?;
        Ok(Self { old_size, proof, checkpoint, note })
    }

    /// Whether the log has signed: at least one of these keys, and no line that names one of them is wrong.
    pub fn is_signed_by(&self, keys: &[VerifierKey]) -> bool {
        let mut signed = false;
        for line in self.note.signatures() {
            let is_by = |key: &&VerifierKey| key.kind() == SignatureType::Ed25519 && key.is_named_by(line);
            for key in keys.iter().filter(is_by) {
                if *key.name() != self.checkpoint.origin || key.check(self.note.text(), line.signature()).is_err() {
                    return false;
                }
                signed = true;
            }
        }
        signed
    }

    /// Whether the checkpoint may be signed after this tree, the one that was signed last; of a log that was never
    /// signed for, the empty one.
    pub fn follows(&self, (size, root): (u64, TreeHash)) -> Result<(), Refusal> {
        let new = &self.checkpoint;
        if self.old_size > new.size {
            return Err(Refusal::OldAboveNew);
        }
        if self.old_size != size {
            return Err(Refusal::Stale(size));
        }
        if new.size == size && new.root != root {
            return Err(Refusal::OtherRoot(size));
        }
        // Every tree extends the empty one, and there is nothing to show.
        let holds = if size == 0 {
            self.proof.is_empty() && (new.size > 0 || new.root == EMPTY_ROOT)
        } else {
            verify_consistency(size, new.size, &self.proof, &root, &new.root).is_ok()
        };
        if holds { Ok(()) } else { Err(Refusal::BadProof) }
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.note)
    }
}

const MAX_PROOF: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{leaf_hash, prove_consistency, root_of};
    use crate::note::{KeyName, NoteSigner, SecretKey};

    /// The example of C2SP tlog-witness, but for its signatures, whose keys it does not give.
    const EXAMPLE: &str = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    fn leaves(count: u8) -> Vec<TreeHash> {
        (0..count).map(|leaf| leaf_hash(&[leaf])).collect()
    }

    fn subtree(count: u8, level: u8, index: u64) -> TreeHash {
        let first = usize::try_from(index << level).unwrap();
        root_of(&leaves(count)[first..first + (1 << level)])
    }

    fn signer() -> NoteSigner {
        NoteSigner::log(KeyName::new("log.example").unwrap(), SecretKey::from_seed(&[1; 32]))
    }

    fn request(old: u8, new: u8) -> AddCheckpoint {
        let proof = if old == 0 {
            Vec::new()
        } else {
            let hashes = &mut |level, index| Ok::<_, crate::merkle::MerkleError>(subtree(new, level, index));
            prove_consistency(old.into(), new.into(), hashes).unwrap()
        };
        let origin = signer().verifier().name().clone();
        let checkpoint = Checkpoint { origin, size: new.into(), root: root_of(&leaves(new)) };
        let note = checkpoint.assemble(checkpoint.log_signature(&signer()).unwrap(), &[]).unwrap();
        AddCheckpoint { old_size: old.into(), proof, checkpoint, note }
    }

    fn signed(size: u8) -> (u64, TreeHash) {
        (size.into(), root_of(&leaves(size)))
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_written_again() {
        let request = AddCheckpoint::parse(EXAMPLE).unwrap();
        assert_eq!((request.old_size, request.proof.len(), request.checkpoint.size), (20_852_014, 4, 20_852_163));
        assert_eq!(request.to_string(), EXAMPLE);
    }

    #[test]
    fn other_spellings_are_refused_by_place() {
        let good = request(3, 7).to_string();
        let with = |from: &str, to: &str| AddCheckpoint::parse(&good.replacen(from, to, 1)).unwrap_err();
        for bad in ["old 03\n", "old +3\n", "old\t3\n", "Old 3\n", "old 3 \n", "old -3\n", "3\n", "\n"] {
            assert_eq!(with("old 3\n", bad), RequestError::OldSize, "{bad:?}");
        }
        assert_eq!(with("old 3\n", "old 3\nx\n"), RequestError::Proof);
        assert_eq!(with("\n\n", "\n"), RequestError::Proof, "no empty line");
        let hash = format!("{}\n", TreeHash::from_bytes([1; 32]));
        assert_eq!(with("old 3\n", &format!("old 3\n{}", hash.repeat(64))), RequestError::Proof);
        assert!(matches!(with("log.example\n7\n", "log.example\n07\n"), RequestError::Checkpoint(_)));
        assert!(matches!(with("=\n\n—", "=\nextension\n\n—"), RequestError::Checkpoint(_)));
        assert_eq!(AddCheckpoint::parse(""), Err(RequestError::OldSize));
    }

    #[test]
    fn only_what_extends_the_tree_signed_last_may_be_signed() {
        assert_eq!(request(0, 5).follows((0, EMPTY_ROOT)), Ok(()));
        assert_eq!(request(0, 0).follows((0, EMPTY_ROOT)), Ok(()));
        for (old, new) in [(1, 2), (3, 7), (4, 7), (7, 7), (8, 9)] {
            assert_eq!(request(old, new).follows(signed(old)), Ok(()), "{old} {new}");
        }
        assert_eq!(request(3, 7).follows(signed(4)), Err(Refusal::Stale(4)));
        assert_eq!(request(0, 7).follows(signed(3)), Err(Refusal::Stale(3)));
        assert_eq!(AddCheckpoint { old_size: 8, ..request(3, 7) }.follows(signed(8)), Err(Refusal::OldAboveNew));
        let forked = (7, TreeHash::from_bytes([9; 32]));
        assert_eq!(request(7, 7).follows(forked), Err(Refusal::OtherRoot(7)));
        assert_eq!(request(3, 7).follows((3, forked.1)), Err(Refusal::BadProof));
        let cut = AddCheckpoint { proof: Vec::new(), ..request(3, 7) };
        assert_eq!(cut.follows(signed(3)), Err(Refusal::BadProof));
        for of in [(7, 7), (0, 7)] {
            let more = AddCheckpoint { proof: vec![forked.1], ..request(of.0, of.1) };
            assert_eq!(more.follows(signed(of.0)), Err(Refusal::BadProof));
        }
        let mut empty = request(0, 0);
        empty.checkpoint.root = forked.1;
        assert_eq!(empty.follows((0, EMPTY_ROOT)), Err(Refusal::OtherRoot(0)));
    }

    #[test]
    fn the_log_must_have_signed_with_one_of_its_keys_and_wrongly_with_none() {
        let other = NoteSigner::log(signer().verifier().name().clone(), SecretKey::from_seed(&[2; 32]));
        let keys = [other.verifier().clone(), signer().verifier().clone()];
        let good = request(3, 7);
        assert!(good.is_signed_by(&keys));
        assert!(!good.is_signed_by(&keys[..1]) && !good.is_signed_by(&[]));
        let changed =
            good.to_string().replace(&good.checkpoint.root.to_string(), &TreeHash::from_bytes([1; 32]).to_string());
        assert!(!AddCheckpoint::parse(&changed).unwrap().is_signed_by(&keys));
    }

    proptest! {
        #[test]
        fn whatever_is_read_has_one_spelling(text in "(old [0-9]{1,3}\n)?([A-Za-z0-9+/]{43}=\n){0,2}\n?[ -~\n—]{0,200}") {
            if let Ok(request) = AddCheckpoint::parse(&text) {
                prop_assert_eq!(request.to_string(), text);
            }
        }
    }
}
