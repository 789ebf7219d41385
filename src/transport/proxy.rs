//! What a proxy in front of us tells of its clients: the PROXY protocol, versions 1 and 2, and `X-Forwarded-For`. It is
//! believed of the proxies alone that the user named.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use memchr::memmem;
use tokio_tungstenite::tungstenite::http::HeaderMap;

use super::Peer;

/// The longest header of version 1, with its end (proxy-protocol.txt, 2.1).
const MAX_V1: usize = 107;

/// The longest header of version 2 that is read. The addresses have 52 bytes; HAProxy appends some hundred about TLS.
const MAX_V2: usize = 2048;

/// How a header of version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of a header of version 2 before those that it counts: the signature, version and command, family, length.
const V2_HEAD: usize = 16;

/// Version 2, and that the proxy speaks for itself.
const LOCAL: u8 = 0x20;

/// Version 2, and that the proxy speaks for a client.
const PROXY: u8 = 0x21;

/// A client over TCP and IPv4.
const TCP4: u8 = 0x11;

/// A client over TCP and IPv6.
const TCP6: u8 = 0x21;

/// The most addresses of `X-Forwarded-For` that are looked at, from its end.
const MAX_FORWARDED: usize = 32;

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(Vec<TrustedProxy>);

/// One proxy or several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TrustedProxy {
    /// All hosts of a network, or one host.
    Network(IpNet),
    /// Whoever may connect to our unix sockets.
    Unix,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Start {
    /// The client's own.
    Client,
    /// A part of a header: there has to be more.
    Incomplete,
    /// A header of this many bytes, for a client at this address. Without one it speaks for itself, as proxies do that
    /// only look whether we are there.
    Header(usize, Option<SocketAddr>),
    /// A header that cannot be read.
    Malformed,
}

impl TrustedProxies {
    /// Believes these.
    #[must_use]
    pub(crate) fn new(trusted: Vec<TrustedProxy>) -> Self {
        Self(trusted)
    }

    /// Returns whether `peer` is one of them.
    pub(super) fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Network(address) => self.trusts_host(address.ip()),
            Peer::Local { .. } => self.0.contains(&TrustedProxy::Unix),
        }
    }

    fn trusts_host(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|proxy| matches!(proxy, TrustedProxy::Network(network) if network.contains(&ip)))
    }

    /// Returns the client that the request of a trusted proxy is for, if the request says: the last address that is not
    /// a trusted proxy's own. What stands before it may be made up.
    pub(super) fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let lists = headers.get_all("x-forwarded-for").iter().rev();
        let addresses = lists.flat_map(|list| list.as_bytes().rsplit(|byte| *byte == b','));
        let mut client = None;
        for address in addresses.take(MAX_FORWARDED) {
            let Some(address) = std::str::from_utf8(address).ok().and_then(ip_of) else { break };
            client = Some(address);
            if !self.trusts_host(address) {
                break;
            }
        }
        client
    }
}

/// Reads an address, with a port or without.
fn ip_of(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let ip = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network
            .map(Self::Network)
            .ok_or_else(|| "give an IP address, a network such as 10.0.0.0/8, or `unix`".to_owned())
    }
}

/// Looks at the first `bytes` of a connection.
pub(super) fn start(bytes: &[u8]) -> Start {
    let begins = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(byte, wanted)| byte == wanted);
    let prefix_v1 = b"PROXY ";
    match bytes.first() {
        Some(b'P') if begins(prefix_v1) => v1(bytes),
        Some(b'\r') if begins(SIGNATURE) => v2(bytes),
        Some(_) => Start::Client,
        None => Start::Incomplete,
    }
}

fn v1(bytes: &[u8]) -> Start {
    let head = bytes.get(..MAX_V1).unwrap_or(bytes);
    let Some(line) = memmem::find(head, b"\r\n").and_then(|end| head.get(..end)) else {
        return if bytes.len() < MAX_V1 { Start::Incomplete } else { Start::Malformed };
    };
    let length = line.len().saturating_add(2);
    let words: Vec<&str> = std::str::from_utf8(line).unwrap_or_default().split(' ').collect();
    match *words.as_slice() {
        [_, "UNKNOWN", ..] => Start::Header(length, None),
        [_, family @ ("TCP4" | "TCP6"), source, destination, port, other_port] => {
            let ip = |text: &str| text.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == (family == "TCP4"));
            let number = |text: &str| text.parse::<u16>().ok();
            match (ip(source), ip(destination), number(port), number(other_port)) {
                (Some(ip), Some(_), Some(port), Some(_)) => Start::Header(length, Some((ip, port).into())),
                _ => Start::Malformed,
            }
        }
        _ => Start::Malformed,
    }
}

fn v2(bytes: &[u8]) -> Start {
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..V2_HEAD) else {
        return Start::Incomplete;
    };
    let length = V2_HEAD.saturating_add(usize::from(u16::from_be_bytes([high, low])));
    if length > MAX_V2 {
        return Start::Malformed;
    }
    let Some(addresses) = bytes.get(V2_HEAD..length) else { return Start::Incomplete };
    match (command, family) {
        (LOCAL, _) => Start::Header(length, None),
        (PROXY, TCP4) => {
            source::<4>(addresses).map_or(Start::Malformed, |it| Start::Header(length, Some(it)))
        }
        (PROXY, TCP6) => {
            source::<16>(addresses).map_or(Start::Malformed, |it| Start::Header(length, Some(it)))
        }
        (PROXY, _) => Start::Header(length, None),
        _ => Start::Malformed,
    }
}

/// Reads the first of two addresses of `N` bytes and of two ports.
fn source<const N: usize>(addresses: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let (ip, rest) = addresses.split_first_chunk::<N>()?;
    let (_, ports) = rest.split_first_chunk::<N>()?;
    let (ports, _) = ports.split_first_chunk::<4>()?;
    let [high, low, ..] = *ports;
    Some((*ip, u16::from_be_bytes([high, low])).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::http::HeaderValue;

    fn trusted(proxies: &[&str]) -> TrustedProxies {
        TrustedProxies::new(proxies.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_header_of_each_version_names_the_client() {
        let line = b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 5900\r\nREDQ";
        assert_eq!(start(line), Start::Header(43, address("203.0.113.9:4711")));
        assert_eq!(
            start(b"PROXY TCP6 2001:db8::9 ::1 4711 5900\r\n"),
            Start::Header(38, address("[2001:db8::9]:4711"))
        );
        assert_eq!(start(b"PROXY UNKNOWN\r\nREDQ"), Start::Header(15, None));
        let mut header = SIGNATURE.to_vec();
        header.extend([0x21, 0x11, 0, 12, 203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 0x17, 0x0c]);
        assert_eq!(start(&header), Start::Header(28, address("203.0.113.9:4711")));
        header[12] = 0x20;
        assert_eq!(start(&header), Start::Header(28, None), "the proxy looks whether we are there");
        for part in 1..28 {
            assert_eq!(start(&header[..part]), Start::Incomplete, "{part}");
        }
        for part in 1..43 {
            assert_eq!(start(&line[..part]), Start::Incomplete, "{part}");
        }
    }

    #[test]
    fn what_clients_send_is_no_header_and_garbage_is_none_that_can_be_read() {
        for client in [&b"REDQ"[..], b"POST / HTTP/1.1", b"PUT", b"\x16\x03\x01", b"\r\n\r\nREDQ"] {
            assert_eq!(start(client), Start::Client);
        }
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        let mut huge = SIGNATURE.to_vec();
        huge.extend([0x21, 0x11, 0xff, 0xff]);
        let mut version = SIGNATURE.to_vec();
        version.extend([0x31, 0x11, 0, 0]);
        let mut short = SIGNATURE.to_vec();
        short.extend([0x21, 0x21, 0, 35]);
        short.extend([0; 35]);
        for wrong in [
            &b"PROXY TCP4 a b c d\r\n"[..],
            b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\xf1\xb8\xba\xab\r\n",
            b"PROXY \r\n",
            b"PROXY \xff\xff\r\n",
            &long,
            &huge,
            &version,
            &short,
        ] {
            assert_eq!(start(wrong), Start::Malformed, "{wrong:?}");
        }
    }

    #[test]
    fn the_last_address_that_no_proxy_has_is_the_client() {
        let client = |lists: &[&str]| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append("X-Forwarded-For", HeaderValue::from_str(list).unwrap());
            }
            trusted(&["10.0.0.0/8", "::1"]).forwarded_for(&headers).map(|ip| ip.to_string())
        };
        assert_eq!(client(&[]), None);
        assert_eq!(client(&["203.0.113.9"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["1.2.3.4, 203.0.113.9, 10.1.1.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["1.2.3.4", "203.0.113.9:80 ,10.1.1.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["[2001:db8::9]:80, [::1]"]).as_deref(), Some("2001:db8::9"));
        assert_eq!(client(&["10.1.1.1, 10.2.2.2"]).as_deref(), Some("10.1.1.1"));
        assert_eq!(client(&["unknown"]), None);
        assert_eq!(client(&["1.2.3.4, somebody, 10.2.2.2"]).as_deref(), Some("10.2.2.2"));
    }

    #[test]
    fn proxies_are_addresses_networks_and_unix_sockets() {
        let proxies = trusted(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]);
        let trusts = |address: &str| proxies.trusts(Peer::Network(address.parse().unwrap()));
        assert!(trusts("10.9.9.9:1") && trusts("[::ffff:10.9.9.9]:1") && trusts("[2001:db8::1]:1"));
        assert!(trusts("192.0.2.7:1") && !trusts("192.0.2.8:1") && !trusts("[::1]:1"));
        let local = Peer::Local { process: None, user: 0 };
        assert!(!proxies.trusts(local) && trusted(&["unix"]).trusts(local));
        for wrong in ["", "proxy.example", "10.0.0.0/33", "*"] {
            assert!(wrong.parse::<TrustedProxy>().is_err(), "{wrong}");
        }
    }
}
