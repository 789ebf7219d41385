use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, SockRef, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Peer;
use crate::sys::{QuietSocket, TcpState, WriteWait, tcp_state};

/// Bytes that may wait in the kernel unsent before we count the socket as full. What waits there cannot be replaced
/// by a newer frame; this is enough to keep 100 Mbit/s busy for 5 ms, longer than it takes us to come back.
const UNSENT_LIMIT: u32 = 64 * 1024;

/// After this long without a word, the system asks whether the peer's host is still there (as libspice-server does).
const KEEPALIVE: Duration = Duration::from_secs(600);

/// A connection as the system gives it.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: Connected,
    /// What waits for room in a unix socket, while there is none.
    room: Option<WriteWait>,
    peer: Peer,
    /// Who has connected, if it is a proxy for `peer`.
    proxy: Option<Peer>,
    is_admitted: bool,
    has_page: bool,
}

/// Why a socket that was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandedError {
    /// It is of another kind.
    #[error("it is no connected stream socket of TCP or in the file system: pass one end of a connection")]
    NotConnected,
    /// The system refuses.
    #[error("the system: {0}")]
    System(#[from] io::Error),
}

#[derive(Debug)]
enum Connected {
    Tcp(TcpStream),
    Unix(QuietSocket),
}

impl Socket {
    pub(super) fn tcp(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        options.set_tcp_notsent_lowat(UNSENT_LIMIT)?;
        options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        Ok(Self {
            socket: Connected::Tcp(socket),
            room: None,
            peer: Peer::Network(peer),
            proxy: None,
            is_admitted: false,
            has_page: false,
        })
    }

    pub(super) fn unix(socket: UnixStream) -> io::Result<Self> {
        let peer = Peer::local(&socket.peer_cred()?);
        let socket = QuietSocket::new(socket.into_std()?)?;
        let socket = Connected::Unix(socket);
        Ok(Self { socket, room: None, peer, proxy: None, is_admitted: false, has_page: false })
    }

    /// Takes over a connection that another process made. `is_admitted` says that it need not log in.
    ///
    /// # Errors
    /// If `fd` is not a connection of TCP or between processes of this machine.
    pub(crate) fn handed_over(fd: OwnedFd, is_admitted: bool) -> Result<Self, HandedError> {
        let socket = socket2::Socket::from(fd);
        let wrong = |_| HandedError::NotConnected;
        let kind = (socket.domain().map_err(wrong)?, socket.r#type().map_err(wrong)?);
        let peer = socket.peer_addr().map_err(wrong)?;
        socket.set_nonblocking(true)?;
        let socket = match kind {
            (Domain::UNIX, Type::STREAM) => Self::unix(UnixStream::from_std(socket.into())?)?,
            (Domain::IPV4 | Domain::IPV6, Type::STREAM) => {
                let peer = peer.as_socket().ok_or(HandedError::NotConnected)?;
                Self::tcp(TcpStream::from_std(socket.into())?, peer)?
            }
            _ => return Err(HandedError::NotConnected),
        };
        Ok(Self { is_admitted, ..socket })
    }

    /// Returns whether it need not log in.
    #[must_use]
    pub(crate) fn is_admitted(&self) -> bool {
        self.is_admitted
    }

    /// Returns whether browsers find the page there.
    #[must_use]
    pub(super) fn has_page(&self) -> bool {
        self.has_page
    }

    /// Lets browsers find the page there.
    #[must_use]
    pub(crate) fn with_page(self) -> Self {
        Self { has_page: true, ..self }
    }

    /// Returns the other end of the connection, behind a proxy if there is one.
    #[must_use]
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns the proxy that has connected for the other end.
    #[must_use]
    pub(crate) fn proxy(&self) -> Option<Peer> {
        self.proxy
    }

    /// Notes that who has connected is a proxy for `client`.
    pub(super) fn comes_from(&mut self, client: Peer) {
        self.proxy.get_or_insert(self.peer);
        self.peer = client;
    }

    /// Returns whether the bytes stay on this machine.
    #[must_use]
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.socket, Connected::Unix(..))
    }

    /// Returns whether the connection can carry file descriptors.
    #[must_use]
    pub(crate) fn passes_fds(&self) -> bool {
        self.is_local() && self.proxy.is_none()
    }

    /// Makes a watch on the number of bytes the kernel still has to send.
    ///
    /// # Errors
    /// If the system has no more file descriptors.
    pub(crate) fn send_queue(&self) -> io::Result<SendQueue> {
        Ok(SendQueue(match &self.socket {
            Connected::Tcp(socket) => {
                Connected::Tcp(TcpStream::from_std(socket.as_fd().try_clone_to_owned()?.into())?)
            }
            Connected::Unix(socket) => Connected::Unix(socket.clone()),
        }))
    }
}

/// Tells when a socket has so little left to send that another frame would leave at once.
#[derive(Debug)]
pub(crate) struct SendQueue(Connected);

impl SendQueue {
    /// Waits until the kernel has little left to send. Writability is not enough because the kernel buffers
    /// megabytes.
    ///
    /// # Errors
    /// If the socket is broken.
    pub(crate) async fn drained(&self) -> io::Result<()> {
        match &self.0 {
            Connected::Tcp(socket) => socket.async_io(Interest::WRITABLE, || has_room(socket)).await,
            Connected::Unix(socket) => socket.write(|socket| has_room(socket)).await,
        }
    }

    /// Returns what the kernel knows about the network path; `None` for a unix socket.
    #[must_use]
    pub(crate) fn network(&self) -> Option<TcpState> {
        match &self.0 {
            Connected::Tcp(socket) => tcp_state(socket).ok(),
            Connected::Unix(..) => None,
        }
    }

    /// Sends file descriptors with one byte of their own, after the bytes written so far. Cancel-safe: a
    /// dropped call has sent all of them or none.
    ///
    /// # Errors
    /// If the socket is broken, or is not one that passes file descriptors.
    pub(crate) async fn send_fds(&self, fds: &[Arc<OwnedFd>]) -> io::Result<()> {
        let Connected::Unix(socket) = &self.0 else { return Err(io::ErrorKind::Unsupported.into()) };
        socket.write(|socket| send_fds(socket, fds)).await
    }
}

/// The most file descriptors sent together: the planes of a dmabuf.
const MAX_FDS: usize = 4;

/// The byte that file descriptors travel with; libspice-server sends the same.
const FD_BYTE: &[u8] = b"@";

fn send_fds(socket: impl AsFd, fds: &[Arc<OwnedFd>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(socket, &[io::IoSlice::new(FD_BYTE)], &mut control, flags)? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}

/// Asks `poll(2)`. Tokio's readiness is cached and does not see the queue grow.
fn has_room(fd: impl AsFd) -> io::Result<()> {
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Connected::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Connected::Unix(socket) => {
                let read = ready!(
                    socket.poll_read(context, |mut socket| socket.read(buffer.initialize_unfilled()))
                )?;
                buffer.advance(read);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { socket, room, .. } = self.get_mut();
        match socket {
            Connected::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Connected::Unix(socket) => socket.poll_write(context, room, |mut socket| socket.write(bytes)),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, room, .. } = self.get_mut();
        match socket {
            Connected::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Connected::Unix(socket) => {
                socket.poll_write(context, room, |mut socket| socket.write_vectored(slices))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Connected::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Connected::Unix(socket) => Poll::Ready(socket.stream().shutdown(Shutdown::Write)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_full_socket_is_drained_when_its_peer_has_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (theirs, address) = theirs.unwrap();
        let over_tcp = Socket::tcp(ours.unwrap(), address).unwrap();
        is_drained_when_its_peer_has_read(over_tcp, theirs).await;
        let (ours, theirs) = UnixStream::pair().unwrap();
        is_drained_when_its_peer_has_read(Socket::unix(ours).unwrap(), theirs).await;
    }

    async fn is_drained_when_its_peer_has_read(
        mut stream: Socket,
        mut peer: impl AsyncRead + AsyncWrite + Unpin,
    ) {
        let queue = stream.send_queue().unwrap();
        queue.drained().await.unwrap();
        let chunk = vec![0; 1 << 20];
        let mut sent = 0;
        while let Ok(written) = tokio::time::timeout(Duration::from_millis(50), stream.write(&chunk)).await {
            sent += written.unwrap();
        }
        assert!(
            tokio::time::timeout(Duration::from_millis(50), queue.drained()).await.is_err(),
            "a peer that does not read leaves a full queue"
        );
        let mut read = vec![0; sent];
        peer.read_exact(&mut read).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), queue.drained()).await.unwrap().unwrap();
        stream.write_all(b"more").await.unwrap();
        peer.read_exact(&mut read[..4]).await.unwrap();
        peer.write_all(b"back").await.unwrap();
        let mut back = [0; 16];
        assert_eq!(stream.read(&mut back).await.unwrap(), 4);
        drop(peer);
        assert_eq!(stream.read(&mut back).await.unwrap(), 0, "the end is not noticed");
    }
}
