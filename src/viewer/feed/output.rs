use crate::encode::EncodedFrame;
use crate::frame::Rect;
use crate::hub::Change;
use crate::sys::TcpState;
use crate::viewer::Abilities;

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

    /// Shows an update. Returns how many bytes that took, or 0 if nothing of it is sent.
    async fn show(&mut self, update: Update) -> u64;

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
    /// What changed, exactly. The guest waits until the change is dropped.
    Exact(Change),
    /// A part of the picture that rests, exactly. The next frame of all of the picture covers it.
    TouchUp(Change),
    /// Nothing: the console is off.
    Blank,
}
