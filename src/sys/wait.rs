#![allow(unsafe_code)]

use std::io;
use std::os::unix::net::UnixStream;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that is waited on for this alone. tokio's own sockets are for room to write as well, at all times.
///
/// # Errors
/// If the system cannot wait on it.
pub fn wait_on(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    stream.set_nonblocking(true)?;
    // SAFETY: a `UnixStream` owns its file descriptor, which is open and the same as long as the stream lives, and the
    // `AsyncFd` owns the stream.
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}
