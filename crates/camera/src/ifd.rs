//! TIFF image file directories (TIFF 6.0, section 2), written in little endian.
//!
//! For: the one structure that EXIF and DNG share.
//!
//! Not for: reading (`dng::reader`; EXIF is read by `kamadak-exif`), nor for what tags mean.
//!
//! ```text
//! header:    "II" ‖ le16 42 ‖ le32 offset of the first directory
//! directory: le16 n ‖ n × (le16 tag ‖ le16 type ‖ le32 count ‖ value, or le32 its offset) ‖ le32 0
//! ```

use std::collections::BTreeMap;

/// The header of a file whose first directory follows at once.
pub(crate) const HEADER: [u8; 8] = [b'I', b'I', 42, 0, 8, 0, 0, 0];

/// A directory in the making.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    entries: BTreeMap<u16, Value>,
}

/// What a tag may hold.
#[derive(Debug)]
pub(crate) enum Value {
    /// Bytes that are numbers.
    Byte(Vec<u8>),
    /// Text; what is not printable ASCII becomes `?`.
    Ascii(String),
    /// 16-bit numbers.
    Short(Vec<u16>),
    /// 32-bit numbers.
    Long(Vec<u32>),
    /// Fractions.
    Rational(Vec<(u32, u32)>),
    /// Fractions with a sign.
    SignedRational(Vec<(i32, i32)>),
    /// Bytes with a meaning of their own.
    Undefined(Vec<u8>),
}

/// More bytes than 32-bit offsets reach. Nothing that is written here comes near it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata does not fit a TIFF structure")]
pub struct TooLong;

impl Directory {
    /// Sets a tag, in place of what it had.
    pub(crate) fn set(&mut self, tag: u16, value: Value) -> &mut Self {
        self.entries.insert(tag, value);
        self
    }

    /// Bytes of the directory with all values. It does not depend on the values of numbers, so offsets
    /// may be set afterwards.
    pub(crate) fn len(&self) -> usize {
        2 + 12 * self.entries.len() + 4 + self.entries.values().map(Value::outside_len).sum::<usize>()
    }

    /// Appends the directory to a file, of which `file` is what comes before.
    pub(crate) fn write(&self, file: &mut Vec<u8>) -> Result<(), TooLong> {
        let entries = u16::try_from(self.entries.len()).map_err(|_| TooLong)?;
        let mut outside = Vec::new();
        let outside_start = file.len() + 2 + 12 * self.entries.len() + 4;
        file.extend(entries.to_le_bytes());
        for (tag, value) in &self.entries {
            let mut bytes = value.bytes();
            let count = u32::try_from(bytes.len() / value.unit()).map_err(|_| TooLong)?;
            file.extend(tag.to_le_bytes());
            file.extend(value.kind().to_le_bytes());
            file.extend(count.to_le_bytes());
            if bytes.len() <= 4 {
                bytes.resize(4, 0);
                file.extend(bytes);
            } else {
                let offset = u32::try_from(outside_start + outside.len()).map_err(|_| TooLong)?;
                file.extend(offset.to_le_bytes());
                bytes.resize(bytes.len().next_multiple_of(2), 0);
                outside.extend(bytes);
            }
        }
        file.extend([0; 4]);
        file.extend(outside);
        Ok(())
    }
}

impl Value {
    /// One 16-bit number.
    pub(crate) fn short(value: u16) -> Self {
        Self::Short(vec![value])
    }

    /// One 32-bit number.
    pub(crate) fn long(value: u32) -> Self {
        Self::Long(vec![value])
    }

    /// Text of at most 255 characters.
    pub(crate) fn text(text: &str) -> Self {
        let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
        Self::Ascii(text.chars().take(255).map(printable).collect())
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Byte(_) => 1,
            Self::Ascii(_) => 2,
            Self::Short(_) => 3,
            Self::Long(_) => 4,
            Self::Rational(_) => 5,
            Self::Undefined(_) => 7,
            Self::SignedRational(_) => 10,
        }
    }

    fn unit(&self) -> usize {
        match self {
            Self::Byte(_) | Self::Ascii(_) | Self::Undefined(_) => 1,
            Self::Short(_) => 2,
            Self::Long(_) => 4,
            Self::Rational(_) | Self::SignedRational(_) => 8,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Byte(bytes) | Self::Undefined(bytes) => bytes.clone(),
            Self::Ascii(text) => text.bytes().chain([0]).collect(),
            Self::Short(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Long(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Rational(values) => {
                values.iter().flat_map(|(n, d)| [n.to_le_bytes(), d.to_le_bytes()]).flatten().collect()
            }
            Self::SignedRational(values) => {
                values.iter().flat_map(|(n, d)| [n.to_le_bytes(), d.to_le_bytes()]).flatten().collect()
            }
        }
    }

    fn outside_len(&self) -> usize {
        match self.bytes().len() {
            0..=4 => 0,
            len => len.next_multiple_of(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_sorted_and_long_values_follow_it() {
        let mut directory = Directory::default();
        directory.set(0x0110, Value::text("ab\u{e9}d")).set(0x0100, Value::short(7));
        let mut file = HEADER.to_vec();
        directory.write(&mut file).unwrap();
        let expected = [
            "49492a0008000000",                 // header
            "0200",                             // two entries
            "000103000100000007000000",         // tag 0x0100, SHORT, 1, 7
            "10010200050000002600000000000000", // tag 0x0110, ASCII, 5, at 38; no next directory
            "61623f640000",                     // "ab?d", its end, padding
        ]
        .concat();
        assert_eq!(const_hex::encode(&file), expected);
        assert_eq!(file.len(), HEADER.len() + directory.len());
    }
}
