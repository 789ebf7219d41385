use std::time::{Duration, Instant};

/// How long a `Disable` must stand before the console goes black.
///
/// QEMU (at least up to 10.2) sends one whenever it releases a guest's old buffer, which is after every flip, and
/// not only when a screen is switched off. What the guest drew follows it within 35 ms, but on a host with too much to
/// do it was seen to take half a second.
const STANDS: Duration = Duration::from_millis(600);

/// … if it comes right after a flip, when it hardly ever means what it says.
const STANDS_AFTER_A_FLIP: Duration = Duration::from_secs(3);

/// Decides whether a console that was disabled goes black.
#[derive(Debug, Default)]
pub(super) struct Disable {
    due: Option<Instant>,
}

impl Disable {
    /// Takes notice of a `Disable`; `after_a_flip` says whether nothing was drawn since the last scanout.
    pub(super) fn said(&mut self, after_a_flip: bool, now: Instant) {
        self.due.get_or_insert(now + if after_a_flip { STANDS_AFTER_A_FLIP } else { STANDS });
    }

    /// Takes notice that QEMU drew or sent a scanout, so the `Disable` was not meant.
    pub(super) fn drawn(&mut self) {
        self.due = None;
    }

    /// Returns whether the console goes black now. True once.
    pub(super) fn stands(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// Returns when to call [`Disable::stands`] next.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disable_between_flips_is_not_one() {
        let (mut disable, mut now) = (Disable::default(), Instant::now());
        for _ in 0..100 {
            disable.said(true, now);
            now += Duration::from_millis(16);
            assert!(!disable.stands(now));
            disable.drawn();
            assert_eq!(disable.wake_at(), None);
        }
        assert!(!disable.stands(now + STANDS));
    }

    #[test]
    fn a_disable_that_stands_is_one() {
        let (mut disable, now) = (Disable::default(), Instant::now());
        disable.said(false, now);
        disable.said(false, now + STANDS / 2); // saying it again does not put it off
        assert_eq!(disable.wake_at(), Some(now + STANDS));
        assert!(disable.stands(now + STANDS));
        assert!(!disable.stands(now + STANDS * 2));
    }
}
