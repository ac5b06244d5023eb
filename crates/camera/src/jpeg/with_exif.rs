//! A JPEG that an image processor made, with our EXIF in place of its own.
//!
//! For: giving a sensor's picture its metadata before anything is hashed. The coded picture is not
//! touched, so its picture-data hash stays what it was.
//!
//! Not for: files that others hold already; they are kept as they are.
//!
//! ```text
//! SOI ‖ APP1 "Exif\0\0" TIFF ‖ the segments of the file without APP0, APP1 and COM ‖ scans as they are
//! ```

use super::{APP1, EOI, EXIF_HEADER, JpegError, SOS};

/// Replaces the metadata of a JPEG. `exif` is the TIFF structure that `exif::CaptureDetails` gives.
pub fn with_exif(jpeg: &[u8], exif: &[u8]) -> Result<Vec<u8>, JpegError> {
    let exif_len = u16::try_from(2 + EXIF_HEADER.len() + exif.len()).map_err(|_| JpegError::ExifTooLong(exif.len()))?;
    let mut file = Vec::with_capacity(jpeg.len() + exif.len() + 32);
    file.extend([0xff, SOI, 0xff, APP1]);
    file.extend(exif_len.to_be_bytes());
    file.extend(EXIF_HEADER);
    file.extend(exif);
    let mut rest = jpeg.strip_prefix(&[0xff, SOI]).ok_or(JpegError::Structure)?;
    loop {
        let segment = Segment::first(rest).ok_or(JpegError::Structure)?;
        match segment.marker {
            SOS => {
                file.extend(rest);
                return Ok(file);
            }
            APP0 | APP1 | COM => {}
            _ => file.extend(segment.bytes),
        }
        rest = segment.rest;
    }
}

struct Segment<'a> {
    marker: u8,
    bytes: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The segment at the start, after fill bytes (ITU-T T.81, B.1.1.2).
    fn first(file: &'a [u8]) -> Option<Self> {
        let padding = file.iter().take_while(|byte| **byte == 0xff).count().checked_sub(1)?;
        let file = file.get(padding..)?;
        let [_, marker, high, low] = *file.first_chunk()?;
        // Markers without a length have no place before the first scan.
        if matches!(marker, 0x00..=0x01 | RST0..=EOI) {
            return None;
        }
        let len = 2 + usize::from(u16::from_be_bytes([high, low]));
        let (bytes, rest) = file.split_at_checked(len)?;
        (len >= 4).then_some(Self { marker, bytes, rest })
    }
}

const SOI: u8 = 0xd8;
const RST0: u8 = 0xd0;
const APP0: u8 = 0xe0;
const COM: u8 = 0xfe;

#[cfg(test)]
mod tests {
    use birthmark_core::image_data::jpeg_image_data;
    use proptest::prelude::*;

    use super::*;

    const TABLE: &[u8] = &[0xff, 0xdb, 0, 4, 1, 2];
    const ADOBE: &[u8] = &[0xff, 0xee, 0, 3, 9];
    const SCAN: &[u8] = &[0xff, 0xda, 0, 3, 9, 0x11, 0xff, 0x00, 0x22, 0xff, 0xd9];

    fn app(marker: u8, content: &[u8]) -> Vec<u8> {
        [&[0xff, marker, 0, u8::try_from(content.len() + 2).unwrap()], content].concat()
    }

    #[test]
    fn metadata_is_exchanged_and_the_picture_stays() {
        let ours = app(APP1, b"Exif\0\0ours");
        let expected = [&[0xff, SOI], ours.as_slice(), TABLE, ADOBE, SCAN].concat();
        for before in [
            vec![],
            app(APP1, b"Exif\0\0theirs"),
            [app(APP0, b"JFIF\0"), app(APP1, b"http://ns.adobe.com/"), app(COM, b"hello")].concat(),
            [vec![0xff, 0xff], app(APP1, b"Exif\0\0theirs")].concat(),
        ] {
            let jpeg = [&[0xff, SOI], before.as_slice(), TABLE, ADOBE, SCAN].concat();
            let made = with_exif(&jpeg, b"ours").unwrap();
            assert_eq!(made, expected);
            assert_eq!(jpeg_image_data(&made), jpeg_image_data(&jpeg));
        }
    }

    #[test]
    fn what_is_no_jpeg_is_refused() {
        for bad in [
            &b""[..],
            b"\xff\xd8",
            b"\x89PNG",
            b"\xff\xd8\xff\xd9",
            b"\xff\xd8\xff\xdb\0\x01",
            b"\xff\xd8\xff\xdb\0\x09x",
        ] {
            assert!(matches!(with_exif(bad, b""), Err(JpegError::Structure)), "{bad:?}");
        }
        let jpeg = [&[0xff, SOI], TABLE, SCAN].concat();
        assert!(with_exif(&jpeg, &vec![0; 65_527]).is_ok());
        assert!(matches!(with_exif(&jpeg, &vec![0; 65_528]), Err(JpegError::ExifTooLong(_))));
    }

    proptest! {
        #[test]
        fn damage_never_panics(file in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(with_exif(&file, b"x"));
            drop(with_exif(&[&[0xff, SOI, 0xff], file.as_slice()].concat(), b"x"));
        }
    }
}
