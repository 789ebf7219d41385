//! How much is logged of what strangers do: they can cause a line as often as they like.

use std::time::{Duration, Instant};

/// The most lines in each [`INTERVAL`]: what a stranger can cause must not fill a disk.
const MAX_LINES: u32 = 20;

/// The time in which lines are counted.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    since: Option<Instant>,
    written: u32,
}

impl Lines {
    /// Whether another line may be written now.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| since + INTERVAL <= now) {
            (self.since, self.written) = (Some(now), 0);
        }
        self.written = self.written.saturating_add(1);
        self.written <= MAX_LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        let written = (0..30_000).filter(|&ms| lines.pass(start + Duration::from_millis(ms))).count();
        assert_eq!(written, 60);
    }
}
