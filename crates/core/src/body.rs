//! What a submitter asks the registry to record: an authority's name and the hashes of one capture
//! or edit.
//!
//! For: the one encoding of a [`Body`], its structural rules, and [`BodyDigest`], by which
//! duplicates are found.
//!
//! Not for: whether the authority exists or a parent is recorded (`birthmark-ledger`), nor the
//! camera's JSON (`submission`).
//!
//! Format: `docs/PROTOCOL.md` section 7; one body has one encoding, nothing may follow it:
//! ```text
//! body    = u8 len (1..64) ‖ authority_id ‖ entries
//! entries = u8 n (1..8) ‖ n × entry ‖ u8 flags ‖ [owner_hash 32] ‖ [gps_hash 32]
//! entry   = u8 level ‖ u8 kind ‖ hash (32) ‖ u8 parent ‖ [explicit parent hash 32, if parent = 255]
//! ```

use crate::codec::{DecodeError, Reader};
use crate::hash::{Digest, ImageHash};
use crate::ids::AuthorityId;

/// Most entries of one body.
pub const MAX_ENTRIES: usize = 8;
/// Most bytes that an encoded body can have.
pub const MAX_BODY: usize = 1 + AuthorityId::MAX_LEN + MAX_ENTRIES_LEN;
/// Most bytes that encoded entries can have.
pub const MAX_ENTRIES_LEN: usize = 1 + MAX_ENTRIES * (1 + 1 + 32 + 1 + 32) + 1 + 64;

/// How far an image is from the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// The canonical raw samples.
    Raw = 0,
    /// Processed by the camera itself.
    Validated = 1,
    /// Edited afterwards.
    Modified = 2,
}

/// What was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The bytes of a file, or the raw samples.
    File = 0,
    /// The picture data alone, without metadata segments (`image_data`).
    ImageData = 1,
}

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parent {
    /// From the sensor, or unknown.
    None,
    /// From an earlier entry of the same body, counted from 1.
    Entry(u8),
    /// From an image that is not in this body.
    Explicit(ImageHash),
}

/// One image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// How far from the sensor.
    pub level: Level,
    /// What was hashed.
    pub kind: Kind,
    /// The hash.
    pub hash: ImageHash,
    /// Where it comes from.
    pub parent: Parent,
}

/// The images of one capture or edit, structurally valid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entries {
    list: Vec<Entry>,
    owner_hash: Option<Digest>,
    gps_hash: Option<Digest>,
}

/// Authority and entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Body {
    /// Who is said to vouch.
    pub authority: AuthorityId,
    /// What for.
    pub entries: Entries,
}

/// SHA-256 of an encoded body.
pub type BodyDigest = Digest;

/// Why entries are not structurally valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntriesError {
    /// None, or too many.
    #[error("1 to {MAX_ENTRIES} image hashes are allowed, got {0}")]
    Count(usize),
    /// The same hash twice.
    #[error("image hash {0} repeats an earlier one")]
    Repeated(usize),
    /// A raw image with a parent.
    #[error("image hash {0} is raw and can have no parent")]
    RawWithParent(usize),
    /// A parent number that is not an earlier entry's.
    #[error("image hash {0} names a parent that does not come before it")]
    ParentOrder(usize),
    /// An explicit parent that is in the same body.
    #[error("image hash {0} names as outside parent one of the same body")]
    ParentInside(usize),
}

/// Why entries are no capture. Carries the number of the first entry that breaks the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a capture is raw, or raw and processed, or both again with GPS bar, then image data; entry {0} breaks that")]
pub struct CaptureShapeError(pub usize);

/// Why bytes are no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The bytes do not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// They decode to something that is not allowed.
    #[error(transparent)]
    Entries(#[from] EntriesError),
}

impl Entries {
    /// Checks the structure. Numbers in errors count from 1, as the format does.
    pub fn new(
        entries: Vec<Entry>,
        owner_hash: Option<Digest>,
        gps_hash: Option<Digest>,
    ) -> Result<Self, EntriesError> {
        if entries.is_empty() || entries.len() > MAX_ENTRIES {
            return Err(EntriesError::Count(entries.len()));
        }
        for (at, entry) in entries.iter().enumerate() {
            let number = at + 1;
            if entries.iter().take(at).any(|earlier| earlier.hash == entry.hash) {
                return Err(EntriesError::Repeated(number));
            }
            match entry.parent {
                Parent::None => {}
                _ if entry.level == Level::Raw => return Err(EntriesError::RawWithParent(number)),
                Parent::Entry(parent) if parent == 0 || usize::from(parent) >= number => {
                    return Err(EntriesError::ParentOrder(number));
                }
                Parent::Explicit(hash) if entries.iter().any(|other| other.hash == hash) => {
                    return Err(EntriesError::ParentInside(number));
                }
                Parent::Entry(_) | Parent::Explicit(_) => {}
            }
        }
        Ok(Self { list: entries, owner_hash, gps_hash })
    }

    /// The entries in order; the first is number 1.
    pub fn as_slice(&self) -> &[Entry] {
        &self.list
    }

    /// Commitment to the owner's name.
    pub const fn owner_hash(&self) -> Option<Digest> {
        self.owner_hash
    }

    /// Commitment to the place.
    pub const fn gps_hash(&self) -> Option<Digest> {
        self.gps_hash
    }

    /// True if an entry is an edit.
    pub fn has_edit(&self) -> bool {
        self.list.iter().any(|entry| entry.level == Level::Modified)
    }

    /// Checks the order of a camera's entries: 1, 2 or 4 files as raw, processed, raw, processed; then
    /// image data of those files, in the files' order, each with the raw of its file as parent.
    pub fn check_capture(&self) -> Result<(), CaptureShapeError> {
        let entries = self.as_slice();
        let files = entries.iter().take_while(|entry| entry.kind == Kind::File).count();
        if !matches!(files, 1 | 2 | 4) {
            return Err(CaptureShapeError(files.clamp(1, entries.len())));
        }
        let mut last_raw = 0;
        for (number, entry) in (1u8..).zip(entries) {
            let fits = match (entry.kind, entry.level, entry.parent) {
                (Kind::File, Level::Raw, Parent::None) => number % 2 == 1,
                (Kind::File, Level::Validated, Parent::Entry(raw)) => number % 2 == 0 && raw + 1 == number,
                (Kind::ImageData, Level::Validated, Parent::Entry(raw)) => {
                    let in_order = raw % 2 == 1 && usize::from(raw) <= files && raw >= last_raw;
                    last_raw = raw;
                    usize::from(number) > files && in_order
                }
                _ => false,
            };
            if !fits {
                return Err(CaptureShapeError(number.into()));
            }
        }
        Ok(())
    }

    /// The parent's hash of an entry of this list.
    pub fn parent_hash(&self, entry: &Entry) -> Option<ImageHash> {
        match entry.parent {
            Parent::None => None,
            Parent::Entry(number) => {
                usize::from(number).checked_sub(1).and_then(|at| self.list.get(at)).map(|parent| parent.hash)
            }
            Parent::Explicit(hash) => Some(hash),
        }
    }

    /// Appends the encoding.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        // `new` bounds the count to MAX_ENTRIES.
        out.push(u8::try_from(self.list.len()).unwrap_or(u8::MAX));
        for entry in &self.list {
            out.extend_from_slice(&[entry.level as u8, entry.kind as u8]);
            out.extend_from_slice(entry.hash.as_bytes());
            match entry.parent {
                Parent::None => out.push(0),
                Parent::Entry(number) => out.push(number),
                Parent::Explicit(hash) => {
                    out.push(EXPLICIT);
                    out.extend_from_slice(hash.as_bytes());
                }
            }
        }
        out.push(u8::from(self.owner_hash.is_some()) | u8::from(self.gps_hash.is_some()) << 1);
        for hash in [self.owner_hash, self.gps_hash].into_iter().flatten() {
            out.extend_from_slice(hash.as_bytes());
        }
    }

    /// Takes the encoding off a reader.
    pub fn decode_from(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        let count = usize::from(reader.u8("entry count")?);
        if count == 0 || count > MAX_ENTRIES {
            return Err(EntriesError::Count(count).into());
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let level = match reader.u8("level")? {
                0 => Level::Raw,
                1 => Level::Validated,
                2 => Level::Modified,
                other => return Err(DecodeError::Value { field: "level", value: other.into() }.into()),
            };
            let kind = match reader.u8("kind")? {
                0 => Kind::File,
                1 => Kind::ImageData,
                other => return Err(DecodeError::Value { field: "kind", value: other.into() }.into()),
            };
            let hash = ImageHash::from_bytes(reader.array("image hash")?);
            let parent = match reader.u8("parent")? {
                0 => Parent::None,
                EXPLICIT => Parent::Explicit(ImageHash::from_bytes(reader.array("parent hash")?)),
                number => Parent::Entry(number),
            };
            entries.push(Entry { level, kind, hash, parent });
        }
        let flags = reader.u8("flags")?;
        if flags > 3 {
            return Err(DecodeError::Value { field: "flags", value: flags.into() }.into());
        }
        let mut commitment = |bit: u8, field| -> Result<Option<Digest>, DecodeError> {
            if flags & bit == 0 { Ok(None) } else { reader.array(field).map(|bytes| Some(Digest::from_bytes(bytes))) }
        };
        let owner_hash = commitment(1, "owner hash")?;
        let gps_hash = commitment(2, "gps hash")?;
        Ok(Self::new(entries, owner_hash, gps_hash)?)
    }
}

impl Body {
    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        let name = self.authority.as_str().as_bytes();
        // `AuthorityId` bounds the name to 64 bytes.
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        self.entries.encode_into(&mut out);
        out
    }

    /// Reads exactly one body.
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(bytes);
        let len = usize::from(reader.u8("authority_id length")?);
        let name = reader.take("authority_id", len)?;
        let authority = std::str::from_utf8(name)
            .ok()
            .and_then(|text| AuthorityId::new(text).ok())
            .ok_or(DecodeError::Text("authority_id"))?;
        let entries = Entries::decode_from(&mut reader)?;
        reader.finish()?;
        Ok(Self { authority, entries })
    }

    /// By which duplicates are found.
    pub fn digest(&self) -> BodyDigest {
        Digest::of_parts(&[&self.encode()])
    }
}

impl Level {
    /// As people are shown it (`docs/PROTOCOL.md` section 11).
    pub const fn display(self) -> &'static str {
        match self {
            Self::Raw => "Validated Raw",
            Self::Validated => "Validated",
            Self::Modified => "Modified",
        }
    }
}

/// `parent` value that announces an explicit hash.
const EXPLICIT: u8 = 255;

#[cfg(test)]
pub(crate) mod tests;
