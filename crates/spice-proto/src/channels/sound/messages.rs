use crate::wire::{Form, Reader, WireError, Writer, numbers};

numbers! {
    /// `SPICE_AUDIO_DATA_MODE_*`: how sound is compressed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Mode: u16 or Other {
        /// Not at all: samples of 16 bits, little-endian, one of each channel after the other.
        Raw = 1,
        /// Opus, one packet a message.
        Opus = 3,
    }
}

numbers! {
    /// `SPICE_AUDIO_FMT_*`: what a sample is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum SampleFormat: u16, "sample format" in errors {
        /// Signed, 16 bits, little-endian.
        S16 = 1,
    }
}

/// How loud the guest wants a stream to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Of each channel, from 0 to 65535; empty if the guest has set none.
    pub channels: Vec<u16>,
    /// Nothing is to be heard.
    pub mute: bool,
}

/// Up to 255 numbers, with their count before them.
pub(in crate::channels) struct Volumes;

impl Form<Vec<u16>> for Volumes {
    fn write(value: &Vec<u16>, w: &mut Writer) {
        let count = u8::try_from(value.len()).unwrap_or(u8::MAX);
        w.u8(count);
        value.iter().take(usize::from(count)).for_each(|volume| w.u16(*volume));
    }

    fn read(r: &mut Reader<'_>) -> Result<Vec<u16>, WireError> {
        (0..r.u8()?).map(|_| r.u16()).collect()
    }
}
