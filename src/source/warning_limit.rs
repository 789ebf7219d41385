use std::time::{Duration, Instant};

/// The shortest time between two warnings about a console, because a guest must not be able to fill a disk.
const INTERVAL: Duration = Duration::from_secs(10);

/// The limit on warnings about one console.
#[derive(Debug, Default)]
pub(super) struct WarningLimit {
    quiet_until: Option<Instant>,
    kept_back: u64,
}

impl WarningLimit {
    /// Returns, if a warning is to be logged now, the number of those that were not since the last.
    pub(super) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.quiet_until.is_some_and(|until| now < until) {
            self.kept_back = self.kept_back.saturating_add(1);
            return None;
        }
        self.quiet_until = Some(now + INTERVAL);
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_written_at_once_then_one_in_ten_seconds() {
        let (mut warnings, start) = (WarningLimit::default(), Instant::now());
        let written: Vec<u64> =
            (0..25_000).filter_map(|ms| warnings.pass(start + Duration::from_millis(ms))).collect();
        assert_eq!(written, [0, 9_999, 9_999]);
    }
}
