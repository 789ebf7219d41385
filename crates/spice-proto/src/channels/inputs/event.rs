//! What a client's keyboard and pointer do.

use crate::wire::numbers;

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

numbers! {
    /// `SPICE_MOUSE_BUTTON_*`: a button of the pointer, or a direction of its wheel.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Button: u8, "button" in errors {
        /// Left.
        Left = 1,
        /// Middle.
        Middle = 2,
        /// Right.
        Right = 3,
        /// One notch of the wheel away from the user.
        WheelUp = 4,
        /// One notch of the wheel towards the user.
        WheelDown = 5,
        /// Back.
        Side = 6,
        /// Forward.
        Extra = 7,
    }
}

impl Button {
    /// All buttons, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Left, Self::Middle, Self::Right, Self::WheelUp, Self::WheelDown, Self::Side, Self::Extra];
}
