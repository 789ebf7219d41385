//! The pictures of a viewer of video: frames while something moves, exact images when it rests.

use std::sync::Arc;
use std::time::Instant;

use super::output::Update;
use crate::encode::{Codec, EncodeError, EncodedFrame, Encoders, Item, Profile, VideoStream};
use crate::frame::{Rect, Size, Tier};
use crate::hub::{Change, Console, Subscription};
use crate::viewer::{Sharpen, sleep_until};

/// A console's video for one viewer, and what is needed to make it exact.
pub(super) struct Video {
    stream: VideoStream,
    /// What changes. Heard only while the picture rests: the encoder has a subscription of its own.
    changes: Subscription,
    sharpen: Sharpen,
    /// How often it had lost its step when that was last asked.
    losses: u64,
    generations: Generations,
}

impl Video {
    pub(super) fn new(encoders: &Encoders, console: &Arc<Console>, codec: Codec, tier: Tier) -> Self {
        let stream = encoders.join(console, Profile { codec, tier });
        let changes = console.subscribe();
        Self { stream, changes, sharpen: Sharpen::default(), losses: 0, generations: Generations::default() }
    }

    /// Goes on in `tier`, with a key frame.
    pub(super) fn join(&mut self, encoders: &Encoders, tier: Tier) {
        self.stream = encoders.join(self.changes.console(), Profile { codec: self.stream.codec(), tier });
        (self.losses, self.generations.joined) = (0, true);
    }

    /// Limits what comes from now on: exact images to `rate` bits a second, a frame to `frame_bytes`.
    pub(super) fn limit(&mut self, rate: Option<u64>, frame_bytes: Option<u64>) {
        self.sharpen.limit(rate);
        self.stream.limit(frame_bytes);
    }

    /// Records that `pixels` pixels of exact images took `bytes` bytes.
    pub(super) fn cost(&mut self, pixels: u64, bytes: u64) {
        self.sharpen.cost(pixels, bytes);
    }

    /// Returns whether this viewer missed frames that others got since the last call.
    pub(super) fn lost_its_step(&mut self) -> bool {
        let losses = self.stream.losses();
        std::mem::replace(&mut self.losses, losses) != losses
    }

    /// Waits for the next update to show. May be dropped and called again.
    ///
    /// # Errors
    /// If what the console shows cannot be encoded.
    pub(super) async fn next(&mut self) -> Result<Update, Arc<EncodeError>> {
        loop {
            if self.sharpen.is_resting() {
                match self.rest().await {
                    Some(touch_up) => return Ok(Update::TouchUp(touch_up)),
                    None => continue,
                }
            }
            let item = tokio::select! {
                item = self.stream.next() => item,
                () = sleep_until(self.sharpen.rest_at()) => match self.settle() {
                    Some(item) => item,
                    None => continue,
                },
            };
            return match item {
                Item::Frame(mut frame) => {
                    frame.generation = self.generations.of(&frame);
                    self.sharpen.shown(frame.size, &frame.damage, Instant::now());
                    Ok(Update::Frame(frame))
                }
                Item::Blank => Ok(Update::Blank),
                Item::Failed(error) => Err(error),
            };
        }
    }

    /// Goes to rest after a while without motion. If the encoder has an item ready all the same, returns that
    /// instead.
    fn settle(&mut self) -> Option<Item> {
        let item = self.stream.pause();
        if item.is_none() {
            // What changed until here is in the video, and will be in the exact picture.
            let _ = self.changes.take();
            self.changes.leave();
            self.sharpen.settle(self.changes.console().size(), Instant::now());
        }
        item
    }

    /// Waits for the next small change of a picture at rest, or for the next part to be made exact; `None` if
    /// it moves again.
    async fn rest(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.changes.take() {
                // INVARIANT: without a scanout, or with another, the video has something to say.
                let same = change.scanout.is_some() && !change.replaced;
                if same && self.sharpen.is_small(&change.damage, Instant::now()) {
                    return Some(change);
                }
                self.sharpen.stir(Instant::now());
                return None;
            }
            if let Some(band) = self.sharpen.next_band(Instant::now()) {
                // INVARIANT: the guest does not wait for a viewer that may be slow to take this.
                self.changes.leave();
                return self.exactly(band);
            }
            tokio::select! {
                // The console rings as long as the subscription lives.
                _ = self.changes.bell().recv() => {}
                () = sleep_until(self.sharpen.rest_at()) => {
                    self.sharpen.rest(self.changes.console().size()?, Instant::now());
                }
            }
        }
    }

    /// Returns a change of `part` of the picture as it is now.
    fn exactly(&self, part: Rect) -> Option<Change> {
        let scanout = self.changes.console().shown()?;
        scanout.size().rect().contains(part).then(|| Change {
            scanout: Some(scanout),
            replaced: false,
            damage: part.into(),
            release: None,
            missed: 0,
        })
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
    use std::time::Duration;

    use super::*;
    use crate::encode::Element;
    use crate::frame::{ConsoleId, Region, Scanout};
    use crate::hub::{Hub, ReleaseQueue};

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_guest_waits_for_no_viewer_that_is_busy_with_a_picture_at_rest() {
        let encoders = match Encoders::probe(&[Element::X264]) {
            Ok(encoders) => encoders,
            Err(error) => return println!("skipped: {error}"),
        };
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        let pixels = vec![99; 640 * 480 * 4];
        console.show(Some(Scanout::owned(640, 480, 640 * 4, 0x2002_0888, &pixels).unwrap()));
        let mut video = Video::new(&encoders, &console, Codec::H264, Tier::Full);
        let resting = async { while !matches!(video.next().await, Ok(Update::TouchUp(_))) {} };
        tokio::time::timeout(PATIENCE, resting).await.expect("it never rests");
        // The viewer has a part of the exact picture to read, and does not come for more.
        let releases = ReleaseQueue::default();
        for frame in 0..3 {
            console.damage((0, 0, 640, 480), Some(releases.release(frame)));
            let released = tokio::time::timeout(PATIENCE, releases.returned()).await;
            assert_eq!(released.expect("the guest waits"), frame);
        }
    }

    #[test]
    fn a_viewer_that_moves_to_another_tier_keeps_its_decoder_if_it_can() {
        let frame = |generation, width| {
            let size = Size::new(width, 480);
            EncodedFrame {
                codec: Codec::H264,
                data: bytes::Bytes::new(),
                key: true,
                size,
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
