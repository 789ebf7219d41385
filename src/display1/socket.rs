//! A listener's socket, without needless wake-ups.

use std::io;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use futures_util::future::BoxFuture;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};

use super::checked::Checked;
use crate::sys::{QuietSocket, receive, send};

/// A listener's socket, as zbus wants it. It passes file descriptors, and waits for room to write only when there is
/// none.
#[derive(Debug)]
pub(crate) struct DisplaySocket(QuietSocket);

impl DisplaySocket {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// If the system cannot wait on it.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        QuietSocket::new(stream).map(Self)
    }

    /// Returns both halves, each unchecked.
    pub(crate) fn halves(self) -> (Reading, Writing) {
        (Reading(self.0.clone()), Writing(self.0))
    }
}

impl Socket for DisplaySocket {
    type ReadHalf = Checked<Reading>;
    type WriteHalf = Writing;

    fn split(self) -> Split<Checked<Reading>, Writing> {
        let (reading, writing) = self.halves();
        Split::new(Checked(reading), writing)
    }
}

/// Returns whether `error` only says that the other end went away.
pub(crate) fn is_end(error: &zbus::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let zbus::Error::InputOutput(error) = error else { return false };
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// The half that is read.
#[derive(Debug)]
pub(crate) struct Reading(QuietSocket);

impl ReadHalf for Reading {
    fn recvmsg<'a, 'b, 'f>(
        &'a mut self,
        buffer: &'b mut [u8],
    ) -> BoxFuture<'f, io::Result<(usize, Vec<OwnedFd>)>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(self.0.read(move |stream| receive(stream, buffer)))
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// The half that is written.
#[derive(Debug)]
pub(crate) struct Writing(QuietSocket);

impl WriteHalf for Writing {
    fn sendmsg<'a, 'b, 'c, 'd, 'f>(
        &'a mut self,
        bytes: &'b [u8],
        fds: &'c [BorrowedFd<'d>],
    ) -> BoxFuture<'f, io::Result<usize>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
        Self: 'f,
    {
        Box::pin(self.0.write(move |stream| send(stream, bytes, fds)))
    }

    fn close<'a, 'f>(&'a mut self) -> BoxFuture<'f, io::Result<()>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move { self.0.stream().shutdown(Shutdown::Both) })
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn bytes_and_fds_arrive_and_a_full_socket_is_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut read, mut write) = DisplaySocket::new(ours).unwrap().split().take();
        let file = std::fs::File::open("/dev/null").unwrap();
        send(&theirs, b"hello", &[file.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let (length, fds) = read.recvmsg(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"hello"[..], 1));

        let block = vec![7; 1 << 20];
        let mut sent = 0;
        while let Ok(done) = tokio::time::timeout(Duration::from_millis(50), write.sendmsg(&block, &[])).await
        {
            sent += done.unwrap();
        }
        let reading = std::thread::spawn(move || {
            let mut all = vec![0; sent + 4];
            theirs.read_exact(&mut all).unwrap();
            theirs.write_all(b"done").unwrap();
            theirs
        });
        let more = tokio::time::timeout(Duration::from_secs(20), write.sendmsg(b"more", &[])).await;
        assert_eq!(more.expect("room is not noticed").unwrap(), 4);
        assert_eq!(read.recvmsg(&mut buffer).await.unwrap().0, 4);
        drop(reading.join().unwrap());
        let end = read.recvmsg(&mut buffer).await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
