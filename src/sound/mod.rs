//! Sound as everyone here knows it: [`BLOCK`]s of stereo frames at [`RATE`]; and how it comes from and goes to any
//! other format, is mixed, and keeps its time. Pure: no I/O and no clock.

mod block_times;
mod capture;
mod format;
mod mixer;
mod opus_packet;
mod pace;
mod resample;

pub(crate) use capture::Capture;
pub(crate) use format::{Described, Format, FormatError};
pub(crate) use mixer::{Mixer, MixerError};
pub(crate) use opus_packet::packet_time;
pub(crate) use pace::Pace;
pub(crate) use resample::Resampler;

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Samples of each channel a second. Opus has no higher rate, and most guests use this one or 44.1 kHz.
pub(crate) const RATE: u32 = 48_000;

/// Frames of a block: 10 ms. QEMU writes as many at a time, and it is what spice-gtk decodes a packet of Opus to.
pub(crate) const BLOCK: usize = 480;

/// How long a block lasts.
pub(crate) const BLOCK_TIME: Duration = Duration::from_millis(10);

/// One sample of each channel: left, right.
pub(crate) type Frame = [i16; 2];

/// [`BLOCK`] frames of the guest's sound.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// When its first frame was made.
    pub at: Instant,
    /// The frames.
    pub frames: Arc<[Frame]>,
}

/// How loud a stream is to be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Loudness {
    /// Of each channel, from 0 to 255; empty if the guest has set none.
    pub channels: Vec<u8>,
    /// Nothing is to be heard.
    pub mute: bool,
}

/// Returns `frames` as bytes: of each the left sample and the right, little-endian.
pub(crate) fn bytes_of(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flatten().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Returns the whole frames in such bytes.
pub(crate) fn frames_of(bytes: &[u8]) -> Vec<Frame> {
    let frame = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => [i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d])],
        _ => [0, 0],
    };
    bytes.chunks_exact(size_of::<Frame>()).map(frame).collect()
}

/// Returns how long so many frames last.
pub(crate) fn time_of(frames: usize) -> Duration {
    let nanos = u64::try_from(frames).unwrap_or(u64::MAX).saturating_mul(1_000_000_000) / u64::from(RATE);
    Duration::from_nanos(nanos)
}

/// Rounds a sample to the nearest that 16 bits can hold.
fn rounded(sample: f32) -> i16 {
    /// Added to a number of 16 bits, it moves the unit into the lowest bit.
    const UNIT: f32 = 12_582_912.0;
    if sample.is_nan() {
        return 0;
    }
    let [low, high, ..] = (sample.clamp(-32_768.0, 32_767.0) + UNIT).to_le_bytes();
    i16::from_le_bytes([low, high])
}

/// Cuts a number to what 16 bits can hold.
fn saturated(sample: i32) -> i16 {
    i16::try_from(sample).unwrap_or(if sample < 0 { i16::MIN } else { i16::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_is_rounded_to_the_nearest(sample in -40_000.0f32..40_000.0) {
            prop_assert_eq!(rounded(sample), sample.clamp(-32_768.0, 32_767.0).round_ties_even() as i16);
        }

        #[test]
        fn any_bits_are_a_sample(bits: u32) {
            rounded(f32::from_bits(bits));
        }
    }
}
