use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::{Peer, SendQueue, Socket};

/// A viewer's connection: a stream of bytes, in the clear or encrypted.
#[derive(Debug)]
pub(crate) enum Stream {
    /// In the clear.
    Plain(Socket),
    /// Inside TLS. What is written may stay in a buffer until it is flushed.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Returns the other end of the connection.
    #[must_use]
    pub(crate) fn peer(&self) -> Peer {
        self.socket().peer()
    }

    /// Names what the connection is made of, in a word.
    #[must_use]
    pub(crate) fn transport(&self) -> &'static str {
        match self {
            Self::Plain(socket) => socket.peer().transport(),
            Self::Tls(_) => "tls",
        }
    }

    /// Returns whether nobody on the way can read or change the bytes.
    #[must_use]
    pub(crate) fn is_secure(&self) -> bool {
        match self {
            Self::Plain(socket) => matches!(socket.peer(), Peer::Local { .. }),
            Self::Tls(_) => true,
        }
    }

    /// Returns whether the connection can carry file descriptors.
    #[must_use]
    pub(crate) fn passes_fds(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.passes_fds(),
            Self::Tls(_) => false,
        }
    }

    /// Makes a watch on the number of bytes the kernel still has to send.
    ///
    /// # Errors
    /// If the system has no more file descriptors.
    pub(crate) fn send_queue(&self) -> io::Result<SendQueue> {
        self.socket().send_queue()
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            // Clients close their sockets without the end of TLS; each SPICE message has a length.
            Self::Tls(stream) => match ready!(Pin::new(stream).poll_read(context, buffer)) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            // Each slice in TLS records of its own: spice-gtk 0.42 waits for its socket before each message, even if
            // the message came in the record of the one before (`spice_channel_iterate_read`).
            Self::Tls(stream) => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                Pin::new(stream).poll_write(context, first.map_or(&[], |slice| slice))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
