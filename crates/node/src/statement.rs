//! What one validator tells the others about a tree that it has cosigned.
//!
//! For: the wire form alone. Not for: whether the signature holds (`committee`) or counts (`collector`).
//!
//! The connection says who sends it, and nobody passes on what others said. `docs/PROTOCOL.md` section 8:
//! ```text
//! statement = u8 version (1) ‖ u8 wish ‖ be64 size ‖ root 32 ‖ be64 time ‖ Ed25519 64        114 bytes
//! wish      = 0 none | 1 tell me your newest
//! ```
//! Time and signature are those of the cosignature line (`cosignature/v1`).

use birthmark_core::codec::{DecodeError, Reader};
use birthmark_core::merkle::TreeHash;
use birthmark_core::note::{NoteSignature, VerifierKey};
use birthmark_core::time::UnixSeconds;
use bytes::Bytes;

/// A cosigned tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) wish: Wish,
    pub(crate) size: u64,
    pub(crate) root: TreeHash,
    /// `be64 time ‖ Ed25519`, as a cosignature line carries it.
    signature: [u8; SIGNATURE],
}

/// What is expected of whoever hears a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing.
    None,
    /// To tell its own newest.
    Answer,
}

impl Statement {
    /// Of a cosignature over the tree; nothing if the line is not one.
    pub(crate) fn new(size: u64, root: TreeHash, line: &NoteSignature) -> Option<Self> {
        Some(Self { wish: Wish::None, size, root, signature: line.signature().try_into().ok()? })
    }

    /// The same with another wish.
    pub(crate) const fn with(self, wish: Wish) -> Self {
        Self { wish, ..self }
    }

    /// The time that the cosigner states, unchecked.
    pub(crate) fn time(&self) -> UnixSeconds {
        UnixSeconds(self.signature.first_chunk().map_or(0, |time| u64::from_be_bytes(*time)))
    }

    /// The line that this cosigner would have in a note.
    pub(crate) fn line(&self, cosigner: &VerifierKey) -> NoteSignature {
        NoteSignature::new(cosigner.name().clone(), cosigner.id(), self.signature.to_vec())
    }

    /// The one encoding.
    pub(crate) fn encode(&self) -> Bytes {
        let wish = match self.wish {
            Wish::None => 0,
            Wish::Answer => 1,
        };
        let parts: [&[u8]; 4] =
            [&[VERSION, wish], &self.size.to_be_bytes(), self.root.as_bytes(), self.signature.as_slice()];
        Bytes::from(parts.concat())
    }

    /// Reads exactly one statement.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = |field, value: u8| DecodeError::Value { field, value: value.into() };
        match reader.u8("statement version")? {
            VERSION => {}
            other => return Err(value("statement version", other)),
        }
        let wish = match reader.u8("wish")? {
            0 => Wish::None,
            1 => Wish::Answer,
            other => return Err(value("wish", other)),
        };
        let size = reader.be64("size")?;
        let root = TreeHash::from_bytes(reader.array("root")?);
        let signature = reader.array("cosignature")?;
        reader.finish()?;
        Ok(Self { wish, size, root, signature })
    }
}

const VERSION: u8 = 1;
const SIGNATURE: usize = 8 + 64;

#[cfg(test)]
mod tests {
    use birthmark_core::hex;
    use proptest::prelude::*;

    use super::*;

    /// Size 7, a root of nines, time 660, a signature of fives; an answer is wished for.
    fn golden() -> String {
        ["0101", "0000000000000007", &"09".repeat(32), "0000000000000294", &"05".repeat(64)].concat()
    }

    #[test]
    fn the_known_statement_decodes_and_encodes() {
        let bytes = hex::decode_bounded(&golden(), 114).unwrap();
        let statement = Statement::decode(&bytes).unwrap();
        assert_eq!((statement.wish, statement.size, statement.time()), (Wish::Answer, 7, UnixSeconds(660)));
        assert_eq!(statement.root, TreeHash::from_bytes([9; 32]));
        assert_eq!(statement.encode(), bytes);
    }

    #[test]
    fn other_lengths_versions_and_wishes_are_refused() {
        let bytes = hex::decode_bounded(&golden(), 114).unwrap();
        for end in 0..bytes.len() {
            assert!(Statement::decode(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Statement::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        for (at, value) in [(0, 0), (0, 2), (1, 2), (1, 255)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert!(Statement::decode(&bad).is_err(), "{value} at {at}");
        }
    }

    proptest! {
        #[test]
        fn whatever_decodes_is_the_only_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..130), valid in any::<bool>()) {
            let mut bytes = bytes;
            if valid {
                bytes.resize(114, 0);
                bytes[0] = 1;
                bytes[1] &= 1;
            }
            let decoded = Statement::decode(&bytes);
            prop_assert_eq!(decoded.is_ok(), bytes.len() == 114 && bytes[0] == 1 && bytes[1] < 2);
            if let Ok(statement) = decoded {
                prop_assert_eq!(statement.encode(), bytes);
            }
        }
    }
}
