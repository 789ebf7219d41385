use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::block_times::BlockTimes;
use super::{BLOCK, Block, Format, Frame, Loudness, RATE, Resampler, saturated};

/// The most streams of a guest.
const MAX_STREAMS: usize = 16;

/// The most frames of one stream that wait for those of another: 40 ms.
const MAX_WAITING: usize = 4 * BLOCK;

/// The most bytes of a stream taken at a time: over a second of the widest.
const MAX_BYTES: usize = 32 << 20;

/// Mixes the guest's streams to one. It has no clock of its own: blocks come when the guest writes.
#[derive(Debug, Default)]
pub(crate) struct Mixer {
    streams: BTreeMap<u64, Stream>,
    times: BlockTimes,
}

#[derive(Debug)]
struct Stream {
    format: Format,
    resampler: Resampler,
    enabled: bool,
    /// Whether others wait for it: it has written since they last waited in vain.
    live: bool,
    loudness: Loudness,
    waiting: VecDeque<Frame>,
}

/// Why a call about a stream is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum MixerError {
    /// No stream has the number.
    #[error("there is no such stream")]
    Unknown,
    /// Too many streams.
    #[error("more than 16 streams")]
    Full,
    /// Too much sound at once.
    #[error("more than 32 MiB of sound at once")]
    Long,
}

impl Mixer {
    /// Takes in a stream, which is silent until it is enabled. One of the same number is replaced.
    ///
    /// # Errors
    /// If there are too many.
    pub(crate) fn add(&mut self, id: u64, format: Format) -> Result<(), MixerError> {
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&id) {
            return Err(MixerError::Full);
        }
        let stream = Stream {
            format,
            resampler: Resampler::new(format.rate(), RATE),
            enabled: false,
            live: false,
            loudness: Loudness::default(),
            waiting: VecDeque::new(),
        };
        self.streams.insert(id, stream);
        Ok(())
    }

    /// Forgets a stream.
    ///
    /// # Errors
    /// If there is none of this number.
    pub(crate) fn remove(&mut self, id: u64) -> Result<(), MixerError> {
        self.streams.remove(&id).map(|_| ()).ok_or(MixerError::Unknown)
    }

    /// Begins or ends the sound of a stream.
    ///
    /// # Errors
    /// If there is none of this number.
    pub(crate) fn enable(&mut self, id: u64, on: bool) -> Result<(), MixerError> {
        let was_playing = self.is_playing();
        let stream = self.streams.get_mut(&id).ok_or(MixerError::Unknown)?;
        if stream.enabled != on {
            stream.resampler = Resampler::new(stream.format.rate(), RATE);
            stream.waiting.clear();
            stream.live = false;
        }
        stream.enabled = on;
        if !was_playing {
            self.times.restart();
        }
        Ok(())
    }

    /// Sets how loud the guest wants a stream.
    ///
    /// # Errors
    /// If there is none of this number.
    pub(crate) fn set_loudness(&mut self, id: u64, loudness: Loudness) -> Result<(), MixerError> {
        self.streams.get_mut(&id).ok_or(MixerError::Unknown)?.loudness = loudness;
        Ok(())
    }

    /// Returns whether a stream is enabled.
    pub(crate) fn is_playing(&self) -> bool {
        self.streams.values().any(|stream| stream.enabled)
    }

    /// Returns how loud the listeners are to make what they get: as the guest wants its only stream. That of several is
    /// in the mix.
    pub(crate) fn loudness(&self) -> Loudness {
        match self.only() {
            Some(stream) => stream.loudness.clone(),
            None => Loudness::default(),
        }
    }

    /// Takes sound of a stream; gives what is complete of the mix `now`.
    ///
    /// # Errors
    /// If there is no such stream, or too much comes at once.
    pub(crate) fn write(&mut self, id: u64, bytes: &[u8], now: Instant) -> Result<Vec<Block>, MixerError> {
        let stream = self.streams.get_mut(&id).ok_or(MixerError::Unknown)?;
        if bytes.len() > MAX_BYTES {
            return Err(MixerError::Long);
        }
        if !stream.enabled {
            return Ok(Vec::new());
        }
        stream.live = true;
        let mut frames = Vec::new();
        stream.resampler.push(&stream.format.decode(bytes), &mut frames);
        stream.waiting.extend(frames);
        let mut blocks = Vec::new();
        while self.is_complete() {
            let frames = self.mix();
            blocks.push(Block { at: self.times.next(now), frames });
        }
        Ok(blocks)
    }

    /// Returns whether there is a block of all that others wait for, or one waits too long.
    fn is_complete(&mut self) -> bool {
        let playing = || self.streams.values().filter(|stream| stream.enabled);
        let mut live = playing().filter(|stream| stream.live).peekable();
        if live.peek().is_some() && live.all(|stream| stream.waiting.len() >= BLOCK) {
            return true;
        }
        if playing().any(|stream| stream.waiting.len() > MAX_WAITING) {
            let late = self.streams.values_mut().filter(|stream| stream.waiting.len() < BLOCK);
            late.for_each(|stream| stream.live = false);
            return true;
        }
        false
    }

    fn mix(&mut self) -> std::sync::Arc<[Frame]> {
        let alone = self.only().is_some();
        let mut mix = vec![[0i32; 2]; BLOCK];
        for stream in self.streams.values_mut().filter(|stream| stream.enabled) {
            let [left, right] = if alone { [256, 256] } else { stream.loudness.factors() };
            let count = stream.waiting.len().min(BLOCK);
            for (sum, frame) in mix.iter_mut().zip(stream.waiting.drain(..count)) {
                let [l, r] = frame.map(i32::from);
                // Of at most 16 streams: below 2^20.
                *sum = [sum[0] + l * left / 256, sum[1] + r * right / 256];
            }
        }
        mix.into_iter().map(|frame| frame.map(saturated)).collect()
    }

    /// Returns the stream of a guest that has but one.
    fn only(&self) -> Option<&Stream> {
        let mut all = self.streams.values();
        all.next().filter(|_| all.next().is_none())
    }
}

impl Loudness {
    /// Returns what the left and the right are multiplied by, in 256ths.
    fn factors(&self) -> [i32; 2] {
        let of = |volume: Option<&u8>| volume.map_or(256, |volume| (i32::from(*volume) * 256 + 127) / 255);
        match (self.mute, self.channels.as_slice()) {
            (true, _) => [0, 0],
            (false, channels) => [of(channels.first()), of(channels.get(1).or(channels.first()))],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: [i16; 2] = [1000, -1000];

    /// Bytes of so many frames that are all the same.
    fn bytes(frame: Frame, frames: usize) -> Vec<u8> {
        Format::s16(RATE).encode(&vec![frame; frames])
    }

    fn mixer(streams: &[u64]) -> Mixer {
        let mut mixer = Mixer::default();
        for &id in streams {
            mixer.add(id, Format::s16(RATE)).unwrap();
            mixer.enable(id, true).unwrap();
        }
        mixer
    }

    /// Has a stream write a block of one sample; gives the sample of each block that comes of it.
    fn write(mixer: &mut Mixer, id: u64, frame: Frame) -> Vec<Frame> {
        let blocks = mixer.write(id, &bytes(frame, BLOCK), Instant::now()).unwrap();
        blocks.iter().map(|block| only(&block.frames)).collect()
    }

    fn only(frames: &[Frame]) -> Frame {
        assert!(frames.len() == BLOCK && frames.iter().all(|frame| *frame == frames[0]));
        frames[0]
    }

    #[test]
    fn one_stream_comes_as_it_is_in_whole_blocks() {
        let (mut mixer, now) = (mixer(&[7]), Instant::now());
        assert!(mixer.write(7, &bytes(WHOLE, 300), now).unwrap().is_empty());
        let blocks = mixer.write(7, &bytes(WHOLE, 700), now).unwrap();
        assert_eq!([only(&blocks[0].frames), only(&blocks[1].frames)], [WHOLE; 2]);
        assert!(blocks.len() == 2 && blocks[0].at < blocks[1].at);
    }

    #[test]
    fn two_streams_are_added_and_one_that_stops_writing_is_not_waited_for() {
        let mut mixer = mixer(&[1, 2]);
        assert_eq!(write(&mut mixer, 1, [100, 0]), [[100, 0]], "the other has not begun");
        assert!(write(&mut mixer, 2, [20, 7]).is_empty());
        assert_eq!(write(&mut mixer, 1, [100, 0]), [[120, 7]]);
        let alone: Vec<_> = (0..10).map(|_| write(&mut mixer, 1, [100, 0]).len()).collect();
        assert_eq!(alone, [0, 0, 0, 0, 5, 1, 1, 1, 1, 1], "none is lost, and in the end none waits");
    }

    #[test]
    fn too_loud_is_cut_and_a_muted_stream_of_two_is_silent() {
        let mut mixer = mixer(&[1, 2]);
        write(&mut mixer, 1, [30_000, 30_000]);
        write(&mut mixer, 2, [30_000, 30_000]);
        assert_eq!(write(&mut mixer, 1, [30_000, 30_000]), [[i16::MAX; 2]]);
        mixer.set_loudness(1, Loudness { channels: vec![255, 255], mute: true }).unwrap();
        mixer.set_loudness(2, Loudness { channels: vec![255, 0], mute: false }).unwrap();
        write(&mut mixer, 1, [30_000, 30_000]);
        assert_eq!(write(&mut mixer, 2, [30_000, 30_000]), [[30_000, 0]]);
        assert_eq!(mixer.loudness(), Loudness::default());
        mixer.remove(1).unwrap();
        assert_eq!(mixer.loudness().channels, [255, 0], "of one stream the listeners are told");
        assert_eq!(write(&mut mixer, 2, [30_000, 30_000]), [[30_000, 30_000]]);
    }

    #[test]
    fn a_disabled_stream_makes_no_sound() {
        let (mut mixer, now) = (mixer(&[1]), Instant::now());
        mixer.write(1, &bytes(WHOLE, 300), now).unwrap();
        mixer.enable(1, false).unwrap();
        assert!(!mixer.is_playing());
        assert!(mixer.write(1, &bytes(WHOLE, 960), now).unwrap().is_empty());
        mixer.enable(1, true).unwrap();
        assert!(mixer.write(1, &bytes(WHOLE, 479), now).unwrap().is_empty(), "what it left is gone");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut mixer = mixer(&(0..16).collect::<Vec<_>>());
        assert_eq!(mixer.add(16, Format::s16(RATE)), Err(MixerError::Full));
        assert_eq!(mixer.add(3, Format::s16(44_100)), Ok(()));
        let now = Instant::now();
        assert_eq!(mixer.write(99, &[], now).unwrap_err(), MixerError::Unknown);
        assert_eq!(mixer.enable(99, true).unwrap_err(), MixerError::Unknown);
        assert_eq!(mixer.write(3, &vec![0; MAX_BYTES + 1], now).unwrap_err(), MixerError::Long);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn whatever_streams_write_little_waits(writes in proptest::collection::vec((0u64..3, 0usize..3000), 0..40)) {
            let (mut mixer, now) = (mixer(&[0, 1, 2]), Instant::now());
            for (id, frames) in writes {
                mixer.write(id, &bytes(WHOLE, frames), now).unwrap();
                prop_assert!(mixer.streams.values().all(|stream| stream.waiting.len() <= MAX_WAITING));
            }
        }
    }
}
