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
    /// Those that were not written since the last that was.
    kept_back: u64,
}

impl LogLimit {
    /// Calls `log`, unless [`MAX_LINES`] were logged in this interval. It is given how many lines were not logged since
    /// the last one, if any.
    pub(crate) fn log(&self, log: impl FnOnce(Option<u64>)) {
        // What is under the lock is whole whoever panicked: any count is one.
        let passed = self.lines.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now());
        if let Some(kept_back) = passed {
            log(Some(kept_back).filter(|count| *count > 0));
        }
    }
}

impl Lines {
    /// Returns, if another line may be written now, how many were not since the last.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| since + INTERVAL <= now) {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written >= MAX_LINES {
            self.kept_back = self.kept_back.saturating_add(1);
            return None;
        }
        self.written = self.written.saturating_add(1);
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        let written: Vec<u64> =
            (0..30_000).filter_map(|ms| lines.pass(start + Duration::from_millis(ms))).collect();
        assert_eq!(written.len(), 60);
        assert_eq!(written.iter().sum::<u64>(), 2 * (10_000 - 20), "and how many were kept back");
    }

    #[test]
    fn whoever_logs_counts_for_all() {
        let limit = LogLimit::default();
        let (one, other) = (limit.clone(), limit);
        let mut written = 0;
        for limit in [one, other] {
            (0..MAX_LINES).for_each(|_| limit.log(|_| written += 1));
        }
        assert_eq!(written, MAX_LINES);
    }
}
