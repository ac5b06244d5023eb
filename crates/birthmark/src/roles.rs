//! The servers' subcommands: flags and environment to each role crate's own configuration.

pub(crate) mod aggregator;
pub(crate) mod credential;
pub(crate) mod node;
pub(crate) mod sma;
pub(crate) mod witness;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use birthmark_core::network::Network;
use bytes::Bytes;

/// Reads and checks a network file; gives its bytes too.
pub(crate) fn read_network(path: &Path) -> anyhow::Result<(Arc<Network>, Bytes)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the network file {}", path.display()))?;
    let network = Network::parse(&bytes).with_context(|| format!("the network file {} is refused", path.display()))?;
    Ok((Arc::new(network), bytes.into()))
}
