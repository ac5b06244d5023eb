//! A DNG as `rpicam-still` lays it out.

use birthmark_camera::Exposure;

/// A preview first, the samples in a directory below it, and a directory of EXIF tags behind. Written by hand, so that our own writer's habits are not taken for
/// granted.
pub(crate) fn dng(exposure: &Exposure, shutter: u64) -> Vec<u8> {
    let format = exposure.raw.format();
    let (width, height) = format.size.sides();
    let samples = exposure.raw.canonical_bytes();
    let preview = vec![128; usize::from(width / 16) * usize::from(height / 16) * 3];
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let preview_at = file.len();
    file.extend(&preview);
    let samples_at = file.len();
    file.extend(samples);
    let black = file.len();
    for level in format.black {
        file.extend(rational(f64::from(level)));
    }
    let neutral = file.len();
    for value in format.colour.neutral {
        file.extend(rational(f64::from(value)));
    }
    let exposed = file.len();
    file.extend(u32::try_from(shutter).unwrap_or(u32::MAX).to_le_bytes());
    file.extend(1_000_000_u32.to_le_bytes());
    let [make, model] = [&b"Raspberry Pi\0"[..], b"imx477\0"].map(|text| {
        let at = file.len();
        file.extend(text);
        (text.len(), at)
    });
    let raw = directory(
        &mut file,
        &[
            (256, SHORT, 1, width.into()),
            (257, SHORT, 1, height.into()),
            (258, SHORT, 1, 16),
            (259, SHORT, 1, 1),
            (262, SHORT, 1, 32_803),
            (273, LONG, 1, samples_at),
            (277, SHORT, 1, 1),
            (279, LONG, 1, samples.len()),
            (33_421, SHORT, 2, 0x0002_0002),
            (33_422, BYTE, 4, usize::try_from(u32::from_le_bytes(format.cfa.pattern())).unwrap_or_default()),
            (50_714, RATIONAL, 4, black),
            (50_717, LONG, 1, format.white.into()),
        ],
    );
    let iso = usize::from(exposure.metadata.iso);
    let exif = directory(&mut file, &[(33_434, RATIONAL, 1, exposed), (34_855, SHORT, 1, iso)]);
    let main = directory(
        &mut file,
        &[
            (254, LONG, 1, 1),
            (256, SHORT, 1, usize::from(width / 16)),
            (257, SHORT, 1, usize::from(height / 16)),
            (262, SHORT, 1, 2),
            (271, ASCII, make.0, make.1),
            (272, ASCII, model.0, model.1),
            (273, LONG, 1, preview_at),
            (279, LONG, 1, preview.len()),
            (330, LONG, 1, raw),
            (34_665, LONG, 1, exif),
            (50_728, RATIONAL, 3, neutral),
        ],
    );
    let main = u32::try_from(main).unwrap_or_default();
    file.splice(4..8, main.to_le_bytes());
    file
}

/// Appends a directory whose entries are tag, type, number of values, and value or place.
fn directory(file: &mut Vec<u8>, entries: &[(u16, u16, usize, usize)]) -> usize {
    file.resize(file.len().next_multiple_of(2), 0);
    let at = file.len();
    file.extend(u16::try_from(entries.len()).unwrap_or_default().to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        for number in [count, value] {
            file.extend(u32::try_from(*number).unwrap_or_default().to_le_bytes());
        }
    }
    file.extend([0; 4]);
    at
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels are below 65536")]
fn rational(value: f64) -> [u8; 8] {
    let mut bytes = [0; 8];
    let (over, under) = bytes.split_at_mut(4);
    over.copy_from_slice(&((value * 1000.0).round() as u32).to_le_bytes());
    under.copy_from_slice(&1000_u32.to_le_bytes());
    bytes
}

const BYTE: u16 = 1;
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
