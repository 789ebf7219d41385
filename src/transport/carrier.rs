use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::Socket;
use super::peeked::Peeked;

/// A socket, in the clear or encrypted.
#[derive(Debug)]
pub(super) enum Carrier {
    /// In the clear.
    Plain(Peeked<Socket>),
    /// Inside TLS. What is written may stay in a buffer until it is flushed.
    Tls(Box<Peeked<TlsStream<Peeked<Socket>>>>),
}

impl Carrier {
    /// Returns the socket, for questions about it.
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket.get_ref(),
            Self::Tls(stream) => stream.get_ref().get_ref().0.get_ref(),
        }
    }

    /// Returns the socket.
    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket.get_mut(),
            Self::Tls(stream) => stream.get_mut().get_mut().0.get_mut(),
        }
    }

    /// Waits for the first byte, which stays to be read. `None` if there is none because the peer has left.
    ///
    /// # Errors
    /// If the connection broke.
    pub(super) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        match self {
            Self::Plain(socket) => socket.first_byte().await,
            Self::Tls(stream) => match stream.first_byte().await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                first => first,
            },
        }
    }
}

impl AsyncRead for Carrier {
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

impl AsyncWrite for Carrier {
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
