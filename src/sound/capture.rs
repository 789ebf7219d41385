use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{BLOCK, Format, Frame, Loudness, RATE, Resampler};

/// Sound that is held before any is given, for a network that is late now and then: 30 ms.
const HELD: usize = 3 * BLOCK;

/// The most sound that waits: 200 ms. Of more, the oldest half is dropped, which is heard once and not all the time.
const MAX_WAITING: usize = 20 * BLOCK;

/// The most time that a guest can make good, having asked for nothing.
const MAX_DUE: Duration = Duration::from_millis(100);

/// What one stream of the guest records: sound that came in time, and silence where there is none. It gives as much as
/// time has passed, because QEMU passes on what it gets, and a guest would record faster than the clock.
#[derive(Debug)]
pub(crate) struct Capture {
    format: Format,
    resampler: Resampler,
    loudness: Loudness,
    /// At the guest's rate.
    waiting: VecDeque<Frame>,
    is_flowing: bool,
    /// Up to when the guest has got sound, while it is enabled.
    given: Option<Instant>,
}

impl Capture {
    /// Starts a stream that is not enabled.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            resampler: Resampler::new(RATE, format.rate()),
            loudness: Loudness::default(),
            waiting: VecDeque::new(),
            is_flowing: false,
            given: None,
        }
    }

    /// Begins or ends the recording.
    pub(crate) fn enable(&mut self, on: bool, now: Instant) {
        *self = Self {
            loudness: std::mem::take(&mut self.loudness),
            given: on.then_some(now),
            ..Self::new(self.format)
        };
    }

    /// Returns whether the guest records.
    pub(crate) fn is_enabled(&self) -> bool {
        self.given.is_some()
    }

    /// Sets how loud the guest wants it.
    pub(crate) fn set_loudness(&mut self, loudness: Loudness) {
        self.loudness = loudness;
    }

    /// Returns how loud the guest wants it.
    pub(crate) fn loudness(&self) -> &Loudness {
        &self.loudness
    }

    /// Takes sound of the speaker.
    pub(crate) fn push(&mut self, frames: &[Frame]) {
        let mut resampled = Vec::new();
        self.resampler.push(frames, &mut resampled);
        self.waiting.extend(resampled);
        let most = self.scaled(MAX_WAITING);
        if self.waiting.len() > most {
            let surplus = self.waiting.len().saturating_sub(most / 2);
            self.waiting.drain(..surplus);
        }
    }

    /// Returns at most `size` bytes for the guest.
    pub(crate) fn read(&mut self, size: u64, now: Instant) -> Vec<u8> {
        let wanted = usize::try_from(size).unwrap_or(usize::MAX) / self.format.frame_bytes();
        let frames = self.take_due(wanted, now);
        let enough = if self.is_flowing { 1 } else { self.scaled(HELD) };
        self.is_flowing = self.waiting.len() >= enough && !self.loudness.mute;
        let there = if self.is_flowing { frames.min(self.waiting.len()) } else { 0 };
        let mut taken: Vec<Frame> = self.waiting.drain(..there).collect();
        // It has run out: hold some again, so that not each read is half silent.
        self.is_flowing &= there == frames;
        taken.resize(frames, [0, 0]);
        self.format.encode(&taken)
    }

    /// Returns how many of `wanted` frames are due, and counts them as given.
    fn take_due(&mut self, wanted: usize, now: Instant) -> usize {
        let Some(given) = self.given else { return 0 };
        let earliest = now.checked_sub(MAX_DUE).unwrap_or(given);
        let given = given.max(earliest);
        let (rate, elapsed) = (u128::from(self.format.rate()), now.saturating_duration_since(given));
        let due = usize::try_from(elapsed.as_nanos().saturating_mul(rate) / 1_000_000_000).unwrap_or(0);
        let frames = due.min(wanted);
        let nanos = u128::try_from(frames).unwrap_or(0).saturating_mul(1_000_000_000).div_ceil(rate);
        let passed = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        self.given = given.checked_add(passed);
        frames
    }

    /// Returns a number of frames at the guest's rate.
    fn scaled(&self, frames: usize) -> usize {
        let rate = usize::try_from(self.format.rate()).unwrap_or(0);
        frames.saturating_mul(rate) / usize::try_from(RATE).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAID: Frame = [1234, -4321];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn capture(rate: u32, now: Instant) -> Capture {
        let mut capture = Capture::new(Format::s16(rate));
        capture.enable(true, now);
        capture
    }

    fn read(capture: &mut Capture, now: Instant) -> Vec<Frame> {
        let bytes = capture.read(1 << 20, now);
        capture.format.decode(&bytes)
    }

    #[test]
    fn silence_comes_as_time_passes_and_not_faster() {
        for rate in [8_000, 44_100, 48_000] {
            let start = Instant::now();
            let mut capture = capture(rate, start);
            assert!(read(&mut capture, start).is_empty());
            let all: usize = (1..=1000).map(|n| read(&mut capture, start + ms(n)).len()).sum();
            assert!(all <= rate as usize && all + 1 >= rate as usize, "{rate}: {all} frames in a second");
            assert!(read(&mut capture, start + ms(1000)).len() <= 1);
            let late = read(&mut capture, start + ms(60_000)).len();
            assert!(late <= rate as usize / 10, "a guest that slept makes good {late} frames");
        }
    }

    #[test]
    fn what_is_said_comes_whole_once_some_of_it_is_there() {
        let start = Instant::now();
        let (mut capture, mut heard) = (capture(RATE, start), Vec::new());
        for n in 1..=100 {
            capture.push(&[SAID; BLOCK]);
            heard.extend(read(&mut capture, start + ms(10 * n)));
        }
        let silent = heard.iter().take_while(|frame| **frame == [0, 0]).count();
        assert_eq!(silent, 2 * BLOCK, "30 ms are held");
        assert!(heard[silent..].iter().all(|frame| *frame == SAID), "a gap");
    }

    #[test]
    fn the_oldest_is_dropped_where_a_speaker_is_faster_than_the_guest() {
        let start = Instant::now();
        let mut capture = capture(RATE, start);
        capture.push(&vec![[1, 1]; MAX_WAITING]);
        capture.push(&[SAID; BLOCK]);
        assert_eq!(capture.waiting.len(), MAX_WAITING / 2);
        assert_eq!(capture.waiting.back(), Some(&SAID));
    }

    #[test]
    fn nothing_is_recorded_while_disabled_or_muted() {
        let start = Instant::now();
        let mut capture = capture(RATE, start);
        capture.push(&[SAID; 4 * BLOCK]);
        capture.set_loudness(Loudness { channels: vec![], mute: true });
        assert!(read(&mut capture, start + ms(10)).iter().all(|frame| *frame == [0, 0]));
        capture.enable(false, start);
        assert!(read(&mut capture, start + ms(99)).is_empty());
        capture.enable(true, start + ms(99));
        assert_eq!(capture.waiting.len(), 0, "what was said before is not recorded after");
        assert!(capture.loudness().mute);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn no_read_gets_more_than_it_asks_for(
            sizes in proptest::collection::vec(any::<u64>(), 0..8),
            rate in 4_000u32..384_000,
            gap in 0u64..1000,
        ) {
            let start = Instant::now();
            let mut capture = capture(rate, start);
            for (n, size) in (1..).zip(sizes) {
                capture.push(&[SAID; BLOCK]);
                let bytes = capture.read(size, start + ms(n * gap));
                prop_assert!(bytes.len() as u64 <= size);
                prop_assert_eq!(bytes.len() % 4, 0);
            }
        }
    }
}
