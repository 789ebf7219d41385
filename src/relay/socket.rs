//! A listener's socket, with limits on what comes out of it. zbus has them only for whole messages (128 MiB).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::UnixStream;
use zbus::connection::socket::{ReadHalf, Socket, Split};

use crate::display1::{Checked, DisplaySocket, Reading, Writing};

/// The longest message of a listener, in bytes: answers without contents, and once the list of its interfaces.
const MAX_MESSAGE: usize = 64 << 10;

/// The most bytes before a listener is connected. A handshake has a hundred.
const MAX_HANDSHAKE: usize = 16 << 10;

/// What is said of a file descriptor that is not fit for a listener.
const UNFIT: &str = "a listener is a connected unix stream socket";

/// A socket that a viewer handed over for its listener.
#[derive(Debug)]
pub(super) struct ListenerSocket {
    socket: DisplaySocket,
    user: u32,
    process: Option<i32>,
    connected: Arc<AtomicBool>,
}

impl ListenerSocket {
    /// Checks that it is a connected unix stream socket.
    ///
    /// # Errors
    /// If it is anything else.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let unfit = || io::Error::new(io::ErrorKind::InvalidInput, UNFIT);
        let stream = sockopt::socket_domain(&fd).is_ok_and(|domain| domain == AddressFamily::UNIX)
            && sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::STREAM)
            && rustix::net::getpeername(&fd).is_ok();
        if !stream {
            return Err(unfit());
        }
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        // Of whoever made the pair of sockets: the viewer.
        let peer = stream.peer_cred()?;
        let process = peer.pid().filter(|&pid| pid > 0);
        let socket = DisplaySocket::new(stream.into_std()?)?;
        Ok(Self { socket, user: peer.uid(), process, connected: Arc::default() })
    }

    /// The user at the other end, as whom it has to authenticate.
    pub(super) fn user(&self) -> u32 {
        self.user
    }

    /// The process at the other end, where the system tells.
    pub(super) fn process(&self) -> Option<i32> {
        self.process
    }

    /// To be set when the handshake is over.
    pub(super) fn connected(&self) -> Arc<AtomicBool> {
        self.connected.clone()
    }
}

impl Socket for ListenerSocket {
    type ReadHalf = Checked<LimitedRead>;
    type WriteHalf = Writing;

    fn split(self) -> Split<Checked<LimitedRead>, Writing> {
        let (read, write) = self.socket.halves();
        let limited = LimitedRead { read, connected: self.connected, handshake: 0, last: b'\n' };
        Split::new(Checked(limited), write)
    }
}

/// Reads no more than an honest listener sends, and takes no file descriptors.
#[derive(Debug)]
pub(super) struct LimitedRead {
    read: Reading,
    connected: Arc<AtomicBool>,
    handshake: usize,
    last: u8,
}

impl ReadHalf for LimitedRead {
    fn recvmsg<'a, 'b, 'f>(
        &'a mut self,
        buffer: &'b mut [u8],
    ) -> BoxFuture<'f, io::Result<(usize, Vec<OwnedFd>)>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let excess = || io::Error::new(io::ErrorKind::InvalidData, "more than a listener has to say");
            // What is left of a message is read into a buffer of its length.
            if buffer.len() > MAX_MESSAGE {
                return Err(excess());
            }
            let (length, _fds) = self.read.recvmsg(buffer).await?;
            if !self.connected.load(Ordering::Relaxed) {
                self.handshake = self.handshake.saturating_add(length);
                // zbus's handshake stumbles over an empty line.
                let mut empty_line = false;
                for &byte in buffer.iter().take(length) {
                    empty_line |= (self.last, byte) == (b'\n', b'\n');
                    self.last = byte;
                }
                if empty_line || self.handshake > MAX_HANDSHAKE {
                    return Err(excess());
                }
            }
            Ok((length, Vec::new()))
        })
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_connected_unix_stream_is_a_listener() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(ListenerSocket::new(ours.into()).is_ok());
        let (datagrams, _theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let waiting = tempfile::tempdir().unwrap();
        let waiting = std::os::unix::net::UnixListener::bind(waiting.path().join("socket")).unwrap();
        for fd in [OwnedFd::from(datagrams), file.into(), tcp.into(), waiting.into()] {
            assert_eq!(ListenerSocket::new(fd).unwrap_err().to_string(), UNFIT);
        }
    }
}
