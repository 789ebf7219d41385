use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, warn};

use super::disable::Disable;
use super::known_buffers::KnownBuffers;
use super::lost_flips::{Drawn, LostFlips};
use super::placeholder::is_placeholder;
use crate::display1::{self, Area, Bytes, Call, Refusal, ScanoutPixels};
use crate::frame::{
    ConsoleId, Cursor, DamageFilter, Dmabuf, DmabufReads, MemoryKind, Pointer, Region, Scanout, Size,
};
use crate::hub::{Console, Release};
use crate::sys::thread_time;

/// The console that every VM has.
const FIRST: ConsoleId = ConsoleId(0);

/// The longest that looking for what changed may take, besides [`SLOW_PIXEL`]: memory of a device may be slow to read,
/// and the guest and all tasks of this thread wait.
const SLOW: Duration = Duration::from_millis(2);

/// … and for each pixel of the picture: four times what it takes in memory that is not a device's. A build for
/// debugging takes several times as long.
const SLOW_PIXEL: Duration = Duration::from_nanos(if cfg!(debug_assertions) { 64 } else { 8 });

/// Carries out QEMU's calls on one console.
#[derive(Debug)]
pub(super) struct Screen {
    console: Arc<Console>,
    disable: Disable,
    /// Nothing was drawn since the last scanout.
    flipped: bool,
    /// QEMU shows a text of its own, because the guest does not use the console.
    is_off: bool,
    known_buffers: KnownBuffers,
    lost_flips: LostFlips,
    damage_filter: DamageFilter,
    watched: watch::Receiver<bool>,
    reads: DmabufReads,
}

impl Screen {
    /// Makes the screen of `console`, whose buffers are read as `reads` says.
    pub(super) fn new(console: Arc<Console>, reads: DmabufReads) -> Self {
        Self {
            watched: console.watched(),
            console,
            disable: Disable::default(),
            flipped: false,
            is_off: false,
            known_buffers: KnownBuffers::default(),
            lost_flips: LostFlips::default(),
            damage_filter: DamageFilter::default(),
            reads,
        }
    }

    /// Carries out a call.
    ///
    /// # Errors
    /// If the call makes no sense. A scanout that is refused leaves the console black: what it showed is not shown any
    /// more. Shared memory is the exception, because QEMU then sends the same picture by value.
    pub(super) fn apply(&mut self, call: Call<'_>, now: Instant) -> Result<(), Refusal> {
        match call {
            Call::Scanout(scanout) => self.show_by_value(&scanout, now),
            Call::ScanoutMap(display1::ScanoutMap { memory, offset, width, height, stride, pixman }) => {
                let memory = memory.as_fd().try_clone_to_owned()?;
                let scanout = Scanout::shared(memory, offset, width, height, stride, pixman)?;
                self.show(Ok(scanout), now)
            }
            Call::ScanoutDmabuf(scanout) => self.flip(scanout.try_into()?, now),
            Call::ScanoutDmabuf2(scanout) => self.flip(scanout.try_into()?, now),
            Call::Update(update) => {
                if self.is_off {
                    return Ok(());
                }
                let shown = self.console.shown().ok_or(Refusal::Nothing)?;
                let area = update.area();
                let changed = shown.write(area.rect()?, update.stride, update.pixman, update.data.0)?;
                if self.draws(area, now) {
                    self.console.damage_region(&changed, None);
                }
                Ok(())
            }
            Call::UpdateMap(at) | Call::UpdateDmabuf(at) => {
                self.damage(at, None, now);
                Ok(())
            }
            Call::Disable(()) => {
                self.disable.said(self.flipped, now);
                Ok(())
            }
            Call::MouseSet(display1::MouseSet { x, y, on }) => {
                self.console.change_cursor(|cursor| cursor.pointer = Pointer { x, y, visible: on != 0 });
                Ok(())
            }
            Call::CursorDefine(display1::CursorDefine { width, height, hot_x, hot_y, data }) => {
                let shape = Cursor::new(width, height, hot_x, hot_y, data.0)?;
                self.console.change_cursor(|cursor| cursor.shape = Some(shape));
                Ok(())
            }
        }
    }

    /// Damages a part of the memory that is shown. Its readers get the release.
    pub(super) fn damage(&mut self, at: Area, release: Option<Release>, now: Instant) {
        if self.draws(at, now) {
            let changed = self.changed(at, now);
            self.console.damage_region(&changed, release);
        }
    }

    /// Takes notice that the guest drew. Returns whether the console is known to show what the guest drew on.
    fn draws(&mut self, at: Area, now: Instant) -> bool {
        self.disable.drawn();
        self.flipped = false;
        self.lost_flips.drawn(self.drawn(at), now)
    }

    /// Takes notice that QEMU discarded the flip before a `Disable`. `one` says that it discarded nothing else, such as
    /// another flip.
    pub(super) fn lose_flip(&mut self, one: bool, now: Instant) {
        self.disable.said(true, now);
        if !self.lost_flips.has_lost() {
            warn!(
                console = %self.console.id(),
                "QEMU discards flips of this guest (9.0 to 10.0 do so with blob=true): they are guessed, or asked for, \
                 which slows the guest; QEMU 10.1 and later discard none"
            );
        }
        if let Some(dmabuf) = self.lost_flips.lose(one, now)
            && let Ok(scanout) = Scanout::dmabuf(dmabuf, &self.reads)
        {
            self.console.show(Some(scanout));
        }
    }

    /// Takes notice that QEMU was asked in vain to send the picture again.
    pub(super) fn stay_in_doubt(&mut self, now: Instant) {
        self.lost_flips.stay_in_doubt(now);
    }

    /// Does what is due by `now`. Returns whether to ask QEMU to send the picture again, which can wait while nobody
    /// watches.
    #[must_use]
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        if self.disable.stands(now) {
            self.known_buffers.forget();
            self.lost_flips.forget();
            self.console.go_dark();
        }
        self.damage_filter.tick(now);
        self.is_watched() && self.lost_flips.due(now)
    }

    /// Returns when to call [`Screen::tick`] next, unless a viewer comes before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let replay = self.lost_flips.wake_at().filter(|_| self.is_watched());
        [self.disable.wake_at(), self.damage_filter.wake_at(), replay].into_iter().flatten().min()
    }

    /// Waits until the first viewer comes, or the last one leaves.
    pub(super) async fn watched_or_not(&mut self) {
        let _ = self.watched.changed().await; // there is a console to watch as long as this is
    }

    fn is_watched(&self) -> bool {
        *self.watched.borrow()
    }

    fn drawn(&self, at: Area) -> Drawn {
        let Some(size) = self.console.shown().map(|shown| shown.size()) else { return Drawn::OnNothing };
        if at == size.rect().into() { Drawn::All } else { Drawn::Part }
    }

    /// Returns the region that readers are to read after an update of memory that is not ours.
    fn changed(&mut self, at: Area, now: Instant) -> Region {
        let Some(scanout) = self.console.shown() else { return Region::new() };
        let Some(told) = at.clipped(scanout.size()) else { return Region::new() };
        if !self.is_watched() {
            self.damage_filter.forget();
            return told.into();
        }
        self.within_time(scanout.size(), |filter| filter.changed(told, &scanout, now))
    }

    /// Has the filter compare a picture of `size`, and give up if that takes long.
    fn within_time<T>(&mut self, size: Size, compare: impl FnOnce(&mut DamageFilter) -> T) -> T {
        let began = thread_time();
        let found = compare(&mut self.damage_filter);
        let pixels = u32::try_from(size.area()).unwrap_or(u32::MAX);
        if thread_time().saturating_sub(began) > SLOW + SLOW_PIXEL.saturating_mul(pixels) {
            self.damage_filter.give_up();
        }
        found
    }

    /// Shows pixels that came by value. If they replace pixels of the same size, that is an update, because QEMU sends
    /// one of the whole picture so.
    fn show_by_value(&mut self, call: &ScanoutPixels<'_>, now: Instant) -> Result<(), Refusal> {
        let ScanoutPixels { width, height, stride, pixman, data: Bytes(data) } = *call;
        let size = Size::new(width, height);
        let shown = self.console.shown().filter(|shown| {
            let info = shown.info();
            info.memory == MemoryKind::Owned && info.size == size && shown.format().pixman() == Some(pixman)
        });
        let Some(shown) = shown else {
            let scanout = Scanout::owned(size.width, size.height, stride, pixman, data);
            return self.show(scanout.map_err(Refusal::from), now);
        };
        self.disable.drawn();
        self.flipped = true;
        self.lost_flips.settle();
        let changed =
            shown.write(size.rect(), stride, pixman, data).inspect_err(|_| self.console.show(None))?;
        self.console.damage_region(&changed, None);
        Ok(())
    }

    fn flip(&mut self, dmabuf: Dmabuf, now: Instant) -> Result<(), Refusal> {
        let dmabuf = self.known_buffers.reuse(dmabuf);
        self.lost_flips.flipped(&dmabuf);
        self.show(Scanout::dmabuf(dmabuf, &self.reads).map_err(Refusal::from), now)
    }

    fn show(&mut self, scanout: Result<Scanout, Refusal>, now: Instant) -> Result<(), Refusal> {
        self.disable.drawn();
        self.flipped = true;
        self.lost_flips.settle();
        // On the first console the text is better than nothing: viewers have no other.
        self.is_off = self.console.id() != FIRST && scanout.as_ref().is_ok_and(is_placeholder);
        match scanout {
            Ok(_) if self.is_off => {
                debug!(console = %self.console.id(), "the guest does not use the console");
                self.damage_filter.forget();
                self.console.show(None);
                Ok(())
            }
            Ok(scanout) => {
                debug!(console = %self.console.id(), size = %scanout.size(), info = ?scanout.info().memory, "scanout");
                self.show_next(scanout, now);
                Ok(())
            }
            Err(refusal) => {
                self.damage_filter.forget();
                self.console.show(None);
                Err(refusal)
            }
        }
    }

    /// Shows a scanout after another: what is new of it is all of it, or what was found by comparing.
    fn show_next(&mut self, scanout: Scanout, now: Instant) {
        let size = scanout.size();
        match self.console.shown().filter(|before| before.info() == scanout.info()) {
            Some(before) if self.is_watched() => {
                let (scanout, changed) =
                    self.within_time(size, |filter| filter.flipped(&before, scanout, now));
                self.console.flip(scanout, &changed);
            }
            _ => {
                self.damage_filter.forget();
                self.console.show(Some(scanout));
            }
        }
    }
}
