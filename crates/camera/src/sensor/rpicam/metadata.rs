//! What `rpicam-still` says about a shot in the file of `--metadata`.
//!
//! For: the three values that tell whether raw, JPEG and metadata belong to one exposure, and a new one.
//!
//! Not for: JSON. The program writes its values as its library prints them, which is not always JSON
//! (sizes, for one, come without quotes), so values are looked up by name in a bounded text.
//!
//! ```text
//! {
//!     "SensorTimestamp": 81283745000,     nanoseconds since the system started
//!     "ExposureTime": 9994,               microseconds
//!     "AnalogueGain": 2.122137,
//!     …
//! }
//! ```

use std::time::Duration;

/// When the sensor began to read an exposure out, in nanoseconds since the system started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SensorTimestamp(u64);

/// What is used of a shot's metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Metadata {
    pub(super) timestamp: SensorTimestamp,
    pub(super) exposure_time: Duration,
    pub(super) analogue_gain: f64,
}

/// A value that must be there is not, or is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shot's metadata has no usable {0}")]
pub struct MetadataError(&'static str);

/// Whether the program has written the file to its end.
pub(super) fn is_complete(text: &[u8]) -> bool {
    text.trim_ascii_end().ends_with(b"}")
}

/// Reads the values out of a file of bounded length.
pub(super) fn parse(text: &[u8]) -> Result<Metadata, MetadataError> {
    let text = String::from_utf8_lossy(text);
    let timestamp = value(&text, "SensorTimestamp").and_then(|value| value.parse().ok());
    let micros = value(&text, "ExposureTime").and_then(|value| value.parse().ok()).filter(|micros| *micros > 0);
    let gain = value(&text, "AnalogueGain").and_then(|value| value.parse().ok());
    Ok(Metadata {
        timestamp: SensorTimestamp(timestamp.ok_or(MetadataError("SensorTimestamp"))?),
        exposure_time: Duration::from_micros(micros.ok_or(MetadataError("ExposureTime"))?),
        analogue_gain: gain.filter(|gain| (0.01..10_000.0).contains(gain)).ok_or(MetadataError("AnalogueGain"))?,
    })
}

/// What follows `"name":` up to the end of the value, if the name occurs once.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let quoted = format!("\"{name}\"");
    let mut parts = text.split(quoted.as_str()).skip(1);
    let (rest, None) = (parts.next()?, parts.next()) else { return None };
    let value = rest.trim_start().strip_prefix(':')?;
    value.split([',', '\n', '}']).next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHOT: &[u8] = br#"{
    "ScalerCrop": "(0, 0)/4056x3040",
    "ColourGains": [ 2.126434, 1.893823 ],
    "SensorTimestamp": 81283745000,
    "ExposureTime": 9994,
    "Size": 4056x3040,
    "AnalogueGain": 2.122137
}"#;

    #[test]
    fn values_are_found_among_others() {
        assert!(is_complete(SHOT) && is_complete(b"{\n}\n"));
        assert!(!is_complete(b"") && !is_complete(&SHOT[..SHOT.len() - 1]));
        let expected = Metadata {
            timestamp: SensorTimestamp(81_283_745_000),
            exposure_time: Duration::from_micros(9994),
            analogue_gain: 2.122_137,
        };
        assert_eq!(parse(SHOT), Ok(expected));
        let compact = br#"{"AnalogueGain":2.122137,"ExposureTime":9994,"SensorTimestamp":81283745000}"#;
        assert_eq!(parse(compact), Ok(expected));
    }

    #[test]
    fn what_is_missing_or_senseless_is_named() {
        let text = String::from_utf8(SHOT.to_vec()).unwrap();
        for (from, to, missing) in [
            ("SensorTimestamp", "Timestamp", "SensorTimestamp"),
            ("81283745000", "-1", "SensorTimestamp"),
            ("81283745000", "99999999999999999999999", "SensorTimestamp"),
            ("9994", "0", "ExposureTime"),
            ("9994", "soon", "ExposureTime"),
            ("2.122137", "nan", "AnalogueGain"),
            ("2.122137", "inf", "AnalogueGain"),
            ("2.122137", "0", "AnalogueGain"),
            ("\"Size\": 4056x3040", "\"ExposureTime\": 1", "ExposureTime"),
        ] {
            assert_eq!(parse(text.replace(from, to).as_bytes()), Err(MetadataError(missing)), "{from} {to}");
        }
        assert_eq!(parse(b"\xff\xfe"), Err(MetadataError("SensorTimestamp")));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in prop::collection::vec(any::<u8>(), 0..200), cut in 0..SHOT.len(), byte: u8) {
            let _ = parse(&text);
            let mut damaged = SHOT.to_vec();
            damaged[cut] = byte;
            let _ = parse(&damaged);
        }

        #[test]
        fn written_values_come_back(timestamp: u64, micros in 1_u64..1 << 40, gain in 0.02_f64..9000.0) {
            let text = format!(
                "{{\n    \"AnalogueGain\": {gain:.6},\n    \"ExposureTime\": {micros},\n    \"SensorTimestamp\": {timestamp}\n}}"
            );
            let read = parse(text.as_bytes()).unwrap();
            prop_assert_eq!((read.timestamp, read.exposure_time), (SensorTimestamp(timestamp), Duration::from_micros(micros)));
            prop_assert!((read.analogue_gain - gain).abs() < 1e-6);
        }
    }
}
