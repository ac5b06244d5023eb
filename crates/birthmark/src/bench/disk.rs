//! Row `disk`: bytes that a node keeps for each registered hash, all its stores together.

use super::measure::{megabytes, number};
use super::records::Registry;
use super::row::Row;

pub(super) const NAME: &str = "disk";

pub(super) fn measure(registry: &Registry) -> anyhow::Result<Row> {
    let grown = usize::try_from(registry.full_bytes.saturating_sub(registry.empty_bytes))?;
    // Raw and JPEG.
    let hashes = 2.0 * f64::from(registry.records);
    let each = number(grown) / hashes;
    Ok(Row::new("bytes/hash", each)
        .at_most("bytes/hash", each, 120.0)
        .detail("hashes", hashes)
        .detail("empty_mb", megabytes(registry.empty_bytes))
        .detail("full_mb", megabytes(registry.full_bytes)))
}
