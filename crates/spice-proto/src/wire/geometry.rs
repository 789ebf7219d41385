//! Points and rectangles as SPICE writes them.

use super::fields;

fields! {
    /// A rectangle in surface pixels. `SpiceRect`: the order is top, left, bottom, right; the last two are exclusive.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Rect {
        /// First row.
        pub top: i32,
        /// First column.
        pub left: i32,
        /// Row after the last one.
        pub bottom: i32,
        /// Column after the last one.
        pub right: i32,
    }
}

fields! {
    /// A point in surface pixels. `SpicePoint`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Point {
        /// Column.
        pub x: i32,
        /// Row.
        pub y: i32,
    }
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Size {
    /// Names both sides, in pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }
}

impl Rect {
    /// The rectangle at `x`, `y` with this size; edges that `i32` cannot hold saturate.
    pub fn at(x: u32, y: u32, width: u32, height: u32) -> Self {
        Self {
            top: saturated_i32(y),
            left: saturated_i32(x),
            bottom: saturated_i32(y.saturating_add(height)),
            right: saturated_i32(x.saturating_add(width)),
        }
    }
}

fn saturated_i32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
