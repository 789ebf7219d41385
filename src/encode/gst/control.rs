//! What keeps an encoder to the bytes that a frame may have.
//!
//! Encoders count in bits a second at a rate that a screen does not have. So they are told of as many bits for each
//! frame as it may have, and of a buffer that holds one frame: what one did not need is not given to the next.

use serde::{Deserialize, Serialize};

/// The rate the encoder is told. It bounds the bytes of a frame by the bytes of a second; pictures come as they come.
pub(in crate::encode::gst) const NOMINAL_RATE: i32 = 30;

/// What decides how good a frame is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Control {
    /// Each is as good as it gets.
    Quality,
    /// The bytes it may have; they can be changed at any time, or bounded by nothing but what is usual.
    Bytes,
    /// … of pictures so large that a frame takes long as it is.
    LargeBytes,
}

/// Returns the kbit/s of frames of `frame_bytes` at [`NOMINAL_RATE`], in small steps: encoders are not told of every
/// change.
pub(super) fn kbits(frame_bytes: u64) -> u32 {
    let kbits = frame_bytes.saturating_mul(8 * u64::from(NOMINAL_RATE.unsigned_abs())) / 1000;
    let step = (kbits.checked_next_power_of_two().unwrap_or(1) / 64).max(1);
    u32::try_from(kbits / step * step).unwrap_or(u32::MAX).clamp(100, 2_000_000)
}
