//! The hash of a JPEG's picture data, which survives when its metadata is stripped.
//!
//! For: [`jpeg_image_data`], the value of an entry of kind 1 (`docs/PROTOCOL.md` section 7).
//!
//! Not for: decoding pictures. A picture that is re-encoded, even losslessly rotated, is another.
//!
//! Hashed is the file from SOI to EOI (ITU-T T.81) without the segments APP0 to APP13, APP15 and
//! COM. APP14 stays, because it says how the colours are coded. A colour profile (APP2) is not
//! covered: what is proven is the coded picture, not how a profile would have it shown.

use sha2::{Digest as _, Sha256};

use crate::hash::ImageHash;

/// The picture-data hash of a JPEG file, or nothing if the bytes are no complete JPEG.
pub fn jpeg_image_data(file: &[u8]) -> Option<ImageHash> {
    let mut hasher = Sha256::new();
    let mut rest = file.strip_prefix(&SOI)?;
    hasher.update(SOI);
    loop {
        // Fill bytes may precede any marker (B.1.1.2); they carry nothing.
        let padding = rest.iter().take_while(|byte| **byte == 0xff).count();
        if padding == 0 {
            return None;
        }
        let (&marker, behind) = rest.get(padding..)?.split_first()?;
        if marker == EOI {
            hasher.update([0xff, EOI]);
            return Some(ImageHash::from_bytes(hasher.finalize().into()));
        }
        // Markers without a length (TEM, RST, SOI again) have no place between segments.
        if matches!(marker, 0x00..=0x01 | 0xd0..=0xd8) {
            return None;
        }
        let length = usize::from(u16::from_be_bytes(*behind.first_chunk()?));
        let segment = behind.get(..length).filter(|_| length >= 2)?;
        rest = behind.get(length..)?;
        if !matches!(marker, 0xe0..=0xed | 0xef | COM) {
            hasher.update([0xff, marker]);
            hasher.update(segment);
        }
        if marker == SOS {
            let scan = entropy_coded_len(rest)?;
            hasher.update(rest.get(..scan)?);
            rest = rest.get(scan..)?;
        }
    }
}

/// Bytes up to the next marker that is neither a stuffed zero nor a restart (B.1.1.5).
fn entropy_coded_len(data: &[u8]) -> Option<usize> {
    data.windows(2).position(|pair| pair.first() == Some(&0xff) && !matches!(pair.get(1), Some(0x00 | 0xd0..=0xd7)))
}

const SOI: [u8; 2] = [0xff, 0xd8];
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const COM: u8 = 0xfe;

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = &[0xff, 0xd8];
    const EXIF: &[u8] = &[0xff, 0xe1, 0, 6, b'E', b'x', b'i', b'f'];
    const COMMENT: &[u8] = &[0xff, 0xfe, 0, 3, b'!'];
    const TABLE: &[u8] = &[0xff, 0xdb, 0, 4, 1, 2];
    const SCAN: &[u8] = &[0xff, 0xda, 0, 3, 9, 0x11, 0xff, 0x00, 0x22, 0xff, 0xd0, 0x33];
    const TAIL: &[u8] = &[0xff, 0xd9];

    fn hash(parts: &[&[u8]]) -> Option<ImageHash> {
        jpeg_image_data(&parts.concat())
    }

    #[test]
    fn metadata_and_trailing_bytes_do_not_count() {
        let bare = hash(&[HEAD, TABLE, SCAN, TAIL]);
        assert_eq!(bare, Some(ImageHash::of(&[HEAD, TABLE, SCAN, TAIL].concat())));
        assert_eq!(hash(&[HEAD, EXIF, COMMENT, TABLE, SCAN, COMMENT, TAIL, b"appended"]), bare);
        assert_eq!(hash(&[HEAD, EXIF, TABLE, &[0xff], SCAN, TAIL]), bare);
    }

    #[test]
    fn tables_scans_and_colour_coding_do_count() {
        let bare = hash(&[HEAD, TABLE, SCAN, TAIL]);
        let adobe: &[u8] = &[0xff, 0xee, 0, 3, 1];
        assert_ne!(hash(&[HEAD, adobe, TABLE, SCAN, TAIL]), bare);
        assert_ne!(hash(&[HEAD, SCAN, TAIL]), bare);
        let mut other = SCAN.to_vec();
        other[5] ^= 1;
        assert_ne!(hash(&[HEAD, TABLE, &other, TAIL]), bare);
    }

    #[test]
    fn incomplete_files_and_other_formats_have_none() {
        let whole = [HEAD, EXIF, TABLE, SCAN, TAIL].concat();
        for cut in 0..whole.len() {
            assert_eq!(jpeg_image_data(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(jpeg_image_data(b"\x89PNG\r\n\x1a\n"), None);
        assert_eq!(hash(&[HEAD, &[0xff, 0xe1, 0, 1], TAIL]), None);
    }
}
