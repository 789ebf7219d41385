//! Decides which call one listener gets next. Events and the time go in, orders come out.
//!
//! INVARIANT: at most one `UpdateDMABUF` is under way that is neither answered nor overdue, and the number of calls
//! without an answer is bounded: a listener that answers nothing gets no further calls. Meanwhile damage adds up in
//! the hub, where nobody waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::frame::{Cursor, Dmabuf, MemoryKind, Pointer, Rect, Region, Scanout};
use crate::hub::{Change, CursorState, Release};
use crate::viewer::Delivery;

/// How long a listener has for an answer before it gets further calls all the same. QEMU gives its listeners as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long after a scanout the guest's own update is waited for, before the listener gets an update of all of it. QEMU
/// sends the two within a millisecond, unless the guest is at rest.
const DRAW_WAIT: Duration = Duration::from_millis(10);

/// The most calls without an answer: a listener that has as many gets no further ones until it answers.
const MAX_UNANSWERED: usize = 64;

/// The most scanouts in flight: one that the listener takes in, and the next.
const MAX_SCANOUTS: usize = 2;

/// The most pixels by value, in bytes: what D-Bus lets an array have.
const MAX_PIXELS: u64 = 64 << 20;

/// The forms in which a listener takes pictures, besides pixels by value. A form that it refuses is taken out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Takes {
    /// Any dmabuf (`Unix.ScanoutDMABUF2`).
    pub(super) dmabuf2: bool,
    /// Dmabufs of one plane (`ScanoutDMABUF`).
    pub(super) dmabuf: bool,
    /// Shared memory (`Unix.Map`).
    pub(super) map: bool,
}

/// The form in which a picture is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Means {
    /// `ScanoutDMABUF2`, then `UpdateDMABUF`.
    Dmabuf2,
    /// `ScanoutDMABUF`, then `UpdateDMABUF`.
    Dmabuf,
    /// `ScanoutMap`, then `UpdateMap`.
    Map,
    /// `Scanout`, then `Update`.
    Pixels,
}

/// One call of the listener.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// The console shows this from now on.
    Scanout(Arc<Scanout>, Means),
    /// This part of it changed.
    Update(Arc<Scanout>, Means, Rect),
    /// The console shows nothing.
    Disable,
    /// The cursor is here.
    MouseSet(Pointer),
    /// The cursor looks like this.
    CursorDefine(Cursor),
}

/// An order to carry out now.
#[derive(Debug)]
pub(super) struct Next {
    /// Names it in [`ListenerState::answered`] and [`ListenerState::failed`].
    pub(super) id: u64,
    /// The call.
    pub(super) order: Order,
    /// Dropped when the order's pixels have been read.
    pub(super) reading: Option<Release>,
}

/// What one listener was sent, and what it has not answered.
#[derive(Debug)]
pub(super) struct ListenerState {
    takes: Takes,
    /// Whether it refused a form.
    refused: bool,
    shown: Option<(Arc<Scanout>, Means)>,
    /// When a buffer was sent that the listener has not been told to draw.
    undrawn: Option<Instant>,
    orders: VecDeque<Queued>,
    unanswered: Vec<Unanswered>,
    cursor: CursorState,
    cursor_told: CursorState,
    next_id: u64,
}

#[derive(Debug)]
struct Queued {
    order: Order,
    release: Option<Release>,
}

#[derive(Debug)]
struct Unanswered {
    id: u64,
    kind: CallKind,
    since: Instant,
    overdue: bool,
    /// Held while the listener draws.
    _drawn: Option<Release>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CallKind {
    Scanout(Option<Means>),
    Update,
    Cursor,
}

impl ListenerState {
    /// Makes the state of a listener that was sent nothing.
    pub(super) fn new(takes: Takes) -> Self {
        Self {
            takes,
            refused: false,
            shown: None,
            undrawn: None,
            orders: VecDeque::new(),
            unanswered: Vec::new(),
            cursor: CursorState::default(),
            cursor_told: CursorState::default(),
            next_id: 0,
        }
    }

    /// Returns whether the next change of the picture may be taken out of the hub.
    pub(super) fn wants_change(&self) -> bool {
        self.may_draw()
            && self.under_way(|kind| matches!(kind, CallKind::Scanout(_))) < MAX_SCANOUTS
            && self.unanswered.len() < MAX_UNANSWERED
    }

    /// Takes a change of the picture.
    pub(super) fn change(&mut self, change: Change, now: Instant) {
        let Change { scanout, replaced, damage, release, missed } = change;
        if replaced {
            self.shown = scanout.and_then(|scanout| {
                let means = self.means(&scanout)?;
                Some((scanout, means))
            });
            // Where changes were missed, the guest's update of the new buffer was among them.
            let drawn = release.is_some() || missed > 0;
            self.show(release, (!drawn).then_some(now));
        } else {
            self.update(&damage, release);
        }
    }

    /// Takes the cursor's new state.
    pub(super) fn cursor(&mut self, state: CursorState) {
        self.cursor = state;
    }

    /// Returns the order to carry out now, if there is one.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Next> {
        let Queued { order, release } = match self.orders.pop_front() {
            Some(queued) => queued,
            None => Queued { order: self.cursor_order()?, release: None },
        };
        let (kind, by_value) = match &order {
            Order::Scanout(_, means) => (CallKind::Scanout(Some(*means)), *means == Means::Pixels),
            Order::Update(_, means, _) => (CallKind::Update, *means == Means::Pixels),
            Order::Disable => (CallKind::Scanout(None), false),
            Order::MouseSet(_) | Order::CursorDefine(_) => (CallKind::Cursor, false),
        };
        let (reading, drawn) = if by_value { (release, None) } else { (None, release) };
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.unanswered.push(Unanswered { id, kind, since: now, overdue: false, _drawn: drawn });
        Some(Next { id, order, reading })
    }

    /// Takes notice that the listener answered order `id`, with an error if `refused`.
    pub(super) fn answered(&mut self, id: u64, refused: bool, now: Instant) {
        let Some(call) = self.forget(id) else { return };
        let CallKind::Scanout(Some(means)) = call.kind else { return };
        if refused && means != Means::Pixels {
            self.takes.refuse(means);
            self.refused = true;
            if let Some((scanout, _)) = self.shown.take_if(|(_, by)| *by == means) {
                self.orders.clear();
                self.shown = self.means(&scanout).map(|means| (scanout, means));
                self.show(None, Some(now));
            }
        }
    }

    /// Takes notice that order `id` cannot be carried out, because its pixels cannot be read.
    pub(super) fn failed(&mut self, id: u64) {
        if let Some(Unanswered { kind: CallKind::Scanout(_), .. }) = self.forget(id) {
            self.shown = None;
            self.orders.clear();
            self.push(Order::Disable, None);
        }
    }

    /// Does what time alone makes due.
    pub(super) fn tick(&mut self, now: Instant) {
        for call in self.unanswered.iter_mut().filter(|call| call.since + PATIENCE <= now) {
            (call.overdue, call._drawn) = (true, None);
        }
        if self.draw_at().is_some_and(|at| at <= now) {
            self.update(&Region::new(), None);
        }
    }

    /// Returns when to call [`ListenerState::tick`] next.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let answers = self.unanswered.iter().filter(|call| !call.overdue).map(|call| call.since + PATIENCE);
        answers.chain(self.draw_at()).min()
    }

    /// Returns how the listener gets the picture, and the reason; `None` while nothing is shown.
    pub(super) fn delivery(&self) -> Option<(Delivery, &'static str)> {
        let (scanout, means) = self.shown.as_ref()?;
        Some(match (means, scanout.info().memory) {
            (Means::Dmabuf2 | Means::Dmabuf, _) => (Delivery::Passthrough, "the listener takes GPU buffers"),
            (Means::Map, _) => (Delivery::Passthrough, "the listener takes shared memory"),
            (Means::Pixels, MemoryKind::Owned) => (Delivery::Images, "QEMU gives the pixels by value"),
            (Means::Pixels, _) if self.refused => {
                (Delivery::Images, "the listener refused the memory it was given")
            }
            (Means::Pixels, MemoryKind::Shared) => {
                (Delivery::Images, "the listener does not take shared memory")
            }
            (Means::Pixels, MemoryKind::Guest) => (
                Delivery::Images,
                "the guest's memory cannot be passed: there is no /dev/udmabuf that takes it",
            ),
            (Means::Pixels, _) if self.takes.dmabuf => {
                (Delivery::Images, "the listener takes only whole GPU buffers of one plane")
            }
            (Means::Pixels, _) => {
                (Delivery::Images, "passing buffers through is switched off (--passthrough never)")
            }
        })
    }

    /// Returns the best form for a picture; `None` if the listener takes none.
    fn means(&self, scanout: &Scanout) -> Option<Means> {
        let by_value = (scanout.size().area() * 4 <= MAX_PIXELS).then_some(Means::Pixels);
        match (scanout.info().memory, scanout.as_dmabuf()) {
            (MemoryKind::Shared, _) if self.takes.map => Some(Means::Map),
            (_, Some(_)) if self.takes.dmabuf2 => Some(Means::Dmabuf2),
            (_, Some(dmabuf)) if self.takes.dmabuf && fits_first_version(dmabuf) => Some(Means::Dmabuf),
            _ => by_value,
        }
    }

    /// Queues the scanout. A buffer is drawn at once, or [`DRAW_WAIT`] after `undrawn`.
    fn show(&mut self, release: Option<Release>, undrawn: Option<Instant>) {
        self.undrawn = None;
        let Some((scanout, means)) = self.shown.clone() else { return self.push(Order::Disable, None) };
        let whole = scanout.size().rect();
        let order = Order::Scanout(scanout.clone(), means);
        match means {
            Means::Pixels => self.push(order, release),
            Means::Map => {
                self.push(order, None);
                self.push(Order::Update(scanout, means, whole), release);
            }
            Means::Dmabuf | Means::Dmabuf2 => {
                self.push(order, None);
                self.undrawn = undrawn;
                if undrawn.is_none() {
                    self.push(Order::Update(scanout, means, whole), release);
                }
            }
        }
    }

    fn update(&mut self, damage: &Region, release: Option<Release>) {
        let Some((scanout, means)) = self.shown.clone() else { return };
        let whole = self.undrawn.take().map(|_| scanout.size().rect());
        match means {
            // One call for all of it: the answer stands for the whole frame.
            Means::Dmabuf | Means::Dmabuf2 => {
                let all = whole.into_iter().chain(damage.rects().iter().copied()).reduce(Rect::union);
                if let Some(rect) = all {
                    self.push(Order::Update(scanout, means, rect), release);
                }
            }
            Means::Map | Means::Pixels => {
                for &rect in damage.rects() {
                    self.push(Order::Update(scanout.clone(), means, rect), release.clone());
                }
            }
        }
    }

    /// Returns when to have the listener draw a buffer for which the guest sent no update.
    fn draw_at(&self) -> Option<Instant> {
        self.undrawn.filter(|_| self.may_draw()).map(|since| since + DRAW_WAIT)
    }

    fn may_draw(&self) -> bool {
        self.orders.is_empty() && self.under_way(|kind| kind == CallKind::Update) == 0
    }

    fn under_way(&self, which: impl Fn(CallKind) -> bool) -> usize {
        self.unanswered.iter().filter(|call| !call.overdue && which(call.kind)).count()
    }

    fn push(&mut self, order: Order, release: Option<Release>) {
        self.orders.push_back(Queued { order, release });
    }

    /// Makes an order of the first change of the cursor that was not sent.
    fn cursor_order(&mut self) -> Option<Order> {
        if self.under_way(|kind| kind == CallKind::Cursor) > 0 || self.unanswered.len() >= MAX_UNANSWERED {
            return None;
        }
        if self.cursor.shape != self.cursor_told.shape {
            self.cursor_told.shape.clone_from(&self.cursor.shape);
            if let Some(shape) = &self.cursor.shape {
                return Some(Order::CursorDefine(shape.clone()));
            }
        }
        (self.cursor.pointer != self.cursor_told.pointer).then(|| {
            self.cursor_told.pointer = self.cursor.pointer;
            Order::MouseSet(self.cursor.pointer)
        })
    }

    fn forget(&mut self, id: u64) -> Option<Unanswered> {
        let at = self.unanswered.iter().position(|call| call.id == id)?;
        Some(self.unanswered.remove(at))
    }
}

impl Takes {
    fn refuse(&mut self, means: Means) {
        match means {
            Means::Dmabuf2 => self.dmabuf2 = false,
            Means::Dmabuf => self.dmabuf = false,
            Means::Map => self.map = false,
            Means::Pixels => {}
        }
    }
}

/// Returns whether `ScanoutDMABUF` can describe a buffer: one plane, shown whole.
fn fits_first_version(dmabuf: &Dmabuf) -> bool {
    matches!(dmabuf.planes.as_slice(), [plane] if plane.offset == 0)
        && (dmabuf.crop.x, dmabuf.crop.y) == (0, 0)
}

#[cfg(test)]
mod tests;
