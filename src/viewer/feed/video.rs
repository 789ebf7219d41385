//! The pictures of a viewer of video: frames while something moves, exact images of what does not.
//!
//! ```text
//!                  all of it moves                    nothing moves, or areas do
//!     whole ─► Frame ──► Sharpen::settle, hub::Console::moving ──► TouchUp of what is outside of areas
//!       ▲                                                          areas ─► Frame, Ended
//!       └───────────── Sharpen::stir: too much changes ────────────────┘
//! ```

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{FutureExt, select_all};

use super::output::{Exact, ShownExactly, Update};
use super::playing::Playing;
use crate::encode::{Area, Codec, EncodeError, Encoders, Item, Profile};
use crate::frame::{Rect, Size, Tier};
use crate::hub::{Asked, Console, ExactReader, Release, Subscription};
use crate::viewer::{Sharpen, sleep_until};

/// A console's video for one viewer, and what is needed to make it exact.
pub(super) struct Video {
    encoders: Encoders,
    codec: Codec,
    tier: Tier,
    frame_bytes: Option<u64>,
    /// The video of all of the picture: one, or of parts where an encoder does not take it whole. It ends when areas
    /// take its place, as a frame that the viewer decodes late would cover what is exact.
    whole: Vec<Playing>,
    /// The size of the picture that the parts are of, if it is not one.
    parts_of: Option<Size>,
    /// The videos of areas that move, beside a picture that rests.
    areas: Vec<Playing>,
    /// Areas whose video has ended, for the viewer to be told.
    ended: Vec<Rect>,
    /// An area could not be encoded: all of the picture is, from then on.
    no_areas: bool,
    /// When areas may have changed.
    until: Option<Instant>,
    /// The next frame may come before the next exact image.
    frames_turn: bool,
    /// What changes. Heard only while the picture rests: the encoder has a subscription of its own.
    changes: Subscription,
    sharpen: Sharpen,
    /// There if and only if the picture rests.
    exact: Option<Arc<ExactReader>>,
    /// What changed was not sent, and is to be asked for again.
    again: bool,
}

/// What there is to send exactly.
enum Next {
    Update(Exact),
    Nothing,
    /// The picture moves, all of it.
    Moves,
}

impl Video {
    pub(super) fn new(encoders: &Encoders, console: &Arc<Console>, codec: Codec, tier: Tier) -> Self {
        let changes = console.subscribe();
        let mut video = Self {
            encoders: encoders.clone(),
            codec,
            tier,
            frame_bytes: None,
            whole: Vec::new(),
            parts_of: None,
            areas: Vec::new(),
            ended: Vec::new(),
            no_areas: false,
            until: None,
            frames_turn: true,
            changes,
            sharpen: Sharpen::default(),
            exact: None,
            again: false,
        };
        video.start_whole();
        video
    }

    /// Goes on in `tier`, with a key frame.
    pub(super) fn join(&mut self, tier: Tier) {
        self.tier = tier;
        let console = self.changes.console();
        for playing in self.whole.iter_mut().chain(&mut self.areas) {
            playing.join(&self.encoders, console, tier);
        }
    }

    /// Limits what comes from now on: exact images to `rate` bits a second, a frame to `frame_bytes`.
    pub(super) fn limit(&mut self, rate: Option<u64>, frame_bytes: Option<u64>) {
        self.sharpen.limit(rate);
        self.frame_bytes = frame_bytes;
        for playing in self.whole.iter().chain(&self.areas) {
            playing.limit(frame_bytes);
        }
    }

    /// Takes notice of what became of an exact update that took `bytes` bytes, of which `part` was owed.
    pub(super) fn shown_exactly(&mut self, shown: ShownExactly, part: Option<Rect>, bytes: u64) {
        let now = Instant::now();
        match shown {
            ShownExactly::Sent { pixels, changed } => {
                self.sharpen.cost(pixels, bytes);
                if !self.is_carried() && !self.sharpen.is_small(changed, now) {
                    self.stir(now);
                }
            }
            ShownExactly::Areas => {
                part.into_iter().for_each(|part| self.sharpen.owe(part));
                self.again = true;
            }
            ShownExactly::TooMuch => self.stir(now),
            ShownExactly::Failed => {}
        }
    }

    /// Returns the parts of the picture that are video now.
    pub(super) fn parts(&self) -> impl Iterator<Item = Rect> + Clone {
        let picture = self.changes.console().size().map(Size::rect);
        let (areas, whole) = match self.sharpen.is_resting() {
            true => (self.areas.as_slice(), [].as_slice()),
            false => ([].as_slice(), self.whole.as_slice()),
        };
        areas.iter().chain(whole).filter_map(move |playing| playing.area().or(picture))
    }

    /// Returns whether this viewer missed frames that others got since the last call.
    pub(super) fn lost_its_step(&mut self) -> bool {
        let playing = self.whole.iter_mut().chain(&mut self.areas);
        playing.fold(false, |lost, playing| playing.lost_its_step() | lost)
    }

    /// Waits for the next update to show. May be dropped and called again.
    ///
    /// # Errors
    /// If what the console shows cannot be encoded.
    pub(super) async fn next(&mut self) -> Result<Update, Arc<EncodeError>> {
        loop {
            self.follow_motion(Instant::now());
            self.follow_rest();
            if let Some(area) = self.ended.pop() {
                return Ok(Update::Ended(area));
            }
            let update = if self.sharpen.is_resting() { self.rest().await } else { self.move_on().await? };
            if let Some(update) = update {
                return Ok(update);
            }
        }
    }

    /// Starts the video of all of the picture, or reading the exact one, whichever is due.
    fn follow_rest(&mut self) {
        if self.sharpen.is_resting() {
            if self.exact.is_none() {
                self.exact = self.changes.console().read_exactly().map(Arc::new);
            }
        } else {
            self.exact = None;
            self.start_whole();
        }
    }

    /// Brings the areas up to date: starts the videos of new ones, and ends those of others.
    fn follow_motion(&mut self, now: Instant) {
        self.until = None;
        let Some(picture) = self.changes.console().size() else { return };
        if !self.may_have_areas() {
            if !self.areas.is_empty() {
                self.stir(now);
            }
            return;
        }
        if let Some(area) = self.changes.console().due_look(now) {
            let console = self.changes.console().clone();
            tokio::task::spawn_blocking(move || console.look_at(area));
        }
        let moving = self.changes.console().moving(now);
        let areas = || moving.areas.into_iter().flatten();
        let fits = |area: Rect| self.codec.fits(Size::new(area.width, area.height));
        let is_all = areas().any(|area| area == picture.rect() || !fits(area));
        if self.sharpen.is_resting() {
            if is_all {
                return self.stir(now);
            }
        } else {
            // Where others read the exact picture and there are no areas, what moves are copies.
            let are_copies = moving.copies || self.changes.console().is_read_exactly();
            let is_calm = areas().next().is_none() && !are_copies;
            if is_all || is_calm || !self.sharpen.may_part(picture, now) {
                return;
            }
            // What changed until here will be in the exact picture.
            let _ = self.changes.take();
            self.changes.leave();
            for part in std::mem::take(&mut self.whole) {
                self.ended.push(part.area().unwrap_or(picture.rect()));
            }
            self.sharpen.rest(picture, areas(), now);
        }
        self.until = moving.until;
        if self.areas.iter().filter_map(Playing::area).ne(areas()) {
            self.set_areas(picture, areas().collect());
        }
    }

    /// Returns whether areas may be videos of their own: they do not begin for a slow network, which carries fewer
    /// exact images, and never are if the encoder reads the guest's buffer itself.
    fn may_have_areas(&self) -> bool {
        let carried = !self.areas.is_empty() || self.sharpen.is_unlimited();
        if self.tier != Tier::Full || self.no_areas || !carried {
            return false;
        }
        let shown = self.changes.console().shown().filter(|scanout| scanout.as_dmabuf().is_some());
        !shown.is_some_and(|scanout| self.encoders.may_import(self.codec, &scanout))
    }

    fn set_areas(&mut self, picture: Size, wanted: Vec<Rect>) {
        tracing::debug!(console = %self.changes.console().id(), areas = ?wanted, "other areas are video");
        let (kept, ended): (_, Vec<_>) = std::mem::take(&mut self.areas)
            .into_iter()
            .partition(|playing| playing.area().is_some_and(|area| wanted.contains(&area)));
        self.areas = kept;
        self.end(ended);
        for rect in wanted {
            if self.areas.iter().all(|playing| playing.area() != Some(rect)) {
                self.areas.push(self.play(Some(Area { picture, rect })));
            }
        }
    }

    /// Ends videos of areas.
    fn end(&mut self, areas: Vec<Playing>) {
        for area in areas.iter().filter_map(Playing::area) {
            self.sharpen.owe(area);
            self.ended.push(area);
        }
    }

    /// Ends the rest: all of the picture is video from now on.
    fn stir(&mut self, now: Instant) {
        tracing::debug!(console = %self.changes.console().id(), "all of the picture is video");
        let areas = std::mem::take(&mut self.areas);
        self.end(areas);
        self.sharpen.stir(now);
        self.changes.leave();
    }

    /// Starts the video of all of the picture, if it does not play yet. One that needs no parts follows the picture to
    /// any other size.
    fn start_whole(&mut self) {
        let parts_of = self.parts_of();
        if !self.whole.is_empty() && parts_of == self.parts_of {
            return;
        }
        let areas = match parts_of {
            None => vec![None],
            Some(picture) => {
                let parts = self.codec.parts(picture).into_iter();
                parts.map(|rect| Some(Area { picture, rect })).collect()
            }
        };
        (self.whole, self.parts_of) = (areas.into_iter().map(|area| self.play(area)).collect(), parts_of);
    }

    /// Returns the size of the picture if it has to be encoded in parts.
    fn parts_of(&self) -> Option<Size> {
        let is_too_large = |size: &Size| !self.codec.fits(*size) && !self.codec.parts(*size).is_empty();
        self.changes.console().size().filter(is_too_large)
    }

    fn play(&self, area: Option<Area>) -> Playing {
        let profile = Profile { codec: self.codec, tier: self.tier, area };
        let playing = Playing::start(&self.encoders, self.changes.console(), profile);
        playing.limit(self.frame_bytes);
        playing
    }

    /// Waits for the next frame of all of the picture; `None` if it rests from now on, or has another size.
    async fn move_on(&mut self) -> Result<Option<Update>, Arc<EncodeError>> {
        let (item, part) = tokio::select! {
            next = next_item(&self.whole) => next,
            () = sleep_until(self.sharpen.rest_at()) => match self.settle() {
                Some(next) => next,
                None => return Ok(None),
            },
        };
        let has_same_parts = self.parts_of() == self.parts_of;
        match (item, self.whole.get_mut(part)) {
            (Item::Frame(frame), Some(part)) => {
                let frame = part.numbered(frame);
                self.sharpen.shown(frame.size, &frame.damage, Instant::now());
                Ok(Some(Update::Frame(frame)))
            }
            (Item::Failed(error), _) if has_same_parts => Err(error),
            (Item::Blank, Some(part)) if part.area().is_none() => Ok(Some(Update::Blank)),
            _ => Ok(None),
        }
    }

    /// Goes to rest after a while without motion. If the encoder has an item ready all the same, returns that
    /// instead, and of which part it is.
    fn settle(&mut self) -> Option<(Item, usize)> {
        let mut paused = self.whole.iter().enumerate().map(|(part, playing)| Some((playing.pause()?, part)));
        let item = paused.find_map(|item| item);
        if item.is_none() {
            // What changed until here is in the video, and will be in the exact picture.
            let _ = self.changes.take();
            self.changes.leave();
            self.sharpen.settle(self.changes.console().size(), Instant::now());
        }
        item
    }

    /// Waits for the next update of a picture at rest: of an area that moves, a small change, or a part that is to be
    /// made exact. Returns `None` if there may be other areas, or if all of it moves again.
    async fn rest(&mut self) -> Option<Update> {
        // Frames and exact images take turns, so that a viewer that takes few gets both.
        let ready = if self.frames_turn { next_item(&self.areas).now_or_never() } else { None };
        self.frames_turn = true;
        if let Some((item, area)) = ready {
            return self.show_area(item, area);
        }
        match self.exactly() {
            Next::Update(exact) => return Some(Update::TouchUp(exact)),
            Next::Moves => return None,
            Next::Nothing => {}
        }
        tokio::select! {
            (item, area) = next_item(&self.areas) => self.show_area(item, area),
            // The console rings as long as the subscription lives.
            _ = self.changes.bell().recv() => None,
            () = sleep_until(self.until) => None,
            () = sleep_until(self.sharpen.rest_at()) => {
                let areas = self.areas.iter().filter_map(Playing::area);
                self.sharpen.rest(self.changes.console().size()?, areas, Instant::now());
                None
            }
        }
    }

    fn show_area(&mut self, item: Item, area: usize) -> Option<Update> {
        // INVARIANT: the guest does not wait for a viewer that may be slow to take this.
        self.changes.leave();
        self.frames_turn = false;
        match item {
            Item::Frame(frame) => self.areas.get_mut(area).map(|area| Update::Frame(area.numbered(frame))),
            Item::Blank => {
                self.stir(Instant::now());
                None
            }
            Item::Failed(error) => {
                tracing::debug!(%error, "an area cannot be encoded");
                self.no_areas = true;
                self.stir(Instant::now());
                None
            }
        }
    }

    /// Returns what is to be sent exactly now.
    fn exactly(&mut self) -> Next {
        while let Some(change) = self.changes.take() {
            let now = Instant::now();
            // INVARIANT: without a scanout, or with one of another size, the video has something to say.
            if !self.sharpen.is_of(change.scanout.map(|scanout| scanout.size())) {
                self.stir(now);
                return Next::Moves;
            }
            self.follow_motion(now);
            if !self.sharpen.is_resting() {
                return Next::Moves;
            }
            if !change.damage.without(self.areas.iter().filter_map(Playing::area)).is_empty() {
                return self.update(None, change.release);
            }
        }
        if std::mem::take(&mut self.again) {
            return self.update(None, None);
        }
        let Some(band) = self.sharpen.next_band(Instant::now()) else { return Next::Nothing };
        // INVARIANT: the guest does not wait for a viewer that may be slow to take this.
        self.changes.leave();
        self.update(Some(band), None)
    }

    /// Returns an update with what changed, and a `part` that is owed.
    fn update(&mut self, part: Option<Rect>, release: Option<Release>) -> Next {
        let Some(picture) = self.exact.clone() else { return Next::Moves };
        let areas = self.areas.iter().filter_map(Playing::area);
        let owed = self.sharpen.owed().iter().copied().chain(areas.clone()).collect();
        let areas = self.may_have_areas().then(|| areas.collect());
        let most = if self.is_carried() { u64::MAX } else { self.sharpen.most(Instant::now()) };
        let asked = Asked { owed, areas, part, most, copies: false };
        Next::Update(Exact::new(picture, asked, release))
    }

    /// Returns whether the network carries all that is to be sent exactly. Areas have grown by what is too much to be
    /// sent exactly to anyone.
    fn is_carried(&self) -> bool {
        self.may_have_areas() && self.sharpen.is_unlimited()
    }
}

/// Waits for the next item of any of these videos, and tells of which.
async fn next_item(playing: &[Playing]) -> (Item, usize) {
    match playing {
        [] => return std::future::pending().await,
        [only] => return (only.next().await, 0),
        _ => {}
    }
    let (item, index, _) = select_all(playing.iter().map(|playing| Box::pin(playing.next()))).await;
    (item, index)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::encode::{Element, Pipelines};
    use crate::frame::{ConsoleId, Region, Scanout};
    use crate::hub::{Hub, ReleaseQueue, Told};

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_guest_waits_for_no_viewer_that_is_busy_with_a_picture_at_rest() {
        let encoders = match Encoders::probe(&[Element::X264], Pipelines::default()) {
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

    #[tokio::test]
    async fn a_picture_that_no_encoder_takes_whole_is_video_of_its_parts() {
        let encoders = match Encoders::probe(&[Element::X264], Pipelines::default()) {
            Ok(encoders) => encoders,
            Err(error) => return println!("skipped: {error}"),
        };
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        let show = |width: u32, height: u32| {
            let pixels = vec![99; (width * height * 4) as usize];
            console.show(Some(Scanout::owned(width, height, width * 4, 0x2002_0888, &pixels).unwrap()));
        };
        show(640, 480);
        let mut video = Video::new(&encoders, &console, Codec::H264, Tier::Full);
        for (size, parts) in [((640, 480), 1), ((5121, 1441), 2), ((640, 480), 1), ((200, 4100), 2)] {
            show(size.0, size.1);
            let picture = Size::new(size.0, size.1);
            let mut seen = Vec::new();
            while seen.len() < parts {
                match tokio::time::timeout(PATIENCE, video.next()).await.expect("a part never comes").unwrap()
                {
                    Update::Frame(frame) if frame.size == picture => seen.push(frame.area),
                    _ => {}
                }
                seen.dedup();
            }
            let pixels: u64 = seen.iter().map(|part| part.area()).sum();
            assert_eq!(pixels, picture.area(), "{seen:?}");
        }
    }

    #[tokio::test]
    async fn a_film_in_a_picture_that_rests_is_a_video_of_its_own_until_it_ends() {
        let encoders = match Encoders::probe(&[Element::X264], Pipelines::default()) {
            Ok(encoders) => encoders,
            Err(error) => return println!("skipped: {error}"),
        };
        const FILM: Rect = Rect::new(200, 100, 320, 240);
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        let pixels = vec![99; 1280 * 720 * 4];
        console.show(Some(Scanout::owned(1280, 720, 1280 * 4, 0x2002_0888, &pixels).unwrap()));
        let mut video = Video::new(&encoders, &console, Codec::H264, Tier::Full);
        let mut shade = 0;
        let mut film = || {
            shade += 1;
            let pixels = vec![shade; 320 * 240 * 4];
            console.shown().unwrap().write(FILM, 320 * 4, 0x2002_0888, &pixels).unwrap();
            console.damage((200, 100, 320, 240), None);
        };
        let rested = async { while !matches!(video.next().await, Ok(Update::TouchUp(_))) {} };
        tokio::time::timeout(PATIENCE, rested).await.expect("it never rests");

        let mut frames = 0;
        while frames < 10 {
            film();
            let update = tokio::time::timeout(Duration::from_millis(50), video.next()).await;
            match update.map(Result::unwrap) {
                Ok(Update::Frame(frame)) => {
                    assert_eq!((frame.size, frame.area), (Size::new(1280, 720), FILM), "frame {frames}");
                    assert_eq!((frame.coded, frame.key), (Size::new(320, 240), frames == 0));
                    frames += 1;
                }
                Ok(Update::TouchUp(exact)) => {
                    if let Told::Areas = exact.read(true).unwrap() {
                        video.shown_exactly(ShownExactly::Areas, None, 0);
                    }
                }
                Err(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let mut ended = false;
        let mut exact = Region::new();
        while !exact.rects().iter().any(|rect| rect.contains(FILM)) {
            match tokio::time::timeout(PATIENCE, video.next()).await.expect("it never ends").unwrap() {
                Update::Ended(area) => ended = area == FILM,
                Update::TouchUp(part) if ended => {
                    let Told::Update(update) = part.read(true).unwrap() else { panic!("nothing to read") };
                    update.images.iter().for_each(|(part, _)| exact.add(*part));
                }
                Update::Frame(_) | Update::TouchUp(_) => {
                    assert!(!ended, "the film is covered by what came late")
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
