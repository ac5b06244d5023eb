//! `node.toml`: how one node is run.
//!
//! For: reading what `network init` wrote and an operator changed. Not for: flags, which beat it (`node`).
//!
//! ```toml
//! data = "."                       # paths are relative to this file
//! network = "../network.json"
//! submitter = "node-0"
//! listen = "127.0.0.1:8546"
//! credentials = "credentials"
//! p2p_listen = "127.0.0.1:8547"
//! p2p_network = "lan"              # local, lan or public
//! mempool_mb = 64
//!
//! [peers]
//! "<consensus key in hex>" = "host:port"
//! ```
//! All fields are optional. Unknown ones are refused: a misspelt setting would silently not hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use birthmark_core::ids::SubmitterName;
use birthmark_core::note::PublicKey;
use birthmark_node::PeerNetwork;
use serde::{Deserialize, Deserializer, de};

/// What a file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeFile {
    pub(super) data: Option<PathBuf>,
    pub(super) network: Option<PathBuf>,
    pub(super) submitter: Option<SubmitterName>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) credentials: Option<PathBuf>,
    pub(super) p2p_listen: Option<SocketAddr>,
    #[serde(default, deserialize_with = "peer_network")]
    pub(super) p2p_network: Option<PeerNetwork>,
    pub(super) mempool_mb: Option<usize>,
    #[serde(default)]
    pub(super) peers: BTreeMap<PublicKey, String>,
}

impl NodeFile {
    /// Reads a file. Its relative paths are made those of its folder.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        anyhow::ensure!(length <= MAX_LEN, "{} is too long for a node's settings", path.display());
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file: Self =
            toml::from_str(&text).with_context(|| format!("{} holds no node's settings", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for own in [&mut file.data, &mut file.network, &mut file.credentials].into_iter().flatten() {
            *own = folder.join(&*own);
        }
        Ok(file)
    }
}

fn peer_network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PeerNetwork>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

const MAX_LEN: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<NodeFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        let file = NodeFile::read(&path)?;
        let relative = |path: &PathBuf| path.strip_prefix(folder.path()).map_or(path.clone(), Path::to_owned);
        Ok(NodeFile { data: file.data.as_ref().map(relative), network: file.network.as_ref().map(relative), ..file })
    }

    #[test]
    fn what_network_init_writes_is_read_back() {
        let place = crate::network::places::local(4).unwrap().remove(2);
        let file = read(&place.node_toml("log.example/1")).unwrap();
        assert_eq!(file.data.unwrap(), Path::new(""), "the file's own folder");
        assert_eq!(file.network.unwrap(), Path::new("../network.json"));
        assert_eq!(file.submitter.unwrap().as_str(), "node-2");
        assert_eq!(file.listen.unwrap().port(), 8566);
        assert_eq!(file.p2p_listen.unwrap().port(), 8567);
        assert_eq!((file.p2p_network, file.mempool_mb), (Some(PeerNetwork::Local), Some(64)));
        assert!(file.peers.is_empty() && file.credentials.is_none());
    }

    #[test]
    fn everything_is_optional_and_absolute_paths_stay() {
        let file = read("data = \"/var/lib/x\"").unwrap();
        assert_eq!(file.data.unwrap(), Path::new("/var/lib/x"));
        assert!(read("").unwrap().network.is_none());
        let key = birthmark_core::note::SecretKey::from_seed(&[1; 32]).public_key();
        let file = read(&format!("[peers]\n\"{key}\" = \"a.example:1\"")).unwrap();
        assert_eq!(file.peers.into_iter().collect::<Vec<_>>(), [(key, "a.example:1".to_owned())]);
    }

    #[test]
    fn misspelt_and_malformed_settings_are_refused_by_name() {
        for (text, named) in [
            ("mempol_mb = 1", "mempol_mb"),
            ("listen = \"here\"", "listen"),
            ("p2p_network = \"wan\"", "local, lan or public"),
            ("submitter = \"\"", "submitter"),
            ("mempool_mb = -1", "mempool_mb"),
            ("[peers]\nxyz = \"a:1\"", "xyz"),
            ("data = ", "data"),
        ] {
            let refused = format!("{:#}", read(text).unwrap_err());
            assert!(refused.contains(named), "{text}: {refused}");
        }
    }
}
