//! Row `sha2`: the camera's raw hash beside plain `sha2` over the same bytes.

use anyhow::Context as _;
use birthmark_camera::Sensor;
use sha2::{Digest as _, Sha256};

use super::Bench;
use super::measure::{median, number, timed};
use super::row::Row;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "sha2";

pub(super) fn measure(bench: &Bench, sensor: &mut impl Sensor) -> anyhow::Result<Row> {
    let _waiting = Waiting::new("hashing");
    let frame = sensor.expose()?.raw;
    // In turns hash by hash: a core that slows down for a second then slows both alike.
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for round in 0..=bench.samples(MOST) {
        bench.check()?;
        let (one, other) = (|| timed(|| Sha256::digest(frame.canonical_bytes())).1, || timed(|| frame.hash()).1);
        let (one, other) = if round % 2 == 0 {
            let one = one();
            (one, other())
        } else {
            let other = other();
            (one(), other)
        };
        // The first round warms up.
        if round > 0 {
            plain.push(one.as_secs_f64());
            ours.push(other.as_secs_f64());
        }
    }
    anyhow::ensure!(
        Sha256::digest(frame.canonical_bytes()).as_slice() == frame.hash().as_bytes(),
        "the two do not agree"
    );
    let bytes = number(frame.canonical_bytes().len());
    let seconds = Some(median(ours)).filter(|seconds| *seconds > 0.0).context("no time has passed")?;
    let row = Row { reference: Some(bytes / median(plain) / 1e9), ..Row::new("GB/s", bytes / seconds / 1e9) };
    Ok(row.ratio_at_least(0.95).detail("raw_hash_ms", seconds * 1000.0).detail("frame_mb", bytes / 1e6))
}

const MOST: u32 = 60;
