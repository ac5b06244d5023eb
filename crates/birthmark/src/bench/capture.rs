//! Row `capture`: shutter to "captured", files and queue row on disk, less exposure and JPEG.
//!
//! The reference writes as many bytes to a file on the same disk and flushes it: below that no camera
//! can go that keeps what it shows.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use birthmark_camera::capture::{Camera, CameraSettings, Step};
use birthmark_camera::device::ElementKind;
use birthmark_camera::exif::{CaptureDetails, CaptureTime, TimeSource};
use birthmark_camera::queue::Queue;
use birthmark_camera::sensor::simulated::SimulatedImx477;
use birthmark_camera::{Sensor as _, jpeg};
use birthmark_core::time::Clock as _;
use birthmark_service::clock::SystemClock;
use tokio::time::Instant;

use super::Bench;
use super::measure::{fdatasync_ms, latency, median, megabytes, ms, timed};
use super::row::Row;
use crate::camera::peak_rss_mb;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "capture";

/// One photograph.
struct Times {
    expose: Duration,
    total: Duration,
    plain_write: Duration,
}

pub(super) fn measure(bench: &Bench, mut sensor: SimulatedImx477) -> anyhow::Result<Row> {
    let _waiting = Waiting::new("capturing");
    let folder = bench.folder()?;
    let (data, count) = (folder.path(), bench.samples(MOST));
    let jpegs = jpeg_times(&mut sensor, count)?;
    let queue = Queue::open(data)?;
    let first = sensor.next_frame();
    let settings = CameraSettings {
        data: data.to_owned(),
        queue: queue.clone(),
        frames: first..first + u64::from(count),
        sensor,
        clock: Arc::new(SystemClock),
        time_source: TimeSource::Unsynced,
        element: ElementKind::Software,
    };
    let (mut camera, _) = Camera::open(settings)?;
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..count {
        bench.check()?;
        let shutter = Instant::now();
        let mut exposed = shutter;
        let captured = camera.capture(&mut |step| {
            if matches!(step, Step::RawCaptured { .. }) {
                exposed = Instant::now();
            }
        })?;
        let total = shutter.elapsed();
        bytes = std::fs::metadata(&captured.jpeg)?.len() + std::fs::metadata(&captured.dng)?.len();
        let plain_write = write_plainly(&data.join("plain"), usize::try_from(bytes)?)?;
        times.push(Times { expose: exposed - shutter, total, plain_write });
    }
    let peak = peak_rss_mb();
    let fdatasync = fdatasync_ms(data)?;
    let closing = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    closing.block_on(queue.close());
    let middle = |of: fn(&Times) -> Duration| median(times.iter().map(|times| ms(of(times))));
    let (expose, total) = (middle(|times| times.expose), middle(|times| times.total));
    let jpeg = median(jpegs.iter().copied().map(ms));
    let beyond = (total - expose - jpeg).max(0.0);
    let row = Row {
        reference: Some(middle(|times| times.plain_write)),
        latency: Some(latency(times.iter().map(|times| times.total).collect())),
        ..Row::new("ms", beyond)
    };
    let peak = u32::try_from(peak).map_or(f64::INFINITY, f64::from);
    Ok(row
        .at_most("ms", beyond, 150.0)
        .at_most("peak_rss_mb", peak, 200.0)
        .detail("total_ms", total)
        .detail("expose_ms", expose)
        .detail("jpeg_alone_ms", jpeg)
        .detail("fdatasync_ms", fdatasync)
        .detail("files_mb", megabytes(bytes))
        .detail("peak_rss_mb", peak))
}

/// Developing and encoding alone, with nothing beside it.
fn jpeg_times(sensor: &mut SimulatedImx477, count: u32) -> anyhow::Result<Vec<Duration>> {
    let exposure = sensor.expose()?;
    let time = CaptureTime { at: SystemClock.now(), source: TimeSource::Unsynced };
    let exif = CaptureDetails { metadata: &exposure.metadata, time }.to_exif(exposure.raw.format().size)?;
    let mut times = Vec::new();
    for _ in 0..count {
        let (encoded, time) = timed(|| jpeg::encode(&exposure.raw, &exif));
        encoded?;
        times.push(time);
    }
    Ok(times)
}

fn write_plainly(path: &Path, mut bytes: usize) -> anyhow::Result<Duration> {
    let block = vec![0x5a; 1 << 20];
    let (written, time) = timed(|| {
        let mut file = File::create(path)?;
        while bytes > 0 {
            let part = bytes.min(block.len());
            file.write_all(&block[..part])?;
            bytes -= part;
        }
        file.sync_data()
    });
    written?;
    std::fs::remove_file(path)?;
    Ok(time)
}

const MOST: u32 = 9;
