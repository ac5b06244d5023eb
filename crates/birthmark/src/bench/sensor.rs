//! Row `sensor`: one exposure of the simulated sensor.

use birthmark_camera::Sensor;

use super::Bench;
use super::measure::{latency, timed};
use super::row::Row;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "sensor";

pub(super) fn measure(bench: &Bench, sensor: &mut impl Sensor) -> anyhow::Result<Row> {
    let _waiting = Waiting::new("exposing");
    let mut times = Vec::new();
    for _ in 0..bench.samples(MOST) {
        bench.check()?;
        let (exposure, time) = timed(|| sensor.expose());
        exposure?;
        times.push(time);
    }
    let latency = latency(times);
    Ok(Row { latency: Some(latency), ..Row::new("ms", latency.p50) }.at_most("ms", latency.p50, 150.0))
}

const MOST: u32 = 20;
