use std::time::Duration;

use birthmark_core::time::UnixSeconds;
use proptest::prelude::*;

use super::*;
use crate::exif::{CaptureTime, TimeSource};
use crate::raw_frame::{CfaOrder, ColourProfile, FrameSize, FrameSizeError, RawFormat, RawFrameError};
use crate::sensor::{ExposureMetadata, Origin};

fn metadata() -> ExposureMetadata {
    ExposureMetadata {
        make: "Birthmark".to_owned(),
        model: "Test".to_owned(),
        origin: Origin::Simulation,
        frame: 3,
        exposure_time: Duration::from_millis(10),
        iso: 100,
        f_number: None,
        lens: None,
    }
}

fn file_of(frame: &RawFrame) -> Vec<u8> {
    let metadata = metadata();
    let time = CaptureTime { at: UnixSeconds(1_733_259_600), source: TimeSource::Rtc };
    let mut file = Vec::new();
    write(&mut file, frame, &CaptureDetails { metadata: &metadata, time }).unwrap();
    file
}

fn frame(width: u32, height: u32) -> RawFrame {
    let size = FrameSize::new(width, height).unwrap();
    let format =
        RawFormat { size, cfa: CfaOrder::Bggr, black: [256.3; 4], white: 4095, colour: ColourProfile::IMX477_4559K };
    let samples = (0..u32::try_from(size.samples()).unwrap()).map(|place| u16::try_from(place % 4096).unwrap());
    RawFrame::new(format, samples.flat_map(u16::to_le_bytes).collect()).unwrap()
}

/// Changes the first value of a tag of the main directory.
fn with_tag(file: &[u8], tag: u16, value: [u8; 4]) -> Vec<u8> {
    let mut changed = file.to_vec();
    let entries = changed[10..].as_chunks_mut::<12>().0;
    let entry = entries.iter_mut().find(|entry| entry.starts_with(&tag.to_le_bytes())).unwrap();
    entry[8..].copy_from_slice(&value);
    changed
}

#[test]
fn strip_is_the_canonical_raw_at_the_end_of_the_file() {
    let frame = frame(18, 16);
    let file = file_of(&frame);
    assert!(file.ends_with(frame.canonical_bytes()));
    assert_eq!(read_canonical_raw(&file).unwrap().hash(), frame.hash());
}

#[test]
fn exposure_and_camera_come_back() {
    let read = read(&file_of(&frame(18, 16))).unwrap();
    assert_eq!((read.make.as_deref(), read.model.as_deref()), (Some("Birthmark"), Some("Test")));
    assert_eq!((read.exposure_time, read.iso), (Some(Duration::from_millis(10)), Some(100)));
}

#[test]
fn what_cannot_be_read_is_named() {
    let file = file_of(&frame(18, 16));
    let number = |value: u32| value.to_le_bytes();
    assert_eq!(read_canonical_raw(b"II*\0"), Err(DngError::NotTiff));
    assert_eq!(read_canonical_raw(b"\xff\xd8\xff\xe0 a JPEG"), Err(DngError::NotTiff));
    assert_eq!(read_canonical_raw(b"MM\0*\0\0\0\x08"), Err(DngError::BigEndian));
    assert_eq!(read_canonical_raw(&file[..100]), Err(DngError::Truncated("directory")));
    assert_eq!(read_canonical_raw(&file[..file.len() - 1]), Err(DngError::Truncated("strip")));
    for (changed, expected) in [
        (with_tag(&file, tag::PHOTOMETRIC, number(2)), DngError::NoRaw),
        (with_tag(&file, tag::STRIP_OFFSETS, number(u32::MAX)), DngError::Truncated("strip")),
        (with_tag(&file, tag::IMAGE_WIDTH, number(1_000_000)), DngError::Size(FrameSizeError::Range)),
        (with_tag(&file, tag::CFA_PATTERN, [0, 1, 2, 3]), DngError::Missing("CFAPattern")),
        (
            with_tag(&file, tag::COMPRESSION, number(7)),
            DngError::Unsupported { what: "compression", value: 7, supported: 1 },
        ),
        (with_tag(&file, tag::BITS_PER_SAMPLE, number(9)), DngError::Bits(9)),
        (
            with_tag(&file, tag::SAMPLES_PER_PIXEL, number(3)),
            DngError::Unsupported { what: "number of samples per pixel", value: 3, supported: 1 },
        ),
    ] {
        assert_eq!(read_canonical_raw(&changed), Err(expected));
    }
    // Samples of 12 bits need fewer bytes than are there, and no receiver leaves such gaps.
    let narrow = with_tag(&file, tag::BITS_PER_SAMPLE, number(12));
    assert!(matches!(read_canonical_raw(&narrow), Err(DngError::Frame(RawFrameError::Length { .. }))));
    let short = with_tag(&file, tag::STRIP_BYTE_COUNTS, number(18 * 16 * 2 - 2));
    assert!(matches!(read_canonical_raw(&short), Err(DngError::Frame(_))));
}

#[test]
fn changed_colours_and_levels_leave_the_raw_hash_alone() {
    let frame = frame(18, 16);
    let file = file_of(&frame);
    for tag in [tag::COLOR_MATRIX_1, tag::AS_SHOT_NEUTRAL, tag::BLACK_LEVEL] {
        let read = read_canonical_raw(&with_tag(&file, tag, [0xff; 4])).unwrap();
        assert_eq!(read.hash(), frame.hash(), "{tag}");
    }
}

#[test]
fn samples_in_strips_below_a_preview_are_found() {
    let frame = frame(16, 16);
    let [first, second] = [0, 1].map(|half| &frame.canonical_bytes()[half * 256..(half + 1) * 256]);
    let mut raw = crate::ifd::Directory::default();
    raw.set(tag::IMAGE_WIDTH, Value::short(16))
        .set(tag::IMAGE_LENGTH, Value::short(16))
        .set(tag::BITS_PER_SAMPLE, Value::short(16))
        .set(tag::COMPRESSION, Value::short(1))
        .set(tag::PHOTOMETRIC, Value::short(PHOTOMETRIC_CFA))
        .set(tag::CFA_PATTERN, Value::Byte(vec![2, 1, 1, 0]))
        .set(tag::STRIP_OFFSETS, Value::Long(vec![1024, 1280]))
        .set(tag::STRIP_BYTE_COUNTS, Value::Long(vec![256, 256]));
    let mut main = crate::ifd::Directory::default();
    main.set(tag::PHOTOMETRIC, Value::short(2)).set(tag::SUB_IFDS, Value::Long(vec![512]));
    let mut file = HEADER.to_vec();
    main.write(&mut file).unwrap();
    file.resize(512, 0);
    raw.write(&mut file).unwrap();
    file.resize(1024, 0);
    file.extend(first);
    file.extend(second);
    let read = read_canonical_raw(&file).unwrap();
    assert_eq!(read.hash(), frame.hash());
    assert_eq!((read.format().white, read.format().black), (u16::MAX, [0.0; 4]));

    let offsets = file.windows(4).position(|bytes| bytes == 1280_u32.to_le_bytes()).unwrap();
    file[offsets..offsets + 4].copy_from_slice(&1282_u32.to_le_bytes());
    assert_eq!(read_canonical_raw(&file), Err(DngError::Strips));
}

#[test]
fn tile_that_is_the_whole_frame_is_read_and_other_tiles_are_not() {
    let frame = frame(16, 16);
    let tiled = |length: u32| {
        let mut main = crate::ifd::Directory::default();
        main.set(tag::IMAGE_WIDTH, Value::long(16))
            .set(tag::IMAGE_LENGTH, Value::long(16))
            .set(tag::BITS_PER_SAMPLE, Value::short(16))
            .set(tag::PHOTOMETRIC, Value::short(PHOTOMETRIC_CFA))
            .set(tag::CFA_PATTERN, Value::Byte(vec![2, 1, 1, 0]))
            .set(tag::TILE_WIDTH, Value::long(16))
            .set(tag::TILE_LENGTH, Value::long(length))
            .set(tag::TILE_OFFSETS, Value::long(256))
            .set(tag::TILE_BYTE_COUNTS, Value::long(512));
        let mut file = HEADER.to_vec();
        main.write(&mut file).unwrap();
        file.resize(256, 0);
        file.extend(frame.canonical_bytes());
        file
    };
    assert_eq!(read_canonical_raw(&tiled(16)).unwrap().hash(), frame.hash());
    assert_eq!(read_canonical_raw(&tiled(8)), Err(DngError::Missing("StripOffsets")));
}

#[test]
fn a_directory_that_points_to_itself_ends() {
    let mut main = crate::ifd::Directory::default();
    main.set(tag::SUB_IFDS, Value::Long(vec![8; 100]));
    let mut file = HEADER.to_vec();
    main.write(&mut file).unwrap();
    assert_eq!(read_canonical_raw(&file), Err(DngError::NoRaw));
}

fn any_frame() -> impl Strategy<Value = RawFrame> {
    let orders = prop::sample::select(vec![CfaOrder::Rggb, CfaOrder::Grbg, CfaOrder::Gbrg, CfaOrder::Bggr]);
    let black = prop::array::uniform4((0_u16..10_000).prop_map(|tenths| f32::from(tenths) / 10.0));
    (8_u32..40, 8_u32..40, orders, black, 1001_u16.., any::<u64>()).prop_map(
        |(width, height, cfa, black, white, seed)| {
            let size = FrameSize::new(width * 2, height * 2).unwrap();
            let format = RawFormat { size, cfa, black, white, colour: ColourProfile::IMX477_4559K };
            let bytes = (0..size.bytes()).scan(seed | 1, |state, _| {
                *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                Some(state.to_be_bytes()[0])
            });
            RawFrame::new(format, bytes.collect()).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn frames_come_back_from_their_files(frame in any_frame()) {
        let read = read_canonical_raw(&file_of(&frame)).unwrap();
        prop_assert_eq!(read.hash(), frame.hash());
        let (a, b) = (read.format(), frame.format());
        prop_assert_eq!((a.size, a.cfa, a.black, a.white), (b.size, b.cfa, b.black, b.white));
        for (a, b) in a.colour.to_srgb.iter().flatten().zip(b.colour.to_srgb.iter().flatten()) {
            prop_assert!((a - b).abs() < 0.01, "{:?}", read);
        }
    }

    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((0..900_usize, any::<u8>()), 1..12), len in 0..2000_usize) {
        let mut file = file_of(&frame(18, 16));
        for (place, value) in changes {
            file[place] = value;
        }
        file.truncate(len);
        if let Ok(read) = read_canonical_raw(&file) {
            prop_assert_eq!(read.canonical_bytes().len(), read.format().size.bytes());
        }
    }
}
