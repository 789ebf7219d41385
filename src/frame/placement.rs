use super::Rect;

/// The place of a picture inside its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    /// The part of the memory's rows that it takes.
    pub(super) crop: Rect,
    /// Whether the picture's last row is the first of the crop.
    pub(super) bottom_up: bool,
}

impl Placement {
    /// Returns the lowest memory row of the `count` picture rows from row `y` on. As in QEMU, the crop counts
    /// memory rows and a bottom-up picture is flipped inside it.
    pub(super) fn lowest(self, y: u32, count: u32) -> u32 {
        let y = if self.bottom_up { self.crop.height.saturating_sub(y.saturating_add(count)) } else { y };
        self.crop.y.saturating_add(y)
    }

    /// Returns the memory column of picture column `x`.
    pub(super) fn column(self, x: u32) -> u32 {
        self.crop.x.saturating_add(x)
    }
}
