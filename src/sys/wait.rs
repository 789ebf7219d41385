#![allow(unsafe_code)]

use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A unix socket that is waited on for something to read, and for room to write only when there is none. tokio's own
/// waits for both all the time; the other end makes room each time it reads, which would wake us for nothing.
#[derive(Clone, Debug)]
pub(crate) struct QuietSocket(Arc<AsyncFd<UnixStream>>);

/// Waits for room in a [`QuietSocket`].
#[derive(Debug)]
pub(crate) struct WriteWait(AsyncFd<UnixStream>);

impl QuietSocket {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// If the system cannot wait on it.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self(Arc::new(wait_on(stream, Interest::READABLE)?)))
    }

    /// Returns the non-blocking socket.
    #[must_use]
    pub(crate) fn stream(&self) -> &UnixStream {
        self.0.get_ref()
    }

    /// Reads when something has arrived. Only one task may wait in this way.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) async fn read<T>(&self, mut read: impl FnMut(&UnixStream) -> io::Result<T>) -> io::Result<T> {
        poll_fn(|context| self.poll_read(context, &mut read)).await
    }

    /// Polls for [`Self::read`].
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn poll_read<T>(
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

    /// Writes when there is room. Cancel-safe.
    ///
    /// # Errors
    /// Those of `write`, and if the system has no more file descriptors.
    pub(crate) async fn write<T>(
        &self,
        mut write: impl FnMut(&UnixStream) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut room = None;
        poll_fn(|context| self.poll_write(context, &mut room, &mut write)).await
    }

    /// Polls for [`Self::write`]. `room` keeps the wait for room between calls.
    ///
    /// # Errors
    /// Those of `write`, and if the system has no more file descriptors.
    pub(crate) fn poll_write<T>(
        &self,
        context: &mut Context<'_>,
        room: &mut Option<WriteWait>,
        mut write: impl FnMut(&UnixStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            if let Some(WriteWait(waiting)) = room {
                drop(ready!(waiting.poll_write_ready(context))?);
                *room = None;
            }
            match write(self.stream()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *room = Some(WriteWait(wait_on(self.stream().try_clone()?, Interest::WRITABLE)?));
                }
                done => return Poll::Ready(done),
            }
        }
    }
}

fn wait_on(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    stream.set_nonblocking(true)?;
    // SAFETY: a `UnixStream` owns its file descriptor, which is open and the same as long as the stream lives, and the
    // `AsyncFd` owns the stream.
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}
