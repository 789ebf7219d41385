use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_channel::{Receiver, Sender};
use tokio::sync::watch;

use super::exact::{ExactPicture, ExactReader, would_copies_do};
use super::mailbox::{Mail, Mailbox};
use super::{CursorState, Draws, Release, lock};
use crate::frame::{ConsoleId, Motion, Moving, Rect, Region, Scanout, ScanoutInfo, Size};

/// One console: its scanout, its cursor and the readers of its picture.
#[derive(Debug)]
pub struct Console {
    id: ConsoleId,
    screen: Mutex<ScreenState>,
    info: watch::Sender<Option<ScanoutInfo>>,
    cursor: watch::Sender<CursorState>,
    watched: watch::Sender<bool>,
    /// INVARIANT: who needs both locks, this one's and the screen's, takes this one first.
    exact: ExactPicture,
}

#[derive(Debug, Default)]
struct ScreenState {
    scanout: Option<Arc<Scanout>>,
    /// The scanout is black in the place of one that was turned off.
    is_dark: bool,
    draws: Draws,
    /// Which areas keep changing. Without readers it is not told.
    motion: Motion,
    /// There are readers of the exact picture, and this is the damage that they have not compared with it yet.
    uncompared: Option<Region>,
    readers: BTreeMap<u64, Subscriber>,
    next_reader: u64,
}

#[derive(Debug)]
struct Subscriber {
    mailbox: Mailbox,
    bell: Sender<()>,
}

/// Everything that changed on a console since a reader's last [`Subscription::take`].
#[derive(Debug)]
pub struct Change {
    /// The current scanout; `None` if the console is off.
    pub scanout: Option<Arc<Scanout>>,
    /// The scanout was replaced since the last change. Its size may be the same, and so may its picture.
    pub replaced: bool,
    /// The part of the picture that changed, inside the scanout's size.
    pub damage: Region,
    /// To be held while the change is being read, and no longer: the guest waits for it.
    pub release: Option<Release>,
    /// Number of earlier changes merged into this one because the reader was busy.
    pub missed: u64,
}

impl Console {
    pub(super) fn new(id: ConsoleId) -> Self {
        Self {
            id,
            screen: Mutex::default(),
            info: watch::Sender::new(None),
            cursor: watch::Sender::new(CursorState::default()),
            watched: watch::Sender::new(false),
            exact: ExactPicture::default(),
        }
    }

    /// Returns the console's number.
    #[must_use]
    pub fn id(&self) -> ConsoleId {
        self.id
    }

    /// Returns the size of the scanout; `None` if the console is off.
    #[must_use]
    pub fn size(&self) -> Option<Size> {
        self.info.borrow().map(|info| info.size)
    }

    /// Watches the kind of scanout: size, format and memory. Page flips between buffers of the same kind are
    /// not changes.
    #[must_use]
    pub fn info(&self) -> watch::Receiver<Option<ScanoutInfo>> {
        self.info.subscribe()
    }

    /// Replaces the scanout; `None` if the source has none. For the source alone.
    pub fn show(&self, scanout: Option<Scanout>) {
        self.replace(scanout.map(Arc::new), false);
    }

    /// Shows black in the place of a scanout that the guest turned off, to viewers that come later too. For the source
    /// alone.
    pub fn go_dark(&self) {
        let black = self.size().and_then(|size| Scanout::black(size).ok());
        self.replace(black.map(Arc::new), true);
    }

    /// Replaces the scanout by another of the same kind, whose picture is another in `damage` alone. For the source
    /// alone.
    pub(crate) fn flip(&self, scanout: Arc<Scanout>, damage: &Region) {
        let mut screen = lock(&self.screen);
        if screen.is_dark || screen.scanout.as_ref().map(|before| before.info()) != Some(scanout.info()) {
            drop(screen);
            return self.replace(Some(scanout), false);
        }
        screen.scanout = Some(scanout);
        screen.note(damage);
        for reader in screen.readers.values_mut() {
            reader.mailbox.flip(damage);
            reader.ring();
        }
    }

    fn replace(&self, scanout: Option<Arc<Scanout>>, is_dark: bool) {
        let mut screen = lock(&self.screen);
        screen.is_dark = is_dark;
        let info = scanout.as_ref().map(|scanout| scanout.info());
        screen.scanout = scanout;
        self.info.send_if_modified(|known| std::mem::replace(known, info) != info);
        if !screen.readers.is_empty() {
            let compares = screen.uncompared.is_some();
            screen.motion.replace(info.map(|info| info.size), compares, Instant::now());
        }
        if let (Some(uncompared), Some(info)) = (&mut screen.uncompared, info) {
            *uncompared = info.size.rect().into();
        }
        for reader in screen.readers.values_mut() {
            reader.mailbox.replace(info.map(|info| info.size));
            reader.ring();
        }
    }

    /// Returns the source's current scanout. The source writes pixels and compares rows in it.
    #[must_use]
    pub fn shown(&self) -> Option<Arc<Scanout>> {
        let screen = lock(&self.screen);
        screen.scanout.clone().filter(|_| !screen.is_dark)
    }

    /// Watches whether the console has any reader.
    #[must_use]
    pub fn watched(&self) -> watch::Receiver<bool> {
        self.watched.subscribe()
    }

    /// Reports that a rectangle of the picture changed, in picture coordinates; it is clipped here. Drops
    /// `release` at once if no reader waits. For the source alone.
    pub fn damage(&self, (x, y, width, height): (i32, i32, i32, i32), release: Option<Release>) {
        let Some(rect) = self.size().and_then(|size| Rect::clipped(x, y, width, height, size)) else {
            return;
        };
        self.damage_region(&rect.into(), release);
    }

    /// Reports that `damage`, a region inside the picture, changed. An empty region notifies nobody. For the
    /// source alone.
    pub fn damage_region(&self, damage: &Region, release: Option<Release>) {
        let mut screen = lock(&self.screen);
        if screen.scanout.is_none() || screen.is_dark || damage.is_empty() {
            return;
        }
        screen.note(damage);
        for reader in screen.readers.values_mut() {
            reader.mailbox.damage(damage, release.as_ref());
            reader.ring();
        }
    }

    /// Returns which areas of the picture keep changing now.
    #[must_use]
    pub(crate) fn moving(&self, now: Instant) -> Moving {
        lock(&self.screen).motion.moving(now)
    }

    /// Starts reading the exact picture, of which the reader has nothing; `None` if the console is off.
    #[must_use]
    pub(crate) fn read_exactly(self: &Arc<Self>) -> Option<ExactReader> {
        self.size().map(|size| ExactPicture::join(self, size))
    }

    /// Returns whether somebody reads the exact picture. What changes is then motion only if it cannot be told as
    /// copies.
    #[must_use]
    pub(crate) fn is_read_exactly(&self) -> bool {
        lock(&self.screen).uncompared.is_some()
    }

    /// Returns an area that is to be looked at now, once: [`Console::look_at`].
    #[must_use]
    pub(crate) fn due_look(&self, now: Instant) -> Option<Rect> {
        lock(&self.screen).motion.due_look(now)
    }

    /// Looks at an area that keeps changing, and ends it if copies would do. Takes up to 120 ms, so it is not for async
    /// tasks.
    pub(crate) fn look_at(&self, area: Rect) {
        let copies = would_copies_do(self, area);
        tracing::debug!(console = %self.id, ?area, copies, "looked at what moves");
        if copies {
            lock(&self.screen).motion.copies_do(area, Instant::now());
        }
    }

    pub(super) fn exact_picture(&self) -> &ExactPicture {
        &self.exact
    }

    /// Collects damage for readers of the exact picture from now on, or no longer.
    pub(super) fn compare(&self, compares: bool) {
        let uncompared = &mut lock(&self.screen).uncompared;
        *uncompared = compares.then(|| uncompared.take().unwrap_or_default());
    }

    /// Returns the scanout, the damage that is to be compared now, and the areas that keep changing, which are not.
    pub(super) fn compared(&self, now: Instant) -> (Option<Arc<Scanout>>, Region, Vec<Rect>) {
        let mut screen = lock(&self.screen);
        let damage = screen.uncompared.as_mut().map(Region::take).unwrap_or_default();
        let areas = screen.motion.moving(now).areas.into_iter().flatten().collect();
        (screen.scanout.clone(), damage, areas)
    }

    /// Records what has changed of the damage that was compared, and how many pixels of it copies do not make.
    pub(super) fn changed(&self, region: &Region, pixels: u64, now: Instant) {
        lock(&self.screen).motion.changed(region, pixels, now);
    }

    /// Stores the guest's waiting times so far. For the source alone.
    pub fn count_draws(&self, draws: Draws) {
        lock(&self.screen).draws = draws;
    }

    /// Returns how long the guest was held for its draws on this console, since its VM was attached.
    #[must_use]
    pub fn draws(&self) -> Draws {
        lock(&self.screen).draws
    }

    /// Changes the cursor's shape or position. For the source alone.
    pub fn change_cursor(&self, change: impl FnOnce(&mut CursorState)) {
        self.cursor.send_modify(change);
    }

    /// Watches the cursor.
    #[must_use]
    pub fn cursor(&self) -> watch::Receiver<CursorState> {
        self.cursor.subscribe()
    }

    /// Starts reading. The first change is the whole picture.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>) -> Subscription {
        let (bell, rung) = async_channel::bounded(1);
        let mut screen = lock(&self.screen);
        if screen.readers.is_empty() {
            screen.motion = Motion::of(screen.scanout.as_ref().map(|scanout| scanout.size()));
        }
        let mut subscriber = Subscriber { mailbox: Mailbox::default(), bell };
        if let Some(scanout) = &screen.scanout {
            subscriber.mailbox.replace(Some(scanout.size()));
            subscriber.ring();
        }
        let id = screen.next_reader;
        screen.next_reader += 1;
        screen.readers.insert(id, subscriber);
        self.tell_watched(&screen);
        Subscription { console: self.clone(), id, rung }
    }

    /// Updates `watched`. Called under the screen's lock, so that readers which join and leave at once are
    /// counted in order.
    fn tell_watched(&self, screen: &ScreenState) {
        let now = !screen.readers.is_empty();
        self.watched.send_if_modified(|watched| std::mem::replace(watched, now) != now);
    }

    pub(super) fn clear(&self) {
        self.show(None);
        self.count_draws(Draws::default());
        self.change_cursor(|cursor| *cursor = CursorState::default());
    }
}

impl ScreenState {
    /// Takes notice of damage, for what moves and for the exact picture.
    fn note(&mut self, damage: &Region) {
        if !self.readers.is_empty() {
            self.motion.damage(damage, self.uncompared.is_some(), Instant::now());
        }
        if let Some(uncompared) = &mut self.uncompared {
            uncompared.add_region(damage);
        }
    }
}

impl Subscriber {
    /// Notifies the reader. One notification is enough for a reader that has not come yet; a reader that left
    /// gets none.
    fn ring(&self) {
        if !self.mailbox.is_left() {
            let _ = self.bell.try_send(());
        }
    }
}

/// One reader's view of a console. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    console: Arc<Console>,
    id: u64,
    rung: Receiver<()>,
}

impl Subscription {
    /// Returns the console.
    #[must_use]
    pub fn console(&self) -> &Arc<Console> {
        &self.console
    }

    /// Takes what changed since the last call; `None` if nothing did. Never waits.
    #[must_use]
    pub fn take(&self) -> Option<Change> {
        let mut screen = lock(&self.console.screen);
        let scanout = screen.scanout.clone();
        let mail = screen.readers.get_mut(&self.id)?.mailbox.take()?;
        let Mail { replaced, damage, release, missed } = mail;
        Some(Change { scanout, replaced, damage, release, missed })
    }

    /// Leaves the pending change where it is. Until the next [`Subscription::take`] or
    /// [`Subscription::come_back`] the guest does not wait for this reader, and changes do not notify it.
    pub fn leave(&self) {
        if let Some(reader) = lock(&self.console.screen).readers.get_mut(&self.id) {
            reader.mailbox.leave();
        }
    }

    /// Takes notifications again after [`Subscription::leave`]. A change that is pending notifies at once.
    pub fn come_back(&self) {
        if let Some(reader) = lock(&self.console.screen).readers.get_mut(&self.id)
            && reader.mailbox.come_back()
        {
            reader.ring();
        }
    }

    /// Returns the channel of notifications. One may arrive for a change that [`Subscription::take`] has
    /// already returned.
    #[must_use]
    pub fn bell(&self) -> &Receiver<()> {
        &self.rung
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut screen = lock(&self.console.screen);
        screen.readers.remove(&self.id);
        self.console.tell_watched(&screen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Hub;

    fn scanout(width: u32, height: u32) -> Scanout {
        Scanout::owned(width, height, width * 4, 0x2002_0888, &vec![0; (width * height * 4) as usize])
            .unwrap()
    }

    #[test]
    fn a_reader_that_joins_an_idle_guest_sees_the_whole_picture() {
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        console.show(Some(scanout(64, 32)));
        let reader = console.subscribe();
        assert!(reader.bell().try_recv().is_ok());
        let change = reader.take().unwrap();
        assert!(change.replaced && change.damage.rects() == [Rect::new(0, 0, 64, 32)]);
        assert!(reader.take().is_none());
    }

    #[test]
    fn damage_is_cut_to_the_picture() {
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        console.show(Some(scanout(64, 32)));
        let reader = console.subscribe();
        let _ = reader.take();
        console.damage((60, -5, 1000, 10), None);
        console.damage((64, 0, 10, 10), None);
        assert_eq!(reader.take().unwrap().damage.rects(), [Rect::new(60, 0, 4, 5)]);
    }

    #[test]
    fn a_vm_that_leaves_leaves_a_black_screen() {
        let hub = Hub::default();
        let console = hub.console(ConsoleId(0)).unwrap();
        console.show(Some(scanout(64, 32)));
        let reader = console.subscribe();
        let _ = reader.take();
        hub.detach();
        let change = reader.take().unwrap();
        assert!(change.replaced && change.scanout.is_none() && change.damage.is_empty());
    }
}
