//! What a console shows now, copied into memory that its reader gets.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::frame::{Rect, ScanoutError, Size};
use crate::hub::Console;
use crate::sys::sealed_memory;

/// The rows that are copied at a time, in bytes.
const BAND: u64 = 1 << 20;

/// Pixels of a picture.
pub(super) struct Screenshot {
    /// Packed rows from the top, four bytes a pixel: B, G, R and one without a meaning.
    pub(super) pixels: OwnedFd,
    /// Columns and rows.
    pub(super) size: Size,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScreenshotError {
    /// The console is off.
    #[error("console {0} shows nothing")]
    Nothing(crate::frame::ConsoleId),
    /// The pixels cannot be read.
    #[error("the picture cannot be read: {0}")]
    Scanout(#[from] ScanoutError),
    /// No memory.
    #[error("no memory for the picture: {0}")]
    Memory(#[from] io::Error),
    /// A fault of this program.
    #[error("the thread that reads has ended")]
    Thread,
}

impl Screenshot {
    /// Copies what `console` shows, on another thread.
    ///
    /// # Errors
    /// If it shows nothing, or that cannot be read.
    pub(super) async fn take(console: Arc<Console>) -> Result<Self, ScreenshotError> {
        let copied = tokio::task::spawn_blocking(move || Self::copy(&console)).await;
        copied.unwrap_or(Err(ScreenshotError::Thread))
    }

    fn copy(console: &Arc<Console>) -> Result<Self, ScreenshotError> {
        let _watching = console.subscribe(); // QEMU may do less for a console that nobody watches
        let scanout = console.shown().ok_or(ScreenshotError::Nothing(console.id()))?;
        let size = scanout.size();
        let pixels = File::from(sealed_memory(size.area() * 4)?);
        let row = u64::from(size.width) * 4;
        let rows = u32::try_from(BAND / row.max(1)).unwrap_or(1).clamp(1, size.height.max(1));
        let mut reader = scanout.reader()?;
        reader.announce(size.rect());
        let mut y = 0;
        while y < size.height {
            let band = Rect::new(0, y, size.width, rows.min(size.height - y));
            let mut bytes = vec![0; usize::try_from(band.area() * 4).unwrap_or(0)];
            reader.read(band, &mut bytes)?;
            pixels.write_all_at(&bytes, u64::from(y) * row)?;
            y = band.bottom();
        }
        Ok(Self { pixels: pixels.into(), size })
    }
}
