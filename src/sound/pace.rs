use std::time::{Duration, Instant};

/// The most sound that a speaker may be ahead of its time, for a network that stood still to make good.
const AHEAD: Duration = Duration::from_millis(500);

/// Holds a speaker to as much sound as time passes: what it sends beyond is not even decoded.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When all that it has said will have been heard.
    until: Option<Instant>,
}

impl Pace {
    /// Returns whether sound that lasts for `time` is to be taken `now`, and counts it then.
    pub(crate) fn admits(&mut self, time: Duration, now: Instant) -> bool {
        let until = self.until.map_or(now, |until| until.max(now));
        if until.saturating_duration_since(now) > AHEAD {
            return false;
        }
        self.until = until.checked_add(time);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speaker_is_held_to_the_clock() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let piece = Duration::from_millis(10);
        let burst = (0..1000).filter(|_| pace.admits(piece, start)).count();
        assert_eq!(burst, 51);
        let later = start + Duration::from_secs(10);
        assert!((0..51).all(|_| pace.admits(piece, later)), "who was silent may go on");
        let steady = (0..10_000u32).filter(|n| pace.admits(piece, later + piece * *n)).count();
        assert!(steady >= 9_990, "{steady}");
    }
}
