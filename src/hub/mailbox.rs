use super::Release;
use crate::frame::{Region, Size};

/// The changes that one reader has not taken yet. They never hold more than the newest picture, with the
/// damage added up.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    replaced: bool,
    damage: Region,
    release: Option<Release>,
    waiting: bool,
    left: bool,
    missed: u64,
}

/// The content of a mailbox.
#[derive(Debug)]
pub(super) struct Mail {
    /// The scanout was replaced since the last mail.
    pub(super) replaced: bool,
    /// The part of the picture that changed since the last mail.
    pub(super) damage: Region,
    /// To be dropped when the change has been read.
    pub(super) release: Option<Release>,
    /// Number of changes that came while another one was pending and the reader was busy.
    pub(super) missed: u64,
}

impl Mailbox {
    /// Records that the scanout was replaced by one of `size`, or that the console was turned off.
    pub(super) fn replace(&mut self, size: Option<Size>) {
        self.replaced = true;
        self.damage = size.map_or_else(Region::new, |size| size.rect().into());
        self.release = None;
    }

    /// Records that the scanout was replaced by another of the same size, whose picture is another in `damage` alone.
    pub(super) fn flip(&mut self, damage: &Region) {
        self.replaced = true;
        self.damage.add_region(damage);
        self.release = None;
    }

    /// Adds `damage`. A waiting reader gets `release` to hold; a busy one does not.
    pub(super) fn damage(&mut self, damage: &Region, release: Option<&Release>) {
        if !self.waiting && !self.damage.is_empty() {
            self.missed = self.missed.saturating_add(1);
        }
        self.damage.add_region(damage);
        self.release = release.filter(|_| self.waiting).cloned();
    }

    /// Marks the reader as away: it holds no release until it takes again.
    pub(super) fn leave(&mut self) {
        (self.waiting, self.left) = (false, true);
        self.release = None;
    }

    /// Returns whether the reader is away.
    pub(super) fn is_left(&self) -> bool {
        self.left
    }

    /// Marks the reader as active. Returns whether a change is pending; if not, the reader counts as waiting.
    pub(super) fn come_back(&mut self) -> bool {
        self.left = false;
        self.waiting |= self.is_empty();
        !self.is_empty()
    }

    /// Returns whether nothing is pending.
    pub(super) fn is_empty(&self) -> bool {
        !self.replaced && self.damage.is_empty()
    }

    /// Takes all that is pending. If nothing is, the reader counts as waiting from now on.
    pub(super) fn take(&mut self) -> Option<Mail> {
        self.left = false;
        if self.is_empty() {
            self.waiting = true;
            return None;
        }
        self.waiting = false;
        Some(Mail {
            replaced: std::mem::take(&mut self.replaced),
            damage: self.damage.take(),
            release: self.release.take(),
            missed: std::mem::take(&mut self.missed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Rect;
    use crate::hub::ReleaseQueue;

    fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_busy_reader_finds_all_damage_and_the_guest_did_not_wait() {
        let queue = ReleaseQueue::default();
        let mut mailbox = Mailbox::default();
        mailbox.damage(&Rect::new(0, 0, 8, 8).into(), Some(&queue.release(1)));
        assert_eq!(ready(queue.returned()), Some(1), "the guest waits for a busy reader");
        mailbox.damage(&Rect::new(500, 500, 8, 8).into(), Some(&queue.release(2)));
        assert_eq!(ready(queue.returned()), Some(2));
        let mail = mailbox.take().unwrap();
        assert_eq!((mail.damage.area(), mail.missed), (128, 1));
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn a_waiting_reader_holds_the_newest_frame_until_it_has_read() {
        let queue = ReleaseQueue::default();
        let mut mailbox = Mailbox::default();
        assert!(mailbox.take().is_none());
        mailbox.damage(&Rect::new(0, 0, 8, 8).into(), Some(&queue.release(1)));
        mailbox.damage(&Rect::new(0, 0, 8, 8).into(), Some(&queue.release(2)));
        assert_eq!(ready(queue.returned()), Some(1), "only the newest frame is held");
        let mail = mailbox.take().unwrap();
        assert_eq!(ready(queue.returned()), None);
        drop(mail);
        assert_eq!(ready(queue.returned()), Some(2));
    }

    #[test]
    fn a_reader_that_leaves_lets_the_guest_go() {
        let queue = ReleaseQueue::default();
        let mut mailbox = Mailbox::default();
        assert!(mailbox.take().is_none());
        mailbox.damage(&Rect::new(0, 0, 8, 8).into(), Some(&queue.release(1)));
        mailbox.leave();
        assert_eq!(ready(queue.returned()), Some(1));
        mailbox.damage(&Rect::new(0, 0, 8, 8).into(), Some(&queue.release(2)));
        assert_eq!(ready(queue.returned()), Some(2), "it has not come back yet");
        assert!(mailbox.is_left() && mailbox.come_back() && !mailbox.is_left());
        assert!(mailbox.take().is_some(), "what changed is still there");
        mailbox.leave();
        assert!(!mailbox.come_back(), "there is nothing to come back for");
        mailbox.damage(&Rect::new(0, 0, 8, 8).into(), Some(&queue.release(3)));
        assert_eq!(ready(queue.returned()), None, "it waited");
    }

    #[test]
    fn a_new_scanout_forgets_damage_of_the_old_one() {
        let mut mailbox = Mailbox::default();
        mailbox.damage(&Rect::new(1000, 0, 8, 8).into(), None);
        mailbox.replace(Some(Size::new(64, 64)));
        let mail = mailbox.take().unwrap();
        assert!(mail.replaced);
        assert_eq!(mail.damage.rects(), [Rect::new(0, 0, 64, 64)]);
    }
}
