//! The JPEG that a user gets.
//!
//! For: developing and encoding a raw frame in one go, on all threads, without ever holding the picture,
//! and with the EXIF segment inside from the start: the hash of the bytes that come out is the hash of
//! the file.
//!
//! A picture that a sensor's own image processor made gets the EXIF segment by [`with_exif`].
//!
//! Not for: what the picture looks like (`isp`) or what EXIF says (`exif`).
//!
//! Quality 95. Chroma is averaged over 2 x 2 pixels (4:2:0): the mosaic has seen red and blue on a
//! quarter of the sites only, so 4:4:4 would spend half of the time and a third of the file on
//! interpolated values. Bands of 64 rows are encoded alone and joined by restart markers (ITU-T T.81,
//! B.2.4.4 and E.1.4), which is what makes two threads possible.
//!
//! ```text
//! SOI ‖ APP0 "JFIF" ‖ APP1 "Exif\0\0" TIFF ‖ SOF0 ‖ DQT… ‖ DHT… ‖ DRI ‖ SOS ‖ band ‖ RST0 ‖ band ‖ RST1 ‖ … ‖ EOI
//! ```

mod with_exif;

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, EncodingError, SamplingFactor};
use rayon::prelude::*;

use crate::isp::Developer;
use crate::raw_frame::RawFrame;

pub use with_exif::with_exif;

/// Why there is no JPEG.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// The encoder refused.
    #[error("the picture cannot be encoded: {0}")]
    Encode(#[from] EncodingError),
    /// More EXIF than a segment holds.
    #[error("{0} bytes of EXIF do not fit a JPEG segment")]
    ExifTooLong(usize),
    /// The encoder's output has changed its shape, or what a sensor gave is none.
    #[error("the JPEG does not have the structure of one")]
    Structure,
}

/// Develops and encodes a frame. `exif` is the TIFF structure that `exif::CaptureDetails` gives.
pub fn encode(frame: &RawFrame, exif: &[u8]) -> Result<Vec<u8>, JpegError> {
    let developer = Developer::new(frame);
    let rows = developer.size().height();
    let starts: Vec<usize> = (0..rows).step_by(BAND_ROWS).collect();
    let bands = starts.into_par_iter().map(|first| {
        let mut pixels = vec![[0; 3]; developer.size().width() * BAND_ROWS.min(rows - first)];
        developer.rows(first, &mut pixels);
        encode_band(&pixels, developer.size().sides().0)
    });
    let bands = bands.collect::<Result<Vec<Band>, JpegError>>()?;
    join(&bands, exif, developer.size().sides())
}

/// A complete small JPEG, and where its parts are.
struct Band {
    file: Vec<u8>,
    /// Start of the SOF0 segment, after SOI and APP0.
    frame: usize,
    /// Start of the SOS segment.
    scan: usize,
    /// Start of the entropy-coded data, which ends before the final EOI.
    data: usize,
}

fn encode_band(pixels: &[[u8; 3]], width: u16) -> Result<Band, JpegError> {
    let rows = pixels.len() / usize::from(width);
    let rows = u16::try_from(rows).map_err(|_| JpegError::Structure)?;
    let mut file = Vec::with_capacity(pixels.len());
    let mut encoder = Encoder::new(&mut file, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.encode(pixels.as_flattened(), width, rows, ColorType::Rgb)?;
    Band::parse(file).ok_or(JpegError::Structure)
}

impl Band {
    fn parse(file: Vec<u8>) -> Option<Self> {
        let (mut frame, mut at) = (None, 2);
        loop {
            let [0xff, marker, high, low] = *file.get(at..at + 4)?.as_array()? else { return None };
            let next = at + 2 + usize::from(u16::from_be_bytes([high, low]));
            match marker {
                SOF0 => frame = Some(at),
                SOS => {
                    return file.ends_with(&[0xff, EOI]).then_some(Self { frame: frame?, scan: at, data: next, file });
                }
                _ => {}
            }
            at = next;
        }
    }

    fn entropy_coded(&self) -> &[u8] {
        self.file.get(self.data..self.file.len() - 2).unwrap_or_default()
    }
}

/// Joins bands under the first one's tables.
fn join(bands: &[Band], exif: &[u8], (width, height): (u16, u16)) -> Result<Vec<u8>, JpegError> {
    let first = bands.first().ok_or(JpegError::Structure)?;
    let exif_len = u16::try_from(2 + EXIF_HEADER.len() + exif.len()).map_err(|_| JpegError::ExifTooLong(exif.len()))?;
    // 16 x 16 pixels a unit.
    let units = usize::from(width).div_ceil(16) * (BAND_ROWS / 16);
    let units = u16::try_from(units).map_err(|_| JpegError::Structure)?;
    let data: usize = bands.iter().map(|band| band.entropy_coded().len() + 2).sum();

    let mut file = Vec::with_capacity(first.data + exif.len() + 32 + data);
    file.extend(&first.file[..first.frame]);
    file.extend([0xff, APP1]);
    file.extend(exif_len.to_be_bytes());
    file.extend(EXIF_HEADER);
    file.extend(exif);
    let frame_header = file.len();
    file.extend(&first.file[first.frame..first.scan]);
    // SOF0: marker, length, precision, then the height, which was the band's.
    file.splice(frame_header + 5..frame_header + 7, height.to_be_bytes());
    file.extend([0xff, DRI, 0, 4]);
    file.extend(units.to_be_bytes());
    file.extend(&first.file[first.scan..first.data]);
    for (number, band) in bands.iter().enumerate() {
        if let Some(before) = number.checked_sub(1) {
            file.extend([0xff, RST0 + RESTARTS[before % RESTARTS.len()]]);
        }
        file.extend(band.entropy_coded());
    }
    file.extend([0xff, EOI]);
    Ok(file)
}

const QUALITY: u8 = 95;
/// A multiple of the 16 rows of a unit.
const BAND_ROWS: usize = 64;
const EXIF_HEADER: &[u8] = b"Exif\0\0";
const SOF0: u8 = 0xc0;
const RST0: u8 = 0xd0;
const RESTARTS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DRI: u8 = 0xdd;
const APP1: u8 = 0xe1;

#[cfg(test)]
mod tests;
