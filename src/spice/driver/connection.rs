//! One channel's connection: its bytes in and out, and when it has room for another frame.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spice_proto::channels::Machine;
use spice_proto::wire::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::ChannelEnd;
use crate::transport::{SendQueue, Stream, TcpState};
use crate::viewer::sleep_until;

/// Messages taken out of the machine at a time, to leave in one system call. While so many wait, most machines do not
/// read what the client says: it could make us answer faster than we write.
const BATCH: usize = 8;

/// How long a client may take nothing of what waits for it, as with acknowledgements (`ACK_TIMEOUT`): a
/// picture is held meanwhile.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes read at a time. Clients say little: a whole second of pointer motion fits.
const READ_SIZE: usize = 4096;

/// A channel's connection after its link stage, and the machine that speaks on it.
pub(super) struct Connection<M> {
    pub(super) machine: M,
    read: ReadHalf<Stream>,
    write: WriteHalf<Stream>,
    queue: SendQueue,
    passes_fds: bool,
    transport: &'static str,
    /// Whether written bytes may still wait in the stream, for the system to have room.
    unflushed: bool,
    input: Vec<u8>,
    writing: VecDeque<Frame>,
    written: usize,
    /// When the client last took something, or there was nothing to take.
    moved: Instant,
    /// To be sent before anything else is written.
    fds: Vec<Arc<OwnedFd>>,
}

/// What there is to do for a channel.
pub(super) enum Progress<E> {
    /// The client did something.
    Event(E),
    /// All is sent and taken: another frame would leave at once.
    Ready,
}

impl<M: Machine> Connection<M> {
    /// Makes a connection after its link stage; `surplus` are the bytes that came with its end.
    pub(super) fn new(stream: Stream, machine: M, surplus: Vec<u8>) -> io::Result<Self> {
        let (queue, passes_fds, transport) =
            (stream.send_queue()?, stream.passes_fds(), stream.route().transport());
        let (read, write) = tokio::io::split(stream);
        Ok(Self {
            machine,
            read,
            write,
            queue,
            passes_fds,
            transport,
            unflushed: false,
            input: surplus,
            writing: VecDeque::new(),
            written: 0,
            moved: Instant::now(),
            fds: Vec::new(),
        })
    }

    /// Returns whether file descriptors can be sent to the client.
    pub(super) fn passes_fds(&self) -> bool {
        self.passes_fds
    }

    /// Names what the connection is made of, in a word.
    pub(super) fn transport(&self) -> &'static str {
        self.transport
    }

    /// Returns the kernel's state of the TCP connection; `None` on a unix socket.
    pub(super) fn network(&self) -> Option<TcpState> {
        self.queue.network()
    }

    /// Reads and writes until the client did something, or until all is sent and `has_room` says that the
    /// machine has room for another picture. May be dropped and called again: nothing is lost.
    pub(super) async fn turn(
        &mut self,
        has_room: impl Fn(&M) -> bool,
    ) -> Result<Progress<M::Event>, ChannelEnd> {
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(Progress::Event(event));
            }
            self.refill();
            let idle = self.fds.is_empty() && self.writing.is_empty() && !self.unflushed;
            let stalled = if idle { None } else { self.moved.checked_add(WRITE_TIMEOUT) };
            let deadline = self.machine.deadline().into_iter().chain(stalled).min();
            let ready = idle && has_room(&self.machine);
            let reads = !self.machine.is_full(self.writing.len() >= BATCH);
            let flushes = self.fds.is_empty() && self.unflushed;
            let slices =
                if !self.fds.is_empty() { Vec::new() } else { unwritten(&self.writing, self.written) };
            tokio::select! {
                // INVARIANT: time runs out only where nothing could be written now.
                biased;
                sent = self.queue.send_fds(&self.fds), if !self.fds.is_empty() => {
                    sent?;
                    self.fds.clear();
                    self.moved = Instant::now();
                }
                written = write_or_flush(&mut self.write, &slices), if !slices.is_empty() || flushes => {
                    drop(slices);
                    match written? {
                        Some(written) => self.count(written)?,
                        None => self.unflushed = false,
                    }
                }
                read = self.read.read_buf(&mut self.input), if reads => {
                    if read? == 0 {
                        return Err(ChannelEnd::Closed);
                    }
                }
                drained = self.queue.drained(), if ready => {
                    drained?;
                    return Ok(Progress::Ready);
                }
                () = sleep_until(deadline) => {
                    let now = Instant::now();
                    if stalled.is_some_and(|at| at <= now) {
                        return Err(ChannelEnd::NotReading);
                    }
                    self.machine.handle_timeout(now)?;
                }
            }
        }
    }

    /// Writes what is queued without reading, and says that nothing follows.
    pub(super) async fn finish(&mut self) -> Result<(), ChannelEnd> {
        loop {
            self.refill();
            if !self.fds.is_empty() {
                self.queue.send_fds(&self.fds).await?;
                self.fds.clear();
            }
            let slices = unwritten(&self.writing, self.written);
            if slices.is_empty() {
                return Ok(self.write.shutdown().await?);
            }
            let written = self.write.write_vectored(&slices).await?;
            drop(slices);
            self.count(written)?;
        }
    }

    /// Reads until the client closes the connection, and forgets what it says. If a socket is closed with something
    /// unread, the system resets the connection, and the client loses what it has not read itself.
    pub(super) async fn read_out(&mut self) -> io::Result<()> {
        loop {
            self.input.clear();
            self.input.reserve(READ_SIZE);
            if self.read.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }

    fn next_event(&mut self) -> Result<Option<M::Event>, ChannelEnd> {
        let mut rest = self.input.as_slice();
        let event = self.machine.recv(&mut rest, Instant::now())?;
        let used = self.input.len().saturating_sub(rest.len());
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input.reserve(READ_SIZE); // `read_buf` reads into what is reserved
        }
        Ok(event)
    }

    fn refill(&mut self) {
        let now = Instant::now();
        if self.fds.is_empty() && self.writing.is_empty() && !self.unflushed {
            self.moved = now;
        }
        while self.writing.len() < BATCH {
            match self.machine.poll_frame(now) {
                Some(frame) => self.writing.push_back(frame),
                None => break,
            }
        }
    }

    /// Counts `written` more bytes.
    fn count(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written = self.written.saturating_add(written);
        self.unflushed = true;
        self.moved = Instant::now();
        while let Some(len) = self.writing.front().map(Frame::len).filter(|&len| len <= self.written) {
            self.written -= len;
            self.fds = self.writing.pop_front().map(|frame| frame.fds).unwrap_or_default();
        }
        Ok(())
    }
}

/// Writes some of `slices` and returns how many bytes; without slices, flushes what was written before.
async fn write_or_flush(write: &mut WriteHalf<Stream>, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    match slices {
        [] => write.flush().await.map(|()| None),
        slices => write.write_vectored(slices).await.map(Some),
    }
}

/// Returns the bytes of `frames` after the first `written`, up to the next message with file descriptors.
fn unwritten(frames: &VecDeque<Frame>, written: usize) -> Vec<IoSlice<'_>> {
    let mut skip = written;
    let mut slices = Vec::with_capacity(2 * BATCH);
    for frame in frames {
        for slice in frame.slices() {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            slices.extend(slice.get(skipped..).filter(|rest| !rest.is_empty()).map(IoSlice::new));
        }
        if !frame.fds.is_empty() {
            break;
        }
    }
    slices
}

#[cfg(test)]
mod tests {
    use spice_proto::channels::ChannelError;
    use tokio::net::UnixStream;

    use super::*;
    use crate::transport::{Address, Listener};

    /// Answers each byte with a frame of 64 KiB.
    #[derive(Default)]
    struct Echo {
        read: usize,
        sent: usize,
    }

    impl Machine for Echo {
        type Event = ();

        fn recv(&mut self, input: &mut &[u8], _: Instant) -> Result<Option<()>, ChannelError> {
            self.read += std::mem::take(input).len();
            Ok(None)
        }

        fn poll_frame(&mut self, _: Instant) -> Option<Frame> {
            self.sent += usize::from(self.sent < self.read);
            (self.sent < self.read).then(|| Frame { head: vec![0; 1 << 16], payload: None, fds: Vec::new() })
        }

        fn deadline(&self) -> Option<Instant> {
            None
        }

        fn handle_timeout(&self, _: Instant) -> Result<(), ChannelError> {
            Ok(())
        }
    }

    async fn connected() -> (Connection<Echo>, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Listener::bind(&Address::Unix(path.clone())).await.unwrap().unwrap();
        let client = UnixStream::connect(path).await.unwrap();
        let stream = listener.accept().await.unwrap();
        (Connection::new(stream.into(), Echo::default(), Vec::new()).unwrap(), client)
    }

    /// Turns `connection` until nothing happens for 100 ms.
    async fn settle(connection: &mut Connection<Echo>) -> Option<ChannelEnd> {
        let turn = connection.turn(|_| false);
        tokio::time::timeout(Duration::from_millis(100), turn).await.ok().and_then(Result::err)
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_not_read_either() {
        let (mut connection, mut client) = connected().await;
        let mut said = 0;
        for _ in 0..100 {
            said += client.try_write(&[0; 1024]).unwrap_or_default();
            assert!(settle(&mut connection).await.is_none());
            if connection.machine.read < said {
                break;
            }
        }
        let (read, waiting) = (connection.machine.read, connection.writing.len());
        assert!(read < said && waiting == BATCH, "read {read} of {said} bytes, {waiting} answers wait");
        let rest = async { while client.read(&mut [0; 1 << 16]).await.unwrap() > 0 {} };
        let all =
            async { while settle(&mut connection).await.is_none() && connection.machine.sent < said {} };
        tokio::select! { () = rest => {}, () = all => {} }
        assert_eq!(connection.machine.read, said, "it reads again, and is read again");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_left_after_a_while_and_not_before() {
        let (mut connection, client) = connected().await;
        client.try_write(&[0; 100]).unwrap();
        assert!(settle(&mut connection).await.is_none());
        assert!(!connection.writing.is_empty(), "the socket took it all");
        connection.moved = Instant::now() - WRITE_TIMEOUT + Duration::from_secs(10);
        assert!(settle(&mut connection).await.is_none());
        connection.moved = Instant::now() - WRITE_TIMEOUT;
        assert!(matches!(settle(&mut connection).await, Some(ChannelEnd::NotReading)));
    }

    #[tokio::test]
    async fn a_client_that_was_not_written_to_is_not_blamed_for_it() {
        let (mut connection, client) = connected().await;
        client.try_write(&[0; 100]).unwrap();
        assert!(settle(&mut connection).await.is_none());
        connection.moved = Instant::now() - WRITE_TIMEOUT;
        while client.try_read(&mut [0; 1 << 16]).is_ok() {}
        tokio::time::sleep(Duration::from_millis(1)).await; // the room is noticed
        assert!(settle(&mut connection).await.is_none());
    }
}
