#![allow(unsafe_code)]

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A unix socket that is waited on for something to read, and for room to write only when there is none. tokio's own
/// waits for both all the time; the other end makes room each time it reads, which would wake us for nothing.
#[derive(Clone, Debug)]
pub struct QuietSocket(Arc<AsyncFd<UnixStream>>);

/// Waits for room in a socket.
#[derive(Debug)]
pub struct Room(AsyncFd<UnixStream>);

impl QuietSocket {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// If the system cannot wait on it.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self(Arc::new(wait_on(stream, Interest::READABLE)?)))
    }

    /// The socket, which does not block.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        self.0.get_ref()
    }

    /// Reads, when there is something.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn read<T>(&self, read: impl FnMut(&UnixStream) -> io::Result<T>) -> io::Result<T> {
        self.0.async_io(Interest::READABLE, read).await
    }

    /// Reads, when there is something. One task can wait in this way.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn poll_read<T>(
        &self,
        context: &mut Context<'_>,
        mut read: impl FnMut(&UnixStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            if let Ok(done) = guard.try_io(|socket| read(socket.get_ref())) {
                return Poll::Ready(done);
            }
        }
    }

    /// To wait for room to write, after there was none.
    ///
    /// # Errors
    /// If the system has no more file descriptors.
    pub fn room(&self) -> io::Result<Room> {
        Ok(Room(wait_on(self.stream().try_clone()?, Interest::WRITABLE)?))
    }
}

impl Room {
    /// Waits until there is some.
    ///
    /// # Errors
    /// If the socket is broken.
    pub async fn made(&self) -> io::Result<()> {
        self.0.writable().await.map(drop)
    }

    /// Whether there is some.
    ///
    /// # Errors
    /// If the socket is broken.
    pub fn poll_made(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(context).map_ok(drop)
    }
}

fn wait_on(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    stream.set_nonblocking(true)?;
    // SAFETY: a `UnixStream` owns its file descriptor, which is open and the same as long as the stream lives, and the
    // `AsyncFd` owns the stream.
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}
