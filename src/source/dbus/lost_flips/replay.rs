use std::time::{Duration, Instant};

/// How long nothing is drawn before a guess is checked: by then the guest has stopped flipping.
const REST: Duration = Duration::from_millis(300);

/// How long a flip to a buffer that nobody knows is waited for: the next flip may bring it.
const BLIND: Duration = Duration::from_millis(50);

/// The least time between two replays, until the first guess turns out right.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The most that the time between two replays grows to.
const MAX_INTERVAL: Duration = Duration::from_secs(64);

/// The most replays of one connection's life. A QEMU that loses flips also never forgets a listener: each goes on
/// costing it three messages a flip.
const MAX_REPLAYS: u32 = 16;

/// The number of flips in a row that would have been guessed, after which a guess is trusted.
const TRUSTED: u32 = 8;

/// When to ask QEMU to show again what the console shows, because a flip was lost.
///
/// A pure state machine.
#[derive(Debug)]
pub(super) struct Replay {
    doubt: Option<Doubt>,
    /// Whether a flip was ever lost: this QEMU does that.
    has_lost: bool,
    left: u32,
    /// The number of flips in a row that came and would have been guessed.
    foreseen: u32,
    /// Whether more than one flip may have been lost at once: guesses since then may be a step behind.
    out_of_step: bool,
    interval: Duration,
    not_before: Option<Instant>,
    /// Whether QEMU was asked, and has not shown anything since.
    asked: bool,
}

/// The part of the picture that the guest drew on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::dbus) enum Drawn {
    /// Nothing is shown.
    OnNothing,
    /// A part of what is shown; or all of something smaller or larger, shown by a flip that was lost.
    Part,
    /// All of what is shown.
    All,
}

#[derive(Clone, Copy, Debug)]
enum Doubt {
    /// The console shows a guess. Without a `due` the guess is trusted.
    Guessed { due: Option<Instant>, drawn: bool },
    /// The guest's buffer is not known, nor can it be guessed.
    Blind { due: Instant },
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            doubt: None,
            has_lost: false,
            left: MAX_REPLAYS,
            foreseen: 0,
            out_of_step: false,
            interval: MIN_INTERVAL,
            not_before: None,
            asked: false,
        }
    }
}

impl Replay {
    /// Returns whether a flip was ever lost.
    pub(super) fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// Takes notice of a lost flip whose buffer was guessed. `one` says that no other can have been lost with it.
    pub(super) fn guessed(&mut self, one: bool, now: Instant) {
        self.has_lost = true;
        self.out_of_step |= !one;
        self.doubt = Some(Doubt::Guessed { due: Some(now + REST), drawn: false });
    }

    /// Takes notice of a lost flip whose buffer cannot be guessed.
    pub(super) fn blind(&mut self, now: Instant) {
        self.has_lost = true;
        if !self.is_blind() {
            self.doubt = Some(Doubt::Blind { due: now + BLIND });
        }
    }

    /// Takes notice of a flip that came. `foreseen` says whether it would have been guessed; `None` if there was no
    /// guess.
    pub(super) fn flipped(&mut self, foreseen: Option<bool>) {
        match foreseen {
            Some(true) => self.foreseen = self.foreseen.saturating_add(1),
            Some(false) => self.foreseen = 0,
            None => {}
        }
    }

    /// Returns whether the console surely does not show what the guest shows.
    pub(super) fn is_blind(&self) -> bool {
        matches!(self.doubt, Some(Doubt::Blind { .. }))
    }

    /// Takes notice that the guest drew. If it drew on nothing, QEMU may have discarded the scanout.
    pub(super) fn drawn(&mut self, on: Drawn, now: Instant) {
        if on == Drawn::OnNothing && self.has_lost {
            self.blind(now);
        }
        if let Some(Doubt::Guessed { due, drawn }) = &mut self.doubt {
            // A guest that draws on without a flip does not do what it did so far: it may show its text console.
            let is_first = !std::mem::replace(drawn, true);
            let is_usual = is_first && on == Drawn::All && !self.out_of_step;
            let is_trusted = is_usual && self.foreseen >= TRUSTED;
            *due = (!is_trusted).then(|| now + REST);
        }
    }

    /// Takes notice of a scanout; `shown_already` says whether the console showed the same.
    pub(super) fn told(&mut self, shown_already: bool) {
        if std::mem::take(&mut self.asked) {
            self.interval = if shown_already { (self.interval * 2).min(MAX_INTERVAL) } else { MIN_INTERVAL };
            self.foreseen = if shown_already { self.foreseen } else { 0 };
        }
        self.doubt = None;
        self.out_of_step = false;
    }

    /// Returns whether to ask QEMU now. True once: QEMU counts as asked then.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        let due = self.wake_at().is_some_and(|due| due <= now);
        if due {
            self.left -= 1;
            self.asked = true;
            self.not_before = Some(now + self.interval);
            self.doubt = None;
        }
        due
    }

    /// Returns when to call [`Replay::due`] next.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let due = match self.doubt.filter(|_| self.left > 0)? {
            Doubt::Guessed { due, .. } => due?,
            Doubt::Blind { due } => due,
        };
        Some(self.not_before.map_or(due, |earliest| due.max(earliest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(16);

    /// Runs until nothing is due; gives when it was asked.
    fn asks(replay: &mut Replay, now: &mut Instant, until: Instant) -> usize {
        let mut asked = 0;
        while *now < until {
            *now += FRAME;
            asked += usize::from(replay.due(*now));
        }
        asked
    }

    #[test]
    fn a_guess_is_checked_at_rest_and_not_before() {
        let (mut replay, mut now) = (Replay::default(), Instant::now());
        for _ in 0..200 {
            replay.guessed(true, now);
            replay.drawn(Drawn::All, now);
            now += FRAME;
            assert!(!replay.due(now));
        }
        let until = now + REST * 2;
        assert_eq!(asks(&mut replay, &mut now, until), 1);
        replay.told(true);
        assert_eq!(replay.wake_at(), None);
    }

    #[test]
    fn without_a_guess_it_is_asked_soon_and_told_ends_it() {
        let (mut replay, now) = (Replay::default(), Instant::now());
        replay.blind(now);
        replay.blind(now + FRAME); // the next lost flip does not put it off
        assert!(replay.is_blind());
        assert!(!replay.due(now + FRAME) && replay.due(now + BLIND));
        let mut replay = Replay::default();
        replay.blind(now);
        replay.told(false);
        assert!(!replay.due(now + REST));
    }

    #[test]
    fn drawing_on_nothing_is_a_loss_only_where_there_are_losses() {
        let (mut replay, now) = (Replay::default(), Instant::now());
        replay.drawn(Drawn::OnNothing, now);
        assert_eq!(replay.wake_at(), None);
        replay.guessed(true, now);
        replay.told(true);
        replay.drawn(Drawn::OnNothing, now);
        assert!(replay.is_blind());
    }

    #[test]
    fn right_guesses_are_trusted_more_and_more() {
        let (mut replay, mut now) = (Replay::default(), Instant::now());
        let mut asked = 0;
        for _ in 0..60 {
            replay.guessed(true, now);
            let until = now + MIN_INTERVAL;
            let new = asks(&mut replay, &mut now, until);
            for _ in 0..new {
                replay.told(true);
            }
            asked += new;
        }
        assert!((4..=7).contains(&asked), "{asked} times in a minute");
    }

    #[test]
    fn what_always_was_as_guessed_is_not_asked_for() {
        let (mut replay, mut now) = (Replay::default(), Instant::now());
        let mut asked_after = |replay: &mut Replay, drawn| {
            replay.guessed(true, now);
            replay.drawn(drawn, now);
            let until = now + REST * 2;
            let asked = asks(replay, &mut now, until);
            replay.told(true);
            now += MAX_INTERVAL;
            asked
        };
        (0..TRUSTED - 1).for_each(|_| replay.flipped(Some(true)));
        assert_eq!(asked_after(&mut replay, Drawn::All), 1);
        replay.flipped(Some(true));
        assert_eq!(asked_after(&mut replay, Drawn::All), 0);
        assert_eq!(asked_after(&mut replay, Drawn::Part), 1, "the guest may have changed its resolution");
        replay.flipped(Some(false));
        assert_eq!(asked_after(&mut replay, Drawn::All), 1);
        (0..TRUSTED).for_each(|_| replay.flipped(Some(true)));
        assert_eq!(asked_after(&mut replay, Drawn::All), 0);
        // One guess that was wrong, as QEMU told, and it begins anew.
        replay.asked = true;
        replay.told(false);
        assert_eq!(asked_after(&mut replay, Drawn::All), 1);
    }

    #[test]
    fn a_guest_that_draws_on_without_a_flip_is_asked_for_at_rest() {
        let (mut replay, mut now) = (Replay::default(), Instant::now());
        (0..TRUSTED).for_each(|_| replay.flipped(Some(true)));
        replay.guessed(true, now);
        replay.drawn(Drawn::All, now);
        assert_eq!(replay.wake_at(), None);
        for _ in 0..200 {
            now += FRAME;
            replay.drawn(Drawn::All, now);
            assert!(!replay.due(now));
        }
        let until = now + REST * 2;
        assert_eq!(asks(&mut replay, &mut now, until), 1);
    }

    #[test]
    fn a_guess_after_two_flips_lost_at_once_is_never_trusted() {
        let (mut replay, mut now) = (Replay::default(), Instant::now());
        (0..TRUSTED).for_each(|_| replay.flipped(Some(true)));
        replay.guessed(false, now);
        for _ in 0..10 {
            replay.drawn(Drawn::All, now);
            now += FRAME;
            replay.guessed(true, now);
        }
        replay.drawn(Drawn::All, now);
        let until = now + REST * 2;
        assert_eq!(asks(&mut replay, &mut now, until), 1);
        replay.told(true);
        now += MAX_INTERVAL;
        replay.guessed(true, now);
        replay.drawn(Drawn::All, now);
        assert_eq!(replay.wake_at(), None, "it is in step again");
    }

    #[test]
    fn there_is_an_end_to_asking() {
        let (mut replay, mut now) = (Replay::default(), Instant::now());
        let mut asked = 0;
        for _ in 0..100 {
            replay.blind(now);
            let until = now + MIN_INTERVAL * 2;
            let new = asks(&mut replay, &mut now, until);
            for _ in 0..new {
                replay.told(false);
            }
            asked += new;
        }
        assert_eq!(asked, 16);
    }
}
