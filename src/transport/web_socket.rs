use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::carrier::Carrier;

/// The most bytes of one message, in either direction. The borders of messages mean nothing, because SPICE is a stream
/// of bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// The most bytes read at a time.
const READ_SIZE: usize = 8 << 10;

/// A WebSocket (RFC 6455) as a stream of bytes.
#[derive(Debug)]
pub(super) struct WebSocket {
    socket: WebSocketStream<Carrier>,
    /// The rest of the last message.
    unread: Bytes,
}

impl WebSocket {
    /// Goes on after the upgrade, with the bytes that came after the request.
    pub(super) async fn new(carrier: Carrier, surplus: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_SIZE)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let socket = WebSocketStream::from_partially_read(carrier, surplus, Role::Server, Some(config)).await;
        Self { socket, unread: Bytes::new() }
    }

    /// Returns what carries the messages.
    pub(super) fn carrier(&self) -> &Carrier {
        self.socket.get_ref()
    }

    /// Sends the bytes that `fill` puts into a message of `length`, if the last message has left.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(broken)?;
        let mut message = Vec::with_capacity(length);
        fill(&mut message);
        let sent = message.len();
        Pin::new(&mut self.socket).start_send(Message::binary(message)).map_err(broken)?;
        Poll::Ready(Ok(sent))
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, unread } = self.get_mut();
        while unread.is_empty() {
            match ready!(Pin::new(&mut *socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => *unread = bytes,
                Some(Ok(Message::Text(text))) => *unread = text.into(),
                Some(Ok(Message::Close(_))) => {
                    // The answer to it. Whoever has no room for that does not wait for it.
                    let _ = Pin::new(&mut *socket).poll_flush(context);
                    return Poll::Ready(Ok(()));
                }
                None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {} // tungstenite answers pings
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let taken = unread.split_to(unread.len().min(buffer.remaining()));
        buffer.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(MAX_MESSAGE);
        self.get_mut().poll_send(context, length, |message| {
            for slice in slices {
                let room = length.saturating_sub(message.len());
                message.extend(slice.get(..slice.len().min(room)).unwrap_or_default());
            }
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context).map_err(broken)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(context).map_err(broken)
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
