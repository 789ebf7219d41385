use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most lines in each [`INTERVAL`]: what a stranger can cause must not fill a disk.
const MAX_LINES: u32 = 20;

/// The time in which lines are counted.
const INTERVAL: Duration = Duration::from_secs(10);

/// A limit on how much is logged of what strangers do, who can cause a line as often as they like. Cheap to
/// clone; all clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLimit {
    lines: Arc<Mutex<Lines>>,
}

/// The lines of this interval.
#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    written: u32,
}

impl LogLimit {
    /// Calls `log`, unless [`MAX_LINES`] were logged in this interval.
    pub(crate) fn log(&self, log: impl FnOnce()) {
        // What is under the lock is whole whoever panicked: any count is one.
        if self.lines.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now()) {
            log();
        }
    }
}

impl Lines {
    /// Returns whether another line may be written now.
    fn pass(&mut self, now: Instant) -> bool {
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

    #[test]
    fn whoever_logs_counts_for_all() {
        let limit = LogLimit::default();
        let (one, other) = (limit.clone(), limit);
        let mut written = 0;
        for limit in [one, other] {
            (0..MAX_LINES).for_each(|_| limit.log(|| written += 1));
        }
        assert_eq!(written, MAX_LINES);
    }
}
