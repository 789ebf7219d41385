use super::{Frame, rounded, saturated};

/// The lowest and the highest rate that sound cards have.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// The most channels of a stream, as in QEMU.
const MAX_CHANNELS: u8 = 16;

/// How loud a channel is on the left and on the right, in 256ths: those of a surround system in the order of ALSA and
/// of QEMU's virtio-sound (front, rear, centre, bass, side). The bass has nothing of its own.
const PLACES: [(i32, i32); 8] =
    [(256, 0), (0, 256), (181, 0), (0, 181), (181, 181), (0, 0), (181, 0), (0, 181)];

/// What QEMU says of a stream, which may be anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described {
    pub bits: u8,
    pub is_signed: bool,
    pub is_float: bool,
    pub rate: u32,
    pub channels: u8,
    pub frame_bytes: u32,
    pub big_endian: bool,
}

/// The format of a stream of frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Format {
    sample: Sample,
    big_endian: bool,
    channels: u8,
    rate: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sample {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    F32,
}

/// Why a format is none that sound can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum FormatError {
    /// No such samples.
    #[error("no samples of {bits} bits are known, signed: {is_signed}, float: {is_float}")]
    Sample { bits: u8, is_signed: bool, is_float: bool },
    /// Out of reach.
    #[error("a rate of {0} Hz is not between 4 and 384 kHz")]
    Rate(u32),
    /// None, or more than 16.
    #[error("{0} channels are none or more than 16")]
    Channels(u8),
    /// Frames of another size than their samples have together.
    #[error("frames of {0} bytes do not hold their samples")]
    Frame(u32),
}

impl Format {
    /// Checks what QEMU says of a stream.
    ///
    /// # Errors
    /// If no sound has such a format.
    pub(crate) fn new(described: Described) -> Result<Self, FormatError> {
        let Described { bits, is_signed, is_float, rate, channels, frame_bytes, big_endian } = described;
        let sample = match (bits, is_signed, is_float) {
            (8, false, false) => Sample::U8,
            (8, true, false) => Sample::S8,
            (16, false, false) => Sample::U16,
            (16, true, false) => Sample::S16,
            (32, false, false) => Sample::U32,
            (32, true, false) => Sample::S32,
            (32, _, true) => Sample::F32,
            _ => return Err(FormatError::Sample { bits, is_signed, is_float }),
        };
        let format = Self { sample, big_endian, channels, rate };
        if !RATES.contains(&rate) {
            return Err(FormatError::Rate(rate));
        }
        if channels == 0 || channels > MAX_CHANNELS {
            return Err(FormatError::Channels(channels));
        }
        if u32::try_from(format.frame_bytes()) != Ok(frame_bytes) {
            return Err(FormatError::Frame(frame_bytes));
        }
        Ok(format)
    }

    /// Returns the frames a second.
    pub(crate) fn rate(self) -> u32 {
        self.rate
    }

    /// Returns the bytes of a frame.
    pub(crate) fn frame_bytes(self) -> usize {
        self.sample.bytes().saturating_mul(usize::from(self.channels))
    }

    /// Reads the whole frames in `bytes`.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<Frame> {
        let samples = self.sample.bytes();
        let frames = bytes.chunks_exact(self.frame_bytes());
        frames
            .map(|frame| self.mixed_down(frame.chunks_exact(samples).map(|bytes| self.read(bytes))))
            .collect()
    }

    /// Writes `frames`. A single channel gets the mean of both; channels after the second are silent.
    pub(crate) fn encode(self, frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(frames.len().saturating_mul(self.frame_bytes()));
        for &[left, right] in frames {
            match self.channels {
                1 => self.write(saturated((i32::from(left) + i32::from(right)) / 2), &mut bytes),
                channels => {
                    self.write(left, &mut bytes);
                    self.write(right, &mut bytes);
                    (2..channels).for_each(|_| self.write(0, &mut bytes));
                }
            }
        }
        bytes
    }

    fn mixed_down(self, samples: impl Iterator<Item = i16>) -> Frame {
        let mut sum = (0i32, 0i32);
        for (sample, place) in samples.zip(PLACES) {
            let (left, right) = if self.channels == 1 { (256, 256) } else { place };
            // Eight samples of 16 bits by at most 256 are below 2^27.
            sum = (sum.0 + i32::from(sample) * left, sum.1 + i32::from(sample) * right);
        }
        [saturated(sum.0 / 256), saturated(sum.1 / 256)]
    }

    /// Reads a sample; those of more than 16 bits lose the lowest.
    fn read(self, bytes: &[u8]) -> i16 {
        let mut little = [0; 4];
        for (to, from) in little.iter_mut().zip(bytes) {
            *to = *from;
        }
        if self.big_endian {
            little.get_mut(..bytes.len().min(4)).into_iter().for_each(<[u8]>::reverse);
        }
        let [a, b, c, d] = little;
        match self.sample {
            Sample::U8 => i16::from_le_bytes([0, a ^ 0x80]),
            Sample::S8 => i16::from_le_bytes([0, a]),
            Sample::U16 => i16::from_le_bytes([a, b ^ 0x80]),
            Sample::S16 => i16::from_le_bytes([a, b]),
            Sample::U32 => i16::from_le_bytes([c, d ^ 0x80]),
            Sample::S32 => i16::from_le_bytes([c, d]),
            Sample::F32 => rounded(f32::from_le_bytes(little) * 32_768.0),
        }
    }

    fn write(self, sample: i16, to: &mut Vec<u8>) {
        let [a, b] = sample.to_le_bytes();
        let (bytes, len) = match self.sample {
            Sample::U8 => ([b ^ 0x80, 0, 0, 0], 1),
            Sample::S8 => ([b, 0, 0, 0], 1),
            Sample::U16 => ([a, b ^ 0x80, 0, 0], 2),
            Sample::S16 => ([a, b, 0, 0], 2),
            Sample::U32 => ([0, 0, a, b ^ 0x80], 4),
            Sample::S32 => ([0, 0, a, b], 4),
            Sample::F32 => ((f32::from(sample) / 32_768.0).to_le_bytes(), 4),
        };
        let bytes = bytes.into_iter().take(len);
        if self.big_endian { to.extend(bytes.rev()) } else { to.extend(bytes) }
    }
}

impl Sample {
    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::S8 => 1,
            Self::U16 | Self::S16 => 2,
            Self::U32 | Self::S32 | Self::F32 => 4,
        }
    }
}

#[cfg(test)]
impl Format {
    /// Makes the format of most guests: 16 bits, two channels.
    pub(super) fn s16(rate: u32) -> Self {
        Self { sample: Sample::S16, big_endian: false, channels: 2, rate }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn described(bits: u8, is_signed: bool, is_float: bool, channels: u8, big_endian: bool) -> Described {
        let frame_bytes = u32::from(bits) / 8 * u32::from(channels);
        Described { bits, is_signed, is_float, rate: 48_000, channels, frame_bytes, big_endian }
    }

    fn formats() -> impl Strategy<Value = Format> {
        let samples = [(8, false), (8, true), (16, false), (16, true), (32, false), (32, true)];
        let sample = prop_oneof![
            proptest::sample::select(samples.to_vec()).prop_map(|(bits, signed)| (bits, signed, false)),
            any::<bool>().prop_map(|signed| (32, signed, true)),
        ];
        (sample, 1u8..=16, any::<bool>()).prop_map(|((bits, signed, float), channels, big_endian)| {
            Format::new(described(bits, signed, float, channels, big_endian)).unwrap()
        })
    }

    #[test]
    fn what_no_sound_has_is_refused() {
        let good = described(16, true, false, 2, false);
        assert!(Format::new(good).is_ok());
        let refused = |described| Format::new(described).unwrap_err();
        for bits in [0, 12, 24, 64, 255] {
            assert!(matches!(refused(Described { bits, ..good }), FormatError::Sample { .. }), "{bits}");
        }
        assert!(matches!(refused(Described { is_float: true, ..good }), FormatError::Sample { .. }));
        for rate in [0, 3_999, 384_001, u32::MAX] {
            assert_eq!(refused(Described { rate, ..good }), FormatError::Rate(rate));
        }
        for channels in [0, 17, 255] {
            assert_eq!(refused(Described { channels, ..good }), FormatError::Channels(channels));
        }
        for frame_bytes in [0, 2, 5, u32::MAX] {
            assert_eq!(refused(Described { frame_bytes, ..good }), FormatError::Frame(frame_bytes));
        }
    }

    #[test]
    fn the_bytes_of_each_sample() {
        let one = |bits, signed, float, big| Format::new(described(bits, signed, float, 1, big)).unwrap();
        let cases = [
            (one(8, false, false, false), vec![0x80], 0),
            (one(8, true, false, false), vec![0x80], i16::MIN),
            (one(16, false, false, false), vec![0x00, 0x00], i16::MIN),
            (one(16, true, false, false), vec![0x34, 0x12], 0x1234),
            (one(16, true, false, true), vec![0x12, 0x34], 0x1234),
            (one(32, true, false, true), vec![0x12, 0x34, 0, 0], 0x1234),
            (one(32, false, false, false), vec![0, 0, 0x34, 0x92], 0x1234),
            (one(32, true, true, false), 0.5f32.to_le_bytes().to_vec(), 0x4000),
            (one(32, true, true, true), (-0.5f32).to_be_bytes().to_vec(), -0x4000),
        ];
        for (format, bytes, sample) in cases {
            assert_eq!(format.decode(&bytes), [[sample, sample]], "{format:?}");
            assert_eq!(format.encode(&[[sample, sample]]), bytes, "{format:?}");
        }
        let loud =
            [f32::NAN, f32::INFINITY, -7.0].map(|f| one(32, true, true, false).decode(&f.to_le_bytes()));
        assert_eq!(loud, [[[0, 0]], [[i16::MAX, i16::MAX]], [[i16::MIN, i16::MIN]]]);
    }

    #[test]
    fn each_channel_of_a_surround_system_is_heard_on_its_side() {
        let format = Format::new(described(16, true, false, 6, false)).unwrap();
        let alone = |channel: usize| {
            let samples: [i16; 6] = std::array::from_fn(|at| if at == channel { 1000 } else { 0 });
            format.decode(&samples.map(i16::to_le_bytes).concat())[0]
        };
        let heard: Vec<_> = (0..6).map(alone).collect();
        assert_eq!(heard, [[1000, 0], [0, 1000], [707, 0], [0, 707], [707, 707], [0, 0]]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(format in formats(), frames: Vec<Frame>) {
            let bytes = format.encode(&frames);
            prop_assert_eq!(bytes.len(), frames.len() * format.frame_bytes());
            for (read, [left, right]) in format.decode(&bytes).into_iter().zip(frames) {
                let coarse = |sample: i16| if format.sample.bytes() == 1 { sample & !0xff } else { sample };
                let mean = coarse(((i32::from(left) + i32::from(right)) / 2) as i16);
                let wanted = if format.channels == 1 { [mean, mean] } else { [coarse(left), coarse(right)] };
                prop_assert_eq!(read, wanted);
            }
        }

        #[test]
        fn any_bytes_are_whole_frames(format in formats(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(format.decode(&bytes).len(), bytes.len() / format.frame_bytes());
        }
    }
}
