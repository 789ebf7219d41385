//! What a client's keyboard and pointer do.

/// One thing that a client's user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputEvent {
    /// A key goes down or up.
    Key {
        /// Its code of scan code set 1, with bit 7 for those after `0xe0`. Pause is `0xc6`.
        code: u8,
        /// Pressed, else released.
        down: bool,
    },
    /// A pointer button or one notch of the wheel goes down or up.
    Button {
        /// The display whose pointer it is.
        display: u8,
        /// Which button.
        button: Button,
        /// Pressed, else released.
        down: bool,
    },
    /// The pointer is here: only in [`MouseMode::Client`](crate::channels::main::MouseMode).
    Position {
        /// The display whose pointer it is.
        display: u8,
        /// Column, in the display's pixels.
        x: u32,
        /// Row, in the display's pixels.
        y: u32,
    },
    /// The pointer moved by so many pixels: only in [`MouseMode::Server`](crate::channels::main::MouseMode).
    Motion {
        /// The display whose pointer it is.
        display: u8,
        /// To the right.
        dx: i32,
        /// Downwards.
        dy: i32,
    },
}

/// `SPICE_MOUSE_BUTTON_*`: a button of the pointer, or a direction of its wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Button {
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

impl Button {
    /// All buttons, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Left, Self::Middle, Self::Right, Self::WheelUp, Self::WheelDown, Self::Side, Self::Extra];

    /// Returns the number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Left => 1,
            Self::Middle => 2,
            Self::Right => 3,
            Self::WheelUp => 4,
            Self::WheelDown => 5,
            Self::Side => 6,
            Self::Extra => 7,
        }
    }

    /// Finds the button with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|button| button.code() == code)
    }
}
