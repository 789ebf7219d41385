//! One channel's connection: its bytes in and out, and when it has room for another frame.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::ChannelEnd;
use crate::spice::channel::Machine;
use crate::spice::wire::Frame;
use crate::transport::{SendQueue, Stream, TcpState};

/// Messages taken out of the machine at a time, to leave in one system call.
const BATCH: usize = 8;

/// Bytes read at a time. Clients say little: a whole second of pointer motion fits.
const READ_SIZE: usize = 4096;

/// A channel's connection after its link stage, and the machine that speaks on it.
pub(super) struct Connection<M> {
    pub(super) machine: M,
    read: ReadHalf<Stream>,
    write: WriteHalf<Stream>,
    queue: SendQueue,
    passes_fds: bool,
    input: Vec<u8>,
    writing: VecDeque<Frame>,
    written: usize,
    /// To be sent before anything else is written.
    fds: Vec<Arc<OwnedFd>>,
}

/// What there is to do for a channel.
pub(super) enum Turn<E> {
    /// The client did something.
    Event(E),
    /// All is sent and taken: another frame would leave at once.
    Ready,
}

impl<M: Machine> Connection<M> {
    /// A connection whose link stage is over; `surplus` are bytes that came with its end.
    pub(super) fn new(stream: Stream, machine: M, surplus: Vec<u8>) -> io::Result<Self> {
        let (queue, passes_fds) = (stream.send_queue()?, stream.passes_fds());
        let (read, write) = tokio::io::split(stream);
        Ok(Self {
            machine,
            read,
            write,
            queue,
            passes_fds,
            input: surplus,
            writing: VecDeque::new(),
            written: 0,
            fds: Vec::new(),
        })
    }

    /// Whether file descriptors can be sent to the client.
    pub(super) fn passes_fds(&self) -> bool {
        self.passes_fds
    }

    /// What the kernel knows of the way to the client; `None` where there is no network.
    pub(super) fn network(&self) -> Option<TcpState> {
        self.queue.network()
    }

    /// Reads and writes until there is something to do for the channel: the client did something or, where the
    /// machine is said to have room for a picture, the network has too. May be dropped and called again: nothing is lost.
    pub(super) async fn turn(&mut self, has_room: impl Fn(&M) -> bool) -> Result<Turn<M::Event>, ChannelEnd> {
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(Turn::Event(event));
            }
            self.refill();
            let deadline = self.machine.deadline();
            let ready = self.fds.is_empty() && self.writing.is_empty() && has_room(&self.machine);
            let slices =
                if !self.fds.is_empty() { Vec::new() } else { unwritten(&self.writing, self.written) };
            tokio::select! {
                read = self.read.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(ChannelEnd::Closed);
                    }
                }
                sent = self.queue.send_fds(&self.fds), if !self.fds.is_empty() => {
                    sent?;
                    self.fds.clear();
                }
                written = self.write.write_vectored(&slices), if !slices.is_empty() => {
                    drop(slices);
                    self.count(written?)?;
                }
                drained = self.queue.drained(), if ready => {
                    drained?;
                    return Ok(Turn::Ready);
                }
                () = sleep_until(deadline) => self.machine.handle_timeout(Instant::now())?,
            }
        }
    }

    /// Writes what is queued, without reading: for the last words.
    pub(super) async fn finish(mut self) -> Result<(), ChannelEnd> {
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
        while self.writing.len() < BATCH {
            match self.machine.poll_frame(now) {
                Some(frame) => self.writing.push_back(frame),
                None => break,
            }
        }
    }

    /// Notes that so many bytes more have been written.
    fn count(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written = self.written.saturating_add(written);
        while let Some(len) = self.writing.front().map(Frame::len).filter(|&len| len <= self.written) {
            self.written -= len;
            self.fds = self.writing.pop_front().map(|frame| frame.fds).unwrap_or_default();
        }
        Ok(())
    }
}

/// The bytes of these frames after the first `written`, up to where file descriptors have to go between.
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

/// Sleeps until then; for ever without a time.
pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
