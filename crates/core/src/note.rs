//! Signed notes: a text and the lines of those who sign it.
//!
//! For: the outer form of every checkpoint, the names and keys of its signers, and single
//! signatures, made and checked.
//!
//! Not for: which text is meant and whose signatures suffice (`checkpoint`, `policy`).
//!
//! Format: C2SP signed-note; `docs/PROTOCOL.md` section 8.
//!
//! ```text
//! <text, ends in a newline>
//!
//! — <key name> base64(be32 key id ‖ signature)
//! …
//! ```

mod key;
mod signer;

use std::fmt;
use std::str::FromStr;

pub use self::key::{KeyError, KeyName, PublicKey, SignatureType, VerifierKey};
pub use self::signer::{NoteSigner, SecretKey};
use crate::base64;

/// Longest note that is read.
pub const MAX_NOTE_LEN: usize = 64 * 1024;

/// Most signature lines that are read.
pub const MAX_SIGNATURES: usize = 64;

/// Longest signature that is read, its key id included. Post-quantum ones of others fit.
const MAX_SIGNATURE_LEN: usize = 8 * 1024;

/// What a signature line starts with: an em dash and a space.
const LINE_START: &str = "\u{2014} ";

/// Why a note was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_LEN`].
    #[error("a note of {0} bytes is too long")]
    TooLong(usize),
    /// A control character other than newline.
    #[error("the note has a control character at byte {0}")]
    ControlCharacter(usize),
    /// No blank line between text and signatures, or no text.
    #[error("the note has no text followed by a blank line and signatures")]
    NoSeparator,
    /// A signature line is not of the form given above.
    #[error("signature line {0} is malformed")]
    SignatureLine(usize),
    /// None, or more than [`MAX_SIGNATURES`].
    #[error("a note needs 1 to 64 signature lines, this one has {0}")]
    SignatureCount(usize),
}

/// A note in its parts. Nothing in it is to be believed before a signature has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteSignature {
    name: KeyName,
    key_id: u32,
    signature: Vec<u8>,
}

impl Note {
    /// Joins a text that ends in a newline and the signatures over it.
    pub fn new(text: impl Into<String>, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        let text = text.into();
        check_characters(&text)?;
        if !text.ends_with('\n') || text.len() < 2 {
            return Err(NoteError::NoSeparator);
        }
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::SignatureCount(signatures.len()));
        }
        Ok(Self { text, signatures })
    }

    /// Reads a whole note. Each note has one spelling: written again it gives the same bytes.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_LEN {
            return Err(NoteError::TooLong(note.len()));
        }
        check_characters(note)?;
        // The last blank line separates, for the text may have blank lines of its own.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::NoSeparator)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSeparator)?;
        let count = lines.split('\n').count();
        if count > MAX_SIGNATURES {
            return Err(NoteError::SignatureCount(count));
        }
        let signatures = lines
            .split('\n')
            .enumerate()
            .map(|(i, line)| line.parse().map_err(|_| NoteError::SignatureLine(i + 1)))
            .collect::<Result<_, _>>()?;
        Self::new(format!("{text}\n"), signatures)
    }

    /// The signed text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in their order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }
}

impl NoteSignature {
    /// Takes the signature that a key of this name and id made.
    pub const fn new(name: KeyName, key_id: u32, signature: Vec<u8>) -> Self {
        Self { name, key_id, signature }
    }

    /// The signer's key name.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The signer's key id.
    pub const fn key_id(&self) -> u32 {
        self.key_id
    }

    /// The signature without the key id; for a cosignature it starts with the time.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// One line without its newline.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id.to_be_bytes()[..], &self.signature].concat();
        write!(f, "{LINE_START}{} {}", self.name, base64::encode(bytes))
    }
}

impl FromStr for NoteSignature {
    type Err = NoteError;

    /// Reads one line without its newline.
    fn from_str(line: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::SignatureLine(1);
        let (name, value) = line.strip_prefix(LINE_START).and_then(|l| l.split_once(' ')).ok_or(malformed)?;
        let bytes = base64::decode_bounded(value, MAX_SIGNATURE_LEN).map_err(|_| malformed)?;
        let (key_id, signature) = bytes.split_first_chunk::<4>().ok_or(malformed)?;
        if signature.is_empty() {
            return Err(malformed);
        }
        let name = KeyName::new(name).map_err(|_| malformed)?;
        Ok(Self::new(name, u32::from_be_bytes(*key_id), signature.to_vec()))
    }
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    match text.bytes().position(|b| b < 0x20 && b != b'\n') {
        Some(at) => Err(NoteError::ControlCharacter(at)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
