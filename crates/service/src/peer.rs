//! Who a request comes from, as far as the network knows.
//!
//! For: limits per client, also behind proxies that one runs oneself. Not for: credentials (`auth`); an
//! address proves nothing.
//!
//! ```text
//! X-Forwarded-For: <claimed by whoever>, <seen by the outer proxy>, <seen by the inner proxy>
//! ```
//! The header counts only when the connection comes from a trusted proxy. It is then read from its end, past
//! trusted proxies, to the first address that none of them vouches for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The other end of a request's connection; the server puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Networks whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// Neither an address nor a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a trusted proxy is an address or a network, such as 10.0.0.0/8")]
pub struct ProxyError;

/// An address or a network, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy(IpNet);

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| ProxyError)?;
        Ok(Self(net))
    }
}

impl FromIterator<Proxy> for TrustedProxies {
    fn from_iter<T: IntoIterator<Item = Proxy>>(proxies: T) -> Self {
        Self(proxies.into_iter().map(|Proxy(net)| net).collect())
    }
}

impl TrustedProxies {
    /// Nobody's word is believed.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The client of a request. Of IPv6 the first 64 bits, since whoever has one address has all of them;
    /// IPv4 within IPv6 is IPv4. A request that came over no connection is from `0.0.0.0`.
    pub fn client(&self, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
        let peer = extensions.get::<Peer>().map_or(IpAddr::from([0; 4]), |Peer(address)| address.ip());
        let mut client = peer.to_canonical();
        if self.trusts(client) {
            for hop in hops(headers) {
                let Some(address) = hop else { break };
                client = address.to_canonical();
                if !self.trusts(client) {
                    break;
                }
            }
        }
        match client {
            IpAddr::V4(_) => client,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }
}

/// The addresses of `X-Forwarded-For` from the last to the first; none for what is no address.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let values = values.map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.rsplit(',')).map(|hop| {
        let hop = hop.trim();
        hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies: TrustedProxies = trusted.iter().map(|text| text.parse::<Proxy>().unwrap()).collect();
        let mut extensions = Extensions::new();
        extensions.insert(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        proxies.client(&extensions, &headers).to_string()
    }

    #[test]
    fn header_of_anybody_is_worth_nothing() {
        assert_eq!(client(&[], "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn behind_trusted_proxies_the_last_address_that_none_of_them_has_is_the_client() {
        let trusted = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];
        for (forwarded, expected) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            // What the client claimed itself stands before.
            (&["198.51.100.7, 203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.7, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            (&["198.51.100.7", "203.0.113.9,10.9.9.9"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8:1:2:3::4]:4711"], "2001:db8:1:2::"),
            (&["10.9.9.9"], "10.9.9.9"),
            // What is no address ends the chain.
            (&["198.51.100.7, unknown, 10.9.9.9"], "10.9.9.9"),
            (&["198.51.100.7, "], "127.0.0.1"),
        ] {
            assert_eq!(client(&trusted, "127.0.0.1", forwarded), expected, "{forwarded:?}");
        }
        assert_eq!(client(&trusted, "fd00::1", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn ipv6_clients_are_their_networks_and_mapped_ipv4_is_ipv4() {
        assert_eq!(client(&[], "2001:db8:1:2:3:4:5:6", &[]), "2001:db8:1:2::");
        assert_eq!(client(&[], "::ffff:192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(client(&["192.0.2.0/24"], "::ffff:192.0.2.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
        assert_eq!(TrustedProxies::default().client(&Extensions::new(), &HeaderMap::new()).to_string(), "0.0.0.0");
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        for good in ["10.0.0.0/8", "10.0.0.1", "::1", "fd00::/8"] {
            good.parse::<Proxy>().unwrap();
        }
        for bad in ["", "proxy.example", "10.0.0.0/33", "10.0.0", "10.0.0.1:80"] {
            assert_eq!(bad.parse::<Proxy>(), Err(ProxyError), "{bad}");
        }
    }
}
