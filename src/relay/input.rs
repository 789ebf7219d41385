//! A console's keyboard, mouse and touchscreen, as interfaces of its object.
//!
//! What callers do goes into the queue that the source empties. When that is full, they hear an error: nothing waits.

use std::sync::Arc;

use zbus::interface;
use zbus::message::Header;

use super::error::DisplayError;
use super::{Shared, peer_name};
use crate::frame::{ConsoleId, GuestCommand, PointerButton, Size};

/// The largest of QEMU's key numbers.
const MAX_KEY: u32 = 0xff;

/// The VM's keyboard: every console has the same.
pub(super) struct Keyboard {
    pub(super) shared: Arc<Shared>,
}

impl Keyboard {
    fn key(&self, header: &Header<'_>, qnum: u32, down: bool) -> Result<(), DisplayError> {
        if qnum > MAX_KEY {
            return Err(DisplayError::invalid("there is no such key"));
        }
        self.shared.send(peer_name(header), GuestCommand::Key { qnum, down })
    }
}

#[interface(name = "org.qemu.Display1.Keyboard", spawn = false)]
impl Keyboard {
    /// A key goes down: the XT set 1 code, with 0x80 added for the extended ones.
    fn press(&self, keycode: u32, #[zbus(header)] header: Header<'_>) -> Result<(), DisplayError> {
        self.key(&header, keycode, true)
    }

    /// A key goes up.
    fn release(&self, keycode: u32, #[zbus(header)] header: Header<'_>) -> Result<(), DisplayError> {
        self.key(&header, keycode, false)
    }

    /// Its lights: 1 scroll lock, 2 num lock, 4 caps lock.
    #[zbus(property)]
    fn modifiers(&self) -> u32 {
        self.shared.guest(|guest| u32::from(guest.leds.bits()))
    }
}

/// A console's pointing device.
pub(super) struct Mouse {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ConsoleId,
}

impl Mouse {
    fn button(&self, header: &Header<'_>, number: u32, down: bool) -> Result<(), DisplayError> {
        let button = PointerButton::from_qemu_number(number);
        let button = button.ok_or_else(|| DisplayError::invalid("there is no such button"))?;
        self.shared.send(peer_name(header), GuestCommand::Button { console: self.id, button, down })
    }

    fn absolute(&self) -> bool {
        self.shared.guest(|guest| guest.consoles.get(&self.id).is_some_and(|info| info.absolute))
    }
}

#[interface(name = "org.qemu.Display1.Mouse", spawn = false)]
impl Mouse {
    /// A button goes down: 0 left, 1 middle, 2 right, 3 wheel up, 4 wheel down, 5 side, 6 extra.
    fn press(&self, button: u32, #[zbus(header)] header: Header<'_>) -> Result<(), DisplayError> {
        self.button(&header, button, true)
    }

    /// A button goes up.
    fn release(&self, button: u32, #[zbus(header)] header: Header<'_>) -> Result<(), DisplayError> {
        self.button(&header, button, false)
    }

    /// The pointer is at this pixel of the console. An error outside of it, or if the device is not absolute.
    fn set_abs_position(
        &self,
        x: u32,
        y: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), DisplayError> {
        let size = self.shared.hub.console(self.id).and_then(|console| console.size());
        let Size { width, height } = size.unwrap_or_default();
        if !self.absolute() {
            return Err(DisplayError::invalid("the mouse is not absolute"));
        }
        if x >= width || y >= height {
            return Err(DisplayError::invalid("the place is outside the picture"));
        }
        self.shared.send(peer_name(&header), GuestCommand::Position { console: self.id, x, y })
    }

    /// The pointer moved by so many pixels. An error if the device is absolute.
    fn rel_motion(&self, dx: i32, dy: i32, #[zbus(header)] header: Header<'_>) -> Result<(), DisplayError> {
        if self.absolute() {
            return Err(DisplayError::invalid("the mouse is absolute"));
        }
        self.shared.send(peer_name(&header), GuestCommand::Motion { console: self.id, dx, dy })
    }

    /// Which of the two the guest's device takes now.
    #[zbus(property)]
    fn is_absolute(&self) -> bool {
        self.absolute()
    }
}

/// A console's touchscreen. There is none yet.
pub(super) struct MultiTouch;

#[interface(name = "org.qemu.Display1.MultiTouch", spawn = false)]
impl MultiTouch {
    /// A finger does something: kind 0 begins, 1 moves, 2 ends, 3 is taken back; num_slot tells fingers apart; x and y
    /// are pixels. An error if there is no such slot.
    fn send_event(&self, kind: u32, num_slot: u64, x: f64, y: f64) -> Result<(), DisplayError> {
        let _ = (kind, num_slot, x, y);
        Err(DisplayError::Unsupported("there is no touchscreen".to_owned()))
    }

    /// How many fingers there can be.
    #[zbus(property)]
    fn max_slots(&self) -> i32 {
        0
    }
}
