use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_channel::{Receiver, Sender};
use tokio::sync::watch;

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
}

#[derive(Debug, Default)]
struct ScreenState {
    scanout: Option<Arc<Scanout>>,
    /// The scanout is black in the place of one that was turned off.
    is_dark: bool,
    draws: Draws,
    /// Which areas keep changing. Without readers it is not told.
    motion: Motion,
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
    /// The scanout was replaced since the last change. Its size may be the same.
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
        self.replace(scanout, false);
    }

    /// Shows black in the place of a scanout that the guest turned off, to viewers that come later too. For the source
    /// alone.
    pub fn go_dark(&self) {
        let black = self.size().and_then(|size| Scanout::black(size).ok());
        self.replace(black, true);
    }

    fn replace(&self, scanout: Option<Scanout>, is_dark: bool) {
        let mut screen = lock(&self.screen);
        screen.is_dark = is_dark;
        let info = scanout.as_ref().map(Scanout::info);
        screen.scanout = scanout.map(Arc::new);
        self.info.send_if_modified(|known| std::mem::replace(known, info) != info);
        if !screen.readers.is_empty() {
            screen.motion.replace(info.map(|info| info.size), Instant::now());
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
        if !screen.readers.is_empty() {
            screen.motion.damage(damage, Instant::now());
        }
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
