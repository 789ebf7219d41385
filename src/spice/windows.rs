//! When the guest is told of the client's windows: once they rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::frame::{ConsoleId, Size, Window};

/// How long a client's windows have to rest before the guest is told: the edge of a window that is dragged moves many
/// times a second, and each time would be another mode.
const REST: Duration = Duration::from_millis(300);

/// Guests take widths in steps: virtio-gpu's driver in Linux makes modes for the EDID's, which is in steps of 8 pixels.
const STEP: u32 = 8;

/// The windows of a client that may set the guest's modes.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// What the client said last, and since when.
    wanted: Option<(BTreeMap<ConsoleId, Window>, Instant)>,
    /// What the guest was told.
    told: BTreeMap<ConsoleId, Window>,
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
        self.wanted.as_ref().and_then(|(_, since)| since.checked_add(REST))
    }

    /// Returns what the guest has to be told at `now`: the windows that differ from what it was told before.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(ConsoleId, Window)> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        let wanted = self.wanted.take().map(|(wanted, _)| wanted).unwrap_or_default();
        let closed = self.told.keys().filter(|console| !wanted.contains_key(console));
        let closed: Vec<_> = closed.map(|console| (*console, Window::default())).collect();
        let changed = wanted.iter().filter(|(console, window)| self.told.get(console) != Some(window));
        let due = changed.map(|(console, window)| (*console, *window)).chain(closed).collect();
        self.told = wanted;
        due
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
            assert_eq!(windows.due(now), []);
        }
        let rested = windows.deadline().unwrap();
        assert_eq!(rested, start + Duration::from_millis(960) + REST, "since the last step of 8 pixels");
        assert_eq!(windows.due(rested), [(FIRST, window(896, 600))]);
        assert_eq!((windows.due(rested), windows.deadline()), (vec![], None));
    }

    #[test]
    fn displays_come_and_go() {
        let (mut windows, mut now) = (Windows::default(), Instant::now());
        let mut told = |list: &[(ConsoleId, Window)]| {
            windows.set(list.iter().copied().collect(), now);
            now += REST;
            windows.due(now)
        };
        assert_eq!(told(&[(FIRST, window(0, 0))]), [], "the client shows nothing yet");
        assert_eq!(told(&[(FIRST, window(800, 600))]), [(FIRST, window(800, 600))]);
        assert_eq!(told(&[(FIRST, window(801, 600))]), [], "as before, in steps");
        let both = [(FIRST, window(800, 600)), (SECOND, window(640, 480))];
        assert_eq!(told(&both), [(SECOND, window(640, 480))]);
        assert_eq!(told(&[(FIRST, window(800, 600))]), [(SECOND, window(0, 0))]);
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
