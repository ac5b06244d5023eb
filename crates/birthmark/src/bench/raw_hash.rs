//! Row `sha2`: the camera's raw hash beside plain `sha2` over the same bytes.

use anyhow::Context as _;
use birthmark_camera::Sensor;
use sha2::{Digest as _, Sha256};

use super::Bench;
use super::measure::{in_turns, median, number, timed};
use super::row::Row;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "sha2";

pub(super) fn measure(bench: &Bench, sensor: &mut impl Sensor) -> anyhow::Result<Row> {
    let _waiting = Waiting::new("hashing");
    let frame = sensor.expose()?.raw;
    let rounds = bench.samples(MOST);
    let plain = || Ok(median((0..rounds).map(|_| timed(|| Sha256::digest(frame.canonical_bytes())).1.as_secs_f64())));
    let ours = || Ok(median((0..rounds).map(|_| timed(|| frame.hash()).1.as_secs_f64())));
    let (plain, ours) = in_turns(bench, plain, ours)?;
    anyhow::ensure!(
        Sha256::digest(frame.canonical_bytes()).as_slice() == frame.hash().as_bytes(),
        "the two do not agree"
    );
    let bytes = number(frame.canonical_bytes().len());
    let seconds = Some(median(ours)).filter(|seconds| *seconds > 0.0).context("no time has passed")?;
    let row = Row { reference: Some(bytes / median(plain) / 1e9), ..Row::new("GB/s", bytes / seconds / 1e9) };
    Ok(row.ratio_at_least(0.95).detail("raw_hash_ms", seconds * 1000.0).detail("frame_mb", bytes / 1e6))
}

const MOST: u32 = 10;
