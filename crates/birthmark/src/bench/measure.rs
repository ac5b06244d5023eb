//! Medians, turns, and what the system knows about this process.
//!
//! For: arithmetic on measured times, and running ours and its reference in turns. Not for: what is run.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::row::Latency;
use super::{Bench, TURNS};

/// Runs the reference and ours in turns, each first every other time, so that a slow moment hits both.
/// The first turn of each warms up and is thrown away.
pub(super) fn in_turns<T>(
    bench: &Bench,
    mut reference: impl FnMut() -> anyhow::Result<T>,
    mut ours: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(Vec<T>, Vec<T>)> {
    let (mut references, mut all_ours) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        bench.check()?;
        let (one, other) = if turn % 2 == 0 {
            let one = reference()?;
            (one, ours()?)
        } else {
            let other = ours()?;
            (reference()?, other)
        };
        if turn > 0 {
            references.push(one);
            all_ours.push(other);
        }
    }
    Ok((references, all_ours))
}

/// The middle value; of an even number of them, the lower of the two. 0 if there are none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// The smallest value that `percent` of all do not exceed. 0 if there are none.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The usual two of them, in milliseconds.
pub(super) fn latency(mut times: Vec<Duration>) -> Latency {
    times.sort_unstable();
    Latency { p50: ms(percentile(&times, 50)), p99: ms(percentile(&times, 99)) }
}

/// How long something takes.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}

/// How long it takes to make a small change durable in a folder: nothing durable can be quicker.
pub(super) fn fdatasync_ms(folder: &Path) -> anyhow::Result<f64> {
    use std::io::Write as _;
    let path = folder.join("fdatasync.probe");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let (synced, time) = timed(|| file.write_all(&[0; 512]).and_then(|()| file.sync_data()));
        synced?;
        times.push(ms(time));
    }
    std::fs::remove_file(path)?;
    Ok(median(times))
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A count as a factor.
pub(super) fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Megabytes of 1,000,000 bytes.
pub(super) fn megabytes(bytes: u64) -> f64 {
    u32::try_from(bytes / 1000).map_or(f64::INFINITY, f64::from) / 1000.0
}

pub(super) fn rounded(value: f64) -> String {
    format!("{value:.0}")
}

/// Processor time of this process so far, without threads of the given name.
pub(super) fn cpu_time(without: &str) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let read = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        // A thread that has ended meanwhile reads as nothing.
        if read("comm").trim_end() != without {
            let on_cpu = read("schedstat").split(' ').next().and_then(|digits| digits.parse::<u64>().ok());
            nanoseconds += on_cpu.unwrap_or_default();
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

const SYNCS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median([]).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn processor_time_passes_with_work() {
        let before = cpu_time("nobody").unwrap();
        let mut hash = birthmark_core::ImageHash::of(b"start");
        // The system counts in ticks, and how much work one takes depends on the machine.
        let passed = (0..1_000).any(|_| {
            for _ in 0..10_000 {
                hash = birthmark_core::ImageHash::of(hash.as_bytes());
            }
            cpu_time("nobody").unwrap() > before
        });
        assert!(passed, "{hash}");
    }
}
