use super::*;
use proptest::prelude::*;

/// What viewers get: which picture it shows, and whether it can be decoded alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    Key(u32),
    Other(u32),
    Blank,
}

/// About a frame at 30 Hz.
const GRACE: Duration = Duration::from_millis(33);

/// And the number of the encode it comes from.
type Numbered = (Seen, u32);

/// One encoder in simulated time: encoding takes `encode`, and the picture changes by counting up.
struct Sim {
    schedule: Schedule<Numbered>,
    now: Instant,
    encode: Duration,
    picture: u32,
    encoding: Option<(Instant, Seen)>,
    encoded: u32,
    keys: Vec<Instant>,
}

impl Sim {
    fn new(encode_ms: u64) -> Self {
        let encode = Duration::from_millis(encode_ms);
        let (schedule, now) = (Schedule::new(GRACE), Instant::now());
        let mut sim =
            Self { schedule, now, encode, picture: 0, encoding: None, encoded: 0, keys: Vec::new() };
        sim.schedule.show();
        sim
    }

    fn change(&mut self) {
        self.picture += 1;
        self.schedule.change();
    }

    /// Lets the encoder work for this long. Wakes only when the schedule says so: what it forgets is never done.
    fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            if let Some((done, frame)) = self.encoding {
                if done > end {
                    break;
                }
                self.now = self.now.max(done);
                self.encoding = None;
                self.encoded += 1;
                let key = matches!(frame, Seen::Key(_));
                self.schedule.deliver(&(frame, self.encoded), key, self.now);
                self.schedule.rest(self.now);
            }
            match self.schedule.turn(self.now) {
                Turn::Encode { key } => {
                    self.schedule.pick_up();
                    let frame = if key { Seen::Key(self.picture) } else { Seen::Other(self.picture) };
                    self.keys.extend(key.then_some(self.now));
                    self.encoding = Some((self.now + self.encode, frame));
                }
                Turn::WaitUntil(at) => {
                    assert!(at > self.now, "wakes for nothing");
                    if at > end {
                        break;
                    }
                    self.now = at;
                }
                Turn::Wait => break,
            }
        }
        self.now = end;
    }

    /// A viewer that asks until it gets something.
    fn fetch(&mut self, viewer: u64) -> Seen {
        for _ in 0..2000 {
            if let Some((frame, _)) = self.schedule.take(viewer) {
                return frame;
            }
            self.run(1);
        }
        panic!("viewer {viewer} is left waiting: {:?}", self.schedule);
    }
}

#[test]
fn a_viewer_joining_an_idle_guest_has_a_key_frame_within_a_tenth_of_a_second() {
    let mut sim = Sim::new(10);
    let early = sim.schedule.join();
    assert_eq!(sim.fetch(early), Seen::Key(0));
    for _ in 0..5 {
        let late = sim.schedule.join();
        let start = sim.now;
        assert_eq!(sim.fetch(late), Seen::Key(0));
        assert!(sim.now - start <= Duration::from_millis(100));
    }
}

#[test]
fn only_who_wants_video_and_is_late_counts_as_losing_frames() {
    let mut sim = Sim::new(5);
    let [late, rests, quick] = [(); 3].map(|()| sim.schedule.join());
    for viewer in [late, rests, quick] {
        sim.fetch(viewer);
    }
    sim.schedule.pause(rests);
    for _ in 0..10 {
        sim.change();
        sim.fetch(quick);
    }
    assert_eq!([late, rests, quick].map(|viewer| sim.schedule.losses(viewer)), [1, 0, 0]);
}

#[test]
fn an_idle_guest_means_an_idle_encoder() {
    let mut sim = Sim::new(5);
    let viewer = sim.schedule.join();
    sim.fetch(viewer);
    assert_eq!(sim.schedule.take(viewer), None);
    assert_eq!(sim.schedule.turn(sim.now), Turn::Wait);
    sim.change();
    assert_eq!(sim.schedule.turn(sim.now), Turn::Encode { key: false }, "a change waits");
}

#[test]
fn nothing_is_encoded_while_nobody_is_ready() {
    let mut sim = Sim::new(5);
    let viewer = sim.schedule.join();
    sim.fetch(viewer);
    for _ in 0..100 {
        sim.change();
        sim.run(10);
    }
    assert_eq!(sim.encoded, 1);
    assert_eq!(sim.fetch(viewer), Seen::Other(100), "not the newest picture, or a key frame for nothing");
}

#[test]
fn a_guest_that_is_faster_than_the_encoder_is_read_once_a_frame() {
    let mut sim = Sim::new(5);
    let viewer = sim.schedule.join();
    sim.fetch(viewer);
    let (mut read, start) = (0, sim.encoded);
    for _ in 0..200 {
        if sim.schedule.take(viewer).is_none() && sim.schedule.is_wanted() {
            read += 1;
            sim.change();
        }
        sim.run(1);
    }
    let frames = sim.encoded - start;
    assert!(frames >= 33 && read <= frames + 1, "{read} changes were read for {frames} frames");
}

#[test]
fn a_viewer_that_never_takes_does_not_slow_another() {
    let mut sim = Sim::new(5);
    let (stuck, quick) = (sim.schedule.join(), sim.schedule.join());
    sim.fetch(stuck);
    sim.fetch(quick);
    let start = sim.now;
    for _ in 0..100 {
        sim.change();
        assert_eq!(sim.fetch(quick), Seen::Other(sim.picture));
    }
    let took = sim.now - start;
    assert!(took <= Duration::from_millis(100 * 6) + GRACE, "100 frames of 5 ms took {took:?}");
}

#[test]
fn a_viewer_that_is_a_little_slower_loses_nothing() {
    let mut sim = Sim::new(5);
    let (slow, quick) = (sim.schedule.join(), sim.schedule.join());
    sim.fetch(quick);
    sim.fetch(slow);
    for _ in 0..50 {
        sim.change();
        assert_eq!(sim.schedule.take(quick), None);
        sim.run(20);
        let last = sim.picture - 1;
        assert!(last == 0 || sim.fetch(slow) == Seen::Other(last), "it lost its step");
        assert_eq!(sim.fetch(quick), Seen::Other(sim.picture));
    }
}

#[test]
fn lost_viewers_cost_few_key_frames() {
    let mut sim = Sim::new(5);
    let viewer = sim.schedule.join();
    sim.fetch(viewer);
    for _ in 0..1000 {
        sim.schedule.lose(viewer);
        sim.schedule.take(viewer);
        sim.run(3);
    }
    let closest = sim.keys.windows(2).map(|two| two[1] - two[0]).min().unwrap();
    assert!(closest >= LOST_KEY_INTERVAL && sim.keys.len() > 5, "{closest:?}");
}

#[test]
fn news_comes_instead_of_frames_and_frames_after_it_start_again() {
    let mut sim = Sim::new(5);
    let viewer = sim.schedule.join();
    sim.fetch(viewer);
    sim.change();
    sim.schedule.take(viewer);
    sim.run(1); // a frame is being encoded
    sim.schedule.tell((Seen::Blank, 0));
    sim.run(10);
    assert_eq!(sim.fetch(viewer), Seen::Blank);
    let late = sim.schedule.join();
    assert_eq!(sim.fetch(late), Seen::Blank);
    assert_eq!(sim.schedule.take(late), None, "told twice");
    sim.schedule.show();
    assert_eq!(sim.fetch(late), Seen::Key(1));
    assert_eq!(sim.fetch(viewer), Seen::Key(1));
}

#[derive(Clone, Debug)]
enum Op {
    Change,
    Join,
    Leave(usize),
    Take(usize),
    Lose(usize),
    Show,
    Run(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => Just(Op::Change),
        1 => Just(Op::Join),
        1 => (0usize..6).prop_map(Op::Leave),
        6 => (0usize..6).prop_map(Op::Take),
        1 => (0usize..6).prop_map(Op::Lose),
        1 => Just(Op::Show),
        4 => (0u64..60).prop_map(Op::Run),
    ];
    proptest::collection::vec(op, 0..200)
}

#[test]
fn a_late_viewer_of_frames_that_need_no_others_gets_the_newest_and_has_lost_nothing() {
    let (mut schedule, now) = (Schedule::new(GRACE), Instant::now());
    let late = schedule.join();
    schedule.show();
    for frame in 0..3 {
        schedule.change();
        schedule.pick_up();
        schedule.deliver(&frame, true, now);
        schedule.rest(now);
    }
    assert_eq!((schedule.take(late), schedule.losses(late)), (Some(2), 0));
    schedule.change();
    assert_eq!(schedule.take(late), None);
    assert_eq!(schedule.turn(now), Turn::Encode { key: false });
}

proptest! {
    /// Decodes as a viewer does: a frame builds on the one encoded just before it, or stands alone.
    #[test]
    fn whatever_happens_every_viewer_can_decode_and_ends_with_the_newest_picture(ops in ops(), encode_ms in 0u64..30) {
        let mut sim = Sim::new(encode_ms);
        // Each viewer's last frame: the picture it shows, and its number.
        let mut viewers: Vec<(u64, Option<(u32, u32)>)> = vec![(sim.schedule.join(), None)];
        let see = |last: &mut Option<(u32, u32)>, (frame, number): Numbered| match frame {
            Seen::Key(picture) => *last = Some((picture, number)),
            Seen::Other(picture) => {
                let (_, before) = last.expect("a first frame that builds on nothing");
                assert_eq!(before + 1, number, "a frame that builds on one that is missing");
                *last = Some((picture, number));
            }
            Seen::Blank => unreachable!(),
        };
        for op in ops {
            match op {
                Op::Change => sim.change(),
                Op::Join if viewers.len() < 6 => viewers.push((sim.schedule.join(), None)),
                Op::Leave(n) if n < viewers.len() => {
                    let (id, _) = viewers.remove(n);
                    prop_assert_eq!(sim.schedule.leave(id), viewers.is_empty());
                }
                Op::Take(n) if n < viewers.len() => {
                    let (id, last) = &mut viewers[n];
                    if let Some(frame) = sim.schedule.take(*id) {
                        see(last, frame);
                    }
                }
                Op::Lose(n) if n < viewers.len() => {
                    sim.schedule.lose(viewers[n].0);
                    viewers[n].1 = None; // nothing but a key frame is of use now
                }
                Op::Show => {
                    sim.picture += 1;
                    sim.schedule.show();
                    viewers.iter_mut().for_each(|viewer| viewer.1 = None);
                }
                Op::Run(ms) => sim.run(ms),
                _ => {}
            }
        }
        // The guest rests and everyone keeps taking.
        for _ in 0..400 {
            for (id, last) in &mut viewers {
                if let Some(frame) = sim.schedule.take(*id) {
                    see(last, frame);
                }
            }
            sim.run(5);
        }
        for (id, last) in &viewers {
            let shown = last.map(|(picture, _)| picture);
            prop_assert_eq!(shown, Some(sim.picture), "viewer {} sees an old picture", id);
        }
        prop_assert_eq!(sim.schedule.turn(sim.now), Turn::Wait, "not at rest");
        for two in sim.keys.windows(2) {
            // All else comes with a new picture or a new viewer.
            prop_assert!(two[1] - two[0] >= JOIN_KEY_INTERVAL, "key frames {:?} apart", two[1] - two[0]);
        }
    }
}
