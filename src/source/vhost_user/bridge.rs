//! Carries the messages of a VMM to the crate `vhost-user-backend` and back.
//!
//! The crate takes connections off a listening socket alone, and keeps the socket for notices to itself. In between
//! there can be a VMM at any socket, and its socket for notices is known.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
};

use super::messages::{Message, Messages};
use crate::sys::{QuietSocket, receive, send};

/// How often a private socket is made anew that somebody else has connected to.
const TRIES: usize = 8;

/// A connection, and what of a message has come so far.
#[derive(Debug)]
pub(super) struct Connection {
    socket: QuietSocket,
    messages: Messages<OwnedFd>,
}

impl Connection {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// If the system cannot wait on it.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self { socket: QuietSocket::new(stream)?, messages: Messages::default() })
    }

    /// Waits for the next message. Cancel-safe.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end, `InvalidData` if what comes is no message, and if the system refuses.
    pub(super) async fn message(&mut self) -> io::Result<Message<OwnedFd>> {
        loop {
            let wanted = self.messages.wanted();
            let (count, files) = self.socket.read(|stream| receive(stream, wanted)).await?;
            let message = self.messages.took(count, files);
            if let Some(message) =
                message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            {
                return Ok(message);
            }
        }
    }
}

/// Sends a message on.
async fn pass_on(socket: &QuietSocket, message: &Message<OwnedFd>) -> io::Result<()> {
    let mut files: Vec<BorrowedFd<'_>> = message.files.iter().map(AsFd::as_fd).collect();
    let mut rest = message.bytes.as_slice();
    while !rest.is_empty() {
        let sent = socket.write(|stream| send(stream, rest, &files)).await?;
        files.clear();
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Carries messages both ways, beginning with the VMM's `first`, until either end closes. Passes the VMM's socket for
/// notices to `notices`.
///
/// # Errors
/// `InvalidData` if what comes is no message, and if the system refuses.
pub(super) async fn carry(
    vmm: Connection,
    first: Message<OwnedFd>,
    device: UnixStream,
    notices: impl Fn(OwnedFd),
) -> io::Result<()> {
    let (mut vmm, mut device) = (vmm, Connection::new(device)?);
    let (to_vmm, to_device) = (vmm.socket.clone(), device.socket.clone());
    let there = async {
        let mut message = first;
        loop {
            if let Some(socket) = message.notices() {
                notices(socket.try_clone()?);
            }
            pass_on(&to_device, &message).await?;
            message = vmm.message().await?;
        }
    };
    let back = async {
        loop {
            pass_on(&to_vmm, &device.message().await?).await?;
        }
    };
    let ended: io::Result<()> = tokio::select! {
        ended = there => ended,
        ended = back => ended,
    };
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match ended {
        Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => Ok(()),
        ended => ended,
    }
}

/// Makes a socket where one connection waits, and the other end of that.
///
/// # Errors
/// If the system refuses.
pub(super) fn listener_and_connection() -> io::Result<(UnixListener, UnixStream)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let mut refused = io::ErrorKind::AddrInUse.into();
    for _ in 0..TRIES {
        let listening = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // The kernel chooses a name, in the abstract namespace.
        bind(&listening, &SocketAddrUnix::new_unnamed())?;
        // INVARIANT: only one connection can wait, so that it is ours if there was room for it, and not that of another
        // process which guessed the name.
        listen(&listening, 0)?;
        let connecting = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match connect(&connecting, &getsockname(&listening)?) {
            Ok(()) => return Ok((listening.into(), connecting.into())),
            Err(error) => refused = error.into(),
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use super::super::messages::Header;
    use super::*;
    use std::io::{Read, Write};
    use std::sync::Mutex;

    #[test]
    fn nobody_else_can_be_the_one_connection() {
        let (listening, mut ours) = listener_and_connection().unwrap();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stranger = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let refused = connect(&stranger, &getsockname(&listening).unwrap()).unwrap_err();
        assert_eq!(refused, rustix::io::Errno::AGAIN);
        let (mut accepted, _) = listening.accept().unwrap();
        ours.write_all(b"me").unwrap();
        let mut found = [0; 2];
        accepted.read_exact(&mut found).unwrap();
        assert_eq!(&found, b"me");
    }

    #[tokio::test]
    async fn messages_and_files_arrive_in_both_directions_and_notices_are_found() {
        let (theirs, ours) = UnixStream::pair().unwrap();
        let (inner, mut device) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let get_features = Header::new(1, 0).encode();
        let give_notices = Header::new(21, 0).encode();
        send(&theirs, &get_features, &[]).unwrap();
        send(&theirs, &give_notices, &[file.as_fd()]).unwrap();
        let answer = [&Header::new(1, 8).encode()[..], &[7; 8]].concat();
        device.write_all(&answer).unwrap();
        let mut vmm = Connection::new(ours).unwrap();
        let first = vmm.message().await.unwrap();
        assert_eq!((first.bytes.as_slice(), first.files.len()), (&get_features[..], 0));
        let seen = Mutex::new(0);
        let carried = carry(vmm, first, inner, |_| *seen.lock().unwrap() += 1);
        let look = tokio::task::spawn_blocking(move || {
            let (mut theirs, mut device) = (theirs, device);
            let mut bytes = [0; 12];
            assert_eq!(receive(&device, &mut bytes).unwrap().0, 12);
            assert_eq!(bytes, get_features);
            let (count, files) = receive(&device, &mut bytes).unwrap();
            assert_eq!((count, files.len(), bytes), (12, 1, give_notices));
            let mut bytes = [0; 20];
            theirs.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, *answer);
            drop(theirs);
            assert_eq!(device.read(&mut bytes).unwrap(), 0, "its end is passed on");
        });
        let (carried, look) = tokio::join!(carried, look);
        carried.unwrap();
        look.unwrap();
        assert_eq!(*seen.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let refused = Connection::new(ours).unwrap().message().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}
