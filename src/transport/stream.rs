use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::carrier::Carrier;
use super::peeked::Peeked;
use super::web_socket::WebSocket;
use super::{Peer, Route, SendQueue, Socket, Traffic};

/// A viewer's connection: a stream of bytes, whatever they travel in. What is written may stay in a buffer until it is
/// flushed.
#[derive(Debug)]
pub(crate) struct Stream {
    form: Form,
    traffic: Arc<Traffic>,
}

#[derive(Debug)]
enum Form {
    Bytes(Carrier),
    WebSocket(Box<WebSocket>),
}

impl Stream {
    /// Returns the other end of the connection.
    #[must_use]
    pub(crate) fn peer(&self) -> Peer {
        self.carrier().socket().peer()
    }

    /// Returns the way of the connection.
    #[must_use]
    pub(crate) fn route(&self) -> Route {
        Route {
            peer: self.peer(),
            proxy: self.carrier().socket().proxy(),
            tls: matches!(self.carrier(), Carrier::Tls(_)),
            web_socket: matches!(self.form, Form::WebSocket(_)),
            is_admitted: self.carrier().socket().is_admitted(),
        }
    }

    /// Returns whether nobody on the way can read or change the bytes.
    #[must_use]
    pub(crate) fn is_secure(&self) -> bool {
        match self.carrier() {
            Carrier::Plain(socket) => socket.get_ref().is_local(),
            Carrier::Tls(_) => true,
        }
    }

    /// Returns whether the connection can carry file descriptors.
    #[must_use]
    pub(crate) fn passes_fds(&self) -> bool {
        match &self.form {
            Form::Bytes(Carrier::Plain(socket)) => socket.get_ref().passes_fds(),
            _ => false,
        }
    }

    /// Makes a watch on the number of bytes the kernel still has to send.
    ///
    /// # Errors
    /// If the system has no more file descriptors.
    pub(crate) fn send_queue(&self) -> io::Result<SendQueue> {
        self.carrier().socket().send_queue()
    }

    /// Counts the bytes of the stream in `traffic` from now on.
    pub(super) fn counted_in(self, traffic: &Arc<Traffic>) -> Self {
        Self { traffic: traffic.clone(), ..self }
    }

    fn carrier(&self) -> &Carrier {
        match &self.form {
            Form::Bytes(carrier) => carrier,
            Form::WebSocket(socket) => socket.carrier(),
        }
    }

    fn parts(&mut self) -> Pin<&mut dyn Bytes> {
        match &mut self.form {
            Form::Bytes(carrier) => Pin::new(carrier),
            Form::WebSocket(socket) => Pin::new(&mut **socket),
        }
    }
}

/// What a stream of bytes can do.
trait Bytes: AsyncRead + AsyncWrite + Unpin {}

impl Bytes for Carrier {}
impl Bytes for WebSocket {}

impl From<Carrier> for Stream {
    fn from(carrier: Carrier) -> Self {
        Self { form: Form::Bytes(carrier), traffic: Arc::default() }
    }
}

impl From<WebSocket> for Stream {
    fn from(socket: WebSocket) -> Self {
        Self { form: Form::WebSocket(Box::new(socket)), traffic: Arc::default() }
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Carrier::Plain(Peeked::new(socket)).into()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buffer.filled().len());
        let read = ready!(this.parts().poll_read(context, buffer));
        this.traffic.count_received(buffer.filled().len().saturating_sub(before));
        Poll::Ready(read)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(this.parts().poll_write(context, bytes));
        this.traffic.count_sent(*written.as_ref().unwrap_or(&0));
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(this.parts().poll_write_vectored(context, slices));
        this.traffic.count_sent(*written.as_ref().unwrap_or(&0));
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().parts().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().parts().poll_shutdown(context)
    }
}
