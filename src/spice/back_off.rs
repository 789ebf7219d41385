//! How long an origin has to wait that has shown wrong passwords.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::transport::Origin;

/// So many wrong passwords cost an origin nothing but the pause before each answer: people mistype.
const FREE: u32 = 3;

/// The first wait; each wrong password after it doubles it.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(300);

/// After so long without a wrong password an origin begins anew.
const FORGET: Duration = Duration::from_secs(900);

/// The most origins that are remembered. Beyond, the one is forgotten whose last wrong password is longest ago.
const MAX_ORIGINS: usize = 1024;

/// The origins that have shown wrong passwords. What one does costs no other anything.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    failures: BTreeMap<Origin, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl BackOff {
    /// Notes a wrong password of `origin`.
    pub(crate) fn failed(&mut self, origin: Origin, now: Instant) {
        self.failures.retain(|_, failures| !failures.are_old(now));
        if self.failures.len() >= MAX_ORIGINS && !self.failures.contains_key(&origin) {
            let oldest =
                self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(origin, _)| *origin);
            oldest.and_then(|oldest| self.failures.remove(&oldest));
        }
        let failures = self.failures.entry(origin).or_insert(Failures { count: 0, last: now });
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
    }

    /// Notes that somebody of `origin` has shown what lets them in.
    pub(crate) fn entered(&mut self, origin: Origin) {
        self.failures.remove(&origin);
    }

    /// Lets `origin` try at `now`, or returns how long it has to wait. Who has to wait at all can try once in that
    /// time, however many of its connections wait.
    pub(crate) fn attempt(&mut self, origin: Origin, now: Instant) -> Result<(), Duration> {
        match self.wait(origin, now) {
            Duration::ZERO => {
                let failures = self.failures.get_mut(&origin).filter(|failures| failures.count > FREE);
                failures.into_iter().for_each(|failures| failures.last = now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    fn wait(&self, origin: Origin, now: Instant) -> Duration {
        let failures = self.failures.get(&origin).filter(|failures| !failures.are_old(now));
        failures.map_or(Duration::ZERO, |failures| {
            failures.wait().saturating_sub(now.duration_since(failures.last))
        })
    }
}

impl Failures {
    fn wait(self) -> Duration {
        let Some(doublings) = self.count.checked_sub(FREE + 1) else { return Duration::ZERO };
        2u32.checked_pow(doublings).map_or(LONGEST, |times| FIRST.saturating_mul(times).min(LONGEST))
    }

    fn are_old(self, now: Instant) -> bool {
        now.duration_since(self.last) >= FORGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> Origin {
        Origin::Host(std::net::Ipv4Addr::from_bits(number).into())
    }

    /// Returns the waits after each of `count` wrong passwords.
    fn waits(count: u32) -> Vec<u64> {
        let (mut back_off, now) = (BackOff::default(), Instant::now());
        let fail = |_| {
            back_off.failed(host(1), now);
            assert_eq!(back_off.wait(host(2), now), Duration::ZERO, "another origin");
            back_off.wait(host(1), now).as_secs()
        };
        (0..count).map(fail).collect()
    }

    #[test]
    fn each_wrong_password_after_a_few_doubles_the_wait_of_its_origin() {
        assert_eq!(waits(8), [0, 0, 0, 1, 2, 4, 8, 16]);
        assert_eq!(waits(100).pop(), Some(LONGEST.as_secs()));
    }

    #[test]
    fn how_many_can_be_tried_in_a_day_is_bounded() {
        let (mut back_off, start) = (BackOff::default(), Instant::now());
        let (mut now, mut tried) = (start, 0);
        while now < start + Duration::from_secs(24 * 3600) {
            back_off.failed(host(1), now);
            tried += 1;
            now += back_off.wait(host(1), now);
        }
        assert!((280..=300).contains(&tried), "{tried}");
    }

    #[test]
    fn waits_pass_and_are_forgotten() {
        let (mut back_off, now) = (BackOff::default(), Instant::now());
        (0..5).for_each(|_| back_off.failed(host(1), now));
        assert_eq!(back_off.wait(host(1), now + Duration::from_millis(1500)), Duration::from_millis(500));
        assert_eq!(back_off.wait(host(1), now + Duration::from_secs(2)), Duration::ZERO);
        back_off.failed(host(1), now + FORGET);
        assert_eq!(back_off.wait(host(1), now + FORGET), Duration::ZERO, "the first one again");
        (0..5).for_each(|_| back_off.failed(host(1), now + FORGET));
        back_off.entered(host(1));
        assert_eq!(back_off.wait(host(1), now + FORGET), Duration::ZERO);
    }

    #[test]
    fn of_many_connections_that_wait_one_tries() {
        let (mut back_off, now) = (BackOff::default(), Instant::now());
        let mut tried =
            |at: Duration| (0..100).filter(|_| back_off.attempt(host(1), now + at).is_ok()).count();
        assert_eq!(tried(Duration::ZERO), 100);
        (0..5).for_each(|_| back_off.failed(host(1), now));
        let mut tried = |seconds| {
            let at = now + Duration::from_secs(seconds);
            (0..100).filter(|_| back_off.attempt(host(1), at).is_ok()).count()
        };
        assert_eq!([0, 1, 2, 3, 4].map(&mut tried), [0, 0, 1, 0, 1]);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut back_off, now) = (BackOff::default(), Instant::now());
        (0..5).for_each(|_| back_off.failed(host(0), now + Duration::from_secs(1)));
        (1..5000).for_each(|number| back_off.failed(host(number), now));
        assert_eq!(back_off.failures.len(), MAX_ORIGINS);
        assert!(back_off.wait(host(0), now + Duration::from_secs(1)) > Duration::ZERO, "the newest stays");
    }
}
