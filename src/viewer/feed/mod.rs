//! Feeds one viewer with the pictures of one console, whatever protocol carries them.
//!
//! ```text
//!     hub::Subscription ─┬─► Flip, Exact ─────────────┐
//!                        └─► video ─► Frame, TouchUp ─┴─► Output::show
//!     Output::event ───► decide, network ─► delivery, tier, bytes of a frame, time of the next one
//! ```
//!
//! An [`Output`] says what its viewer can show, when there is room, and what the kernel knows. The rest is
//! here: which delivery, which tier, when a picture rests and when the next one may leave.

mod images;
mod output;
mod playing;
mod video;

use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use self::images::Images;
pub(crate) use self::output::{Event, Exact, Output, Shown, ShownExactly, Update};
use self::video::Video;
use super::network::Network;
use super::{Abilities, Delivery, Listing, LogLimit, Reason, VideoPolicy, decide, sleep_until};
use crate::encode::{EncodeError, Encoders};
use crate::frame::{Rect, ScanoutInfo, Tier};
use crate::hub::{Change, Console, Release, Subscription};

/// What the user lets viewers have.
#[derive(Clone)]
pub(crate) struct Policy {
    /// Without encoders there is no video.
    pub encoders: Option<Encoders>,
    /// Whether viewers on this machine get the guest's own buffers.
    pub passthrough: bool,
    /// Bits a second that no viewer is sent more of. Without it the network of each is the limit.
    pub max_bitrate: Option<u64>,
}

/// One viewer of one console.
pub(crate) struct Feed<O> {
    output: O,
    console: Arc<Console>,
    /// The viewer in the roster.
    listing: Listing,
    policy: Policy,
    log: LogLimit,
    /// `None` until the output said so.
    abilities: Option<Abilities>,
    chosen: Option<(Delivery, Reason)>,
    updates: Updates,
    /// The picture that the encoder failed on.
    failed: Option<ScanoutInfo>,
    /// Held while the viewer draws from the guest's buffer.
    drawing: Option<Release>,
    network: Network,
    /// The rate and tier in the roster.
    paced: Option<(Option<u64>, Option<Tier>)>,
    /// The parts that are video, in the roster.
    playing: Vec<Rect>,
}

/// Where the viewer's updates come from.
enum Updates {
    None,
    Buffers(Subscription),
    Video(Box<Video>),
    Images(Images),
}

impl<O: Output> Feed<O> {
    /// Makes a feed of `console` for the viewer behind `output`, which has `listing` in the roster. What the
    /// viewer causes to be logged counts for `log`.
    pub(crate) fn new(
        output: O,
        console: Arc<Console>,
        listing: Listing,
        policy: Policy,
        log: LogLimit,
    ) -> Self {
        let network = Network::new(policy.max_bitrate, output.network(), Instant::now());
        Self {
            output,
            console,
            listing,
            policy,
            log,
            abilities: None,
            chosen: None,
            updates: Updates::None,
            failed: None,
            drawing: None,
            network,
            paced: None,
            playing: Vec::new(),
        }
    }

    /// Feeds the viewer until it leaves.
    pub(crate) async fn run(mut self) -> Result<(), O::End> {
        let mut info = self.console.info();
        let mut has_room = false;
        loop {
            let now = Instant::now();
            let wants_room = !has_room && self.network.is_ready(now);
            tokio::select! {
                event = self.output.event(wants_room) => match event? {
                    Event::Room => has_room = true,
                    event => self.handle(event),
                },
                () = sleep_until(self.network.wake_at(now)) => {
                    self.look();
                    self.follow();
                }
                _ = info.changed() => self.choose(),
                update = self.updates.next(&self.listing), if has_room => {
                    has_room = false;
                    self.look();
                    self.tell_video();
                    match update {
                        Ok(update) => self.show(update).await,
                        Err(error) => self.give_up_video(&error),
                    }
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Abilities(abilities) => {
                if self.abilities.replace(abilities).is_none() {
                    self.sent(0); // the answer tells how far away the viewer is
                }
                self.choose();
            }
            Event::Answered(id) => {
                self.look();
                self.network.answered(id, Instant::now());
                self.follow();
            }
            Event::Drawn => self.drawing = None,
            Event::Room => {}
        }
    }

    /// Decides how the viewer gets the picture from now on. With nothing to show, the last decision stays.
    fn choose(&mut self) {
        let info = *self.console.info().borrow();
        let (Some(info), Some(abilities)) = (info, self.abilities) else { return };
        let video = match &self.policy.encoders {
            None => VideoPolicy::Off,
            Some(_) if self.failed == Some(info) => VideoPolicy::EncoderFailed,
            Some(encoders) => VideoPolicy::Allowed(encoders.codecs()),
        };
        let chosen = decide(abilities, info, self.policy.passthrough, video);
        let before = self.chosen.replace(chosen);
        if before != Some(chosen) {
            let (console, (delivery, reason)) = (self.console.id(), chosen);
            self.listing.deliver(delivery, reason);
            self.log.log(|_| info!(%console, ?delivery, %reason, "delivery chosen"));
        }
        if before.map(|before| before.0) == Some(chosen.0) {
            return;
        }
        self.drawing = None;
        self.updates = match (chosen.0, &self.policy.encoders) {
            (Delivery::Passthrough, _) => Updates::Buffers(self.console.subscribe()),
            (Delivery::Encode(codec), Some(encoders)) => {
                Updates::Video(Video::new(encoders, &self.console, codec, self.network.tier()).into())
            }
            _ => Updates::Images(Images::new(&self.console)),
        };
        self.tell_video();
        self.follow();
    }

    /// Adapts the video to what the network carries.
    fn follow(&mut self) {
        if let Some(tier) = self.network.moves(Instant::now()) {
            self.join(tier);
        }
        let rate = self.network.rate();
        let mut tier = None;
        if let Updates::Video(video) = &mut self.updates {
            video.limit(rate, self.network.frame_bytes());
            tier = Some(self.network.tier());
        }
        if self.paced.replace((rate, tier)) != Some((rate, tier)) {
            self.listing.pace(rate, tier);
        }
    }

    fn join(&mut self, tier: Tier) {
        if let Updates::Video(video) = &mut self.updates {
            info!(console = %self.console.id(), %tier, rate = self.network.rate(), "another tier of video");
            video.join(tier);
        }
    }

    /// Brings what the roster tells of video up to date.
    fn tell_video(&mut self) {
        let video = match &self.updates {
            Updates::Video(video) => Some(video.parts()),
            _ => None,
        };
        if self.playing.iter().copied().ne(video.clone().into_iter().flatten()) {
            self.playing = video.into_iter().flatten().collect();
            self.listing.play(self.playing.clone());
        }
    }

    /// Asks the kernel what has become of the bytes that were sent.
    fn look(&mut self) {
        if let Some(state) = self.output.network() {
            self.network.measured(state, Instant::now());
        }
    }

    async fn show(&mut self, mut update: Update) {
        let is_key = matches!(&update, Update::Frame(frame) if frame.key);
        let part = match &update {
            Update::TouchUp(exact) => exact.asked.part,
            _ => None,
        };
        match &mut update {
            Update::Flip(change) => self.drawing = change.release.take(),
            Update::Exact(exact) | Update::TouchUp(exact) => exact.narrow = self.network.is_narrow(),
            _ => {}
        }
        let Shown { bytes, exact, images } = self.output.show(update).await;
        self.listing.packed(images);
        if matches!(self.updates, Updates::Buffers(_)) {
            return; // a buffer has no bytes to learn of the network from
        }
        self.sent(bytes);
        let Updates::Video(video) = &mut self.updates else { return };
        if let Some(shown) = exact {
            video.shown_exactly(shown, part, bytes);
        }
        if is_key
            && video.lost_its_step()
            && let Some(tier) = self.network.lost(Instant::now())
        {
            self.join(tier);
            self.follow();
        }
    }

    /// Notes that `bytes` are about to be written. The kernel was asked just before.
    fn sent(&mut self, bytes: u64) {
        if let Some(id) = self.network.sent(bytes, Instant::now()) {
            self.output.ask(id);
        }
    }

    /// Sends images until the console shows something that can be encoded.
    fn give_up_video(&mut self, error: &EncodeError) {
        warn!(console = %self.console.id(), %error, "no video of this console, sending images");
        self.failed = *self.console.info().borrow();
        self.choose();
    }
}

impl Updates {
    /// Waits for the next update, and counts it. May be dropped and called again.
    async fn next(&mut self, listing: &Listing) -> Result<Update, Arc<EncodeError>> {
        match self {
            Self::None => std::future::pending().await,
            Self::Buffers(changes) => Ok(counted(next_change(changes).await, listing, Update::Flip)),
            Self::Images(images) => Ok(images.next(listing).await),
            Self::Video(video) => {
                let update = video.next().await?;
                if let Update::Frame(_) = update {
                    listing.sent(0);
                }
                Ok(update)
            }
        }
    }
}

/// Counts a change in the roster, and makes an update of it.
fn counted(change: Change, listing: &Listing, shown: impl FnOnce(Change) -> Update) -> Update {
    listing.sent(change.missed);
    if change.scanout.is_some() { shown(change) } else { Update::Blank }
}

async fn next_change(changes: &Subscription) -> Change {
    loop {
        if let Some(change) = changes.take() {
            return change;
        }
        if changes.bell().recv().await.is_err() {
            std::future::pending::<()>().await; // the console rings as long as the subscription lives
        }
    }
}

#[cfg(test)]
mod tests;
