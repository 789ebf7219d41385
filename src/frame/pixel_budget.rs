use std::time::Instant;

/// The most pixels of one change that may go as images while the picture is exact: a line of text, a menu, a
/// caret.
pub(crate) const CHANGE_PIXELS: u64 = 512 * 256;

/// How many pixels a second may go as images before it counts as motion, which video carries better: fast
/// typing has under half of it, a small film ten times as many.
pub(crate) const PIXELS_PER_SECOND: u64 = 1_000_000;

/// A budget of pixels that may change without that being motion.
#[derive(Clone, Debug)]
pub(crate) struct PixelBudget {
    /// Pixels that may change together.
    most: u64,
    /// Pixels that may change in a second.
    per_second: u64,
    /// Pixels that may change now.
    credit: u64,
    /// When the credit was counted; before the first time it is full.
    counted: Option<Instant>,
}

impl Default for PixelBudget {
    fn default() -> Self {
        Self::new(CHANGE_PIXELS, PIXELS_PER_SECOND)
    }
}

impl PixelBudget {
    /// Makes a full budget of `most` pixels together and `per_second` pixels a second.
    pub(crate) fn new(most: u64, per_second: u64) -> Self {
        Self { most, per_second, credit: 0, counted: None }
    }

    /// Limits the budget from now on.
    pub(crate) fn limit(&mut self, most: u64, per_second: u64) {
        (self.most, self.per_second) = (most, per_second);
    }

    /// Takes `pixels` off the credit. Returns false, and leaves the credit as it is, if that does not suffice.
    pub(crate) fn takes(&mut self, pixels: u64, now: Instant) -> bool {
        let rest = self.credit(now).checked_sub(pixels);
        self.credit = rest.unwrap_or(self.credit);
        rest.is_some()
    }

    /// Returns how many pixels may change now.
    pub(crate) fn credit(&mut self, now: Instant) -> u64 {
        let earned = match self.counted {
            None => self.most,
            Some(counted) => {
                let elapsed = now.saturating_duration_since(counted).as_millis();
                u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_mul(self.per_second) / 1000
            }
        };
        self.credit = self.credit.saturating_add(earned).min(self.most);
        self.counted = Some(now);
        self.credit
    }
}
