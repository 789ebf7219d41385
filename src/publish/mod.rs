//! Hands what a console shows to a media server, or to a file, as the H.264 that viewers get: no second encode where
//! they watch all of the console too. Never holds the guest or a viewer: what a target does not take in time is left
//! out up to a key frame.

mod gap;
mod http_request;
mod matroska;
mod pipeline;
mod recorder;
mod recording;
mod sink;
mod target;
mod whip;

pub use recorder::Recorder;
pub(crate) use recorder::{RecordError, Shared};
pub(crate) use target::Target;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::encode::{Codec, EncodedFrame, Encoders, Item, Profile, VideoStream};
use crate::frame::{ConsoleId, Tier};
use crate::hub::Console;
use crate::viewer::{Delivery, Listing};
use gap::Gap;
use recording::{Progress, Recording, RecordingError};
use sink::{Sink, SinkError};

/// How often a network's target gets a key frame that nobody asked for: who comes to watch at a media server waits so
/// long for the first picture, where the server does not ask for one.
const KEY_INTERVAL: Duration = Duration::from_secs(4);

/// How often at most if it asks: fifty who begin to watch ask fifty times, and each key frame costs all of them.
const ASKED_KEY_INTERVAL: Duration = Duration::from_secs(1);

/// Pause before a target that failed is tried again; doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A target that was at work for so long did not fail because of what it is.
const WORKED: Duration = Duration::from_secs(60);

/// The way of a target in the list of viewers.
const TRANSPORT: &str = "publish";

/// Publishes the first console to one target.
pub(crate) struct Publisher {
    target: Target,
    shared: Shared,
    encoders: Encoders,
}

/// Why a target takes nothing more.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    File(#[from] RecordingError),
}

impl Publisher {
    /// Makes one; it does nothing until it runs.
    pub(crate) fn new(target: Target, shared: &Shared, encoders: &Encoders) -> Self {
        Self { target, shared: shared.clone(), encoders: encoders.clone() }
    }

    /// Publishes until the end. A target that fails is tried again.
    pub(crate) async fn run(self, end: CancellationToken) {
        let Some(console) = self.shared.hub.console(ConsoleId(0)) else { return };
        let listing = self.shared.roster.enter(console.id(), &self.target.to_string(), TRANSPORT);
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let published = match &self.target {
                Target::File(path) => {
                    self.keep(path, &console, &listing, &end).await.map_err(PublishError::from)
                }
                _ => {
                    let session = Session::start(&self, &console, &listing);
                    session.run(&end).await.map_err(PublishError::from)
                }
            };
            let Err(error) = published else { return };
            warn!(target = %self.target, %error, "publishing fails, and is tried again");
            pause = if began.elapsed() > WORKED { FIRST_PAUSE } else { pause };
            if end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Keeps the picture and the sound in a file of a name that is free.
    async fn keep(
        &self,
        path: &Path,
        console: &Arc<Console>,
        listing: &Listing,
        end: &CancellationToken,
    ) -> Result<(), RecordingError> {
        let (progress, wanted) = (watch::Sender::new(Progress::default()), path.to_owned());
        let open = move || {
            let none = || io::Error::other("there are too many files of that name");
            let path = target::free_file(&wanted).ok_or_else(none)?;
            info!(target = %Target::File(wanted), to = %path.display(), "publishing");
            // No more than the sandbox allows: `File::create_new` opens it for reading, too.
            File::options().write(true).create_new(true).open(path)
        };
        let open = Box::new(open);
        let recording = Recording::new(&self.shared, &self.encoders, console, listing, open, &progress);
        recording.run(end.cancelled()).await
    }
}

/// One attempt at a media server, as long as it goes well.
struct Session<'a> {
    target: &'a Target,
    listing: &'a Listing,
    stream: VideoStream,
    sink: Option<Sink>,
    gap: Gap,
}

impl<'a> Session<'a> {
    fn start(publisher: &'a Publisher, console: &Arc<Console>, listing: &'a Listing) -> Self {
        let profile = Profile { codec: Codec::H264, tier: Tier::Full, area: None };
        listing.deliver(Delivery::Encode(Codec::H264), "as --publish says");
        let stream = publisher.encoders.join(console, profile);
        Session { target: &publisher.target, listing, stream, sink: None, gap: Gap::default() }
    }

    /// Publishes until the end, or until the target fails.
    async fn run(mut self, end: &CancellationToken) -> Result<(), SinkError> {
        let mut last_key = Instant::now();
        let mut next_key = last_key + KEY_INTERVAL;
        loop {
            tokio::select! {
                () = end.cancelled() => return self.finish().await,
                wanted = wants_key(self.sink.as_mut()) => {
                    wanted?;
                    next_key = next_key.min(last_key + ASKED_KEY_INTERVAL);
                }
                item = self.stream.next() => match item {
                    Item::Frame(frame) => {
                        if frame.key {
                            (last_key, next_key) = (Instant::now(), Instant::now() + KEY_INTERVAL);
                        }
                        if end.run_until_cancelled(self.show(frame)).await.transpose()?.is_none() {
                            return self.finish().await;
                        }
                    }
                    Item::Blank | Item::Failed(_) => {} // the encoder has told why
                },
                () = tokio::time::sleep_until(next_key.into()), if self.sink.is_some() => {
                    self.stream.request_key();
                    next_key = Instant::now() + KEY_INTERVAL;
                }
            }
        }
    }

    /// Gives a frame to the target. One of another size goes on in the same stream.
    async fn show(&mut self, frame: EncodedFrame) -> Result<(), SinkError> {
        if self.sink.is_none() {
            if !frame.key {
                self.stream.request_key();
                return Ok(());
            }
            self.sink = Some(Sink::start(self.target).await?);
            info!(target = %self.target, size = %frame.coded, "publishing");
        }
        let Some(sink) = &self.sink else { return Ok(()) };
        if self.gap.leaves_out(&frame, sink.has_room(), &self.stream) {
            self.listing.missed();
            return Ok(());
        }
        sink.push(frame.data)?;
        self.listing.sent(0);
        Ok(())
    }

    async fn finish(self) -> Result<(), SinkError> {
        match self.sink {
            Some(sink) => sink.finish().await,
            None => Ok(()),
        }
    }
}

/// Waits until the target asks for a key frame, or fails.
async fn wants_key(sink: Option<&mut Sink>) -> Result<(), SinkError> {
    match sink {
        Some(sink) => sink.wants_key().await,
        None => std::future::pending().await,
    }
}
