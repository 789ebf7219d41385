//! One recording: the H.264 and the Opus that viewers get, into a Matroska file, which a thread of its own writes. What
//! a disk does not take in time is left out up to a key frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};

use super::gap::Gap;
use super::matroska::{Muxer, Write};
use super::{Delivery, Shared};
use crate::encode::{
    Codec, EncodeError, Encoded, EncodedFrame, Encoders, Item, Profile, VideoStream, has_opus,
};
use crate::frame::{Size, Tier};
use crate::hub::Console;
use crate::viewer::Listing;

/// Pieces of picture and sound that may wait for a disk: two seconds of both.
const MAX_PIECES: usize = 320;

/// The most bytes of them.
const MAX_WAITING: usize = 32 << 20;

/// How often there is a key frame while the picture changes: a player can begin there.
const KEY_INTERVAL: Duration = Duration::from_secs(10);

/// A picture that is older than this when the recording ends is added once more, so that it lasts until then.
const OLD: Duration = Duration::from_millis(50);

/// How long that may take.
const LAST_FRAME: Duration = Duration::from_millis(300);

/// Gives the file to write, when there is something to be written.
pub(super) type Open = Box<dyn FnOnce() -> io::Result<File> + Send>;

/// Why a recording ended before it was to.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordingError {
    /// The file, or its disk.
    #[error("{0}")]
    File(#[from] io::Error),
    /// The console shows what no encoder takes.
    #[error("{0}")]
    Encode(Arc<EncodeError>),
    /// A frame that viewers would not decode either: a fault of this program.
    #[error("a key frame has no parameter sets")]
    Stream,
    /// The thread ended: a fault of this program.
    #[error("the thread that writes has ended")]
    Thread,
}

/// How far a recording is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Progress {
    /// How long it lasts so far.
    pub(super) time: Duration,
    /// The file's length.
    pub(super) bytes: u64,
    /// The pictures in it.
    pub(super) pictures: u64,
    /// Pictures that are not, because the disk did not keep up.
    pub(super) dropped: u64,
}

/// A recording that goes on as long as it runs.
pub(super) struct Recording<'a> {
    shared: &'a Shared,
    listing: &'a Listing,
    stream: VideoStream,
    progress: &'a watch::Sender<Progress>,
    /// Until the first frame.
    open: Option<Open>,
    running: Option<Running>,
    sound: Option<Receiver<Encoded>>,
    gap: Gap,
}

/// A file that is written to.
struct Running {
    pieces: mpsc::Sender<Piece>,
    waiting: Arc<AtomicUsize>,
    done: oneshot::Receiver<Result<(), RecordingError>>,
    start: Instant,
    last_frame: Instant,
    last_key: Instant,
}

/// What is written next.
enum Piece {
    Frame {
        time: Duration,
        frame: EncodedFrame,
    },
    Sound {
        time: Duration,
        data: Bytes,
    },
    /// Nothing more: so long it lasts.
    End {
        time: Duration,
    },
}

impl<'a> Recording<'a> {
    /// Makes a recording of `console`; it does nothing until it runs.
    pub(super) fn new(
        shared: &'a Shared,
        encoders: &Encoders,
        console: &Arc<Console>,
        listing: &'a Listing,
        open: Open,
        progress: &'a watch::Sender<Progress>,
    ) -> Self {
        let profile = Profile { codec: Codec::H264, tier: Tier::Full, area: None };
        listing.deliver(Delivery::Encode(Codec::H264), "it is recorded");
        let stream = encoders.join(console, profile);
        Self {
            shared,
            listing,
            stream,
            progress,
            open: Some(open),
            running: None,
            sound: None,
            gap: Gap::default(),
        }
    }

    /// Records until `stop`, or until the file takes no more. The file is whole afterwards.
    ///
    /// # Errors
    /// If it ended before.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), RecordingError> {
        let playback = self.shared.hub.playback().clone();
        let _listening = playback.enter();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return self.finish().await,
                ended = Running::ended(self.running.as_mut()) => return ended,
                item = self.stream.next() => match item {
                    Item::Frame(frame) => self.show(frame)?,
                    Item::Blank => {}
                    Item::Failed(error) => {
                        self.finish().await?;
                        return Err(RecordingError::Encode(error));
                    }
                },
                piece = next_sound(self.sound.as_mut()) => match piece {
                    Ok(Encoded::Packet { at, data }) => self.hear(at, data),
                    Ok(Encoded::Stop) | Err(RecvError::Lagged(_)) => {}
                    // The encoder failed, and said so.
                    Err(RecvError::Closed) => self.sound = None,
                },
            }
        }
    }

    /// Adds a frame. The first begins the file.
    fn show(&mut self, frame: EncodedFrame) -> Result<(), RecordingError> {
        let now = Instant::now();
        if self.running.is_none() {
            if !frame.key {
                self.stream.request_key();
                return Ok(());
            }
            self.begin(now)?;
        }
        let Some(running) = &mut self.running else { return Ok(()) };
        if self.gap.leaves_out(&frame, running.has_room(), &self.stream) {
            self.listing.missed();
            self.progress.send_modify(|progress| progress.dropped += 1);
            return Ok(());
        }
        (running.last_frame, running.last_key) = (now, if frame.key { now } else { running.last_key });
        if now.duration_since(running.last_key) > KEY_INTERVAL {
            self.stream.request_key();
            running.last_key = now;
        }
        running.add(Piece::Frame { time: now.duration_since(running.start), frame });
        self.listing.sent(0);
        Ok(())
    }

    /// Starts the thread that writes.
    fn begin(&mut self, now: Instant) -> Result<(), RecordingError> {
        let Some(open) = self.open.take() else { return Err(RecordingError::Thread) };
        if self.shared.hub.guest().borrow().sound && has_opus() {
            self.sound = self.shared.sound.listen().ok(); // if there is none, the picture is recorded alone
        }
        let has_sound = self.sound.is_some();
        let (pieces, to_write) = mpsc::channel(MAX_PIECES);
        let (tell, done) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (taken, progress) = (waiting.clone(), self.progress.clone());
        let write = move || {
            let _ = tell.send(write(open, to_write, has_sound, &taken, &progress)); // whoever waits may have ended
        };
        std::thread::Builder::new().name("recording".to_owned()).spawn(write)?;
        self.running = Some(Running { pieces, waiting, done, start: now, last_frame: now, last_key: now });
        Ok(())
    }

    /// Adds a packet of sound. What came before the first picture is left out.
    fn hear(&mut self, at: Instant, data: Bytes) {
        let Some(running) = &self.running else { return };
        if let Some(time) = at.checked_duration_since(running.start)
            && running.has_room()
        {
            running.add(Piece::Sound { time, data });
        }
    }

    /// Ends the file: the last picture lasts until now.
    async fn finish(&mut self) -> Result<(), RecordingError> {
        if self.running.as_ref().is_some_and(|running| running.last_frame.elapsed() > OLD) {
            self.stream.request_key();
            if let Ok(Item::Frame(frame)) = tokio::time::timeout(LAST_FRAME, self.stream.next()).await {
                self.show(frame)?;
            }
        }
        let Some(running) = self.running.take() else { return Ok(()) };
        running.add(Piece::End { time: running.start.elapsed() });
        let Running { pieces, done, .. } = running;
        drop(pieces); // the thread then writes what waits, and the index
        done.await.unwrap_or(Err(RecordingError::Thread))
    }
}

impl Running {
    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < MAX_WAITING && self.pieces.capacity() > 1
    }

    fn add(&self, piece: Piece) {
        self.waiting.fetch_add(piece.bytes(), Ordering::Relaxed);
        let _ = self.pieces.try_send(piece); // there is room, or the thread has ended and is heard next
    }

    /// Waits until the thread has ended, which it does by itself only if it fails.
    async fn ended(running: Option<&mut Self>) -> Result<(), RecordingError> {
        match running {
            Some(running) => (&mut running.done).await.unwrap_or(Err(RecordingError::Thread)),
            None => std::future::pending().await,
        }
    }
}

impl Piece {
    fn bytes(&self) -> usize {
        match self {
            Self::Frame { frame, .. } => frame.data.len(),
            Self::Sound { data, .. } => data.len(),
            Self::End { .. } => 0,
        }
    }
}

/// Waits for the next piece of sound.
async fn next_sound(sound: Option<&mut Receiver<Encoded>>) -> Result<Encoded, RecvError> {
    match sound {
        Some(sound) => sound.recv().await,
        None => std::future::pending().await,
    }
}

/// Writes pieces until there are no more. The first is a key frame.
fn write(
    open: Open,
    mut pieces: mpsc::Receiver<Piece>,
    has_sound: bool,
    waiting: &AtomicUsize,
    progress: &watch::Sender<Progress>,
) -> Result<(), RecordingError> {
    let mut output: Option<Output> = None;
    let mut open = Some(open);
    while let Some(piece) = pieces.blocking_recv() {
        waiting.fetch_sub(piece.bytes(), Ordering::Relaxed);
        if let (Piece::Frame { frame, .. }, Some(open)) = (&piece, open.take_if(|_| output.is_none())) {
            output = Some(Output::begin(open()?, &frame.data, frame.coded, has_sound)?);
        }
        let Some(output) = &mut output else { continue };
        let is_picture = matches!(piece, Piece::Frame { .. });
        output.add(|muxer| match &piece {
            Piece::Frame { time, frame } => muxer.add_video(*time, &frame.data, frame.key),
            Piece::Sound { time, data } => muxer.add_sound(*time, data),
            Piece::End { time } => muxer.last_until(*time),
        })?;
        progress.send_modify(|progress| {
            (progress.time, progress.bytes) = (output.muxer.time(), output.muxer.length());
            progress.pictures += u64::from(is_picture);
        });
    }
    let Some(mut output) = output else { return Ok(()) };
    output.add(Muxer::end)?;
    progress.send_modify(|progress| progress.bytes = output.muxer.length());
    Ok(())
}

/// A file with a recording.
struct Output {
    file: File,
    muxer: Muxer,
}

impl Output {
    /// Begins the recording, in the place of what is in the file.
    fn begin(file: File, key: &[u8], size: Size, has_sound: bool) -> Result<Self, RecordingError> {
        let (muxer, Write { at, bytes }) =
            Muxer::begin(key, size, has_sound).ok_or(RecordingError::Stream)?;
        file.set_len(0)?;
        file.write_all_at(&bytes, at)?;
        Ok(Self { file, muxer })
    }

    /// Adds something whole: if the disk is full the file is as it was before, and says how long it lasts.
    fn add(&mut self, add: impl FnOnce(&mut Muxer) -> Vec<Write>) -> Result<(), RecordingError> {
        let (before, duration) = (self.muxer.length(), self.muxer.duration());
        for Write { at, bytes } in add(&mut self.muxer) {
            if let Err(error) = self.file.write_all_at(&bytes, at) {
                let cut = self.file.set_len(before);
                let told = cut.and_then(|()| self.file.write_all_at(&duration.bytes, duration.at));
                if let Err(second) = told {
                    tracing::debug!(error = %second, "a recording that failed was not ended");
                }
                return Err(error.into());
            }
        }
        Ok(())
    }
}
