//! Video of what consoles show: one encoder for all viewers of the same console and profile. And [`sound`], which has
//! one encoder for all.
//!
//! ```text
//!     hub::Subscription ─► picture thread ─► ConsolePicture ─► encode thread ─► slot of each viewer ─► Stream::next
//!                          reads, converts                     gst, codec       schedule
//!                          what changed
//! ```
//!
//! A hardware encoder that can import the guest's buffer reads it itself, and the picture thread converts nothing.
//! Nothing here waits for a viewer but the encoder, and nothing makes the guest wait but reading its pixels.
//! Uses `frame`, `hub` and `crate::sound`.

mod codec;
mod console_picture;
mod counts;
mod encoder;
mod gst;
mod picture;
mod schedule;
mod sound;
mod worker;

pub use codec::{AccessUnit, Codec, StreamCheck, StreamError};
pub(crate) use codec::{Codecs, nal_units};
pub(crate) use counts::EncodeCounts;
pub use gst::Answer;
pub(crate) use gst::{
    Element, EncoderKind, Finding, Isolation, OpusDecoder, PipelineError, Pipelines, Verdict,
    encode_for_parent, has_opus, launch_for_parent, start,
};
pub use picture::{Picture, Pixels};
pub(crate) use sound::{Encoded, SoundEncoder};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use crate::frame::{Rect, Region, Scanout, Size, Tier};
use crate::hub::Console;
use counts::CountsByCodec;
use encoder::Encoder;
use worker::Worker;

/// The subcommands that are processes beside the program: one starts encoders' processes, the others are these.
pub(crate) const LAUNCHER_COMMAND: &str = "encoder-launcher";
pub(crate) const ENCODER_COMMAND: &str = "encoder";

/// What viewers must have in common to share an encoder.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Profile {
    /// How it is compressed.
    pub codec: Codec,
    /// How much of a network it takes.
    pub tier: Tier,
    /// The part of the picture that is encoded; `None` for all of it.
    pub area: Option<Area>,
}

/// A part of a picture, as long as the picture has its size.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Area {
    /// The size of all of the picture.
    pub picture: Size,
    /// The part, whose corner is at even numbers.
    pub rect: Rect,
}

/// Why there is no video.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    /// GStreamer itself does not start.
    #[error("GStreamer does not start: {0}")]
    Init(String),
    /// No encoder that works.
    #[error(
        "no {codecs} encoder works ({reasons}); on Debian, install gstreamer1.0-plugins-base and {packages}"
    )]
    NoEncoder {
        /// What was to be encoded with.
        codecs: String,
        /// Why each does not.
        reasons: String,
        /// Where those are that need no device.
        packages: String,
    },
    /// A picture too small or too large for the encoders there are.
    #[error("a picture of {0} cannot be encoded")]
    Size(Size),
    /// The encoder failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The encoder gave what viewers cannot show.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The encoder or decoder of sound failed.
    #[error("{element}: {reason}; on Debian it is in gstreamer1.0-plugins-base")]
    Sound {
        /// GStreamer's name of it.
        element: &'static str,
        /// What happened.
        reason: String,
    },
    /// The encoder did not heed the request for a key frame.
    #[error("{0}: gives no key frame when asked")]
    NoKeyFrame(&'static str),
    /// The system has no thread for it.
    #[error("no thread to encode with: {0}")]
    Thread(std::io::Error),
    /// A thread ended that should not have: a fault of this program.
    #[error("the encoder's thread ended unexpectedly")]
    Crashed,
}

/// All encoders of the program. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Encoders {
    elements: Arc<[Element]>,
    pipelines: Pipelines,
    workers: Arc<Mutex<Vec<Weak<Worker>>>>,
    counts: CountsByCodec,
}

impl Encoders {
    /// Starts GStreamer and sees which of these elements work, by encoding one small picture each: a tenth of a second
    /// where none hangs, for the caller to wait. The first that works is used, the others when it fails. They are
    /// tried and used where `pipelines` run.
    ///
    /// # Errors
    /// If none works. The message says what to install.
    pub(crate) fn probe(wanted: &[Element], pipelines: Pipelines) -> Result<Self, EncodeError> {
        let findings = Self::survey(wanted, &pipelines)?;
        let works = |found: &&Finding| found.verdict == Verdict::Works;
        let elements: Arc<[_]> = findings.iter().filter(works).map(|found| found.element).collect();
        if elements.is_empty() {
            return Err(no_encoder(&findings));
        }
        Ok(Self::with(elements, pipelines))
    }

    /// Starts GStreamer and tries the encoders of H.264, as [`Encoders::probe`] does. Those of other codecs, which few
    /// viewers need, are tried when a viewer needs one: loading them takes as much memory as all else.
    ///
    /// # Errors
    /// If there is none of any codec. The message says what to install.
    pub(crate) fn automatic(pipelines: Pipelines) -> Result<Self, EncodeError> {
        let findings = Self::survey(&Element::of(&[Codec::H264]), &pipelines)?;
        let works =
            findings.iter().filter(|found| found.verdict == Verdict::Works).map(|found| found.element);
        let has_h264 = works.clone().next().is_some();
        let others = Element::of(&Codec::ALL).into_iter().filter(|element| element.codec() != Codec::H264);
        let elements: Arc<[_]> = works.chain(others.filter(|&element| element.is_installed())).collect();
        if elements.is_empty() {
            return Err(no_encoder(&findings));
        }
        if !has_h264 {
            tracing::warn!(error = %no_encoder(&findings), "viewers get other codecs, which cost more");
        }
        Ok(Self::with(elements, pipelines))
    }

    fn with(elements: Arc<[Element]>, pipelines: Pipelines) -> Self {
        Self { elements, pipelines, workers: Arc::default(), counts: CountsByCodec::default() }
    }

    /// Returns the codecs that there is an encoder for, the preferred first. Where a device encodes H.264, the
    /// processor does not encode it in 4:4:4 besides.
    #[must_use]
    pub(crate) fn codecs(&self) -> Codecs {
        let is_device = |element: Element| element.kind() == EncoderKind::Hardware;
        let by_device = self.elements_of(Codec::H264).any(is_device);
        let has = |codec: &Codec| self.elements_of(*codec).next().is_some();
        let codecs = Codec::ALL.into_iter().filter(has);
        codecs.filter(|&codec| codec != Codec::H264_444 || !by_device).collect()
    }

    /// Starts GStreamer and tries each of these elements, as [`Encoders::probe`] does: gives what it found of each, in
    /// the same order.
    ///
    /// # Errors
    /// If GStreamer itself does not start.
    pub(crate) fn survey(wanted: &[Element], pipelines: &Pipelines) -> Result<Vec<Finding>, EncodeError> {
        gst::survey(wanted, pipelines)
    }

    /// Starts watching a console. Its first frame is a key frame, at once, also if the guest is idle.
    #[must_use]
    pub(crate) fn join(&self, console: &Arc<Console>, profile: Profile) -> VideoStream {
        let mut workers = lock(&self.workers);
        workers.retain(|worker| worker.strong_count() > 0);
        let running = workers.iter().filter_map(Weak::upgrade).filter(|w| w.is_for(console, profile));
        for worker in running {
            if let Some(viewer) = worker.join() {
                return VideoStream { worker, viewer };
            }
        }
        let (elements, pipelines) = (self.elements_of(profile.codec).collect(), self.pipelines.clone());
        let (worker, viewer) = Worker::start(console, profile, elements, pipelines, self.counts.clone());
        workers.push(Arc::downgrade(&worker));
        VideoStream { worker, viewer }
    }

    /// Returns what was encoded so far, by codec.
    #[must_use]
    pub(crate) fn counts(&self) -> BTreeMap<Codec, EncodeCounts> {
        self.counts.all()
    }

    /// Returns whether an encoder of `codec` may read the guest's buffer itself, all of it.
    #[must_use]
    pub(crate) fn may_import(&self, codec: Codec, scanout: &Scanout) -> bool {
        Encoder::may_import(self.elements_of(codec), scanout)
    }

    fn elements_of(&self, codec: Codec) -> impl Iterator<Item = Element> {
        self.elements.iter().copied().filter(move |element| element.codec() == codec)
    }
}

/// Says what to install. Hardware that is not there is nothing to complain of.
fn no_encoder(findings: &[Finding]) -> EncodeError {
    let is_software = |found: &&Finding| found.element.kind() == EncoderKind::Software;
    let matters = |found: &&Finding| is_software(found) || matches!(found.verdict, Verdict::Failed(_));
    let reason = |found: &Finding| format!("{}: {found}", found.element.name());
    let package = |found: &Finding| format!("{} ({})", found.element.package(), found.element.name());
    let codecs: Codecs = findings.iter().map(|found| found.element.codec()).collect();
    let codecs: Vec<_> = codecs.iter().map(Codec::title).collect();
    let reasons: Vec<_> = findings.iter().filter(matters).map(reason).collect();
    let packages: Vec<_> = findings.iter().filter(is_software).map(package).collect();
    EncodeError::NoEncoder {
        codecs: codecs.join(" or "),
        reasons: reasons.join("; "),
        packages: packages.join(" or "),
    }
}

/// One viewer's view of a console. Leaves when dropped; with the last one the encoder ends.
pub(crate) struct VideoStream {
    worker: Arc<Worker>,
    viewer: u64,
}

impl VideoStream {
    /// Waits for the next frame or event. The call marks this viewer as ready: nothing is encoded while no
    /// viewer is. Cancel-safe.
    ///
    /// A viewer that is not ready while others are misses frames, and continues with a key frame.
    pub(crate) async fn next(&self) -> Item {
        self.worker.next(self.viewer).await
    }

    /// Marks this viewer as not ready, although it has called [`VideoStream::next`], until its next call. Returns
    /// an item that came in between.
    #[must_use]
    pub(crate) fn pause(&self) -> Option<Item> {
        self.worker.pause(self.viewer)
    }

    /// Returns how it is compressed.
    #[must_use]
    pub(crate) fn codec(&self) -> Codec {
        self.worker.codec()
    }

    /// Limits the bytes of a frame for this viewer, and for those that share its encoder.
    pub(crate) fn limit(&self, frame_bytes: Option<u64>) {
        self.worker.limit(self.viewer, frame_bytes);
    }

    /// Returns how often this viewer missed frames because it did not call [`VideoStream::next`] in time.
    #[must_use]
    pub(crate) fn losses(&self) -> u64 {
        self.worker.losses(self.viewer)
    }

    /// Asks for a key frame because data was lost. This viewer gets nothing until it comes.
    pub(crate) fn request_key(&self) {
        self.worker.request_key(self.viewer);
    }
}

impl Drop for VideoStream {
    fn drop(&mut self) {
        self.worker.leave(self.viewer);
    }
}

/// What a viewer gets.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A frame, all before it since the last key frame having been given, too.
    Frame(EncodedFrame),
    /// The console is off: there is nothing to show. Frames may follow.
    Blank,
    /// What the console shows now cannot be encoded. Frames follow only if it shows something else.
    Failed(Arc<EncodeError>),
}

/// One encoded picture.
#[derive(Clone, Debug)]
pub(crate) struct EncodedFrame {
    /// How it is compressed.
    pub codec: Codec,
    /// What the codec's file says: for H.264 Annex B, with parameter sets first in a key frame, then slices alone.
    pub data: Bytes,
    /// It can be decoded without those before it.
    pub key: bool,
    /// The size of the console's picture.
    pub size: Size,
    /// The part of it that this is.
    pub area: Rect,
    /// The size in the stream: the area's, rounded up to even numbers, the edge repeated; half of it in [`Tier::Half`].
    pub coded: Size,
    /// Changes with the stream's parameters: a viewer makes a new stream then. Its first frame is a key frame.
    pub generation: u64,
    /// What changed of the area since the frame before, in the console's picture; in a key frame, all of it.
    pub damage: Region,
}

/// Locks `mutex` even if a thread panicked under it, because no change here depends on another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
