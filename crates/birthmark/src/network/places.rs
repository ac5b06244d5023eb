//! Where a new network's validators are to be, and the `node.toml` that says so.
//!
//! For: addresses and settings of nodes that `network init` lays out. Not for: reading `node.toml` again
//! (`roles::node::file`), nor for keys.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use birthmark_core::network::MAX_VALIDATORS;

/// One validator's place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its folder and its name among the submitters.
    pub(crate) name: String,
    /// Where others reach it. Also for one that is alone: others may be added later.
    pub(crate) p2p_address: String,
    p2p_listen: SocketAddr,
    http_listen: SocketAddr,
    mode: &'static str,
    network: &'static str,
}

/// All on this machine, each with two ports of its own.
pub(crate) fn local(validators: usize) -> anyhow::Result<Vec<Place>> {
    check_count(validators)?;
    let step = (0u16..).step_by(usize::from(PORT_STEP));
    let places = step.take(validators).enumerate().map(|(number, above)| {
        let listen = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port + above);
        let p2p_listen = listen(P2P_PORT);
        Place {
            name: name(number),
            p2p_address: p2p_listen.to_string(),
            p2p_listen,
            http_listen: listen(HTTP_PORT),
            mode: "local",
            network: BESIDE,
        }
    });
    Ok(places.collect())
}

/// One on each host, at the usual ports.
pub(crate) fn on_hosts(hosts: &[String]) -> anyhow::Result<Vec<Place>> {
    check_count(hosts.len())?;
    let places = hosts.iter().enumerate().map(|(number, host)| {
        let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        // An IPv6 address stands in brackets before a port.
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            Ok(IpAddr::V4(_)) => host.clone(),
            Err(_) if is_name(host) && !host.is_empty() => host.clone(),
            Err(_) => anyhow::bail!("{host:?} is no host: an address or a name, without a port"),
        };
        Ok(Place {
            name: name(number),
            p2p_address: format!("{host}:{P2P_PORT}"),
            p2p_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), P2P_PORT),
            http_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), HTTP_PORT),
            mode: "lan",
            network: BESIDE,
        })
    });
    let places = places.collect::<anyhow::Result<Vec<_>>>()?;
    let mut addresses: Vec<_> = places.iter().map(|place| &place.p2p_address).collect();
    addresses.sort();
    addresses.dedup();
    anyhow::ensure!(addresses.len() == places.len(), "each validator needs a host of its own");
    Ok(places)
}

/// One that is to join a network which runs. Its folder holds a network file of its own.
pub(crate) fn joining(name: String, p2p_address: &str, p2p_listen: SocketAddr, http_listen: SocketAddr) -> Place {
    let mode = if p2p_listen.ip().is_loopback() { "local" } else { "lan" };
    Place { name, p2p_address: p2p_address.to_owned(), p2p_listen, http_listen, mode, network: "network.json" }
}

/// A validator's folder and its name among the submitters.
pub(crate) fn name(number: usize) -> String {
    format!("node-{number}")
}

/// The port of validator `number` where all are on one machine; 0 stays any free one.
pub(crate) fn port_of(base: u16, number: usize) -> anyhow::Result<u16> {
    if base == 0 {
        return Ok(0);
    }
    let above = u16::try_from(number).ok().and_then(|number| number.checked_mul(PORT_STEP));
    above.and_then(|above| base.checked_add(above)).context("the ports of the validators would be above 65535")
}

impl Place {
    /// The text of its `node.toml`, which lies in its folder.
    pub(crate) fn node_toml(&self, origin: &str) -> String {
        let mut text = format!("# A validator of {origin}. Flags of `birthmark node serve` beat what stands here.\n");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "data = \".\"");
        let _ = writeln!(text, "network = \"{}\"", self.network);
        let _ = writeln!(text, "submitter = \"{}\"", self.name);
        let _ = writeln!(text, "listen = \"{}\"", self.http_listen);
        let _ = writeln!(text, "p2p_listen = \"{}\"", self.p2p_listen);
        let _ = writeln!(text, "# local (one machine), lan, or public (far apart, behind address translation)");
        let _ = writeln!(text, "p2p_network = \"{}\"", self.mode);
        let _ = writeln!(text, "# credentials = \"credentials\"");
        let _ = writeln!(text, "mempool_mb = 64");
        let _ = writeln!(
            text,
            "\n# Validators that are elsewhere than the network file says: consensus key = \"host:port\"."
        );
        let _ = writeln!(text, "[peers]");
        text
    }
}

fn check_count(validators: usize) -> anyhow::Result<()> {
    let fits = (1..=MAX_VALIDATORS).contains(&validators);
    anyhow::ensure!(fits, "a network has 1 to {MAX_VALIDATORS} validators, not {validators}");
    Ok(())
}

/// The network file that all of `network init` share.
const BESIDE: &str = "../network.json";
const HTTP_PORT: u16 = 8546;
const P2P_PORT: u16 = 8547;
/// Between the ports of two validators on one machine.
const PORT_STEP: u16 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_on_one_machine_have_ports_of_their_own_and_one_alone_has_the_usual_ones() {
        let alone = local(1).unwrap();
        assert_eq!((alone[0].name.as_str(), alone[0].p2p_address.as_str()), ("node-0", "127.0.0.1:8547"));
        let four = local(4).unwrap();
        assert_eq!(four[0].http_listen.port(), 8546);
        assert_eq!((four[3].name.as_str(), four[3].http_listen.port()), ("node-3", 8576));
        assert_eq!(four[3].p2p_address, "127.0.0.1:8577");
        assert!(local(0).is_err() && local(23).is_err());
        assert_eq!(local(22).unwrap().len(), 22);
    }

    #[test]
    fn hosts_are_names_or_addresses_and_each_is_used_once() {
        let hosts = |hosts: &[&str]| on_hosts(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
        let places = hosts(&["a.example", "10.0.0.2", "fd00::1"]).unwrap();
        let addresses: Vec<_> = places.iter().map(|place| place.p2p_address.clone()).collect();
        assert_eq!(addresses, ["a.example:8547", "10.0.0.2:8547", "[fd00::1]:8547"]);
        for bad in [&["a", "a"][..], &["a:1"], &[""], &["a b"], &[]] {
            assert!(hosts(bad).is_err(), "{bad:?}");
        }
    }
}
