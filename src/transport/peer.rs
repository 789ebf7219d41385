use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::net::unix::UCred;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    /// A host on the network. The port is 0 if a proxy does not tell it.
    Network(SocketAddr),
    /// A process on this machine, through a unix socket.
    Local {
        /// Its number; `None` if it is in another PID namespace.
        process: Option<u32>,
        /// Its user's number.
        user: u32,
    },
}

/// Whom a connection is counted to, where places are shared out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Origin {
    /// An IPv4 address, or the first 64 bits of an IPv6 address: a host can have all addresses of such a network.
    Host(IpAddr),
    /// A user of this machine.
    User(u32),
}

impl Peer {
    pub(super) fn local(credentials: &UCred) -> Self {
        let process = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0);
        Self::Local { process, user: credentials.uid() }
    }

    /// Names what the connection is made of, in a word.
    #[must_use]
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::Network(_) => "tcp",
            Self::Local { .. } => "unix",
        }
    }

    /// Tells whom the connection is counted to.
    #[must_use]
    pub(crate) fn origin(self) -> Origin {
        match self {
            Self::Network(address) => Origin::Host(network(address.ip().to_canonical())),
            Self::Local { user, .. } => Origin::User(user),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) if address.port() == 0 => address.ip().fmt(f),
            Self::Network(address) => address.fmt(f),
            Self::Local { process: Some(process), .. } => write!(f, "process {process}"),
            Self::Local { process: None, .. } => f.write_str("a local process"),
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Origin {
        Peer::Network(address.parse().unwrap()).origin()
    }

    #[test]
    fn a_host_is_one_origin_whatever_ports_and_addresses_it_takes() {
        assert_eq!(origin("10.0.0.7:1"), origin("10.0.0.7:2"));
        assert_eq!(origin("10.0.0.7:1"), origin("[::ffff:10.0.0.7]:1"));
        assert_ne!(origin("10.0.0.7:1"), origin("10.0.0.8:1"));
        assert_eq!(origin("[2001:db8:0:1::1]:1"), origin("[2001:db8:0:1:ffff::2]:1"));
        assert_ne!(origin("[2001:db8:0:1::1]:1"), origin("[2001:db8:0:2::1]:1"));
        let local = |process, user| Peer::Local { process, user }.origin();
        assert_eq!(local(Some(7), 1000), local(None, 1000));
        assert_ne!(local(Some(7), 1000), local(Some(7), 0));
    }
}
