//! The pictures of a viewer of video: frames while something moves, exact images when it rests.

use std::time::Instant;

use std::sync::Arc;

use super::display::Picture;
use crate::encode::{Codec, EncodedFrame, Encoders, Item, Profile, Stream};
use crate::frame::{Rect, Size, Tier};
use crate::hub::{Change, Console, Subscription};
use crate::viewer::Sharpen;

/// A console's video for one viewer, and what is needed to make it exact.
pub(super) struct Video {
    stream: Stream,
    /// What changes. Heard only while the picture rests: the encoder has a subscription of its own.
    changes: Subscription,
    sharpen: Sharpen,
    /// How often it had lost its step when that was last asked.
    losses: u64,
    shown: Shown,
}

impl Video {
    pub(super) fn new(encoders: &Encoders, console: &Arc<Console>, tier: Tier) -> Self {
        let stream = encoders.join(console, Profile { codec: Codec::H264, tier });
        let changes = console.subscribe();
        Self { stream, changes, sharpen: Sharpen::default(), losses: 0, shown: Shown::default() }
    }

    /// Goes on in another tier, with a key frame.
    pub(super) fn join(&mut self, encoders: &Encoders, tier: Tier) {
        self.stream = encoders.join(self.changes.console(), Profile { codec: Codec::H264, tier });
        (self.losses, self.shown.joined) = (0, true);
    }

    /// Sends no more than this from now on: bits a second of exact images, and bytes of a frame.
    pub(super) fn limit(&mut self, rate: Option<u64>, frame_bytes: Option<u64>) {
        self.sharpen.limit(rate);
        self.stream.limit(frame_bytes);
    }

    /// What was sent last: so many pixels of exact images took so many bytes.
    pub(super) fn cost(&mut self, pixels: u64, bytes: u64) {
        self.sharpen.cost(pixels, bytes);
    }

    /// Whether it missed what others were given since this was last asked.
    pub(super) fn lost_its_step(&mut self) -> bool {
        let losses = self.stream.losses();
        std::mem::replace(&mut self.losses, losses) != losses
    }

    /// The next picture to show. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Picture {
        loop {
            if self.sharpen.is_resting() {
                match self.rest().await {
                    Some(touch_up) => return Picture::TouchUp(touch_up),
                    None => continue,
                }
            }
            let item = tokio::select! {
                item = self.stream.next() => item,
                () = super::connection::sleep_until(self.sharpen.rest_at()) => match self.settle() {
                    Some(item) => item,
                    None => continue,
                },
            };
            return Picture::Encoded(match item {
                Item::Frame(mut frame) => {
                    frame.generation = self.shown.generation(&frame);
                    self.sharpen.shown(frame.size, &frame.damage, Instant::now());
                    Item::Frame(frame)
                }
                other => other,
            });
        }
    }

    /// Nothing has moved for a while. Gives what the encoder had ready all the same.
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

    /// The next change of a picture that rests, or the next part of it to be made exact; `None` if it moves again.
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
                () = super::connection::sleep_until(self.sharpen.rest_at()) => {
                    self.sharpen.rest(self.changes.console().size()?, Instant::now());
                }
            }
        }
    }

    /// A part of the picture as if it had just changed.
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

/// What the viewer was shown last. Encoders of different tiers count their streams alike; a viewer that moves from one
/// to the other goes on with the decoder it has, where that can show both.
#[derive(Debug, Default)]
struct Shown {
    /// The last frame's: the encoder's number of its stream, the size in it, and the picture's.
    last: Option<(u64, Size, Size)>,
    /// What comes now is from another encoder.
    joined: bool,
    /// Our number of the stream.
    generation: u64,
}

impl Shown {
    /// Our number of the stream that this frame belongs to.
    fn generation(&mut self, frame: &EncodedFrame) -> u64 {
        let now = (frame.generation, frame.coded, frame.size);
        let goes_on = match self.last {
            Some((_, coded, size)) if self.joined => (coded, size) == (frame.coded, frame.size),
            last => last == Some(now),
        };
        (self.last, self.joined) = (Some(now), false);
        self.generation += u64::from(!goes_on);
        self.generation
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
        let mut video = Video::new(&encoders, &console, Tier::Full);
        let resting = async { while !matches!(video.next().await, Picture::TouchUp(_)) {} };
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
                data: bytes::Bytes::new(),
                key: true,
                size,
                coded: size,
                generation,
                damage: Region::new(),
            }
        };
        let mut shown = Shown::default();
        let first = shown.generation(&frame(1, 640));
        assert_eq!(shown.generation(&frame(1, 640)), first);
        shown.joined = true;
        assert_eq!(shown.generation(&frame(4, 640)), first, "the other encoder was there before");
        let anew = shown.generation(&frame(5, 640));
        assert_ne!(anew, first, "an encoder that starts anew");
        shown.joined = true;
        assert_ne!(shown.generation(&frame(5, 800)), anew, "another size");
    }
}
