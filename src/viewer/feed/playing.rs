use std::sync::Arc;

use crate::encode::{Area, Codec, EncodedFrame, Encoders, Item, Profile, VideoStream};
use crate::frame::{Rect, Size, Tier};
use crate::hub::Console;

/// One video that a viewer gets: of all of a picture, or of an area.
pub(super) struct Playing {
    stream: VideoStream,
    area: Option<Area>,
    /// How often it had lost its step when that was last asked.
    losses: u64,
    generations: Generations,
}

impl Playing {
    /// Starts watching `console`, or an `area` of it.
    pub(super) fn start(encoders: &Encoders, console: &Arc<Console>, profile: Profile) -> Self {
        let stream = encoders.join(console, profile);
        Self { stream, area: profile.area, losses: 0, generations: Generations::default() }
    }

    /// Goes on in `tier`, with a key frame.
    pub(super) fn join(&mut self, encoders: &Encoders, console: &Arc<Console>, tier: Tier) {
        self.stream = encoders.join(console, Profile { codec: self.codec(), tier, area: self.area });
        (self.losses, self.generations.joined) = (0, true);
    }

    /// Returns the area; `None` for all of the picture.
    pub(super) fn area(&self) -> Option<Rect> {
        self.area.map(|area| area.rect)
    }

    fn codec(&self) -> Codec {
        self.stream.codec()
    }

    /// Limits the bytes of a frame.
    pub(super) fn limit(&self, frame_bytes: Option<u64>) {
        self.stream.limit(frame_bytes);
    }

    /// Returns whether this viewer missed frames that others got since the last call.
    pub(super) fn lost_its_step(&mut self) -> bool {
        let losses = self.stream.losses();
        std::mem::replace(&mut self.losses, losses) != losses
    }

    /// Waits for the next item. May be dropped and called again.
    pub(super) async fn next(&self) -> Item {
        self.stream.next().await
    }

    /// Gets nothing more until it is asked again. Returns an item that came in between.
    pub(super) fn pause(&self) -> Option<Item> {
        self.stream.pause()
    }

    /// Gives a frame of this video the viewer's own number of the stream.
    pub(super) fn numbered(&mut self, frame: EncodedFrame) -> EncodedFrame {
        let generation = self.generations.of(&frame);
        EncodedFrame { generation, ..frame }
    }
}

/// Numbers the streams of a viewer. Encoders of different tiers count their streams alike; a viewer that
/// moves from one to the other goes on with the decoder it has, where that can show both.
#[derive(Debug, Default)]
struct Generations {
    /// The last frame's: the encoder's number of its stream, the size in it, and the picture's.
    last: Option<(u64, Size, Size)>,
    /// What comes now is from another encoder.
    joined: bool,
    /// Our number of the stream.
    current: u64,
}

impl Generations {
    /// Returns our number of the stream that this frame belongs to.
    fn of(&mut self, frame: &EncodedFrame) -> u64 {
        let now = (frame.generation, frame.coded, frame.size);
        let goes_on = match self.last {
            Some((_, coded, size)) if self.joined => (coded, size) == (frame.coded, frame.size),
            last => last == Some(now),
        };
        (self.last, self.joined) = (Some(now), false);
        self.current += u64::from(!goes_on);
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Region;

    #[test]
    fn a_viewer_that_moves_to_another_tier_keeps_its_decoder_if_it_can() {
        let frame = |generation, width| {
            let size = Size::new(width, 480);
            EncodedFrame {
                codec: Codec::H264,
                data: bytes::Bytes::new(),
                key: true,
                size,
                area: size.rect(),
                coded: size,
                generation,
                damage: Region::new(),
            }
        };
        let mut generations = Generations::default();
        let first = generations.of(&frame(1, 640));
        assert_eq!(generations.of(&frame(1, 640)), first);
        generations.joined = true;
        assert_eq!(generations.of(&frame(4, 640)), first, "the other encoder was there before");
        let anew = generations.of(&frame(5, 640));
        assert_ne!(anew, first, "an encoder that starts anew");
        generations.joined = true;
        assert_ne!(generations.of(&frame(5, 800)), anew, "another size");
    }
}
