use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Key frames for viewers that fell behind or ask for one come no closer than this: they cost all viewers bytes.
const LOST_KEY_INTERVAL: Duration = Duration::from_millis(250);

/// Key frames for viewers that have just come are closer, but not as close as a stranger likes.
const JOIN_KEY_INTERVAL: Duration = Duration::from_millis(50);

/// How soon a viewer that is quick asks for the next frame.
const RETURN: Duration = Duration::from_millis(1);

/// When to encode, and who gets what: one encoder, any number of viewers, each with room for one item.
///
/// A pure state machine: it is told what happens and what time it is. `T` is what viewers get.
///
/// INVARIANT: a viewer gets every frame since its last key frame, or none until the next.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    viewers: BTreeMap<u64, QueuedViewer<T>>,
    next_id: u64,
    /// What there is to say in the place of frames.
    notice: Option<T>,
    /// There is a picture to encode.
    shown: bool,
    /// The picture is newer than the last frame.
    stale: bool,
    /// A frame is being made.
    encoding: bool,
    /// When the last one was done.
    rested: Option<Instant>,
    /// How long a frame waits for viewers that are in step but have not fetched the last one.
    grace: Duration,
    /// Since when a frame could be encoded but for viewers that would lose their step.
    held_since: Option<Instant>,
    last_key: Option<Instant>,
}

#[derive(Debug)]
struct QueuedViewer<T> {
    slot: Option<T>,
    /// Has asked, and got nothing yet. INVARIANT: then its slot is empty.
    waiting: bool,
    step: Step,
    /// It does not ask because it has no use for video now.
    paused: bool,
    /// Returns how often a viewer missed frames because it was not ready in time.
    losses: u64,
}

/// Whether the next frame means anything to a viewer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// It has all there was since the last key frame.
    In,
    /// It has nothing of this stream yet.
    Joined,
    /// It missed a frame, or says so.
    Lost,
}

/// What the encoder does now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Encodes the picture as it is now.
    Encode {
        /// As a key frame.
        key: bool,
    },
    /// Nothing before this time, unless something happens.
    WaitUntil(Instant),
    /// Nothing until something happens.
    Wait,
}

impl<T: Clone> Schedule<T> {
    /// Makes a schedule without viewers. A frame waits up to `grace` for viewers that are in sync but have
    /// not fetched the last one. Viewers that come later lose sync and need a key frame.
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            viewers: BTreeMap::new(),
            next_id: 0,
            notice: None,
            shown: false,
            stale: false,
            encoding: false,
            rested: None,
            held_since: None,
            last_key: None,
        }
    }

    /// Adds a viewer and returns its number.
    pub(super) fn join(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.viewers.insert(id, {
            let slot = self.notice.clone();
            QueuedViewer { slot, waiting: false, step: Step::Joined, paused: false, losses: 0 }
        });
        id
    }

    /// Removes a viewer. Returns whether it was the last.
    pub(super) fn leave(&mut self, id: u64) -> bool {
        self.viewers.remove(&id);
        self.viewers.is_empty()
    }

    /// Returns a viewer's next item, or notes that the viewer waits.
    pub(super) fn take(&mut self, id: u64) -> Option<T> {
        let viewer = self.viewers.get_mut(&id)?;
        let item = viewer.slot.take();
        (viewer.waiting, viewer.paused) = (item.is_none(), false);
        item
    }

    /// Marks a viewer as not ready. Returns the item it got meanwhile.
    pub(super) fn pause(&mut self, id: u64) -> Option<T> {
        let viewer = self.viewers.get_mut(&id)?;
        (viewer.waiting, viewer.paused) = (false, true);
        viewer.slot.take()
    }

    /// How often a viewer missed what others were given because it was not ready in time.
    pub(super) fn losses(&self, id: u64) -> u64 {
        self.viewers.get(&id).map_or(0, |viewer| viewer.losses)
    }

    /// Returns whether a change of the picture should be read now: a viewer waits, and the encoder is free. A
    /// change during an encode is read for the next frame.
    pub(super) fn is_wanted(&self) -> bool {
        !self.encoding && self.viewers.values().any(|viewer| viewer.waiting)
    }

    /// Returns until when a change may soon be wanted, before `limit`: while a frame is being encoded, or
    /// just after viewers got one.
    pub(super) fn busy_until(&self, limit: Instant) -> Option<Instant> {
        if self.encoding { Some(limit) } else { self.rested.map(|at| limit.min(at + RETURN)) }
    }

    /// Marks a viewer as unable to decode what it has.
    pub(super) fn lose(&mut self, id: u64) {
        if let Some(viewer) = self.viewers.get_mut(&id).filter(|_| self.notice.is_none()) {
            viewer.lose();
        }
    }

    /// Drops all frames because the picture changed its kind.
    pub(super) fn show(&mut self) {
        (self.notice, self.shown, self.stale) = (None, true, true);
        for viewer in self.viewers.values_mut() {
            (viewer.slot, viewer.step) = (None, Step::Joined);
        }
    }

    /// Notes that the picture changed.
    pub(super) fn change(&mut self) {
        self.stale = self.shown;
    }

    /// Gives `notice` to all viewers, present and future, in place of a picture.
    pub(super) fn tell(&mut self, notice: T) {
        (self.shown, self.stale) = (false, false);
        for viewer in self.viewers.values_mut() {
            (viewer.slot, viewer.step, viewer.waiting) = (Some(notice.clone()), Step::Joined, false);
        }
        self.notice = Some(notice);
    }

    /// Returns the next step. [`Turn::Encode`] is followed by [`Schedule::pick_up`], [`Schedule::deliver`]
    /// and [`Schedule::rest`].
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        if !self.shown {
            return Turn::Wait;
        }
        let key_at = self.key_at(now);
        let frame_at = self.frame_at(now);
        match (key_at, frame_at) {
            (Some(at), _) if at <= now => Turn::Encode { key: true },
            (_, Some(at)) if at <= now => Turn::Encode { key: false },
            (None, None) => Turn::Wait,
            (Some(at), None) | (None, Some(at)) => Turn::WaitUntil(at),
            (Some(one), Some(other)) => Turn::WaitUntil(one.min(other)),
        }
    }

    /// Notes that the encoder has the picture, so that only later changes are new.
    pub(super) fn pick_up(&mut self) {
        (self.stale, self.encoding, self.held_since) = (false, true, None);
    }

    /// Notes that the encoder is done, with or without a frame.
    pub(super) fn rest(&mut self, now: Instant) {
        (self.encoding, self.rested) = (false, Some(now));
    }

    /// Puts a frame into the slots of all to whom it means something.
    pub(super) fn deliver(&mut self, frame: &T, key: bool, now: Instant) {
        if !self.shown {
            return;
        }
        if key {
            self.last_key = Some(now);
        }
        for viewer in self.viewers.values_mut() {
            match viewer.step {
                Step::In if viewer.slot.is_some() && !key => {
                    viewer.losses += u64::from(!viewer.paused);
                    viewer.lose();
                }
                Step::Joined | Step::Lost if !key => {}
                _ => {
                    (viewer.slot, viewer.step, viewer.waiting) = (Some(frame.clone()), Step::In, false);
                }
            }
        }
    }

    /// Returns when the next key frame is due, if a viewer waits for one.
    fn key_at(&self, now: Instant) -> Option<Instant> {
        let waiting = self.viewers.values().filter(|viewer| viewer.waiting);
        let interval = waiting.filter_map(|viewer| match viewer.step {
            Step::In => None,
            Step::Joined => Some(JOIN_KEY_INTERVAL),
            Step::Lost => Some(LOST_KEY_INTERVAL),
        });
        interval.min().map(|interval| self.last_key.map_or(now, |last| last + interval))
    }

    /// Returns when the next other frame is due, if there is something new and a viewer waits.
    fn frame_at(&mut self, now: Instant) -> Option<Instant> {
        let in_step = || self.viewers.values().filter(|viewer| viewer.step == Step::In);
        if !self.stale || !in_step().any(|viewer| viewer.waiting) {
            self.held_since = None;
            return None;
        }
        if in_step().any(|viewer| viewer.slot.is_some()) {
            return Some(*self.held_since.get_or_insert(now) + self.grace);
        }
        Some(now)
    }
}

impl<T> QueuedViewer<T> {
    /// Drops what the viewer has not fetched, because a key frame will be newer.
    fn lose(&mut self) {
        self.slot = None;
        if self.step == Step::In {
            self.step = Step::Lost;
        }
    }
}

#[cfg(test)]
mod tests;
