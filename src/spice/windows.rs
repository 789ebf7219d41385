//! When the guest is told of the client's windows: once they rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::frame::{ConsoleId, Size, Window};

/// How long a client's windows have to rest before the guest is told: the edge of a window that is dragged moves many
/// times a second, and each time would be another mode.
const REST: Duration = Duration::from_millis(300);

/// Time between the windows of two consoles. Linux's driver of virtio-gpu asks for the sizes of all and then clears
/// that they changed (`virtio_gpu_config_changed_work_func`): another that changes in between is lost.
const NEXT: Duration = Duration::from_millis(100);

/// Guests take widths in steps: virtio-gpu's driver in Linux makes modes for the EDID's, which is in steps of 8 pixels.
const STEP: u32 = 8;

/// The windows of a client that may set the guest's modes.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// What the client said last, and since when.
    wanted: Option<(BTreeMap<ConsoleId, Window>, Instant)>,
    /// What the guest was told.
    told: BTreeMap<ConsoleId, Window>,
    /// When it was told that.
    told_at: Option<Instant>,
}

impl Windows {
    /// Takes the windows that the client has now. A client that shows nothing at all has only not begun.
    pub(super) fn set(&mut self, windows: BTreeMap<ConsoleId, Window>, now: Instant) {
        let windows = windows.into_iter().filter(|(_, window)| window.is_possible());
        let windows: BTreeMap<_, _> = windows.map(|(console, window)| (console, in_steps(window))).collect();
        if windows.values().all(|window| window.size == Size::default()) || windows == self.told {
            self.wanted = None;
        } else if self.wanted.as_ref().is_none_or(|(wanted, _)| *wanted != windows) {
            self.wanted = Some((windows, now));
        }
    }

    /// Returns when the guest has to be told.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (_, since) = self.wanted.as_ref()?;
        let next = self.told_at.and_then(|told| told.checked_add(NEXT));
        since.checked_add(REST).max(next)
    }

    /// Returns what the guest has to be told at `now`: a window that differs from what it was told before. There may
    /// be others, which are due later.
    pub(super) fn due(&mut self, now: Instant) -> Option<(ConsoleId, Window)> {
        if self.deadline()? > now {
            return None;
        }
        let (wanted, _) = self.wanted.as_ref()?;
        let mut changed = wanted.iter().filter(|(console, window)| self.told.get(console) != Some(window));
        let due = match changed.next().map(|(&console, &window)| (console, window)) {
            Some((console, window)) => {
                self.told.insert(console, window);
                (console, window)
            }
            None => {
                let closed = self.told.keys().find(|console| !wanted.contains_key(console)).copied()?;
                self.told.remove(&closed);
                (closed, Window::default())
            }
        };
        if *wanted == self.told {
            self.wanted = None;
        }
        self.told_at = Some(now);
        Some(due)
    }
}

fn in_steps(window: Window) -> Window {
    let Size { width, height } = window.size;
    Window { size: Size::new(width / STEP * STEP, height), ..window }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ConsoleId = ConsoleId(0);
    const SECOND: ConsoleId = ConsoleId(1);

    fn window(width: u32, height: u32) -> Window {
        Window { size: Size::new(width, height), ..Window::default() }
    }

    #[test]
    fn a_window_that_is_dragged_is_one_change() {
        let (mut windows, start) = (Windows::default(), Instant::now());
        for step in 0..100 {
            let now = start + Duration::from_millis(step * 10);
            windows.set([(FIRST, window(800 + step as u32, 600))].into(), now);
            assert_eq!(windows.due(now), None);
        }
        let rested = windows.deadline().unwrap();
        assert_eq!(rested, start + Duration::from_millis(960) + REST, "since the last step of 8 pixels");
        assert_eq!(windows.due(rested), Some((FIRST, window(896, 600))));
        assert_eq!((windows.due(rested), windows.deadline()), (None, None));
    }

    #[test]
    fn displays_come_and_go() {
        let (mut windows, mut now) = (Windows::default(), Instant::now());
        let mut told = |list: &[(ConsoleId, Window)]| {
            windows.set(list.iter().copied().collect(), now);
            now += REST;
            windows.due(now)
        };
        assert_eq!(told(&[(FIRST, window(0, 0))]), None, "the client shows nothing yet");
        assert_eq!(told(&[(FIRST, window(800, 600))]), Some((FIRST, window(800, 600))));
        assert_eq!(told(&[(FIRST, window(801, 600))]), None, "as before, in steps");
        let both = [(FIRST, window(800, 600)), (SECOND, window(640, 480))];
        assert_eq!(told(&both), Some((SECOND, window(640, 480))));
        assert_eq!(told(&[(FIRST, window(800, 600))]), Some((SECOND, window(0, 0))));
    }

    #[test]
    fn the_guest_is_told_of_one_display_after_the_other() {
        let (mut windows, start) = (Windows::default(), Instant::now());
        windows.set([(FIRST, window(800, 600)), (SECOND, window(640, 480))].into(), start);
        let rested = start + REST;
        assert_eq!(windows.due(rested), Some((FIRST, window(800, 600))));
        assert_eq!((windows.due(rested), windows.deadline()), (None, Some(rested + NEXT)));
        assert_eq!(windows.due(rested + NEXT), Some((SECOND, window(640, 480))));
        assert_eq!(windows.deadline(), None);
        windows.set([(SECOND, window(720, 480))].into(), rested + NEXT);
        let told = [REST, REST + NEXT].map(|after| windows.due(rested + NEXT + after));
        assert_eq!(told, [Some((SECOND, window(720, 480))), Some((FIRST, window(0, 0)))]);
        assert_eq!(windows.deadline(), None);
    }

    #[test]
    fn a_window_that_comes_back_is_no_change() {
        let (mut windows, now) = (Windows::default(), Instant::now());
        windows.set([(FIRST, window(800, 600))].into(), now);
        windows.due(now + REST);
        windows.set([(FIRST, window(808, 600))].into(), now + REST);
        windows.set([(FIRST, window(800, 600))].into(), now + REST);
        assert_eq!(windows.deadline(), None);
    }
}
