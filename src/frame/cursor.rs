use std::sync::Arc;

/// The largest side of a guest's cursor, in pixels. virtio-gpu's is 64, hardware knows up to 256.
const MAX_SIDE: u32 = 512;

/// The guest's cursor shape: 8-bit B, G, R, A in memory, as the guest's device gave it, packed rows from the top.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cursor {
    width: u16,
    height: u16,
    hot_x: u16,
    hot_y: u16,
    pixels: Arc<[u8]>,
}

/// Why a cursor was refused.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum CursorError {
    /// No area, or larger than any cursor is.
    #[error("cursor of {width}x{height} pixels; a side has 1 to {MAX_SIDE}")]
    Size {
        /// Claimed width.
        width: i32,
        /// Claimed height.
        height: i32,
    },
    /// The bytes do not make up the claimed size.
    #[error("cursor pixels have {found} bytes, its size needs {needed}")]
    Length {
        /// Bytes there.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
}

impl Cursor {
    /// Checks a cursor from `org.qemu.Display1.Listener.CursorDefine`.
    ///
    /// A hot spot outside the shape becomes 0, because QEMU sends -1 if the device gave none.
    ///
    /// # Errors
    /// If the size is not a cursor's or `pixels` is not `width * height * 4` bytes.
    pub fn new(width: i32, height: i32, hot_x: i32, hot_y: i32, pixels: &[u8]) -> Result<Self, CursorError> {
        let side = |n: i32| u16::try_from(n).ok().filter(|&n| n > 0 && u32::from(n) <= MAX_SIDE);
        let (Some(w), Some(h)) = (side(width), side(height)) else {
            return Err(CursorError::Size { width, height });
        };
        let needed = usize::from(w) * usize::from(h) * 4;
        if pixels.len() != needed {
            return Err(CursorError::Length { found: pixels.len(), needed });
        }
        let hot = |at: i32, side: u16| u16::try_from(at).ok().filter(|&at| at < side).unwrap_or(0);
        Ok(Self { width: w, height: h, hot_x: hot(hot_x, w), hot_y: hot(hot_y, h), pixels: pixels.into() })
    }

    /// Returns the width in pixels.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Returns the height in pixels.
    #[must_use]
    pub fn height(&self) -> u16 {
        self.height
    }

    /// Returns the hot spot in pixels from the shape's top-left corner.
    #[must_use]
    pub fn hot_spot(&self) -> (u16, u16) {
        (self.hot_x, self.hot_y)
    }

    /// Returns `width * height * 4` bytes: B, G, R, A.
    #[must_use]
    pub fn pixels(&self) -> &Arc<[u8]> {
        &self.pixels
    }
}

/// Where the guest draws its cursor, and whether.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pointer {
    /// The shape's left edge, in picture coordinates.
    pub x: i32,
    /// The shape's top edge, in picture coordinates.
    pub y: i32,
    /// Whether the guest shows a cursor at all.
    pub visible: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_spot_outside_the_shape_is_its_corner() {
        let cursor = Cursor::new(2, 1, -1, 7, &[0; 8]).unwrap();
        assert_eq!(cursor.hot_spot(), (0, 0));
        assert_eq!(Cursor::new(2, 1, 1, 0, &[0; 8]).unwrap().hot_spot(), (1, 0));
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        assert_eq!(Cursor::new(2, 2, 0, 0, &[0; 15]), Err(CursorError::Length { found: 15, needed: 16 }));
        for (w, h) in [(0, 1), (-1, 1), (1, i32::MIN), (100_000, 1)] {
            assert!(matches!(Cursor::new(w, h, 0, 0, &[]), Err(CursorError::Size { .. })), "{w}x{h}");
        }
    }
}
