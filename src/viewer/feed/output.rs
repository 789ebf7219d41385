use std::sync::Arc;

use crate::encode::EncodedFrame;
use crate::frame::{Rect, ScanoutError};
use crate::hub::{Asked, Change, ExactReader, Release, Told};
use crate::sys::TcpState;
use crate::viewer::{Abilities, Packed};

/// What carries pictures to one viewer: a SPICE display channel, a publisher, a recorder.
pub(crate) trait Output {
    /// Why the viewer left.
    type End;

    /// Waits for the next event. [`Event::Room`] only comes if it is wanted. May be dropped and called again:
    /// nothing is lost.
    ///
    /// # Errors
    /// If the viewer left.
    async fn event(&mut self, wants_room: bool) -> Result<Event, Self::End>;

    /// Shows an update.
    async fn show(&mut self, update: Update) -> Shown;

    /// Asks the viewer to send `id` back once it has read all that it was sent: [`Event::Answered`].
    fn ask(&mut self, id: u32);

    /// Returns what the kernel knows of the network to the viewer; `None` without a network.
    fn network(&self) -> Option<TcpState>;
}

/// What a viewer did, or became ready for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// The viewer can show this from now on. Nothing is shown before the first.
    Abilities(Abilities),
    /// All updates so far are sent and taken: another one would leave at once.
    Room,
    /// The viewer has read all that it was sent before [`Output::ask`] with this number.
    Answered(u32),
    /// The viewer has drawn the last [`Update::Flip`].
    Drawn,
}

/// What a viewer is shown next.
#[derive(Debug)]
pub(crate) enum Update {
    /// The guest's own buffer, or a part of it that changed. The guest waits until [`Event::Drawn`], at most
    /// 16 ms.
    Flip(Change),
    /// A frame of video of an area, or of all of the picture. Its generation is a number of this viewer's: another one
    /// begins another stream of the area.
    Frame(EncodedFrame),
    /// Nothing more: the video of this area has ended.
    Ended(Rect),
    /// What makes the viewer's picture the exact one.
    Exact(Exact),
    /// What makes a picture that rests the exact one, but for areas that are video. The next frame of all of the
    /// picture covers it.
    TouchUp(Exact),
    /// Nothing: the console is off.
    Blank,
}

/// What became of an update.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Shown {
    /// How many bytes it took, or 0 if nothing of it is sent.
    pub bytes: u64,
    /// What became of an exact one.
    pub exact: Option<ShownExactly>,
    /// Its images.
    pub images: Packed,
}

/// What became of an exact update.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ShownExactly {
    /// It is on its way.
    Sent {
        /// The pixels of its images.
        pixels: u64,
        /// Those of them that the viewer was not owed, but that changed.
        changed: u64,
    },
    /// There are other areas, of which the viewer is to know first.
    Areas,
    /// It would be too many pixels.
    TooMuch,
    /// The picture is another, or cannot be read.
    Failed,
}

/// An exact update that is yet to be read.
#[derive(Debug)]
pub(crate) struct Exact {
    picture: Arc<ExactReader>,
    pub(super) asked: Asked,
    /// The guest waits until its pixels have been read.
    release: Option<Release>,
    /// It is for a network that carries so little that images are to be small, whatever that takes.
    pub(crate) narrow: bool,
}

impl Exact {
    /// Makes an update of what is `asked` of the `picture`. The guest waits for its `release`.
    pub(crate) fn new(picture: Arc<ExactReader>, asked: Asked, release: Option<Release>) -> Self {
        Self { picture, asked, release, narrow: false }
    }

    /// Reads it, for a viewer that takes `copies` within its picture or not. Takes milliseconds, so it is not for async
    /// tasks.
    ///
    /// # Errors
    /// If the scanout cannot be read.
    pub(crate) fn read(mut self, copies: bool) -> Result<Told, ScanoutError> {
        self.asked.copies = copies;
        self.picture.read(&self.asked, self.release)
    }
}
