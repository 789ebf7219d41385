//! The displays that a guest finds at its graphics card.

use super::edid::edid;
use super::protocol::Refusal;
use crate::frame::{Size, Window};

/// The most outputs of one device (`VIRTIO_GPU_MAX_SCANOUTS`).
pub(in super::super) const MAX_OUTPUTS: usize = 16;

/// The size of an output that nobody asked another size of.
const USUAL: Size = Size::new(1280, 800);

/// One display: its size, if it is connected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Output {
    /// The size that the guest should choose; `None` of a display that is not connected.
    preferred: Option<Size>,
    /// Width and height in millimetres; 0 where they are not known.
    millimetres: (u16, u16),
}

/// The displays of a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) struct Outputs([Output; MAX_OUTPUTS]);

impl Default for Outputs {
    /// Makes one display.
    fn default() -> Self {
        Self::new([Some(USUAL)])
    }
}

impl Outputs {
    /// Makes displays of the sizes in `preferred`. A size that no display has counts as none.
    pub(in super::super) fn new(preferred: impl IntoIterator<Item = Option<Size>>) -> Self {
        let mut outputs = [Output::default(); MAX_OUTPUTS];
        for (output, size) in outputs.iter_mut().zip(preferred) {
            output.preferred = size.filter(is_size);
        }
        Self(outputs)
    }

    /// Gives a display that is connected the size of a window. Returns whether it is another display then. Without a
    /// window the display stays as it is, so that no viewer can take it from the others.
    pub(super) fn fit(&mut self, scanout: u32, window: &Window) -> bool {
        let Some(output) = usize::try_from(scanout).ok().and_then(|index| self.0.get_mut(index)) else {
            return false;
        };
        let before = *output;
        if before.preferred.is_some() && is_size(&window.size) {
            *output =
                Output { preferred: Some(window.size), millimetres: (window.width_mm, window.height_mm) };
        }
        *output != before
    }

    /// Encodes the 16 entries of `GET_DISPLAY_INFO`: rectangle, enabled, flags. Displays stand side by side.
    pub(super) fn display_info(&self) -> Vec<u8> {
        let mut x = 0;
        let mut entries = Vec::with_capacity(MAX_OUTPUTS * 24);
        for output in &self.0 {
            let size = output.preferred.unwrap_or_default();
            let enabled = u32::from(output.preferred.is_some());
            for number in [if enabled == 1 { x } else { 0 }, 0, size.width, size.height, enabled, 0] {
                entries.extend(number.to_le_bytes());
            }
            x += size.width;
        }
        entries
    }

    /// Returns the EDID of the output numbered `scanout`. One that is not connected has the usual size.
    pub(super) fn edid(&self, scanout: u32) -> Result<[u8; 128], Refusal> {
        let index = usize::try_from(scanout).map_err(|_| Refusal::Scanout)?;
        let output = self.0.get(index).ok_or(Refusal::Scanout)?;
        Ok(edid(scanout, output.preferred.unwrap_or(USUAL), output.millimetres))
    }
}

/// Returns whether a display can have this size.
fn is_size(size: &Size) -> bool {
    let side = |n: u32| (1..=Window::MAX_SIDE).contains(&n);
    side(size.width) && side(size.height)
}
