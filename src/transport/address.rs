use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen for viewers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    /// `HOST:PORT`; port 0 lets the system choose one.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `unix:@NAME`: a unix socket without a file, in the system's abstract namespace.
    Abstract(String),
    /// `fd:N`: a listening socket that the parent process left open.
    Fd(i32),
    /// `none`: nowhere.
    None,
}

/// An address that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not an address: give HOST:PORT, [IPV6]:PORT, unix:PATH, unix:@NAME, fd:N or none")]
pub(crate) struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(name) = text.strip_prefix("unix:@") {
            return if name.is_empty() { Err(wrong()) } else { Ok(Self::Abstract(name.to_owned())) };
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(number) = text.strip_prefix("fd:") {
            // 0 to 2 are the standard streams.
            return number.parse().ok().filter(|&n| n > 2).map(Self::Fd).ok_or_else(wrong);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) => address.parse::<IpAddr>().map(|_| address).map_err(|_| wrong())?,
            None if host.contains(':') || host.is_empty() => return Err(wrong()),
            None => host,
        };
        Ok(Self::Tcp { host: host.to_owned(), port: port.parse().map_err(|_| wrong())? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
            Self::Fd(number) => write!(f, "fd:{number}"),
            Self::None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in [
            "127.0.0.1:5900",
            "localhost:0",
            "[::1]:5900",
            "unix:/run/vm/spice.sock",
            "unix:@vm",
            "fd:3",
            "none",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "5900",
            ":5900",
            "host:",
            "host:70000",
            "::1:5900",
            "[host]:1",
            "unix:",
            "unix:@",
            "fd:0",
            "fd:x",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
