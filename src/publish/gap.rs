use crate::encode::{EncodedFrame, VideoStream};

/// Whether a frame of a stream was left out, so that the next that is any good is a key frame.
#[derive(Debug, Default)]
pub(super) struct Gap(bool);

impl Gap {
    /// Returns whether `frame` is left out: there is no room for it, or it is made of one that was left out. Where
    /// there is room again, a key frame is asked for.
    pub(super) fn leaves_out(&mut self, frame: &EncodedFrame, has_room: bool, stream: &VideoStream) -> bool {
        self.0 = !has_room || (self.0 && !frame.key);
        if self.0 && has_room {
            stream.request_key();
        }
        self.0
    }
}
