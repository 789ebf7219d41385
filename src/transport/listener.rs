use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use socket2::SockRef;
use tokio::net::{TcpListener, UnixListener};

use super::{Address, Socket};
use crate::sys::SocketFile;

/// Maximum number of connections that wait for `accept`. Beyond it the system drops a SYN and the client
/// retries after one second. Linux allows as many by default (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A socket that viewers connect to. A unix socket's path is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Listening,
    uri: String,
    /// Whether browsers find the page there.
    has_page: bool,
    _path: Option<SocketFile>,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// Somebody else listens there.
    #[error("{0} is taken: stop what listens there, or give another --spice-addr")]
    Taken(Address),
    /// A file that is no socket has the path.
    #[error("{0} exists and is no socket: remove it, or give another --spice-addr")]
    NotSocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {0}: {1}")]
    System(Address, io::Error),
    /// The fd is not a listening socket.
    #[error("fd {0} is not a listening TCP or unix socket")]
    NotListening(i32),
}

impl Listener {
    /// Listens on `address`; returns `None` for [`Address::None`].
    ///
    /// # Errors
    /// If the address is taken or the system refuses.
    pub(crate) async fn bind(address: &Address) -> Result<Option<Self>, BindError> {
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(address.clone()),
            _ => BindError::System(address.clone(), error),
        };
        Ok(Some(match address {
            Address::None => return Ok(None),
            Address::Tcp { host, port } => {
                let socket = TcpListener::bind((host.as_str(), *port)).await.map_err(refused)?;
                SockRef::from(&socket).listen(BACKLOG).map_err(refused)?;
                Self::tcp(socket).map_err(refused)?
            }
            Address::Unix(path) => {
                let (socket, file) = SocketFile::bind(path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => BindError::NotSocket(path.clone()),
                    _ => refused(error),
                })?;
                socket.set_nonblocking(true).map_err(refused)?;
                let socket = UnixListener::from_std(socket).map_err(refused)?;
                let _path = Some(file);
                SockRef::from(&socket).listen(BACKLOG).map_err(refused)?;
                Self { socket: Listening::Unix(socket), uri: unix_uri(path), has_page: false, _path }
            }
            Address::Abstract(name) => {
                let socket = UnixListener::bind(format!("\0{name}")).map_err(refused)?;
                SockRef::from(&socket).listen(BACKLOG).map_err(refused)?;
                Self {
                    socket: Listening::Unix(socket),
                    uri: address.to_string(),
                    has_page: false,
                    _path: None,
                }
            }
            Address::Fd(number) => Self::inherited(*number)?,
        }))
    }

    /// Lets browsers find the page there as well.
    #[must_use]
    pub(crate) fn with_page(self) -> Self {
        Self { has_page: true, ..self }
    }

    /// Returns the URL of the page. On a unix socket there is none but that of a proxy in front of it.
    #[must_use]
    pub(crate) fn page(&self, tls: bool) -> Option<String> {
        let Listening::Tcp(socket) = &self.socket else { return None };
        let scheme = if tls { "https" } else { "http" };
        socket.local_addr().ok().filter(|_| self.has_page).map(|address| format!("{scheme}://{address}/"))
    }

    /// Returns the URI for a SPICE client, such as `spice://127.0.0.1:5900`. SPICE has no URI for an abstract
    /// socket or an unnamed one: then it is the [`Address`].
    #[must_use]
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns the URI for a SPICE client that uses TLS. On a unix socket nobody does.
    #[must_use]
    pub(crate) fn tls_uri(&self) -> String {
        match &self.socket {
            Listening::Tcp(socket) => socket.local_addr().map_or_else(
                |_| self.uri.clone(),
                |address| {
                    let host = match address.ip() {
                        IpAddr::V4(ip) => ip.to_string(),
                        IpAddr::V6(ip) => format!("[{ip}]"),
                    };
                    format!("spice://{host}?tls-port={}", address.port())
                },
            ),
            Listening::Unix(_) => self.uri.clone(),
        }
    }

    /// Returns whether only processes on this machine can connect.
    #[must_use]
    pub(crate) fn is_local(&self) -> bool {
        match &self.socket {
            Listening::Tcp(socket) => socket.local_addr().is_ok_and(|address| address.ip().is_loopback()),
            Listening::Unix(_) => true,
        }
    }

    /// Waits for the next viewer.
    ///
    /// # Errors
    /// If the system refuses, such as for want of file descriptors; a later call may succeed.
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        let socket = match &self.socket {
            Listening::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Socket::tcp(socket, peer)?
            }
            Listening::Unix(listener) => Socket::unix(listener.accept().await?.0)?,
        };
        Ok(if self.has_page { socket.with_page() } else { socket })
    }

    fn tcp(socket: TcpListener) -> io::Result<Self> {
        let uri = format!("spice://{}", socket.local_addr()?);
        Ok(Self { socket: Listening::Tcp(socket), uri, has_page: false, _path: None })
    }

    /// Takes over a listening socket that the parent process left open.
    fn inherited(number: i32) -> Result<Self, BindError> {
        let wrong = |_| BindError::NotListening(number);
        let fd = crate::sys::inherited_fd(number).map_err(wrong)?;
        let socket = socket2::Socket::from(fd);
        if !socket.is_listener().map_err(wrong)? {
            return Err(BindError::NotListening(number));
        }
        socket.set_nonblocking(true).map_err(wrong)?;
        match socket.local_addr().map_err(wrong)? {
            address if address.is_unix() => {
                let named = address.as_abstract_namespace().map(String::from_utf8_lossy);
                let unnamed = || named.map_or(Address::Fd(number), |name| Address::Abstract(name.into()));
                let uri = address.as_pathname().map_or_else(|| unnamed().to_string(), unix_uri);
                let socket = UnixListener::from_std(socket.into()).map_err(wrong)?;
                Ok(Self { socket: Listening::Unix(socket), uri, has_page: false, _path: None })
            }
            _ => TcpListener::from_std(socket.into()).and_then(Self::tcp).map_err(wrong),
        }
    }
}

fn unix_uri(path: &Path) -> String {
    format!("spice+unix://{}", std::path::absolute(path).unwrap_or_else(|_| path.into()).display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Peer;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    fn at(path: &Path) -> Address {
        Address::Unix(path.into())
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spice.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // std leaves the file
        let listener = Listener::bind(&at(&path)).await.unwrap().unwrap();
        assert_eq!(listener.uri(), format!("spice+unix://{}", path.display()));
        assert!(matches!(Listener::bind(&at(&path)).await, Err(BindError::Taken(_))));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn an_abstract_socket_has_no_file() {
        let name = format!("qemu-spice-test-{}", std::process::id());
        let address: Address = format!("unix:@{name}").parse().unwrap();
        let listener = Listener::bind(&address).await.unwrap().unwrap();
        assert_eq!(listener.uri(), format!("unix:@{name}"));
        let there = SocketAddr::from_abstract_name(&name).unwrap();
        let _viewer = std::os::unix::net::UnixStream::connect_addr(&there).unwrap();
        let peer = listener.accept().await.unwrap().peer();
        assert!(
            matches!(peer, Peer::Local { process, .. } if process == Some(std::process::id())),
            "{peer:?}"
        );
        assert!(!Path::new(&format!("@{name}")).exists());
        let taken = Listener::bind(&address).await.unwrap_err().to_string();
        assert!(taken.starts_with(&format!("unix:@{name} is taken")), "{taken}");
        drop(listener);
        assert!(Listener::bind(&address).await.is_ok());
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(Listener::bind(&at(&path)).await, Err(BindError::NotSocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp { host: "127.0.0.1".into(), port: taken.local_addr().unwrap().port() };
        let error = Listener::bind(&address).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{address} is taken")), "{error}");
    }
}
