//! Where the other validators are.
//!
//! For: addresses from the network file, with those of the own configuration in front. Not for: connecting
//! to them (`birthmark-engine`), which trusts keys and not addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use birthmark_core::network::NetworkEpoch;
use birthmark_core::note::PublicKey;
use birthmark_engine::{Network, Validator};
use tracing::warn;

use crate::config::{NodeConfig, NodeError};

/// What connections between validators are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerNetwork {
    /// All on one machine.
    Local,
    /// Near each other, connecting from the addresses that they listen on.
    #[default]
    Lan,
    /// Anywhere, connecting from any address.
    Public,
}

/// A name that is none of `local`, `lan` and `public`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be local, lan or public")]
pub struct UnknownNetwork;

impl PeerNetwork {
    pub(crate) const fn connections(self) -> Network {
        match self {
            Self::Local => Network::Local,
            Self::Lan => Network::Lan,
            Self::Public => Network::Public,
        }
    }
}

impl FromStr for PeerNetwork {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, UnknownNetwork> {
        match text {
            "local" => Ok(Self::Local),
            "lan" => Ok(Self::Lan),
            "public" => Ok(Self::Public),
            _ => Err(UnknownNetwork),
        }
    }
}

/// The validators of the epoch with their addresses as text.
#[derive(Debug)]
pub(crate) struct Peers(Vec<(PublicKey, Place)>);

#[derive(Debug)]
enum Place {
    Address(SocketAddr),
    /// `host:port`, asked of the system's resolver now and then.
    Named(String),
}

impl Peers {
    /// The own address is where this node listens; every other one must be known.
    pub(crate) fn new(config: &NodeConfig, own: &[u8; 32], epoch: &NetworkEpoch) -> Result<Self, NodeError> {
        let validators = epoch.validators().iter();
        let places = validators.map(|validator| {
            let key = validator.consensus_key;
            if key.as_bytes() == own {
                return Ok((key, Place::Address(config.p2p_listen)));
            }
            let text = config.p2p_addresses.get(&key).or(validator.p2p_address.as_ref());
            let text = text.ok_or_else(|| NodeError::NoAddress(Box::new(key)))?;
            Ok((key, text.parse().map_or_else(|_| Place::Named(text.clone()), Place::Address)))
        });
        places.collect::<Result<_, _>>().map(Self)
    }

    /// Whether any address may change while the node runs.
    pub(crate) fn are_named(&self) -> bool {
        self.0.iter().any(|(_, place)| matches!(place, Place::Named(_)))
    }

    /// All addresses; unspecified where a name is not known at the moment.
    pub(crate) async fn resolve(&self) -> Vec<Validator> {
        let places = self.0.iter().map(async |(key, place)| {
            let address = match place {
                Place::Address(address) => *address,
                Place::Named(name) => look_up(name).await.unwrap_or(UNKNOWN),
            };
            Validator { key: *key.as_bytes(), address }
        });
        futures::future::join_all(places).await
    }

    /// The same without those that are not known: a connection is not to end because a resolver does.
    pub(crate) async fn resolve_again(&self) -> Vec<Validator> {
        let mut validators = self.resolve().await;
        validators.retain(|validator| validator.address != UNKNOWN);
        validators
    }
}

async fn look_up(name: &str) -> Option<SocketAddr> {
    let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host(name)).await;
    let address = found.ok().and_then(Result::ok).and_then(|mut addresses| addresses.next());
    if address.is_none() {
        warn!(validator = name, "the address of a validator is not known now; it will be looked up again");
    }
    address
}

const UNKNOWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const LOOK_UP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use birthmark_core::note::SecretKey;

    use super::*;
    use crate::config::Keys;
    use crate::testing::{free_addresses, install, network};

    #[tokio::test]
    async fn own_settings_beat_the_network_file_and_names_are_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let addresses = free_addresses(4);
        let network = network(4, &addresses[..3]);
        let mut config = install(folder.path(), &network, 0, "127.0.0.1:7".parse().unwrap());
        let keys = Keys::load(&config).unwrap();
        let key = |node: u8| SecretKey::from_seed(&[node + 1; 32]).public_key();
        assert!(
            matches!(Peers::new(&config, &keys.identity.validator, network.current_epoch()), Err(NodeError::NoAddress(who)) if *who == key(3))
        );

        config.p2p_addresses.insert(key(3), "localhost:9".to_owned());
        config.p2p_addresses.insert(key(2), "no-such-host.invalid:9".to_owned());
        let peers = Peers::new(&config, &keys.identity.validator, network.current_epoch()).unwrap();
        assert!(peers.are_named());
        let all = peers.resolve().await;
        let of = |all: &[Validator], node| {
            all.iter().find(|v| v.key == *key(node).as_bytes()).map(|validator| validator.address)
        };
        assert_eq!(of(&all, 0), "127.0.0.1:7".parse().ok(), "the own one is where it listens");
        assert_eq!(of(&all, 1), Some(addresses[1]));
        assert_eq!(of(&all, 2), Some(UNKNOWN));
        assert!(of(&all, 3).is_some_and(|address| address.ip().is_loopback() && address.port() == 9));
        assert_eq!(of(&peers.resolve_again().await, 2), None, "what is not known now changes nothing");
    }

    #[test]
    fn modes_have_three_names() {
        assert_eq!(
            ["local", "lan", "public"].map(str::parse),
            [Ok(PeerNetwork::Local), Ok(PeerNetwork::Lan), Ok(PeerNetwork::Public)]
        );
        assert_eq!("wan".parse::<PeerNetwork>(), Err(UnknownNetwork));
        assert_eq!(PeerNetwork::default(), PeerNetwork::Lan);
    }
}
