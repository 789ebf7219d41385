use super::{ConsoleId, Size};

/// A viewer's input for the guest. A plain value that travels against the direction of the pixels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GuestCommand {
    /// A key goes down or up. `qnum` is QEMU's key number: the XT set 1 code, extended keys with `0x80` added.
    Key {
        /// QEMU key number.
        qnum: u32,
        /// Pressed, else released.
        down: bool,
    },
    /// A pointer button or one notch of the wheel goes down or up.
    Button {
        /// The console whose pointer it is.
        console: ConsoleId,
        /// Which button.
        button: PointerButton,
        /// Pressed, else released.
        down: bool,
    },
    /// An absolute pointer position in pixels of the console's picture, top-left origin. For an absolute
    /// pointing device.
    Position {
        /// The console whose pointer it is.
        console: ConsoleId,
        /// Pixels from the left.
        x: u32,
        /// Pixels from the top.
        y: u32,
    },
    /// A relative pointer motion in pixels. For a relative pointing device.
    Motion {
        /// The console whose pointer it is.
        console: ConsoleId,
        /// To the right.
        dx: i32,
        /// Downwards.
        dy: i32,
    },
    /// A viewer shows a console in a window of another size. The guest may fit the console's picture to it.
    Window {
        /// The console.
        console: ConsoleId,
        /// Its window.
        window: Window,
    },
}

/// The window in which a viewer shows a console. Several consoles have one each, and a place in the desktop that they
/// are parts of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Window {
    /// Pixels; 0x0 if the viewer has no window for the console.
    pub size: Size,
    /// Width in millimetres; 0 if it is not known.
    pub width_mm: u16,
    /// Height in millimetres; 0 if it is not known.
    pub height_mm: u16,
    /// Pixels from the left of the desktop.
    pub x: i32,
    /// Pixels from the top of the desktop.
    pub y: i32,
}

impl Window {
    /// The largest side that a guest is asked for, in pixels: more than any display has.
    pub const MAX_SIDE: u32 = 16_384;

    /// Returns whether a guest may be asked for this size.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let Size { width, height } = self.size;
        width <= Self::MAX_SIDE && height <= Self::MAX_SIDE
    }
}

/// Pointer buttons, with the numbers of QEMU's `InputButton` (what `org.qemu.Display1.Mouse.Press` takes).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PointerButton {
    /// Left.
    Left,
    /// Middle.
    Middle,
    /// Right.
    Right,
    /// One notch of the wheel away from the user.
    WheelUp,
    /// One notch of the wheel towards the user.
    WheelDown,
    /// Back.
    Side,
    /// Forward.
    Extra,
}

impl PointerButton {
    /// Finds the button that QEMU gives `number`.
    #[must_use]
    pub fn from_qemu_number(number: u32) -> Option<Self> {
        use PointerButton::{Extra, Left, Middle, Right, Side, WheelDown, WheelUp};
        let all = [Left, Middle, Right, WheelUp, WheelDown, Side, Extra];
        all.into_iter().find(|button| button.qemu_number() == number)
    }

    /// Returns QEMU's number of the button.
    #[must_use]
    pub fn qemu_number(self) -> u32 {
        match self {
            Self::Left => 0,
            Self::Middle => 1,
            Self::Right => 2,
            Self::WheelUp => 3,
            Self::WheelDown => 4,
            Self::Side => 5,
            Self::Extra => 6,
        }
    }
}
