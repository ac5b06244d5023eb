//! A picture of a map, to look at.
//!
//! For: seeing whether an enrolment went well: an even grain is a sensor, shapes are light, dust or a
//! shadow. Gain on the left, offset on the right.
//!
//! Not for: comparing or keeping. Sites are averaged in squares of at least 4 x 4 and the contrast is
//! stretched, so that the picture does not give the map away.

use super::NucMap;
use super::plane::count;
use super::statistics::Robust;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[error("the picture of the map cannot be encoded: {0}")]
pub struct PictureError(#[from] png::EncodingError);

/// A PNG file in 8-bit grey.
pub fn picture(map: &NucMap) -> Result<Vec<u8>, PictureError> {
    let size = map.mode.size;
    let square = size.width().div_ceil(PANEL).next_multiple_of(2).max(4);
    let (columns, rows) = (size.width() / square, size.height() / square);
    let panels = [&map.gain, &map.offset].map(|values| panel(values, size.width(), square, columns, rows));
    let gap = [u8::MAX; GAP];
    let [gain, offset] = panels.each_ref().map(|panel| panel.chunks(columns.max(1)));
    let pixels: Vec<u8> = gain.zip(offset).flat_map(|(left, right)| [left, &gap, right].concat()).collect();
    let (width, height) = (2 * columns + GAP, rows);
    let whole = |pixels: usize| u32::try_from(pixels).unwrap_or_default();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, whole(width), whole(height));
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}

/// Means of squares, grey in the middle, black and white three spreads away from it.
fn panel(values: &[i8], width: usize, side: usize, columns: usize, rows: usize) -> Vec<u8> {
    let squares = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let means = squares.map(|(row, column)| {
        let lines = (row * side..(row + 1) * side).map(|y| y * width + column * side);
        let sum: i32 = lines.flat_map(|start| &values[start..start + side]).map(|value| i32::from(*value)).sum();
        super::plane::single(f64::from(sum) / count(side * side))
    });
    let means: Vec<f32> = means.collect();
    let Robust { median, spread } = Robust::of(&means);
    means.iter().map(|mean| grey((mean - median) / (3.0 * spread.max(f32::MIN_POSITIVE)))).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is clamped first")]
fn grey(value: f32) -> u8 {
    (value.clamp(-1.0, 1.0) * 127.0 + 128.0) as u8
}

/// Most columns of one panel.
const PANEL: usize = 1024;
/// Columns between the panels.
const GAP: usize = 8;
