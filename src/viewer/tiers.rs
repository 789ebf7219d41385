use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::frame::Tier;

/// From this rate on, in bits a second, a viewer gets every frame as good as it gets: a full-screen film at
/// 720p has about as much, a desktop a tenth.
const FULL_RATE: u64 = 8_000_000;

/// From this rate on it is in the middle tier. Below, frames are so small that others would see them get
/// worse.
const MIDDLE_RATE: u64 = 1_500_000;

/// From this rate on it is in the low tier. Below, frames come as seldom and are as coarse as can be borne:
/// what is left to take away is resolution, which hurts text most.
const LOW_RATE: u64 = 500_000;

/// How much more than needed a network must carry for a viewer to go up, in percent.
const UP_PERCENT: u64 = 130;

/// How long it must have been too slow for a viewer to go down: a single late packet is no reason.
const DOWN_AFTER: Duration = Duration::from_millis(300);

/// How long it must have been fast enough for a viewer to go up.
const UP_AFTER: Duration = Duration::from_secs(1);

/// A viewer that goes down again within this time went up too early: next time it takes twice as long.
const RELAPSE: Duration = Duration::from_secs(5);

/// The longest that it must have been fast enough.
const UP_AFTER_MAX: Duration = Duration::from_secs(16);

/// A viewer that lost its step this often within [`LOSS_WINDOW`] does not keep up with the others of its
/// tier.
const LOSSES: usize = 3;

/// The time in which losses count together.
const LOSS_WINDOW: Duration = Duration::from_secs(3);

/// How long a viewer that did not keep up stays down. Twice as long each time after that.
const BARRED: Duration = Duration::from_secs(10);

/// The longest that it stays down.
const BARRED_MAX: Duration = Duration::from_secs(160);

/// Decides which tier a viewer of video is in. Each move costs a key frame, so it takes its time. Pure.
#[derive(Debug)]
pub(crate) struct Tiers {
    tier: Tier,
    /// Since when another tier would be the right one.
    other_since: Option<(Tier, Instant)>,
    /// When it went up last, and how long it had to be fast enough.
    went_up: Option<(Instant, Duration)>,
    /// When it lost its step.
    losses: VecDeque<Instant>,
    /// Until when it may not go above this tier, and for how long that was.
    barred: Option<(Tier, Instant, Duration)>,
}

impl Tiers {
    /// Makes the tiers of a viewer that starts in `tier`.
    #[must_use]
    pub(crate) fn new(tier: Tier) -> Self {
        Self { tier, other_since: None, went_up: None, losses: VecDeque::new(), barred: None }
    }

    /// Returns the tier that the viewer is in.
    #[must_use]
    pub(crate) fn tier(&self) -> Tier {
        self.tier
    }

    /// Takes the `rate` that the network carries, in bits a second, or `None` without a limit. Returns the
    /// tier to move to, if it is time.
    pub(crate) fn see(&mut self, rate: Option<u64>, now: Instant) -> Option<Tier> {
        let rate = rate.unwrap_or(u64::MAX);
        let down = tier_for(rate);
        let up = tier_for(rate / UP_PERCENT * 100);
        let top = self.barred.filter(|(_, until, _)| now < *until).map_or(Tier::Full, |(top, ..)| top);
        let wanted = if down < self.tier { down } else { up.min(top).max(self.tier) };
        if wanted == self.tier {
            self.other_since = None;
            return None;
        }
        let goes_down = wanted < self.tier;
        let since = match self.other_since {
            Some((before, since)) if (before < self.tier) == goes_down => since,
            _ => now,
        };
        self.other_since = Some((wanted, since));
        let after = if goes_down { DOWN_AFTER } else { self.up_after() };
        if now.saturating_duration_since(since) < after {
            return None;
        }
        self.went_up = match self.went_up {
            // Whether it stays up is still to be seen.
            _ if !goes_down => Some((now, after)),
            Some((at, after)) if now.saturating_duration_since(at) < RELAPSE => {
                Some((at, (after * 2).min(UP_AFTER_MAX)))
            }
            _ => None,
        };
        Some(self.go(wanted))
    }

    fn up_after(&self) -> Duration {
        self.went_up.map_or(UP_AFTER, |(_, after)| after)
    }

    /// Records that the viewer missed a frame that others of its tier got. Returns the tier to move to if
    /// that is too often.
    pub(crate) fn lost(&mut self, now: Instant) -> Option<Tier> {
        self.losses.push_back(now);
        while self.losses.front().is_some_and(|first| now.saturating_duration_since(*first) > LOSS_WINDOW) {
            self.losses.pop_front();
        }
        let lower = match self.tier {
            Tier::Full => Tier::Middle,
            Tier::Middle => Tier::Low,
            Tier::Low => Tier::Half,
            Tier::Half => return None,
        };
        if self.losses.len() < LOSSES {
            return None;
        }
        let time = match self.barred {
            // It has been up for long since: that was another time.
            Some((_, until, time)) if now.saturating_duration_since(until) < time => {
                (time * 2).min(BARRED_MAX)
            }
            _ => BARRED,
        };
        self.barred = Some((lower, now + time, time));
        Some(self.go(lower))
    }

    fn go(&mut self, tier: Tier) -> Tier {
        self.tier = tier;
        self.other_since = None;
        self.losses.clear();
        tier
    }
}

fn tier_for(rate: u64) -> Tier {
    match rate {
        FULL_RATE.. => Tier::Full,
        MIDDLE_RATE.. => Tier::Middle,
        LOW_RATE.. => Tier::Low,
        _ => Tier::Half,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns the tiers that these rates move a viewer to, each of which lasts for so many milliseconds.
    fn moves(tiers: &mut Tiers, start: Instant, rates: &[(Option<u64>, u32)]) -> Vec<(u32, Tier)> {
        let (mut at, mut moves) = (0, Vec::new());
        for &(rate, ms) in rates {
            for _ in 0..ms / 50 {
                at += 50;
                moves.extend(tiers.see(rate, start + MS * at).map(|tier| (at, tier)));
            }
        }
        moves
    }

    #[test]
    fn a_network_that_gets_slow_and_fast_again_moves_a_viewer_down_and_back_in_time() {
        let start = Instant::now();
        let got = moves(
            &mut Tiers::new(Tier::Full),
            start,
            &[
                (None, 1000),
                (Some(2_000_000), 2000),
                (Some(700_000), 2000),
                (Some(400_000), 2000),
                (Some(20_000_000), 2000),
            ],
        );
        let moved = [(1350, Tier::Middle), (3350, Tier::Low), (5350, Tier::Half), (8050, Tier::Full)];
        assert_eq!(got, moved);
    }

    #[test]
    fn a_rate_at_a_border_moves_nobody_to_and_fro() {
        let start = Instant::now();
        let mut rates = vec![(Some(7_900_000), 1000)];
        rates.extend([(Some(8_500_000), 700), (Some(7_500_000), 300), (Some(9_000_000), 2000)].repeat(10));
        assert_eq!(moves(&mut Tiers::new(Tier::Full), start, &rates), [(350, Tier::Middle)]);
    }

    #[test]
    fn a_rate_that_swings_moves_a_viewer_less_and_less_until_it_is_steady() {
        let (start, mut tiers) = (Instant::now(), Tiers::new(Tier::Full));
        let swing = [(Some(1_000_000), 1500), (Some(2_500_000), 2500)];
        let got = moves(&mut tiers, start, &swing.repeat(15));
        assert!(got.len() <= 6, "{got:?}");
        let later = start + MS * 60_000;
        assert_eq!(moves(&mut tiers, later, &[(Some(20_000_000), 10_000)]).len(), 1);
        let now = later + MS * 10_000;
        let steady = moves(&mut tiers, now, &[(Some(1_000_000), 1000), (Some(20_000_000), 2000)]);
        assert_eq!(steady, [(350, Tier::Low), (2050, Tier::Full)]);
    }

    #[test]
    fn one_slow_moment_moves_nobody() {
        let start = Instant::now();
        let rates = [(Some(300_000), 250), (None, 2000)].repeat(5);
        assert_eq!(moves(&mut Tiers::new(Tier::Full), start, &rates), []);
    }

    #[test]
    fn one_that_does_not_keep_up_goes_down_and_stays_there_longer_each_time() {
        let (start, mut tiers) = (Instant::now(), Tiers::new(Tier::Full));
        assert_eq!(tiers.lost(start), None);
        assert_eq!(tiers.lost(start + MS * 10_000), None, "long ago");
        let mut now = start + MS * 20_000;
        for seconds in [10, 20, 40, 80, 160, 160] {
            assert_eq!([0, 1, 2].map(|_| tiers.lost(now)), [None, None, Some(Tier::Middle)]);
            let back = moves(&mut tiers, now, &[(None, 200_000)]);
            assert_eq!(back, [(seconds * 1000 + 1000, Tier::Full)]);
            now += MS * (seconds * 1000 + 2000);
        }
    }
}
