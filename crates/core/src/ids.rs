//! Names and numbers that parties exchange, each parsed once at the edge.
//!
//! Numbers of authorities and submitters are given by the network file and never reused.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hash::Digest;

/// Why an identifier was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Text of a length that the field does not have.
    #[error("{what} must have 1 to {max} characters")]
    Length {
        /// The identifier.
        what: &'static str,
        /// Most characters allowed.
        max: usize,
    },
    /// A character outside printable ASCII.
    #[error("{what} must be printable ASCII")]
    NotPrintable {
        /// The identifier.
        what: &'static str,
    },
    /// A number outside its range.
    #[error("{what} must be 0 to {max}")]
    Range {
        /// The identifier.
        what: &'static str,
        /// The greatest value.
        max: u16,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Most characters.
            pub const MAX_LEN: usize = $max;

            /// Checks length and alphabet.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                if text.is_empty() || text.len() > $max {
                    return Err(IdError::Length { what: $what, max: $max });
                }
                if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                    return Err(IdError::NotPrintable { what: $what });
                }
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A manufacturer authority's name, `SIMULATED_MFG_001`: 1 to 64 printable ASCII characters.
    AuthorityId, "authority_id", 64
);
text_id!(
    /// A submitter's name, `aggregator_node_001`.
    SubmitterName, "submitter name", 64
);
text_id!(
    /// A camera's serial, `PI_CAMERA_001`.
    DeviceSerial, "device_serial", 64
);
text_id!(
    /// A camera family, `Raspberry Pi HQ Camera`.
    DeviceFamily, "device_family", 128
);

macro_rules! bounded_number {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u16);

        impl $name {
            /// The greatest value.
            pub const MAX: u16 = $max;

            /// Checks the range.
            pub const fn new(value: u16) -> Result<Self, IdError> {
                if value <= $max { Ok(Self(value)) } else { Err(IdError::Range { what: $what, max: $max }) }
            }

            /// The number.
            pub const fn value(self) -> u16 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u16(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = u64::deserialize(deserializer)?;
                let value = u16::try_from(value).unwrap_or(u16::MAX);
                Self::new(value).map_err(de::Error::custom)
            }
        }
    };
}

bounded_number!(
    /// One of the authority's 2,500 key tables.
    TableId, "table_id", 2499
);
bounded_number!(
    /// One of a table's 1,000 keys.
    KeyIndex, "key_index", 999
);

/// An authority's number in the network file. 0 is the reserved `unattested`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthorityNumber(pub u16);

impl AuthorityNumber {
    /// Hashes that nobody vouches for.
    pub const UNATTESTED: Self = Self(0);
}

/// The name that goes with [`AuthorityNumber::UNATTESTED`].
pub const UNATTESTED: &str = "unattested";

/// A submitter's number in the network file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubmitterNumber(pub u16);

/// A leaf's index in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TxId(pub u64);

/// A block's height; genesis is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Height(pub u64);

/// A span of heights with one validator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// SHA-256 of the genesis bytes: which network this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkId(pub Digest);

impl NetworkId {
    /// The 32 bytes, as they enter signed messages.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
