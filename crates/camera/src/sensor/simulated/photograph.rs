//! A photograph before the simulated lens.
//!
//! For: reading a JPEG that a user names, and scaling it to cover the sensor in linear light.
//!
//! Not for: any other format, and no judgement about the photograph: what is registered in the end is
//! the simulated camera's own picture of it.
//!
//! The file is not trusted: its kind and size are checked before it is read, its picture's size before
//! it is decoded.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::mosaic::LinearPicture;
use crate::colour::srgb_to_linear;
use crate::raw_frame::FrameSize;

/// A decoded photograph, the right way up.
pub(super) struct Photograph {
    pixels: Vec<[u8; 3]>,
    width: usize,
    height: usize,
}

/// A photograph as the sensor will see it: scaled to cover, cropped around the centre.
pub(super) struct Cover {
    photograph: Photograph,
    columns: Vec<Taps>,
    rows: Vec<Taps>,
    linear: [f32; 256],
}

/// Why a photograph cannot be the scene.
#[derive(Debug, thiserror::Error)]
pub enum PhotographError {
    /// The file system refused.
    #[error("cannot read the photograph {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A folder, a device or a pipe.
    #[error("the photograph {} is not a regular file", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Nothing in it.
    #[error("the photograph {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More bytes than any photograph needs.
    #[error("the photograph {} is larger than {} MB", path.display(), MAX_FILE_BYTES >> 20)]
    FileTooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something else than a JPEG.
    #[error("the photograph {} is not a JPEG file", path.display())]
    NotJpeg {
        /// The file.
        path: PathBuf,
    },
    /// More pixels than are worth decoding.
    #[error("the photograph {} has {width} x {height} pixels, more than {} million", path.display(), MAX_PIXELS / 1_000_000)]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The end is missing.
    #[error("the photograph {} is cut off: its JPEG data has no end", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// The decoder gave up.
    #[error("the photograph {} cannot be decoded; it is damaged or cut off", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: DecodeErrors,
    },
}

/// The source pixels that one output column or row is made of.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Photograph {
    /// Reads and decodes a file.
    pub(super) fn open(path: &Path) -> Result<Self, PhotographError> {
        let bytes = read_bounded(path)?;
        Self::decode(&bytes, path)
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, PhotographError> {
        let path = || path.to_owned();
        if bytes.is_empty() {
            return Err(PhotographError::Empty { path: path() });
        }
        if !bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            return Err(PhotographError::NotJpeg { path: path() });
        }
        let damaged = |source| PhotographError::Damaged { path: path(), source };
        let sides = usize::from(u16::MAX);
        let options = DecoderOptions::default()
            .jpeg_set_out_colorspace(ColorSpace::RGB)
            .set_max_width(sides)
            .set_max_height(sides);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(damaged)?;
        let (width, height) = decoder.info().map_or((0, 0), |info| (usize::from(info.width), usize::from(info.height)));
        if width == 0 || height == 0 {
            return Err(damaged(DecodeErrors::ZeroError));
        }
        if width * height > MAX_PIXELS {
            return Err(PhotographError::TooManyPixels { path: path(), width, height });
        }
        // The decoder paints what is missing grey and calls it a success.
        if !has_end(bytes) {
            return Err(PhotographError::Truncated { path: path() });
        }
        let orientation = decoder.exif().map_or(1, |tiff| orientation(tiff));
        let mut flat = vec![[0; 3]; width * height];
        decoder.decode_into(flat.as_flattened_mut()).map_err(damaged)?;
        Ok(Self { pixels: flat, width, height }.upright(orientation))
    }

    /// Scales to cover a frame.
    pub(super) fn cover(self, size: FrameSize) -> Cover {
        let (width, height) = (real(self.width), real(self.height));
        let step = (width / real(size.width())).min(height / real(size.height()));
        let columns = taps(self.width, size.width(), step);
        let rows = taps(self.height, size.height(), step);
        let mut linear = [0.0; 256];
        for (value, linear) in (0_u8..=255).zip(&mut linear) {
            *linear = srgb_to_linear(f32::from(value) / 255.0);
        }
        Cover { photograph: self, columns, rows, linear }
    }

    /// Turns and mirrors as EXIF's `Orientation` (1 to 8) asks for.
    fn upright(self, orientation: u32) -> Self {
        let Self { pixels, width, height } = self;
        let (right, bottom) = (width.saturating_sub(1), height.saturating_sub(1));
        let source: fn(usize, usize, usize, usize) -> (usize, usize) = match orientation {
            2 => |x, y, right, _| (right - x, y),
            3 => |x, y, right, bottom| (right - x, bottom - y),
            4 => |x, y, _, bottom| (x, bottom - y),
            5 => |x, y, _, _| (y, x),
            6 => |x, y, _, bottom| (y, bottom - x),
            7 => |x, y, right, bottom| (right - y, bottom - x),
            8 => |x, y, right, _| (right - y, x),
            _ => return Self { pixels, width, height },
        };
        let (new_width, new_height) = if orientation >= 5 { (height, width) } else { (width, height) };
        let places = (0..new_height).flat_map(|y| (0..new_width).map(move |x| (x, y)));
        let turned = places.map(|(x, y)| source(x, y, right, bottom)).map(|(x, y)| pixels[y * width + x]).collect();
        Self { pixels: turned, width: new_width, height: new_height }
    }
}

impl LinearPicture for Cover {
    fn row(&self, y: usize, out: &mut [[f32; 3]]) {
        let Self { photograph, columns, rows, linear } = self;
        let (Some(left), Some(right), Some(row)) = (columns.first(), columns.last(), rows.get(y)) else { return };
        let span = left.first..right.first + right.weights.len();
        let mut blended = vec![[0.0_f32; 3]; span.len()];
        for (weight, y) in row.weights.iter().zip(row.first..) {
            let line = &photograph.pixels[y * photograph.width..][span.clone()];
            for (sum, pixel) in blended.iter_mut().zip(line) {
                for (sum, value) in sum.iter_mut().zip(pixel) {
                    *sum += weight * linear[usize::from(*value)];
                }
            }
        }
        for (out, taps) in out.iter_mut().zip(columns) {
            *out = [0.0; 3];
            for (weight, pixel) in taps.weights.iter().zip(&blended[taps.first - span.start..]) {
                for (out, value) in out.iter_mut().zip(pixel) {
                    *out += weight * value;
                }
            }
        }
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, PhotographError> {
    let failed = |source| PhotographError::Read { path: path.to_owned(), source };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(PhotographError::NotAFile { path: path.to_owned() });
    }
    let too_large = || PhotographError::FileTooLarge { path: path.to_owned() };
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    File::open(path).map_err(failed)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// Whether an end marker follows the last start of a scan. Inside a scan neither pair of bytes occurs,
/// and an embedded thumbnail lies before it.
fn has_end(jpeg: &[u8]) -> bool {
    let last = jpeg.windows(2).rev().find(|pair| matches!(pair, [0xff, 0xd9 | 0xda]));
    matches!(last, Some([_, 0xd9]))
}

fn orientation(tiff: &[u8]) -> u32 {
    let parsed = exif::Reader::new().read_raw(tiff.to_vec()).ok();
    let field = parsed.as_ref().and_then(|exif| exif.get_field(exif::Tag::Orientation, exif::In::PRIMARY));
    field.and_then(|field| field.value.get_uint(0)).unwrap_or(1)
}

/// For each output place the source pixels under a tent, as wide as the step but never narrower than
/// what interpolates.
fn taps(source: usize, out: usize, step: f32) -> Vec<Taps> {
    let radius = step.max(1.0);
    let origin = (real(source) - real(out) * step) / 2.0;
    let tap = |place: usize| {
        let centre = origin + (real(place) + 0.5) * step - 0.5;
        let last = whole(centre + radius).min(source - 1);
        let first = whole(centre - radius + 1.0).min(last);
        let tent: Vec<f32> = (first..=last).map(|at| (1.0 - (real(at) - centre).abs() / radius).max(0.0)).collect();
        let sum: f32 = tent.iter().sum();
        let weights = if sum > 0.0 { tent.iter().map(|weight| weight / sum).collect() } else { vec![1.0] };
        Taps { first, weights }
    };
    (0..out).map(tap).collect()
}

#[expect(clippy::cast_precision_loss, reason = "sides of a JPEG fit 16 bits")]
const fn real(value: usize) -> f32 {
    value as f32
}

/// Rounded down, and never below 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates at 0")]
const fn whole(value: f32) -> usize {
    value as usize
}

const MAX_FILE_BYTES: u64 = 256 << 20;
const MAX_PIXELS: usize = 200_000_000;

#[cfg(test)]
mod tests;
