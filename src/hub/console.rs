use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_channel::{Receiver, Sender};
use tokio::sync::watch;

use super::mailbox::{Mail, Mailbox};
use super::{CursorState, Draws, Release, lock};
use crate::frame::{ConsoleId, Rect, Region, Scanout, ScanoutInfo, Size};

/// One console: what it shows, and who wants to know.
#[derive(Debug)]
pub struct Console {
    id: ConsoleId,
    screen: Mutex<Screen>,
    info: watch::Sender<Option<ScanoutInfo>>,
    cursor: watch::Sender<CursorState>,
    watched: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Screen {
    scanout: Option<Arc<Scanout>>,
    draws: Draws,
    readers: BTreeMap<u64, Reader>,
    next_reader: u64,
}

#[derive(Debug)]
struct Reader {
    mailbox: Mailbox,
    bell: Sender<()>,
}

/// What changed on a console since a reader last looked.
#[derive(Debug)]
pub struct Change {
    /// What it shows now; `None` is a console that is switched off.
    pub scanout: Option<Arc<Scanout>>,
    /// The scanout is another one than at the last time (its size may be the same).
    pub replaced: bool,
    /// The part that changed, inside the scanout's size.
    pub damage: Region,
    /// Keep it while the change is being read, no longer: the guest waits for it.
    pub release: Option<Release>,
    /// Earlier changes that are part of this one because the reader was busy when it came.
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

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ConsoleId {
        self.id
    }

    /// The size of what it shows, if it shows anything.
    #[must_use]
    pub fn size(&self) -> Option<Size> {
        self.info.borrow().map(|info| info.size)
    }

    /// What kind of scanout it shows, if any, now and whenever that changes: not with each flip.
    #[must_use]
    pub fn info(&self) -> watch::Receiver<Option<ScanoutInfo>> {
        self.info.subscribe()
    }

    /// For the source: it shows another scanout from now on, or nothing.
    pub fn show(&self, scanout: Option<Scanout>) {
        let mut screen = lock(&self.screen);
        let info = scanout.as_ref().map(Scanout::info);
        screen.scanout = scanout.map(Arc::new);
        self.info.send_if_modified(|known| std::mem::replace(known, info) != info);
        for reader in screen.readers.values_mut() {
            reader.mailbox.replace(info.map(|info| info.size));
            reader.ring();
        }
    }

    /// For the source: what it shows now, to be written to.
    #[must_use]
    pub fn shown(&self) -> Option<Arc<Scanout>> {
        lock(&self.screen).scanout.clone()
    }

    /// For the source: whether anyone reads what it shows, now and whenever that changes.
    #[must_use]
    pub fn watched(&self) -> watch::Receiver<bool> {
        self.watched.subscribe()
    }

    /// For the source: a part of the picture changed. Numbers are picture coordinates, cut to the picture here.
    /// `release` is dropped at once where nobody waits to read.
    pub fn damage(&self, (x, y, width, height): (i32, i32, i32, i32), release: Option<Release>) {
        let Some(rect) = self.size().and_then(|size| Rect::clipped(x, y, width, height, size)) else {
            return;
        };
        self.damage_region(&rect.into(), release);
    }

    /// For the source: as [`Console::damage`], of a region inside the picture. If it is empty nobody hears of it.
    pub fn damage_region(&self, damage: &Region, release: Option<Release>) {
        let mut screen = lock(&self.screen);
        if screen.scanout.is_none() || damage.is_empty() {
            return;
        }
        for reader in screen.readers.values_mut() {
            reader.mailbox.damage(damage, release.as_ref());
            reader.ring();
        }
    }

    /// For the source: what the guest was held for drawing, so far.
    pub fn count_draws(&self, draws: Draws) {
        lock(&self.screen).draws = draws;
    }

    /// What the guest was held for drawing on it, since its VM was attached.
    #[must_use]
    pub fn draws(&self) -> Draws {
        lock(&self.screen).draws
    }

    /// For the source: its cursor changed.
    pub fn change_cursor(&self, change: impl FnOnce(&mut CursorState)) {
        self.cursor.send_modify(change);
    }

    /// Its cursor, now and whenever it changes.
    #[must_use]
    pub fn cursor(&self) -> watch::Receiver<CursorState> {
        self.cursor.subscribe()
    }

    /// Starts reading: the first change is the whole picture.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>) -> Subscription {
        let (bell, rung) = async_channel::bounded(1);
        let mut screen = lock(&self.screen);
        let mut reader = Reader { mailbox: Mailbox::default(), bell };
        if let Some(scanout) = &screen.scanout {
            reader.mailbox.replace(Some(scanout.size()));
            reader.ring();
        }
        let id = screen.next_reader;
        screen.next_reader += 1;
        screen.readers.insert(id, reader);
        self.tell_watched(&screen);
        Subscription { console: self.clone(), id, rung }
    }

    /// Under the screen's lock: who comes and who goes at once are told in the same order.
    fn tell_watched(&self, screen: &Screen) {
        let now = !screen.readers.is_empty();
        self.watched.send_if_modified(|watched| std::mem::replace(watched, now) != now);
    }

    pub(super) fn clear(&self) {
        self.show(None);
        self.count_draws(Draws::default());
        self.change_cursor(|cursor| *cursor = CursorState::default());
    }
}

impl Reader {
    /// One ring is enough for a reader that has not come yet, and none for one that left.
    fn ring(&self) {
        if !self.mailbox.is_left() {
            let _ = self.bell.try_send(());
        }
    }
}

/// One reader's view of a console. Ends when dropped.
#[derive(Debug)]
pub struct Subscription {
    console: Arc<Console>,
    id: u64,
    rung: Receiver<()>,
}

impl Subscription {
    /// The console it reads.
    #[must_use]
    pub fn console(&self) -> &Arc<Console> {
        &self.console
    }

    /// What changed since the last call; `None` if nothing did. Never waits.
    #[must_use]
    pub fn take(&self) -> Option<Change> {
        let mut screen = lock(&self.console.screen);
        let scanout = screen.scanout.clone();
        let mail = screen.readers.get_mut(&self.id)?.mailbox.take()?;
        let Mail { replaced, damage, release, missed } = mail;
        Some(Change { scanout, replaced, damage, release, missed })
    }

    /// Says that the reader does not take what is there now: the guest does not wait for it, and the bell does not ring
    /// for it, until it takes something or comes back.
    pub fn leave(&self) {
        if let Some(reader) = lock(&self.console.screen).readers.get_mut(&self.id) {
            reader.mailbox.leave();
        }
    }

    /// Says that a reader that left listens to its bell again: it rings if there is something to take.
    pub fn come_back(&self) {
        if let Some(reader) = lock(&self.console.screen).readers.get_mut(&self.id)
            && reader.mailbox.come_back()
        {
            reader.ring();
        }
    }

    /// The bell that rings when something changed. A ring may be for what [`Subscription::take`] gave already.
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
