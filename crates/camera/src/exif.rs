//! What the JPEG and the DNG say about their exposure (EXIF 2.32).
//!
//! For: the bytes of the EXIF segment, computed before the file is hashed, so that the hash of the file
//! on disk is the registered one.
//!
//! Not for: proof. Metadata can be changed by anybody who does not care for the hash; no verifier reads
//! it. The registry's own time is the one that counts.
//!
//! Whether an exposure was simulated, and whether its clock can be trusted, is said in plain words in
//! `ImageDescription` and `UserComment`.

use std::time::Duration;

use birthmark_core::time::UnixSeconds;
use jiff::Timestamp;

use crate::ifd::{Directory, HEADER, Value};
use crate::raw_frame::FrameSize;
use crate::sensor::{ExposureMetadata, Origin};

pub use crate::ifd::TooLong;

/// When the shutter opened, and how far to trust it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureTime {
    /// The time, in UTC.
    pub at: UnixSeconds,
    /// Where it comes from.
    pub source: TimeSource,
}

/// Where the camera's time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// A time server, in this run.
    Ntp,
    /// A battery-backed clock.
    Rtc,
    /// Nothing: the clock started anywhere.
    Unsynced,
}

/// All that a file says about its exposure.
#[derive(Clone, Copy, Debug)]
pub struct CaptureDetails<'a> {
    /// The circumstances.
    pub metadata: &'a ExposureMetadata,
    /// The time.
    pub time: CaptureTime,
}

/// Why there is no EXIF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExifError {
    /// A time that EXIF cannot write.
    #[error("the capture time, {0} seconds after 1970, lies beyond the year 9999")]
    Time(u64),
    /// Too much of it.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

impl TimeSource {
    /// `ntp`, `rtc` or `unsynced`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ntp => "ntp",
            Self::Rtc => "rtc",
            Self::Unsynced => "unsynced",
        }
    }
}

impl CaptureDetails<'_> {
    /// The TIFF structure of the EXIF segment (without its `Exif\0\0`) of a JPEG of this size.
    pub fn to_exif(&self, size: FrameSize) -> Result<Vec<u8>, ExifError> {
        let mut main = self.main_directory();
        // The pixels have no size in the world: 72 dots an inch is what the standard asks for then.
        main.set(tag::ORIENTATION, Value::short(1))
            .set(tag::X_RESOLUTION, Value::Rational(vec![(72, 1)]))
            .set(tag::Y_RESOLUTION, Value::Rational(vec![(72, 1)]))
            .set(tag::RESOLUTION_UNIT, Value::short(2))
            .set(tag::YCBCR_POSITIONING, Value::short(1));
        let (width, height) = size.sides();
        let mut exif = self.exif_directory()?;
        exif.set(tag::COMPONENTS_CONFIGURATION, Value::Undefined(vec![1, 2, 3, 0]))
            .set(tag::FLASHPIX_VERSION, Value::Undefined(b"0100".to_vec()))
            .set(tag::COLOR_SPACE, Value::short(1))
            .set(tag::PIXEL_X_DIMENSION, Value::long(width.into()))
            .set(tag::PIXEL_Y_DIMENSION, Value::long(height.into()));
        let mut file = HEADER.to_vec();
        write_directories(&mut main, &exif, &mut file)?;
        Ok(file)
    }

    /// The first directory's tags on who and when, for EXIF and DNG alike.
    pub(crate) fn main_directory(&self) -> Directory {
        let mut main = Directory::default();
        main.set(tag::IMAGE_DESCRIPTION, Value::text(&self.description()))
            .set(tag::MAKE, Value::text(&self.metadata.make))
            .set(tag::MODEL, Value::text(&self.metadata.model))
            .set(tag::SOFTWARE, Value::text(concat!("Birthmark ", env!("CARGO_PKG_VERSION"))));
        main
    }

    /// The EXIF directory's tags on how and when, for EXIF and DNG alike.
    pub(crate) fn exif_directory(&self) -> Result<Directory, ExifError> {
        let time = self.date_time()?;
        let mut exif = Directory::default();
        exif.set(tag::EXPOSURE_TIME, Value::Rational(vec![seconds(self.metadata.exposure_time)]))
            .set(tag::ISO, Value::short(self.metadata.iso))
            .set(tag::EXIF_VERSION, Value::Undefined(b"0232".to_vec()))
            .set(tag::DATE_TIME_ORIGINAL, Value::text(&time))
            .set(tag::DATE_TIME_DIGITIZED, Value::text(&time))
            .set(tag::OFFSET_TIME_ORIGINAL, Value::text("+00:00"))
            .set(tag::OFFSET_TIME_DIGITIZED, Value::text("+00:00"))
            .set(tag::USER_COMMENT, Value::Undefined([b"ASCII\0\0\0", self.comment().as_bytes()].concat()));
        if let Some(f_number) = self.metadata.f_number.filter(|value| value.is_finite() && *value > 0.0) {
            exif.set(tag::F_NUMBER, Value::Rational(vec![(rounded(f_number * 100.0), 100)]));
        }
        if let Some(lens) = &self.metadata.lens {
            exif.set(tag::LENS_MODEL, Value::text(lens));
        }
        Ok(exif)
    }

    fn description(&self) -> String {
        match self.metadata.origin {
            Origin::Hardware => "Photograph registered with Birthmark".to_owned(),
            Origin::Simulation => "simulated: no light was involved in this picture; not a photograph".to_owned(),
            Origin::OtherProgram => "written by another program; no sensor of this camera vouches for it".to_owned(),
        }
    }

    fn comment(&self) -> String {
        let sensor = match self.metadata.origin {
            Origin::Hardware => "hardware",
            Origin::Simulation => "simulated",
            Origin::OtherProgram => "other program",
        };
        format!("sensor={sensor}; frame={}; time_source={}", self.metadata.frame, self.time.source.as_str())
    }

    fn date_time(&self) -> Result<String, ExifError> {
        let UnixSeconds(seconds) = self.time.at;
        let timestamp = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        timestamp.map(|time| time.strftime("%Y:%m:%d %H:%M:%S").to_string()).ok_or(ExifError::Time(seconds))
    }
}

/// Appends `main` and the EXIF directory that it points to.
pub(crate) fn write_directories(main: &mut Directory, exif: &Directory, file: &mut Vec<u8>) -> Result<(), TooLong> {
    main.set(tag::EXIF_IFD, Value::long(0));
    let offset = u32::try_from(file.len() + main.len()).map_err(|_| TooLong)?;
    main.set(tag::EXIF_IFD, Value::long(offset));
    main.write(file)?;
    exif.write(file)
}

/// A duration as EXIF likes it: 1/100 rather than 10000/1000000.
fn seconds(time: Duration) -> (u32, u32) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    match micros {
        1..1_000_000 if 1_000_000 % micros == 0 => (1, 1_000_000 / micros),
        _ => (micros, 1_000_000),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates")]
fn rounded(value: f32) -> u32 {
    value.round() as u32
}

mod tag {
    pub(super) const IMAGE_DESCRIPTION: u16 = 0x010e;
    pub(super) const MAKE: u16 = 0x010f;
    pub(super) const MODEL: u16 = 0x0110;
    pub(super) const ORIENTATION: u16 = 0x0112;
    pub(super) const X_RESOLUTION: u16 = 0x011a;
    pub(super) const Y_RESOLUTION: u16 = 0x011b;
    pub(super) const RESOLUTION_UNIT: u16 = 0x0128;
    pub(super) const SOFTWARE: u16 = 0x0131;
    pub(super) const YCBCR_POSITIONING: u16 = 0x0213;
    pub(super) const EXPOSURE_TIME: u16 = 0x829a;
    pub(super) const F_NUMBER: u16 = 0x829d;
    pub(super) const EXIF_IFD: u16 = 0x8769;
    pub(super) const ISO: u16 = 0x8827;
    pub(super) const EXIF_VERSION: u16 = 0x9000;
    pub(super) const DATE_TIME_ORIGINAL: u16 = 0x9003;
    pub(super) const DATE_TIME_DIGITIZED: u16 = 0x9004;
    pub(super) const OFFSET_TIME_ORIGINAL: u16 = 0x9011;
    pub(super) const OFFSET_TIME_DIGITIZED: u16 = 0x9012;
    pub(super) const COMPONENTS_CONFIGURATION: u16 = 0x9101;
    pub(super) const USER_COMMENT: u16 = 0x9286;
    pub(super) const FLASHPIX_VERSION: u16 = 0xa000;
    pub(super) const COLOR_SPACE: u16 = 0xa001;
    pub(super) const PIXEL_X_DIMENSION: u16 = 0xa002;
    pub(super) const PIXEL_Y_DIMENSION: u16 = 0xa003;
    pub(super) const LENS_MODEL: u16 = 0xa434;
}

#[cfg(test)]
mod tests {
    use exif::{In, Reader, Tag};

    use super::*;

    fn metadata() -> ExposureMetadata {
        ExposureMetadata {
            make: "Raspberry Pi".to_owned(),
            model: "HQ Camera".to_owned(),
            origin: Origin::Hardware,
            frame: 41,
            exposure_time: Duration::from_millis(8),
            iso: 200,
            f_number: Some(2.8),
            lens: Some("6 mm\u{7}wide".to_owned()),
        }
    }

    fn time(seconds: u64) -> CaptureTime {
        CaptureTime { at: UnixSeconds(seconds), source: TimeSource::Unsynced }
    }

    #[test]
    fn another_reader_finds_every_field() {
        let details = CaptureDetails { metadata: &metadata(), time: time(1_733_259_600) };
        let exif = Reader::new().read_raw(details.to_exif(FrameSize::IMX477).unwrap()).unwrap();
        let field = |tag| exif.get_field(tag, In::PRIMARY).unwrap().display_value().to_string();
        assert_eq!(field(Tag::Make), "\"Raspberry Pi\"");
        assert_eq!(field(Tag::Model), "\"HQ Camera\"");
        assert_eq!(field(Tag::DateTimeOriginal), "2024-12-03 21:00:00");
        assert_eq!(field(Tag::OffsetTimeOriginal), "\"+00:00\"");
        assert_eq!(field(Tag::ExposureTime), "1/125");
        assert_eq!(field(Tag::PhotographicSensitivity), "200");
        assert_eq!(field(Tag::FNumber), "2.8");
        assert_eq!(field(Tag::LensModel), "\"6 mm?wide\"");
        let comment = exif.get_field(Tag::UserComment, In::PRIMARY).unwrap();
        let exif::Value::Undefined(comment, _) = &comment.value else { panic!("{comment:?}") };
        assert_eq!(comment, b"ASCII\0\0\0sensor=hardware; frame=41; time_source=unsynced");
    }

    #[test]
    fn simulated_exposures_say_so() {
        let metadata = ExposureMetadata { origin: Origin::Simulation, ..metadata() };
        let exif = CaptureDetails { metadata: &metadata, time: time(0) }.to_exif(FrameSize::IMX477).unwrap();
        let text = String::from_utf8_lossy(&exif);
        assert!(text.contains("sensor=simulated"));
        assert!(text.contains("simulated: no light"));
        assert!(text.contains("1970:01:01 00:00:00"));
    }

    #[test]
    fn files_of_other_programs_say_so() {
        let metadata = ExposureMetadata { origin: Origin::OtherProgram, ..metadata() };
        let exif = CaptureDetails { metadata: &metadata, time: time(0) }.to_exif(FrameSize::IMX477).unwrap();
        let text = String::from_utf8_lossy(&exif);
        assert!(text.contains("sensor=other program") && text.contains("written by another program"), "{text}");
    }

    #[test]
    fn time_beyond_the_calendar_is_refused() {
        for seconds in [253_402_300_800, u64::MAX] {
            let details = CaptureDetails { metadata: &metadata(), time: time(seconds) };
            assert_eq!(details.to_exif(FrameSize::IMX477), Err(ExifError::Time(seconds)));
        }
    }

    #[test]
    fn exposure_times_are_short_fractions() {
        assert_eq!(seconds(Duration::from_millis(10)), (1, 100));
        assert_eq!(seconds(Duration::from_micros(16_667)), (16_667, 1_000_000));
        assert_eq!(seconds(Duration::from_secs(2)), (2_000_000, 1_000_000));
        assert_eq!(seconds(Duration::ZERO), (0, 1_000_000));
    }
}
