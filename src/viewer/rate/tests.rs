use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const MS: Duration = Duration::from_millis(1);
const PACKET: u64 = 1400;

/// Where it begins and ends.
type Packet = (u64, u64);

/// A way to a client, in steps of a millisecond: packets wait for their turn on a link of some rate, then
/// travel. Those that are lost are sent again when their sender learns of it, and what came after them waits
/// for them.
struct Way {
    /// Bits a second.
    rate: u64,
    one_way: u64,
    /// Lost packets of 1000.
    lost: u64,
    seed: u64,
    credit: u64,
    /// To be sent.
    queue: VecDeque<Packet>,
    /// What travels, and when it arrives.
    travels: Vec<(u64, Packet)>,
    /// What is to be sent again, and when that is known.
    again: Vec<(u64, Packet)>,
    arrived: BTreeSet<Packet>,
    written: u64,
    /// In order, at the client.
    received: u64,
    /// When our kernel learns of it.
    acks: VecDeque<(u64, u64)>,
    acked: u64,
    /// Where pings end, and their numbers.
    pings: VecDeque<(u64, u32)>,
    answers: VecDeque<(u64, u32)>,
}

impl Way {
    fn new(rate: u64, one_way: u64, lost: u64) -> Self {
        Self {
            rate,
            one_way,
            lost,
            seed: 1,
            credit: 0,
            queue: VecDeque::new(),
            travels: Vec::new(),
            again: Vec::new(),
            arrived: BTreeSet::new(),
            written: 0,
            received: 0,
            acks: VecDeque::new(),
            acked: 0,
            pings: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    fn write(&mut self, bytes: u64, ping: Option<u32>) {
        let end = self.written + bytes;
        while self.written < end {
            let start = self.written;
            self.written = (start + PACKET).min(end);
            self.queue.push_back((start, self.written));
        }
        self.pings.extend(ping.map(|id| (end, id)));
    }

    /// Simulates one millisecond. Returns the numbers of the pings that are answered.
    fn step(&mut self, now: u64) -> Vec<u32> {
        let (known, later) = self.again.drain(..).partition(|(at, _)| *at <= now);
        self.again = later;
        let known: Vec<(u64, Packet)> = known;
        known.iter().for_each(|(_, packet)| self.queue.push_front(*packet));
        self.credit = (self.credit + self.rate / 8000).min(PACKET + self.rate / 8000);
        while self.credit >= PACKET {
            let Some(packet) = self.queue.pop_front() else { break };
            self.credit -= packet.1 - packet.0;
            self.seed =
                self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (self.seed >> 33) % 1000 < self.lost {
                self.again.push((now + self.one_way * 2, packet));
            } else {
                self.travels.push((now + self.one_way, packet));
            }
        }
        for (_, packet) in self.travels.extract_if(.., |(at, _)| *at <= now) {
            self.arrived.insert(packet);
        }
        while let Some(packet) = self.arrived.first().copied().filter(|(start, _)| *start <= self.received) {
            self.arrived.remove(&packet);
            self.received = packet.1;
        }
        self.acks.push_back((now + self.one_way, self.received));
        while let Some((_, id)) = self.pings.pop_front_if(|(end, _)| *end <= self.received) {
            self.answers.push_back((now + self.one_way, id));
        }
        while let Some((_, acked)) = self.acks.pop_front_if(|(at, _)| *at <= now) {
            self.acked = acked;
        }
        let mut answered = Vec::new();
        while let Some((_, id)) = self.answers.pop_front_if(|(at, _)| *at <= now) {
            answered.push(id);
        }
        answered
    }
}

/// A guest, its frames on their way to a client, and what became of them.
struct Run {
    way: Way,
    rate: Rate,
    start: Instant,
    now: u64,
    /// Whether our kernel's word is of the client's host. If not there is a tunnel between.
    kernel: bool,
    changed: Option<u64>,
    /// Frames that have not arrived: where they end, and when the guest drew them.
    under_way: VecDeque<(u64, u64)>,
    /// When each frame arrived, how old it was then, and how many bytes it had.
    shown: Vec<(u64, u64, u64)>,
    last_end: u64,
}

impl Run {
    fn new(way: Way, max: Option<u64>) -> Self {
        let mut run = Self {
            way,
            rate: Rate::new(max),
            start: Instant::now(),
            now: 0,
            kernel: true,
            changed: None,
            under_way: VecDeque::new(),
            shown: Vec::new(),
            last_end: 0,
        };
        let ping = run.rate.sent(0, run.start);
        run.way.write(18, ping);
        run.last_end = 18;
        run
    }

    fn measure(&mut self, now: Instant) {
        let min_rtt = MS * (self.way.one_way * 2) as u32;
        let outstanding = self.way.written - self.way.acked;
        if self.kernel {
            self.rate.measured(sample(self.way.acked, outstanding, min_rtt), now);
        }
    }

    /// Simulates `ms` with a guest that draws every `period` ms what would take `bytes` to show well.
    fn go(&mut self, ms: u64, period: u64, bytes: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 1;
            let now = self.start + MS * self.now as u32;
            for id in self.way.step(self.now) {
                self.measure(now);
                self.rate.answered(id, now);
            }
            while let Some((end, drawn)) = self.under_way.pop_front_if(|(end, _)| *end <= self.way.received) {
                self.shown.push((self.now, self.now - drawn, end - self.last_end));
                self.last_end = end;
            }
            if self.rate.look_at().is_some_and(|at| at <= now) {
                self.measure(now);
            }
            if period > 0 && self.now.is_multiple_of(period) {
                self.changed = Some(self.now);
            }
            if self.changed.is_some() && self.rate.ready_at(now).is_some_and(|at| at <= now) {
                self.measure(now);
                let drawn = self.changed.take().unwrap();
                let limits = self.rate.frame_bytes().into_iter().chain(self.rate.first_bytes());
                let bytes = limits.fold(bytes, u64::min);
                let ping = self.rate.sent(bytes, now);
                self.way.write(bytes, ping);
                self.under_way.push_back((self.way.written, drawn));
            }
        }
    }

    /// Returns the bits a second that arrived since `from`.
    fn arrived_since(&self, from: u64) -> u64 {
        let bytes: u64 = self.shown.iter().filter(|(at, ..)| *at > from).map(|(_, _, bytes)| bytes).sum();
        bytes * 8000 / (self.now - from)
    }

    /// Returns the age of the oldest frame that arrived since `from`, beyond the time there.
    fn worst_since(&self, from: u64) -> u64 {
        let ages = self.shown.iter().filter(|(at, ..)| *at > from).map(|(_, age, _)| *age - self.way.one_way);
        ages.max().expect("no frame arrived")
    }
}

const FILM: (u64, u64) = (33, 120_000);

fn film(run: &mut Run, ms: u64) {
    run.go(ms, FILM.0, FILM.1);
}

#[test]
fn a_narrow_way_is_used_and_no_queue_stands_in_it() {
    for (rate, one_way, lost) in [
        (500_000, 20, 0),
        (2_000_000, 5, 0),
        (2_000_000, 40, 0),
        (3_000_000, 20, 10),
        (8_000_000, 100, 0),
        (20_000_000, 20, 0),
    ] {
        let mut run = Run::new(Way::new(rate, one_way, lost), None);
        film(&mut run, 4000);
        film(&mut run, 10_000);
        let (used, worst) = (run.arrived_since(4000), run.worst_since(4000));
        println!(
            "{rate} bit/s, {one_way} ms, {lost} per mille: used {}%, frames {worst} ms old at most, {} fps",
            used * 100 / rate,
            run.shown.iter().filter(|(at, ..)| *at > 4000).count() / 10
        );
        let least = if lost > 0 { 60 } else { 78 };
        assert!(used * 100 / rate >= least, "{used} of {rate} bit/s");
        // 100 ms for a frame's own bytes, 33 until the next is looked at, and what waits.
        let most = if lost > 0 { 400 } else { 250 };
        assert!(worst < most, "{worst} ms old");
    }
}

#[test]
fn a_way_that_gets_narrow_and_wide_again_is_followed_within_two_seconds() {
    for kernel in [true, false] {
        let mut run = Run::new(Way::new(20_000_000, 20, 0), None);
        run.kernel = kernel;
        film(&mut run, 5000);
        run.way.rate = 2_000_000;
        film(&mut run, 2000);
        let from = run.now;
        film(&mut run, 5000);
        let (worst, used) = (run.worst_since(from), run.arrived_since(from));
        println!("kernel {kernel}: narrow: {worst} ms, {used} bit/s");
        assert!(worst < 300 && used > 1_500_000, "{worst} ms old, {used} bit/s");
        run.way.rate = 20_000_000;
        film(&mut run, 2000);
        let from = run.now;
        film(&mut run, 5000);
        let (worst, used) = (run.worst_since(from), run.arrived_since(from));
        println!("kernel {kernel}: wide again: {worst} ms, {used} bit/s, {:?}", run.rate.bits_per_second());
        assert!(worst < 250 && used > 15_000_000, "{worst} ms old, {used} bit/s");
    }
}

#[test]
fn an_idle_guest_neither_raises_nor_lowers_the_rate() {
    let mut run = Run::new(Way::new(4_000_000, 20, 0), None);
    film(&mut run, 4000);
    run.go(500, 0, 0);
    let before = run.rate.bits_per_second().unwrap();
    run.go(60_000, 0, 0);
    assert_eq!(run.rate.bits_per_second(), Some(before));
    assert_eq!(run.rate.look_at(), None, "wake-ups while nothing happens");
    run.go(30_000, 500, 300); // a caret blinks
    assert_eq!(run.rate.bits_per_second(), Some(before));
    let from = run.now;
    film(&mut run, 3000);
    let worst = run.worst_since(from);
    println!("{before} bit/s, then a burst: {worst} ms");
    assert!(worst < 250, "{worst} ms old");
}

#[test]
fn a_wide_way_has_no_limit() {
    let mut run = Run::new(Way::new(1_000_000_000, 1, 0), None);
    film(&mut run, 5000);
    assert_eq!(run.rate.bits_per_second(), None);
    assert!(run.shown.len() > 145, "{} frames in 5 s", run.shown.len());
}

#[test]
fn the_users_limit_is_kept() {
    let mut run = Run::new(Way::new(1_000_000_000, 10, 0), Some(3_000_000));
    film(&mut run, 10_000);
    let used = run.arrived_since(0);
    assert!((2_600_000..=3_100_000).contains(&used), "{used} bit/s");
    assert!(run.rate.frame_bytes() <= Some(37_500));
}

#[test]
fn the_rate_does_not_swing() {
    let mut run = Run::new(Way::new(3_000_000, 30, 0), None);
    film(&mut run, 3000);
    let mut rates = Vec::new();
    for _ in 0..100 {
        film(&mut run, 100);
        rates.push(run.rate.bits_per_second().unwrap());
    }
    let (low, high) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
    println!("between {low} and {high} bit/s");
    assert!(high * 100 / low < 140, "between {low} and {high} bit/s");
}

#[test]
fn a_client_that_is_slow_now_and_then_does_not_spoil_the_picture() {
    let (mut rate, start) = (Rate::new(None), Instant::now());
    // Small frames on a local network; every tenth is answered late, as the client has something else to do.
    for n in 0..300_u32 {
        let now = start + MS * n * 33;
        rate.measured(sample(u64::from(n) * 5000, 0, MS), now);
        let id = rate.sent(5000, now).unwrap();
        let answered = now + MS * if n % 10 == 0 { 30 } else { 4 };
        rate.measured(sample(u64::from(n + 1) * 5000, 0, MS), answered);
        rate.answered(id, answered);
    }
    assert_eq!(rate.bits_per_second(), None);
}

#[test]
fn a_client_beside_us_that_was_busy_for_a_while_is_not_taken_for_slow_for_long() {
    let (mut rate, start) = (Rate::new(None), Instant::now());
    let frames = |from: u32, to: u32| (from..to).map(move |n| (n, start + MS * n * 50));
    let mut acked = 0;
    let mut send = |rate: &mut Rate, at| {
        rate.measured(sample(acked, 0, MS / 5), at);
        acked += 7000;
        rate.sent(7000, at).unwrap()
    };
    for (_, at) in frames(0, 60) {
        let id = send(&mut rate, at);
        rate.answered(id, at + MS / 5);
    }
    // Its window is moved, say.
    let waiting: Vec<u32> = frames(60, 80).map(|(_, at)| send(&mut rate, at)).collect();
    waiting.into_iter().for_each(|id| rate.answered(id, start + MS * 4000));
    assert!(rate.bits_per_second().is_some_and(|rate| rate < 2_000_000), "{rate:?}");
    for (_, at) in frames(81, 101) {
        let id = send(&mut rate, at);
        rate.answered(id, at + MS / 5);
    }
    assert!(rate.bits_per_second().is_none_or(|rate| rate > 100_000_000), "{rate:?}");
}

fn sample(acked: u64, outstanding: u64, min_rtt: Duration) -> TcpState {
    TcpState { acked, outstanding, packet: PACKET, refused: Duration::ZERO, min_rtt }
}

/// On a machine's own network all of a frame is in one packet, which a client that is busy acknowledges late.
#[test]
fn one_packet_that_is_acknowledged_late_says_nothing() {
    let (mut rate, start) = (Rate::new(None), Instant::now());
    let big = |acked, outstanding| TcpState { packet: 65_483, ..sample(acked, outstanding, MS) };
    for n in 0..300_u32 {
        let (now, acked) = (start + MS * n * 50, u64::from(n) * 20_000);
        rate.measured(big(acked, 0), now);
        rate.sent(20_000, now);
        rate.measured(big(acked, 20_000), now + MS * 25);
        rate.measured(big(acked + 20_000, 0), now + MS * 41);
    }
    assert_eq!(rate.bits_per_second(), None);
}

#[test]
fn a_client_that_does_not_read_is_no_slow_network() {
    for reads in [true, false] {
        let (mut rate, start) = (Rate::new(None), Instant::now());
        rate.measured(sample(0, 0, MS), start);
        rate.sent(1_000_000, start);
        for n in 1..40_u32 {
            let refused = if reads { Duration::ZERO } else { MS * n * 20 };
            let acked = u64::from(n) * 1000;
            rate.measured(TcpState { refused, ..sample(acked, 1_000_000 - acked, MS) }, start + MS * n * 25);
        }
        assert_eq!(rate.bits_per_second().is_some(), reads);
    }
}

#[test]
fn a_large_picture_delays_the_next_one_until_it_is_read_and_no_longer() {
    let mut run = Run::new(Way::new(300_000, 10, 0), None);
    film(&mut run, 8000);
    run.go(1000, 0, 0);
    assert!(run.rate.bits_per_second().unwrap() < 400_000);
    // The network is better than it was, and nobody has noticed yet.
    let now = run.start + MS * run.now as u32;
    let id = run.rate.sent(3_000_000, now).unwrap();
    assert!(run.rate.ready_at(now).is_none_or(|at| at > now + MS * 500));
    run.rate.answered(id, now + MS * 500);
    assert!(run.rate.ready_at(now + MS * 500).unwrap() <= now + MS * 500);
}

#[test]
fn the_first_picture_is_small_for_a_host_that_is_far_and_no_other_is() {
    for (one_way, first) in [(0, None), (10, Some(64 * 1024))] {
        let mut run = Run::new(Way::new(1_000_000, one_way, 0), None);
        run.measure(run.start);
        assert_eq!(run.rate.first_bytes(), first);
        run.go(500, 0, 0);
        assert_eq!(run.rate.first_bytes(), first, "no picture was sent yet");
        run.go(1500, 500, 10_000);
        assert_eq!(run.rate.first_bytes(), None);
    }
}

#[test]
fn a_client_that_is_far_and_never_answers_is_not_new_for_ever() {
    let (mut rate, start) = (Rate::new(None), Instant::now());
    rate.measured(sample(0, 0, MS * 20), start);
    rate.sent(0, start);
    rate.sent(5000, start);
    rate.measured(sample(0, 5000, MS * 20), start + MS * 500);
    assert!(rate.first_bytes().is_some());
    rate.measured(sample(5000, 0, MS * 20), start + MS * 1100);
    assert_eq!(rate.first_bytes(), None);
}

#[test]
fn a_client_that_never_answers_is_served() {
    let (mut rate, start) = (Rate::new(None), Instant::now());
    rate.sent(0, start);
    rate.sent(5000, start);
    assert!(rate.ready_at(start).unwrap() > start, "how much the network carries is not known");
    for n in 0..300 {
        let now = start + MS * 1000 + MS * n * 33;
        assert!(rate.ready_at(now).is_some_and(|at| at <= now));
        rate.sent(5000, now);
    }
    rate.answered(7777, start);
}

proptest! {
    #[test]
    fn whatever_the_way_is_like_frames_arrive_and_the_rate_stays_in_its_bounds(
        rate in 300_000u64..50_000_000, one_way in 0u64..150, lost in 0u64..50, bytes in 200u64..300_000,
        period in 5u64..200, max in proptest::option::of(300_000u64..30_000_000),
    ) {
        let mut run = Run::new(Way::new(rate, one_way, lost), max);
        run.go(8000, period, bytes);
        let seen = run.shown.iter().filter(|(at, ..)| *at > 4000).count();
        prop_assert!(seen > 2, "{} frames", seen);
        if let Some(used) = run.rate.bits_per_second() {
            prop_assert!(used >= FLOOR && max.is_none_or(|max| used <= max), "{}", used);
        }
    }
}
