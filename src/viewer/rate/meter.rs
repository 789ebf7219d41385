use std::collections::VecDeque;
use std::time::Duration;

/// How much busy time is looked back at, if that is more than two round trips: a lost packet holds everything
/// up for about one.
const WINDOW: Duration = Duration::from_millis(150);

/// Added to the time that a burst took: what clocks and schedulers are off by.
const RESOLUTION: Duration = Duration::from_millis(5);

/// Bursts below this many bytes, a few packets, say nothing about a rate.
const TELLING_BYTES: u64 = 4 * 1024;

/// Measures how fast something comes through that is busy at times: only busy time counts.
#[derive(Debug)]
pub(super) struct Meter {
    /// What came through in which time, oldest first. INVARIANT: `bytes` and `took` are their sums.
    spans: VecDeque<(u64, Duration)>,
    bytes: u64,
    took: Duration,
    /// From how much busy time, and how many bytes, a slower rate is believed.
    least: (Duration, u64),
    floor: u64,
    rate: Option<u64>,
}

impl Meter {
    /// Makes a meter whose rate only goes down after `least` busy time with at least that many bytes, and
    /// never below `floor` bits a second.
    pub(super) fn new(least: (Duration, u64), floor: u64) -> Self {
        Self { spans: VecDeque::new(), bytes: 0, took: Duration::ZERO, least, floor, rate: None }
    }

    /// Returns the rate in bits a second; `None` as long as nothing has taken long.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Records that the network was busy for all of `took`, and carried `bytes`.
    pub(super) fn busy(&mut self, bytes: u64, took: Duration, round_trip: Duration) {
        if bytes == 0 && took.is_zero() {
            return;
        }
        self.spans.push_back((bytes, took));
        self.bytes = self.bytes.saturating_add(bytes);
        self.took = self.took.saturating_add(took);
        let window = WINDOW.max(round_trip.saturating_mul(2)).max(self.least.0);
        while let Some(&(first_bytes, first_took)) = self.spans.front()
            && self.took.saturating_sub(first_took) >= window
        {
            self.spans.pop_front();
            self.bytes = self.bytes.saturating_sub(first_bytes);
            self.took = self.took.saturating_sub(first_took);
        }
        if self.took < self.least.0 {
            return;
        }
        let seen = bits_a_second(self.bytes, self.took).max(self.floor);
        match self.rate {
            Some(rate) if seen > rate => self.rate = Some(faster(rate, seen)),
            _ if self.bytes >= self.least.1 => self.rate = Some(seen),
            _ => {}
        }
    }

    /// Records that a burst of `bytes` came through in about `took`, and surely in `most`, so that the network carries
    /// at least as much.
    pub(super) fn burst(&mut self, bytes: u64, took: Duration, most: Duration) {
        if let Some(rate) = self.rate.filter(|_| bytes >= TELLING_BYTES) {
            let seen = bits_a_second(bytes, took.saturating_add(RESOLUTION).min(most));
            if seen > rate {
                self.rate = Some(faster(rate, seen));
                self.forget();
            }
        }
    }

    /// Forgets what was measured long ago. The rate stays until the next measurement.
    pub(super) fn forget(&mut self) {
        self.spans.clear();
        (self.bytes, self.took) = (0, Duration::ZERO);
    }
}

/// Returns the new rate after `seen`, at most twice the old one because a single measurement may be wrong.
fn faster(rate: u64, seen: u64) -> u64 {
    seen.min(rate.saturating_mul(2))
}

/// Returns the bits a second of `bytes` in `took`.
pub(super) fn bits_a_second(bytes: u64, took: Duration) -> u64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(8_000_000).checked_div(micros).unwrap_or(u64::MAX)
}

/// Returns the bytes that pass in `time` at `rate` bits a second.
pub(super) fn bytes_in(time: Duration, rate: u64) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let bits = u128::from(micros) * u128::from(rate) / 1_000_000;
    u64::try_from(bits / 8).unwrap_or(u64::MAX)
}

/// Returns the time that `bytes` take at `rate` bits a second.
pub(super) fn time_for(bytes: u64, rate: u64) -> Duration {
    let micros = (u128::from(bytes) * 8_000_000).checked_div(u128::from(rate)).unwrap_or(0);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}
