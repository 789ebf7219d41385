//! Drives a display channel: asks for a frame when the client has room for one, and sends what it then gets.

use std::sync::Arc;
use std::time::Instant;

use super::connection::{Connection, Turn};
use super::{ChannelEnd, Server};
use crate::encode::{Codec, Item, Profile};
use crate::frame::{Rect, Size};
use crate::hub::{Change, Console, Subscription};
use crate::spice::channel::{DisplayChannel, DisplayEvent, LinkRequest, Video};
use crate::spice::images::images;
use crate::spice::wire::Payload;
use crate::spice::wire::msg::display::ImageData;
use crate::viewer::{Delivery, VideoPolicy, decide};

/// Starts the machine.
pub(super) fn start(request: &LinkRequest, now: Instant) -> DisplayChannel {
    DisplayChannel::new(request.header_form(), request.channel_caps, now)
}

/// Serves one console to one client until either ends.
pub(super) async fn run(
    server: &Server,
    console: Arc<Console>,
    mut connection: Connection<DisplayChannel>,
) -> Result<(), ChannelEnd> {
    let mut viewer = Viewer { server, console, pictures: Pictures::None, failed: None };
    let mut ready = false;
    loop {
        tokio::select! {
            turn = connection.turn(|display| !ready && display.has_room()) => match turn? {
                Turn::Ready => ready = true,
                Turn::Event(DisplayEvent::Ready | DisplayEvent::DecoderFailed) => {
                    viewer.choose(&connection.machine);
                }
            },
            picture = viewer.pictures.next(), if ready => {
                ready = false;
                viewer.show(picture, &mut connection.machine).await;
            }
        }
    }
}

struct Viewer<'a> {
    server: &'a Server,
    console: Arc<Console>,
    pictures: Pictures,
    /// The size at which the encoder gave up.
    failed: Option<Size>,
}

/// Where the channel's pictures come from.
enum Pictures {
    None,
    Video(crate::encode::Stream),
    Images(Subscription),
}

enum Picture {
    Encoded(Item),
    Changed(Change),
}

impl Pictures {
    /// The next picture to show. May be dropped and called again.
    async fn next(&mut self) -> Picture {
        match self {
            Self::None => std::future::pending().await,
            Self::Video(stream) => Picture::Encoded(stream.next().await),
            Self::Images(subscription) => loop {
                if let Some(change) = subscription.take() {
                    return Picture::Changed(change);
                }
                if subscription.bell().recv().await.is_err() {
                    std::future::pending::<()>().await; // the console rings as long as the subscription lives
                }
            },
        }
    }
}

impl Viewer<'_> {
    /// Decides how the client gets the picture from now on.
    fn choose(&mut self, display: &DisplayChannel) {
        if !display.is_ready() {
            return;
        }
        let size = self.console.size();
        let video = match (&self.server.encoders, self.failed) {
            (None, _) => VideoPolicy::SwitchedOff,
            (Some(_), Some(failed)) if size == Some(failed) => VideoPolicy::EncoderFailed,
            (Some(_), _) => VideoPolicy::Allowed,
        };
        // A console that shows nothing yet will most likely show something of an ordinary size.
        let (delivery, reason) = decide(display.abilities(), video, size.unwrap_or(Size::new(1024, 768)));
        match (delivery, &self.pictures, &self.server.encoders) {
            (Delivery::Encode, Pictures::Video(_), _) | (Delivery::Images, Pictures::Images(_), _) => return,
            (Delivery::Encode, _, Some(encoders)) => {
                self.pictures = Pictures::Video(encoders.join(&self.console, Profile { codec: Codec::H264 }));
            }
            _ => self.pictures = Pictures::Images(self.console.subscribe()),
        }
        tracing::info!(console = %self.console.id(), ?delivery, %reason, "delivery chosen");
    }

    async fn show(&mut self, picture: Picture, display: &mut DisplayChannel) {
        match picture {
            Picture::Encoded(Item::Frame(frame)) => {
                let video = Video {
                    generation: frame.generation,
                    coded: frame.coded,
                    picture: frame.size,
                    data: Payload::new(frame.data),
                };
                display.show_video(video, self.server.clock.past());
            }
            Picture::Encoded(Item::Blank) => display.blank(),
            Picture::Encoded(Item::Failed(error)) => {
                tracing::warn!(console = %self.console.id(), %error, "no video of this console, sending images");
                self.failed = self.console.size();
                self.choose(display);
            }
            Picture::Changed(change) => self.show_change(change, display).await,
        }
    }

    async fn show_change(&mut self, change: Change, display: &mut DisplayChannel) {
        let replaced = change.replaced;
        match change.scanout.as_ref().map(|scanout| scanout.size()) {
            None => display.blank(),
            Some(size) => match encode(change, display.takes_lz4()).await {
                Ok(images) => display.show_images(size, images),
                Err(error) => {
                    tracing::debug!(console = %self.console.id(), %error, "a change cannot be read")
                }
            },
        }
        if replaced {
            self.choose(display); // another size may be fit for video
        }
    }
}

/// Makes the images of a change away from the async tasks: it takes milliseconds.
async fn encode(change: Change, lz4: bool) -> Result<Vec<(Rect, ImageData)>, String> {
    match tokio::task::spawn_blocking(move || images(change, lz4)).await {
        Ok(images) => images.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
