use super::check::MAX_SIDE;
use crate::sys::GpuError;

/// Why a scanout was refused or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanoutError {
    /// No area, or larger than any display is.
    #[error("picture of {width}x{height} pixels; a side has 1 to {MAX_SIDE}")]
    Size {
        /// Claimed width.
        width: u32,
        /// Claimed height.
        height: u32,
    },
    /// A pixel format that has no row in our table.
    #[error("pixel format {0:#010x} is not one of those a guest's display is known to have")]
    Format(u32),
    /// A row that is longer than the way to the next.
    #[error("stride of {stride} bytes is shorter than a row of {row}")]
    Stride {
        /// Claimed stride.
        stride: u32,
        /// Bytes of a row.
        row: u64,
    },
    /// Less memory than the picture needs.
    #[error("picture needs {needed} bytes, its memory has {found}")]
    Short {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        found: u64,
    },
    /// Another number of planes than its format has.
    #[error("buffer of {found} planes, which its format does not have")]
    Planes {
        /// Planes there are.
        found: usize,
    },
    /// A part to show that is not there.
    #[error("the part of the buffer to show is not inside it")]
    Crop,
    /// Pixels that are not ours to change.
    #[error("an update by value of a picture that did not come by value")]
    NotOurs,
    /// Rows that end before the picture does.
    #[error("the picture's rows end early")]
    Torn,
    /// A buffer that only a GPU can read, and it cannot.
    #[error("reading the buffer through the GPU: {0}")]
    Gpu(#[from] GpuError),
    /// A buffer that neither the CPU nor a GPU can read.
    #[error("the CPU cannot read the buffer ({cpu}), nor can a GPU: {gpu}")]
    Nobody {
        /// Why the CPU cannot.
        cpu: String,
        /// Why a GPU cannot.
        gpu: GpuError,
    },
    /// The system refused.
    #[error("reading the picture's memory: {0}")]
    System(#[from] std::io::Error),
}
