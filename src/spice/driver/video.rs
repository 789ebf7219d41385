//! The pictures of a viewer of video: frames while something moves, exact images when it rests.

use std::time::Instant;

use super::display::Picture;
use crate::encode::{Item, Stream};
use crate::frame::{Rect, Size};
use crate::hub::{Change, Subscription};
use crate::viewer::Sharpen;

/// A console's video for one viewer, and what is needed to make it exact.
pub(super) struct Video {
    stream: Stream,
    /// What changes. Heard only while the picture rests: the encoder has a subscription of its own.
    changes: Subscription,
    sharpen: Sharpen,
    /// The size of what the viewer was shown.
    size: Option<Size>,
}

impl Video {
    pub(super) fn new(stream: Stream, changes: Subscription) -> Self {
        Self { stream, changes, sharpen: Sharpen::default(), size: None }
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
            if let Item::Frame(frame) = &item {
                self.size = Some(frame.size);
                self.sharpen.shown(&frame.damage, Instant::now());
            }
            return Picture::Encoded(item);
        }
    }

    /// Nothing has moved for a while. Gives what the encoder had ready all the same.
    fn settle(&mut self) -> Option<Item> {
        let item = self.stream.pause();
        if item.is_none() {
            // What changed until here is in the video, and will be in the exact picture.
            let _ = self.changes.take();
            match self.changes.console().size() {
                Some(size) if self.size == Some(size) => self.sharpen.rest(size, Instant::now()),
                // Another picture has come, or none: the video has to say so first.
                _ => self.sharpen.stir(Instant::now()),
            }
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
            if let Some(band) = self.sharpen.next_band() {
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
