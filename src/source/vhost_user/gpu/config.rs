//! The device's configuration, through which a guest is notified that a display changed.
//!
//! As Linux does, a guest that was notified reads which events there are, asks for the displays, and then clears the
//! events. What changed between its question and that gets another notification.

use super::outputs::Outputs;
use super::protocol::asks_for_display_info;
use crate::frame::Window;

/// `VIRTIO_GPU_EVENT_DISPLAY`: the displays are others.
const EVENT_DISPLAY: u32 = 1;

/// Bytes of the configuration: events read and cleared, scanouts, capability sets.
const BYTES: usize = 16;

/// Where the guest writes the events that it clears.
const CLEARED: usize = 4;

/// The configuration, and the displays that it is about.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Config {
    outputs: Outputs,
    events: u32,
    /// The displays changed since the guest asked for them.
    is_unread: bool,
}

impl Config {
    /// Returns the displays for the answer to `request`.
    pub(in super::super) fn outputs(&mut self, request: &[u8]) -> Outputs {
        if asks_for_display_info(request) {
            self.is_unread = false;
        }
        self.outputs
    }

    /// Takes displays that the guest is notified of by somebody else.
    pub(in super::super) fn set_outputs(&mut self, outputs: Outputs) {
        self.outputs = outputs;
    }

    /// Fits the display numbered `scanout` to a window. Returns whether the guest has to be notified.
    pub(in super::super) fn fit(&mut self, scanout: u32, window: &Window) -> bool {
        if !self.outputs.fit(scanout, window) {
            return false;
        }
        self.events |= EVENT_DISPLAY;
        !std::mem::replace(&mut self.is_unread, true)
    }

    /// Forgets that there was something to notify of, as when the guest resets its device.
    pub(in super::super) fn reset(&mut self) {
        self.events = 0;
        self.is_unread = false;
    }

    /// Returns `len` bytes from `offset` on.
    pub(in super::super) fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let fields = [self.events, 0, 1, 0].map(u32::to_le_bytes);
        let all = fields.iter().flatten().copied().chain(std::iter::repeat(0));
        all.skip(offset.min(BYTES)).take(len).collect()
    }

    /// Takes bytes that the guest wrote at `offset`. QEMU writes all of them at once. Returns whether the guest has to
    /// be notified again.
    pub(in super::super) fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let mut cleared = [0; 4];
        for (at, byte) in bytes.iter().enumerate() {
            let field = offset.saturating_add(at).checked_sub(CLEARED);
            if let Some(to) = field.and_then(|at| cleared.get_mut(at)) {
                *to = *byte;
            }
        }
        self.events &= !u32::from_le_bytes(cleared);
        let again = self.is_unread && self.events == 0;
        if again {
            self.events = EVENT_DISPLAY;
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Size;

    const DISPLAY_INFO: [u8; 24] = {
        let mut request = [0; 24];
        request[1] = 1;
        request
    };

    fn window(width: u32, height: u32) -> Window {
        Window { size: Size::new(width, height), ..Window::default() }
    }

    fn events(config: &Config) -> u32 {
        u32::from_le_bytes(config.read(0, 4).try_into().unwrap())
    }

    /// The guest clears what it has read, as QEMU passes it on: with all other bytes.
    fn clear(config: &mut Config) -> bool {
        let mut all = config.read(0, 24);
        all[4] = 1;
        config.write(0, &all)
    }

    #[test]
    fn a_guest_is_notified_once_until_it_asks() {
        let mut config = Config::default();
        assert!(config.fit(0, &window(800, 600)));
        assert!(!config.fit(0, &window(801, 600)), "it has not asked yet, and will find this");
        assert_eq!((events(&config), config.read(0, 24).len(), config.read(8, 4)), (1, 24, vec![1, 0, 0, 0]));
        let _ = config.outputs(&DISPLAY_INFO);
        assert!(!clear(&mut config) && events(&config) == 0);
        assert!(!config.fit(0, &window(801, 600)), "the same as before");
        assert!(config.fit(0, &window(802, 600)));
    }

    #[test]
    fn what_changes_while_the_guest_asks_is_not_lost() {
        let mut config = Config::default();
        assert!(config.fit(0, &window(800, 600)));
        let _ = config.outputs(&DISPLAY_INFO);
        assert!(config.fit(0, &window(900, 600)));
        assert!(clear(&mut config) && events(&config) == 1, "it cleared what it has not seen");
        let _ = config.outputs(&DISPLAY_INFO);
        assert!(!clear(&mut config) && events(&config) == 0);
    }

    #[test]
    fn no_display_is_lost_to_a_window_that_cannot_be() {
        let mut config = Config::default();
        for (scanout, width, height) in
            [(0, 0, 0), (0, 0, 600), (0, 16_385, 600), (1, 800, 600), (u32::MAX, 8, 8)]
        {
            assert!(!config.fit(scanout, &window(width, height)), "{scanout} {width}x{height}");
        }
        config.reset();
        assert!(!config.write(usize::MAX - 1, &[1; 8]) && !config.write(3, &[255]));
        assert_eq!(config.read(usize::MAX, 2), [0, 0]);
    }
}
