use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::console_picture::ConsolePicture;
use super::counts::CountsByCodec;
use super::encoder::Encoder;
use super::gst::{Element, Pipelines};
use super::picture::Pixels;
use super::schedule::{Schedule, Turn};
use super::{Area, Codec, EncodeError, EncodedFrame, Item, Profile, lock};
use crate::frame::{Rect, Region, Scanout, Size, Tier};
use crate::hub::{Change, Console, Release, Subscription};

/// How long a frame of the full tier waits for those who have not fetched the last one: about a frame at 30 Hz.
const GRACE: Duration = Duration::from_millis(33);

/// How long one of the others does: as long as a frame may take the slowest network, and a little more. So all of a
/// tier go at the pace of its slowest.
const SLOW_GRACE: Duration = Duration::from_millis(130);

/// How long a change waits for the encoder to be done with the last one. A guest that flips without end is slowed down
/// to what can be shown, and no guest at 60 Hz by a frame.
const HOLD: Duration = Duration::from_millis(4);

/// How long a picture rests until the encoder's memory, a third of the program's, is given back. The next frame is a
/// key frame then, which costs a slow network more than it is worth: only the full tier does so.
const LONG_REST: Duration = Duration::from_secs(20);

/// One console's picture, encoded once for all who want it in the same way.
///
/// Two threads: one keeps what is [`ConsolePicture`] up to date and lets the guest go on at once, the other encodes
/// it when a viewer is ready. They share nothing but that and the schedule, and sleep while nothing happens. Only an
/// encoder that reads the guest's own buffer has the guest wait for it, and only if it starts at once.
pub(super) struct Worker {
    console: Arc<Console>,
    profile: Profile,
    elements: Vec<Element>,
    pipelines: Pipelines,
    counts: CountsByCodec,
    /// INVARIANT: there is one if and only if the schedule shows something. Who needs both locks takes this first.
    shown: Mutex<Option<ConsolePicture>>,
    state: Mutex<WorkerState>,
    /// For the encoding thread: the schedule has changed.
    work: Condvar,
    /// For the picture thread: the encoder is done, or a viewer asks.
    free: Condvar,
    /// For viewers: there may be an item.
    items: Notify,
    /// What changes on the console. Closing its bell ends the picture thread.
    changes: Subscription,
}

struct WorkerState {
    schedule: Schedule<Item>,
    /// What changed since the last frame.
    damage: Region,
    /// For an encoder that reads the guest's buffer: the guest waits for that.
    /// INVARIANT: there is none while the encoding thread waits.
    release: Option<Release>,
    /// The most bytes of a frame for each viewer that has a limit.
    limits: BTreeMap<u64, u64>,
    stopped: bool,
}

impl Worker {
    /// Starts the threads. Gives the first viewer's number, too.
    pub(super) fn start(
        console: &Arc<Console>,
        profile: Profile,
        elements: Vec<Element>,
        pipelines: Pipelines,
        counts: CountsByCodec,
    ) -> (Arc<Self>, u64) {
        let mut schedule = Schedule::new(if profile.tier == Tier::Full { GRACE } else { SLOW_GRACE });
        let first = schedule.join();
        let worker = Arc::new(Self {
            console: console.clone(),
            profile,
            elements,
            pipelines,
            counts,
            shown: Mutex::new(None),
            state: Mutex::new({
                let (damage, limits) = (Region::new(), BTreeMap::new());
                WorkerState { schedule, damage, release: None, limits, stopped: false }
            }),
            work: Condvar::new(),
            free: Condvar::new(),
            items: Notify::new(),
            changes: console.subscribe(),
        });
        let id = console.id();
        worker.spawn(format!("picture-{id}"), |worker| worker.keep_picture());
        worker.spawn(format!("encode-{id}"), |worker| worker.encode());
        (worker, first)
    }

    /// Returns whether the worker encodes this console in this profile.
    pub(super) fn is_for(&self, console: &Arc<Console>, profile: Profile) -> bool {
        Arc::ptr_eq(&self.console, console) && self.profile == profile
    }

    /// Returns how it encodes.
    pub(super) fn codec(&self) -> Codec {
        self.profile.codec
    }

    /// Adds a viewer and returns its number; `None` if the last one has left and a new worker is needed.
    pub(super) fn join(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        (!state.stopped).then(|| state.schedule.join())
    }

    /// Removes a viewer. After the last one the threads end.
    pub(super) fn leave(&self, viewer: u64) {
        let mut state = lock(&self.state);
        state.limits.remove(&viewer);
        if state.schedule.leave(viewer) {
            state.stopped = true;
            self.changes.bell().close();
        }
        self.work.notify_one();
    }

    /// Waits for a viewer's next item.
    pub(super) async fn next(&self, viewer: u64) -> Item {
        loop {
            // From here on it hears of new items: one that comes between looking and waiting is not missed.
            let news = self.items.notified();
            if let Some(item) = self.take(viewer) {
                return item;
            }
            news.await;
        }
    }

    /// Stops a viewer's wait and returns an item that came in between.
    pub(super) fn pause(&self, viewer: u64) -> Option<Item> {
        lock(&self.state).schedule.pause(viewer)
    }

    /// Limits the bytes of a frame for a viewer.
    pub(super) fn limit(&self, viewer: u64, frame_bytes: Option<u64>) {
        let mut state = lock(&self.state);
        match frame_bytes {
            Some(bytes) => _ = state.limits.insert(viewer, bytes),
            None => _ = state.limits.remove(&viewer),
        }
    }

    /// Returns how often a viewer missed frames.
    pub(super) fn losses(&self, viewer: u64) -> u64 {
        lock(&self.state).schedule.losses(viewer)
    }

    /// Notes that a viewer needs a key frame.
    pub(super) fn request_key(&self, viewer: u64) {
        lock(&self.state).schedule.lose(viewer);
        self.work.notify_one();
    }

    /// Calls `act` while the picture cannot be read, as if other programs had the processor. For tests.
    #[cfg(test)]
    pub(super) fn while_unread<T>(&self, act: impl FnOnce() -> T) -> T {
        let _unread = lock(&self.shown);
        act()
    }

    fn take(&self, viewer: u64) -> Option<Item> {
        let item = lock(&self.state).schedule.take(viewer);
        if item.is_none() {
            // It is ready now.
            self.work.notify_one();
            self.changes.come_back();
            self.free.notify_one();
        }
        item
    }

    fn spawn(self: &Arc<Self>, name: String, run: impl FnOnce(&Self) + Send + 'static) {
        let worker = self.clone();
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let unexpected = Unexpected(&worker);
            run(&worker);
            std::mem::forget(unexpected);
        });
        if let Err(error) = spawned {
            self.fail(None, EncodeError::Thread(error));
        }
    }

    /// Reports a failure to all viewers, unless the picture's size changed meanwhile.
    fn fail(&self, size: Option<Size>, error: EncodeError) {
        let mut shown = lock(&self.shown);
        let now = shown.as_ref().map(ConsolePicture::size);
        if size.is_some() && size != now {
            return;
        }
        tracing::warn!(console = %self.console.id(), error = %error, "console cannot be encoded");
        self.tell(&mut shown, Item::Failed(Arc::new(error)));
    }

    /// Gives `item` to all viewers in place of a picture.
    fn tell(&self, shown: &mut Option<ConsolePicture>, item: Item) {
        *shown = None;
        let mut state = lock(&self.state);
        state.release = None;
        state.schedule.tell(item);
        drop(state);
        self.items.notify_waiters();
    }

    /// Runs the picture thread. It reads a change only when a viewer waits, because nobody would see it
    /// otherwise.
    fn keep_picture(&self) {
        let mut size = None;
        if self.console.size().is_none() {
            self.tell(&mut lock(&self.shown), Item::Blank);
        }
        loop {
            if !self.is_wanted() {
                self.changes.leave();
                // A viewer that asked in between rang for somebody who had not left yet.
                if lock(&self.state).schedule.is_wanted() {
                    self.changes.come_back();
                }
            } else if let Some(change) = self.changes.take() {
                // What comes while this is being read waits for its turn.
                self.changes.come_back();
                size = self.take_change(change, size);
            }
            if self.changes.bell().recv_blocking().is_err() {
                return;
            }
        }
    }

    /// Returns whether a change should be read. Waits a little for a busy encoder, but for no slow viewer.
    fn is_wanted(&self) -> bool {
        let limit = Instant::now() + HOLD;
        let mut state = lock(&self.state);
        loop {
            if state.schedule.is_wanted() {
                return true;
            }
            let left =
                state.schedule.busy_until(limit).map(|at| at.saturating_duration_since(Instant::now()));
            let Some(left) = left.filter(|left| !left.is_zero() && !state.stopped) else { return false };
            let waited = self.free.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Brings the picture up to date. The console's size was `before`. Returns what it is now.
    fn take_change(&self, change: Change, before: Option<Size>) -> Option<Size> {
        let mut shown = lock(&self.shown);
        let Some(scanout) = change.scanout else {
            self.tell(&mut shown, Item::Blank);
            return None;
        };
        let size = scanout.size();
        let is_new = before != Some(size);
        let Some(area) = self.area(size) else {
            if is_new {
                self.tell(&mut shown, Item::Blank);
            }
            return Some(size);
        };
        let damage = if area == size.rect() { change.damage } else { change.damage.within(area) };
        if damage.is_empty() {
            return Some(size);
        }
        if is_new {
            match self.first_picture(&scanout, area) {
                Ok(picture) => *shown = Some(picture),
                Err(error) => self.tell(&mut shown, Item::Failed(Arc::new(error))),
            }
        }
        let Some(picture) = shown.as_mut() else { return Some(size) };
        let may_import = !self.halves() && self.profile.area.is_none();
        if !(may_import && Encoder::may_import(self.elements.iter().copied(), &scanout)) {
            picture.read_ahead(true);
        }
        let is_read = picture.change(scanout, &damage).unwrap_or_else(|error| {
            tracing::debug!(console = %self.console.id(), error = %error, "picture cannot be read");
            true
        });
        // INVARIANT: the guest goes on as soon as its pixels are read, before anything that waits for a viewer.
        self.announce(&damage, change.release.filter(|_| !is_read), is_new);
        Some(size)
    }

    /// Returns the part of a picture of `size` that is encoded; `None` if it is the part of another.
    fn area(&self, size: Size) -> Option<Rect> {
        match self.profile.area {
            None => Some(size.rect()),
            Some(area) => (area.picture == size && size.rect().contains(area.rect)).then_some(area.rect),
        }
    }

    /// Returns the picture of a console that begins to show this.
    ///
    /// # Errors
    /// If no encoder takes its size.
    fn first_picture(&self, scanout: &Arc<Scanout>, area: Rect) -> Result<ConsolePicture, EncodeError> {
        Encoder::check_size(&self.elements, Size::new(area.width, area.height))?;
        let pixels = self.elements.first().map_or(Pixels::I420, |element| element.planes());
        Ok(ConsolePicture::new(scanout.clone(), area, pixels))
    }

    /// Tells the encoding thread what changed, in a picture of a new kind or in the same. `release` is what the guest
    /// waits for until the encoder has read its buffer.
    fn announce(&self, damage: &Region, release: Option<Release>, is_new: bool) {
        let mut state = lock(&self.state);
        state.release = release;
        state.damage.add_region(damage);
        if is_new {
            state.schedule.show();
        } else {
            state.schedule.change();
        }
        drop(state);
        self.work.notify_one();
    }

    /// Returns whether large pictures are halved.
    fn halves(&self) -> bool {
        self.profile.tier == Tier::Half
    }

    /// Runs the encode thread.
    fn encode(&self) {
        let mut encoder = Encoder::new(self.elements.clone(), self.pipelines.clone(), self.halves());
        let mut state = lock(&self.state);
        while !state.stopped {
            let now = Instant::now();
            state = match state.schedule.turn(now) {
                Turn::Wait if self.profile.tier == Tier::Full && encoder.is_running() => {
                    state.release = None;
                    let waited = self.work.wait_timeout(state, LONG_REST);
                    let (state, waited) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
                    if waited.timed_out() {
                        encoder.stop();
                    }
                    state
                }
                Turn::Wait => {
                    state.release = None;
                    self.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner)
                }
                Turn::WaitUntil(at) => {
                    state.release = None;
                    let waited = self.work.wait_timeout(state, at.saturating_duration_since(now));
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
                Turn::Encode { key } => {
                    drop(state);
                    self.encode_one(&mut encoder, key);
                    lock(&self.state)
                }
            };
        }
        state.release = None;
    }

    fn encode_one(&self, encoder: &mut Encoder, key: bool) {
        let (began, mut damage) = (Instant::now(), Region::new());
        encoder.limit(lock(&self.state).limits.values().min().copied());
        let encoded = encoder.encode(&self.shown, key, || {
            let mut state = lock(&self.state);
            state.schedule.pick_up();
            damage.add_region(&state.damage.take());
            state.release.take()
        });
        let encoded = match encoded {
            Ok(Some(encoded)) => encoded,
            Ok(None) => return self.go_on(),
            Err((size, error)) => {
                self.go_on();
                return self.fail(Some(size), error);
            }
        };
        self.counts.count(self.profile.codec, &encoded.unit, began.elapsed());
        let key = encoded.unit.key;
        let Area { picture, rect } =
            self.profile.area.unwrap_or(Area { picture: encoded.size, rect: encoded.size.rect() });
        let frame = Item::Frame(EncodedFrame {
            codec: self.profile.codec,
            data: encoded.unit.data.into(),
            key,
            size: picture,
            area: rect,
            coded: encoded.coded,
            generation: encoded.generation,
            damage: if key { rect.into() } else { damage },
        });
        lock(&self.state).schedule.deliver(&frame, key, Instant::now());
        self.items.notify_waiters();
        self.go_on();
    }

    /// Ends a frame, so that waiting viewers get later changes.
    fn go_on(&self) {
        let mut state = lock(&self.state);
        state.schedule.rest(Instant::now());
        let wanted = state.schedule.is_wanted();
        drop(state);
        if wanted {
            self.changes.come_back();
        }
        self.free.notify_one();
    }
}

/// Dropped only when a thread ends by a panic: then nobody must wait for it.
struct Unexpected<'a>(&'a Worker);

impl Drop for Unexpected<'_> {
    fn drop(&mut self) {
        self.0.fail(None, EncodeError::Crashed);
    }
}
