//! How much a viewer's network carries, and when its next picture may leave.
//!
//! Two things tell of the network. The kernel says what the other host has acknowledged: exact to the byte,
//! and not spoilt by a client that is slow. And the client answers a ping behind each picture: that says when
//! it has read it, also where a tunnel between us takes everything at once and is slow itself. The client's
//! reports about its stream say nothing of use: they count from our own time stamps, which are in the past on
//! purpose.
//!
//! A network counts as the limit only where it was busy for a while. Until then, and on a machine's own
//! sockets, the rate is unlimited. What is sent while the guest is idle, or draws little, never lowers it.

mod in_flight;
mod meter;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::in_flight::{InFlight, Seen};
use self::meter::{Meter, bytes_in, time_for};
use crate::sys::TcpState;

/// No viewer is given less than this, in bits a second: it would see nothing at all.
const FLOOR: u64 = 200_000;

/// The least that answers to pings alone are believed to say: a client that is slow itself looks like a slow
/// network.
const ANSWERS_FLOOR: u64 = 1_000_000;

/// A rate above this is as good as none, in bits a second.
const UNLIMITED: u64 = 200_000_000;

/// From how much busy time the kernel's word is believed: nothing that a person would notice takes less.
const KERNEL_EVIDENCE: (Duration, u64) = (Duration::from_millis(50), 0);

/// From how much of it the client's answers are: longer than most clients are busy with something else.
const ANSWERS_EVIDENCE: (Duration, u64) = (Duration::from_millis(300), 48 * 1024);

/// How long a client takes to start its decoder: until then, answers that are late say nothing of the
/// network.
const DECODER_START: Duration = Duration::from_secs(2);

/// The time one frame may take the network. Frames come less often before they get worse, until there are ten
/// a second: text that moves can be read at ten frames a second, but not in a picture that is a blur.
const FRAME_TIME: Duration = Duration::from_millis(100);

/// Of what the network carries, the part that is used: the rest empties queues.
const USED_PERCENT: u64 = 90;

/// The longest that a picture delays the next one unless its client says that it still reads.
const PACE_MAX: Duration = Duration::from_secs(2);

/// How long before the network is done with a picture the next one is begun: it has to be encoded first.
const LEAD: Duration = Duration::from_millis(10);

/// How long over the round trip a picture may be unanswered before the next one has to wait.
const QUEUE: Duration = Duration::from_millis(100);

/// How long the first picture waits for an answer: a client that gives none by then never will.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// From this time there and back on, a host may be anywhere: one in the same building answers sooner.
const FAR: Duration = Duration::from_millis(2);

/// The most bytes of the first picture for a host that may be anywhere. A slow network, of 1 Mbit/s, takes
/// half a second for them.
const FIRST_BYTES: u64 = 64 * 1024;

/// The most pictures that are unanswered. No network that carries more needs the wait.
const MAX_MARKS: usize = 64;

/// How often to ask the kernel while it has something to send.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// How long what was seen of the network is worth something.
const MEMORY: Duration = Duration::from_secs(2);

/// How long the shortest round trip is believed: the way may have become longer.
const ROUND_TRIP_MEMORY: Duration = Duration::from_secs(30);

/// The rate of one viewer. Pure: it is told what happens and what time it is.
#[derive(Debug)]
pub(crate) struct Rate {
    /// The user's limit, in bits a second.
    max: Option<u64>,
    kernel: Meter,
    answers: Meter,
    in_flight: InFlight,
    /// Pictures that are not answered, oldest first.
    marks: VecDeque<Mark>,
    next_mark: u32,
    answered_at: Option<Instant>,
    /// When the first picture was sent.
    started: Option<Instant>,
    round_trip: Option<(Duration, Instant)>,
    /// The other host may be anywhere.
    far: bool,
    /// A picture was answered, or had the time to be.
    tried: bool,
    /// Bytes that may be unanswered while no limit is known, besides one picture. Grows with what is answered
    /// soon: at first nobody knows what the network carries.
    window: u64,
    /// When the last picture has left, at the rate it was sent at.
    paced: Option<Instant>,
    /// When it has, at the user's limit.
    allowed: Option<Instant>,
}

/// The end of a picture.
#[derive(Debug)]
struct Mark {
    id: u32,
    sent: Instant,
    bytes: u64,
}

impl Rate {
    /// Makes the rate of a new viewer, which is never over `max` bits a second.
    #[must_use]
    pub(crate) fn new(max: Option<u64>) -> Self {
        Self {
            max: max.map(|max| max.max(FLOOR)),
            kernel: Meter::new(KERNEL_EVIDENCE, FLOOR),
            answers: Meter::new(ANSWERS_EVIDENCE, ANSWERS_FLOOR),
            in_flight: InFlight::default(),
            marks: VecDeque::new(),
            next_mark: 0,
            answered_at: None,
            started: None,
            round_trip: None,
            far: false,
            tried: false,
            window: 0,
            paced: None,
            allowed: None,
        }
    }

    /// Returns the bits a second that the viewer may be sent; `None` if nothing is known to limit it.
    #[must_use]
    pub(crate) fn bits_per_second(&self) -> Option<u64> {
        let used = self.carried().map(|rate| rate / 100 * USED_PERCENT);
        [used, self.max].into_iter().flatten().min().map(|rate| rate.max(FLOOR))
    }

    /// Returns the most bytes that one frame should have; `None` if nothing is known to limit it.
    #[must_use]
    pub(crate) fn frame_bytes(&self) -> Option<u64> {
        self.bits_per_second().map(|rate| bytes_in(FRAME_TIME, rate))
    }

    /// Returns the most bytes that the first picture should have; `None` if the network is near, or was
    /// tried.
    #[must_use]
    pub(crate) fn first_bytes(&self) -> Option<u64> {
        (self.far && !self.tried).then_some(FIRST_BYTES)
    }

    /// Records that a picture of `bytes` bytes was given to the socket. Returns the number that the client is
    /// to be asked to send back; `None` if it has left [`MAX_MARKS`] unanswered.
    pub(crate) fn sent(&mut self, bytes: u64, now: Instant) -> Option<u32> {
        self.in_flight.sent(bytes, now);
        let after =
            |paced: Option<Instant>, rate| paced.map_or(now, |at| at.max(now)) + time_for(bytes, rate);
        self.paced = self.bits_per_second().map(|rate| after(self.paced, rate).min(now + PACE_MAX));
        self.allowed = self.max.map(|max| after(self.allowed, max));
        if bytes > 0 {
            self.started.get_or_insert(now);
        }
        if self.marks.len() >= MAX_MARKS {
            return None;
        }
        let id = self.next_mark;
        self.next_mark = id.wrapping_add(1);
        self.marks.push_back(Mark { id, sent: now, bytes });
        Some(id)
    }

    /// Records that the client has read picture `id`, and all before it. Ignores a number that is not waited
    /// for.
    pub(crate) fn answered(&mut self, id: u32, now: Instant) {
        if !self.marks.iter().any(|mark| mark.id == id) {
            return;
        }
        let mut bytes = 0_u64;
        let mut first_sent = None;
        while let Some(mark) = self.marks.pop_front() {
            bytes = bytes.saturating_add(mark.bytes);
            first_sent.get_or_insert(mark.sent);
            if mark.id == id {
                self.see_round_trip(now.saturating_duration_since(mark.sent), now);
                break;
            }
        }
        self.tried |= bytes > 0;
        let (Some(sent), Some(round_trip)) = (first_sent, self.round_trip()) else { return };
        self.forget_after(self.answered_at, now);
        let from = self.answered_at.map_or(sent, |last| last.max(sent + round_trip));
        let took = now.saturating_duration_since(from);
        let answered_in = now.saturating_duration_since(sent);
        let waited = answered_in.saturating_sub(round_trip);
        let started = self.started.is_some_and(|started| sent < started + DECODER_START);
        if waited >= QUEUE && started {
            self.window /= 2;
        } else if waited >= QUEUE {
            self.answers.busy(bytes, took, round_trip);
            self.window /= 2;
        } else {
            self.answers.burst(bytes, waited, answered_in);
            self.window = self.window.saturating_add(bytes);
        }
        self.answered_at = Some(now);
        if self.marks.is_empty() {
            self.paced = None; // whatever was thought of the network, it has nothing to do now
        }
    }

    /// Takes what the kernel knows now. It is best asked just before a picture is sent, when the client
    /// answered, and at [`Rate::look_at`].
    pub(crate) fn measured(&mut self, sample: TcpState, now: Instant) {
        self.forget_after(self.in_flight.last_asked(), now);
        self.far = sample.min_rtt >= FAR;
        // INVARIANT: a client that never answers does not stay new for ever.
        self.tried |= self.started.is_some_and(|started| now >= started + FIRST_ANSWER);
        match self.in_flight.measured(sample, now) {
            Seen::Nothing => {}
            Seen::Busy(bytes, took) => self.kernel.busy(bytes, took, sample.min_rtt),
            Seen::Burst(bytes, took) => self.kernel.burst(bytes, took, Duration::MAX),
        }
    }

    /// Returns when the next picture may be sent, as far as is known; `now` if that is past. `None` if that
    /// depends on the client's answer.
    #[must_use]
    pub(crate) fn ready_at(&self, now: Instant) -> Option<Instant> {
        let paced = self.paced.into_iter().chain(self.allowed).max();
        let paced = paced.map_or(now, |paced| paced.checked_sub(LEAD).unwrap_or(paced));
        let Some(round_trip) = self.round_trip() else {
            let first = self.marks.iter().find(|mark| mark.bytes > 0);
            return Some(first.map_or(paced, |mark| paced.max(mark.sent + FIRST_ANSWER)));
        };
        let overdue = |mark: &Mark| now.saturating_duration_since(mark.sent) > round_trip + QUEUE;
        let unanswered: u64 = self.marks.iter().map(|mark| mark.bytes).sum();
        let full = self.carried().is_none() && unanswered > self.window;
        (!full && !self.marks.front().is_some_and(overdue)).then_some(paced)
    }

    /// Returns when to ask the kernel again; `None` if nothing is in flight.
    #[must_use]
    pub(crate) fn look_at(&self) -> Option<Instant> {
        let at = self.in_flight.last_asked()?;
        self.in_flight.is_waiting().then(|| at + LOOK_INTERVAL)
    }

    /// Returns the bits a second that the network carries; `None` if that is no limit.
    fn carried(&self) -> Option<u64> {
        let measured = [self.kernel.rate(), self.answers.rate()].into_iter().flatten().min();
        measured.filter(|rate| *rate < UNLIMITED)
    }

    fn round_trip(&self) -> Option<Duration> {
        self.round_trip.map(|(round_trip, _)| round_trip)
    }

    fn see_round_trip(&mut self, took: Duration, now: Instant) {
        let shorter = |(known, at): (Duration, Instant)| {
            took <= known || now.saturating_duration_since(at) > ROUND_TRIP_MEMORY
        };
        if self.round_trip.is_none_or(shorter) {
            self.round_trip = Some((took, now));
        }
    }

    fn forget_after(&mut self, last: Option<Instant>, now: Instant) {
        if last.is_some_and(|last| now.saturating_duration_since(last) > MEMORY) {
            self.kernel.forget();
            self.answers.forget();
        }
    }
}

#[cfg(test)]
mod tests;
