use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The most bytes that are read to look at the first one: a client's whole link message.
const FIRST_READ: usize = 512;

/// A stream whose first byte can be looked at before it is read.
#[derive(Debug)]
pub(super) struct Peeked<S> {
    stream: S,
    /// The bytes that were looked at and are still to be read.
    unread: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Peeked<S> {
    /// Takes over a stream.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Waits for the first byte, which stays to be read. `None` if there is none because the peer has left.
    ///
    /// # Errors
    /// If the connection broke.
    pub(super) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        if self.unread.is_empty() {
            let mut bytes = Vec::with_capacity(FIRST_READ);
            self.stream.read_buf(&mut bytes).await?;
            self.unread = bytes;
        }
        Ok(self.unread.first().copied())
    }

    /// Returns the bytes that were looked at.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.unread
    }

    /// Waits for more bytes to look at. Returns how many there are more; 0 if the peer has left.
    ///
    /// # Errors
    /// If the connection broke.
    pub(super) async fn more(&mut self) -> io::Result<usize> {
        self.unread.reserve(FIRST_READ);
        self.stream.read_buf(&mut self.unread).await
    }

    /// Reads the first `count` bytes that were looked at, and forgets them.
    pub(super) fn skip(&mut self, count: usize) {
        self.unread.drain(..count.min(self.unread.len()));
    }

    /// Returns the stream.
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the stream, for questions about it.
    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peeked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, unread } = self.get_mut();
        if unread.is_empty() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        let rest = unread.split_off(unread.len().min(buffer.remaining()));
        buffer.put_slice(unread);
        *unread = rest;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peeked<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
