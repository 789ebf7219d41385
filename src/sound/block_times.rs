//! When each block of a stream was made: blocks come in bursts, their sound does not.

use std::time::{Duration, Instant};

use super::BLOCK_TIME;

/// A stream that is behind its time by more has been interrupted: it goes on now.
const INTERRUPTED: Duration = Duration::from_millis(300);

/// The part of a difference that each block makes good: too little to be heard, and within a second.
const SLEW: u32 = 64;

/// The longest and the shortest step between two blocks.
const STEPS: [Duration; 2] = [Duration::from_millis(12), Duration::from_millis(8)];

/// The times of a stream's blocks: 10 ms apart as its samples are, and without a drift against the clock of the
/// picture.
#[derive(Debug, Default)]
pub(super) struct BlockTimes {
    last: Option<Instant>,
}

impl BlockTimes {
    /// Forgets the stream: the next block begins another.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }

    /// Returns the time of the next block, which is complete `now`. Times always rise.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let at = match self.last.and_then(|last| last.checked_add(BLOCK_TIME)) {
            Some(due) if now.saturating_duration_since(due) <= INTERRUPTED => {
                let behind = now.saturating_duration_since(due) / SLEW;
                let ahead = due.saturating_duration_since(now) / SLEW;
                let [longest, shortest] = STEPS;
                let step = (BLOCK_TIME + behind).saturating_sub(ahead).clamp(shortest, longest);
                self.last.and_then(|last| last.checked_add(step)).unwrap_or(now)
            }
            _ => now,
        };
        self.last = Some(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn blocks_that_come_in_bursts_are_ten_milliseconds_apart() {
        let (mut times, start) = (BlockTimes::default(), Instant::now());
        let all: Vec<_> = (0..1000u64).map(|n| times.next(start + ms(n / 5 * 50))).collect();
        let steps: Vec<_> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| (ms(9)..=ms(11)).contains(step)), "{steps:?}");
        let off = (start + ms(9950)).abs_diff(*all.last().unwrap());
        assert!(off < ms(50), "{off:?}");
    }

    #[test]
    fn a_stream_that_runs_slow_or_fast_does_not_drift() {
        for period in [9_900u64, 10_100] {
            let (mut times, start) = (BlockTimes::default(), Instant::now());
            for n in 0..100_000 {
                let now = start + Duration::from_micros(n * period);
                let at = times.next(now);
                assert!(now.abs_diff(at) < ms(10), "block {n}: {:?}", now.abs_diff(at));
            }
        }
    }

    #[test]
    fn after_an_interruption_it_goes_on_now() {
        let (mut times, start) = (BlockTimes::default(), Instant::now());
        times.next(start);
        assert_eq!(times.next(start + ms(1000)), start + ms(1000));
        times.restart();
        assert_eq!(times.next(start + ms(1001)), start + ms(1001));
    }

    trait AbsDiff {
        fn abs_diff(self, other: Self) -> Duration;
    }

    impl AbsDiff for Instant {
        fn abs_diff(self, other: Self) -> Duration {
            self.saturating_duration_since(other).max(other.saturating_duration_since(self))
        }
    }
}
