use std::fmt;

use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, WindowFunction};

use super::{Frame, rounded};

/// Frames that are resampled at a time: so many wait at most.
const CHUNK: usize = 64;

/// Frames of the filter. Half of them is the delay: 1.3 ms at 48 kHz.
const FILTER: usize = 128;

/// Changes the rate of a stream. What it needs of the past it keeps, so that a stream can come in pieces of any length.
pub(crate) struct Resampler(Option<Filter>);

struct Filter {
    filter: Async<f32>,
    /// Frames that do not fill a chunk yet: left, right.
    input: Vec<Vec<f32>>,
    output: Vec<Vec<f32>>,
}

impl Resampler {
    /// Makes a resampler of streams with `from` frames a second to `to`. Between equal rates it changes nothing.
    pub(crate) fn new(from: u32, to: u32) -> Self {
        if from == to {
            return Self(None);
        }
        let parameters = SincInterpolationParameters::new(FILTER, WindowFunction::BlackmanHarris2);
        let ratio = f64::from(to) / f64::from(from);
        let filter = Async::new_sinc(ratio, 1.0, &parameters, CHUNK, 2, FixedAsync::Input);
        // It fails for ratios that are no number alone.
        Self(filter.ok().map(|filter| Filter {
            output: vec![vec![0.0; filter.output_frames_max()]; 2],
            input: vec![Vec::new(); 2],
            filter,
        }))
    }

    /// Appends `frames`, resampled, to `to`.
    pub(crate) fn push(&mut self, frames: &[Frame], to: &mut Vec<Frame>) {
        match &mut self.0 {
            None => to.extend_from_slice(frames),
            Some(filter) => frames.iter().for_each(|frame| filter.push(*frame, to)),
        }
    }
}

impl Filter {
    fn push(&mut self, frame: Frame, to: &mut Vec<Frame>) {
        for (channel, sample) in self.input.iter_mut().zip(frame) {
            channel.push(f32::from(sample));
        }
        let frames = self.input.first().map_or(0, Vec::len);
        if frames < self.filter.input_frames_next() {
            return;
        }
        let written = self.run(frames).unwrap_or(0);
        let [left, right] = self.output.as_slice() else { return };
        to.extend(left.iter().zip(right).take(written).map(|(l, r)| [rounded(*l), rounded(*r)]));
        self.input.iter_mut().for_each(Vec::clear);
    }

    /// Resamples what waits; gives how many frames came of it.
    fn run(&mut self, frames: usize) -> Option<usize> {
        let room = self.output.first()?.len();
        let input = SequentialSliceOfVecs::new(&self.input, 2, frames).ok()?;
        let mut output = SequentialSliceOfVecs::new_mut(&mut self.output, 2, room).ok()?;
        let done = self.filter.process_into_buffer(&input, &mut output, None::<&Indexing>);
        done.ok().map(|(_, written)| written)
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resampler").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn tone(rate: u32, hz: f64, frames: usize) -> Vec<Frame> {
        let sample = |at: usize| ((at as f64 * hz * TAU / f64::from(rate)).sin() * 16_000.0) as i16;
        (0..frames).map(|at| [sample(at), -sample(at)]).collect()
    }

    #[test]
    fn a_tone_keeps_its_pitch_and_loudness_and_nothing_is_lost() {
        for (from, to) in
            [(44_100, 48_000), (48_000, 44_100), (8_000, 48_000), (96_000, 48_000), (12_345, 48_000)]
        {
            let mut resampler = Resampler::new(from, to);
            let mut frames = Vec::new();
            // A second, in pieces of odd lengths.
            for piece in tone(from, 440.0, from as usize).chunks(441 + 7) {
                resampler.push(piece, &mut frames);
            }
            let missing = to as usize - frames.len();
            assert!(
                missing < 2 * CHUNK * to as usize / from as usize + 2,
                "{from} to {to}: {missing} frames"
            );
            let settled = &frames[2000..];
            let rises = settled.windows(2).filter(|pair| pair[0][0] < 0 && pair[1][0] >= 0).count();
            let wanted = 440.0 * settled.len() as f64 / f64::from(to);
            assert!((rises as f64 - wanted).abs() <= 1.0, "{from} to {to}: {rises}, not {wanted}");
            let loudest = settled.iter().map(|frame| frame[0].unsigned_abs()).max().unwrap();
            assert!((15_800..=16_200).contains(&loudest), "{from} to {to}: {loudest}");
            assert!(settled.iter().all(|[left, right]| (i32::from(*left) + i32::from(*right)).abs() <= 1));
        }
    }

    #[test]
    fn equal_rates_change_nothing() {
        let frames = tone(48_000, 1000.0, 77);
        let mut same = Vec::new();
        Resampler::new(48_000, 48_000).push(&frames, &mut same);
        assert_eq!(same, frames);
    }
}
