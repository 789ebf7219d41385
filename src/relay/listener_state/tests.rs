use super::*;
use crate::frame::{Buffer, ConsoleId, DmabufPlane, DmabufReads, MODIFIER_LINEAR, PixelFormat, Size};
use crate::hub::{Console, Hub, ReleaseQueue, Subscription};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

const ALL: Takes = Takes { dmabuf2: true, dmabuf: true, map: true };
const XRGB: u32 = 0x2002_0888;

fn memfd(bytes: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create("scanout", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, bytes).unwrap();
    fd
}

fn owned(size: Size) -> Scanout {
    Scanout::owned(size.width, size.height, size.width * 4, XRGB, &vec![0; size.area() as usize * 4]).unwrap()
}

fn shared(size: Size) -> Scanout {
    Scanout::shared(memfd(size.area() * 4), 0, size.width, size.height, size.width * 4, XRGB).unwrap()
}

fn dmabuf(backing: Size, crop: Rect, offset: u32) -> Scanout {
    let buffer = Arc::new(Buffer::new(memfd(u64::from(offset) + backing.area() * 4)).unwrap());
    let planes = vec![DmabufPlane { buffer, offset, stride: backing.width * 4 }];
    let fourcc = PixelFormat::Xrgb8888.fourcc();
    let modifier = MODIFIER_LINEAR;
    let dmabuf = Dmabuf { planes, fourcc, modifier, backing, crop, bottom_up: false };
    Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap()
}

fn whole(size: Size) -> Scanout {
    dmabuf(size, size.rect(), 0)
}

/// A console, and a listener to it whose answers the test gives.
struct Rig {
    console: Arc<Console>,
    subscription: Subscription,
    viewer: ListenerState,
    now: Instant,
    releases: ReleaseQueue,
    /// Frames that the guest waits for.
    held: u64,
}

impl Rig {
    fn new(takes: Takes) -> Self {
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        let subscription = console.subscribe();
        let (viewer, now) = (ListenerState::new(takes), Instant::now());
        Self { console, subscription, viewer, now, releases: ReleaseQueue::default(), held: 0 }
    }

    fn damage(&mut self, rect: Rect) {
        self.held = self.held() + 1;
        let (x, y) = (rect.x as i32, rect.y as i32);
        let release = self.releases.release(0);
        self.console.damage((x, y, rect.width as i32, rect.height as i32), Some(release));
    }

    /// Does all there is to do now.
    fn run(&mut self) -> Vec<(u64, Order)> {
        let mut told = Vec::new();
        loop {
            while let Some(next) = self.viewer.poll(self.now) {
                self.subscription.leave();
                told.push((next.id, next.order));
            }
            match self.viewer.wants_change().then(|| self.subscription.take()).flatten() {
                Some(change) => self.viewer.change(change, self.now),
                None => return told,
            }
        }
    }

    fn wait(&mut self, time: Duration) -> Vec<(u64, Order)> {
        let mut told = self.run();
        let until = self.now + time;
        while let Some(at) = self.viewer.wake_at().filter(|&at| at <= until) {
            self.now = at.max(self.now);
            self.viewer.tick(self.now);
            told.extend(self.run());
        }
        self.now = until;
        told
    }

    /// How many frames the guest waits for.
    fn held(&mut self) -> u64 {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while std::pin::pin!(self.releases.returned()).poll(&mut context).is_ready() {
            self.held -= 1;
        }
        self.held
    }
}

fn names(told: &[(u64, Order)]) -> Vec<String> {
    let name = |order: &Order| match order {
        Order::Scanout(_, means) => format!("show {means:?}"),
        Order::Update(_, means, rect) => {
            format!("draw {means:?} {},{} {}x{}", rect.x, rect.y, rect.width, rect.height)
        }
        Order::Disable => "disable".to_owned(),
        Order::MouseSet(pointer) => format!("mouse {},{} {}", pointer.x, pointer.y, pointer.visible),
        Order::CursorDefine(_) => "cursor".to_owned(),
    };
    told.iter().map(|(_, order)| name(order)).collect()
}

#[test]
fn each_kind_of_memory_goes_the_best_way_there_is() {
    let size = Size::new(8, 4);
    let part = || dmabuf(Size::new(16, 4), Rect::new(8, 0, 8, 4), 0);
    let old = Takes { dmabuf2: false, ..ALL };
    let plain = Takes { dmabuf2: false, dmabuf: false, map: false };
    let tiled = || {
        let buffer = Arc::new(Buffer::new(memfd(1 << 16)).unwrap());
        let planes =
            [0, 4096].map(|offset| DmabufPlane { buffer: buffer.clone(), offset, stride: 128 }).into();
        let (fourcc, crop) = (PixelFormat::Xrgb8888.fourcc(), size.rect());
        let dmabuf =
            Dmabuf { planes, fourcc, modifier: 0x0100_0000_0000_0004, backing: size, crop, bottom_up: false };
        Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap()
    };
    let huge = || Scanout::shared(memfd(16384 * 8192 * 4), 0, 16384, 8192, 65536, XRGB).unwrap();
    for (takes, scanout, expected) in [
        (ALL, whole(size), &["show Dmabuf2", "draw Dmabuf2 0,0 8x4"][..]),
        (ALL, part(), &["show Dmabuf2", "draw Dmabuf2 0,0 8x4"]),
        (ALL, tiled(), &["show Dmabuf2", "draw Dmabuf2 0,0 8x4"]),
        (old, tiled(), &["show Pixels"]),
        (old, whole(size), &["show Dmabuf", "draw Dmabuf 0,0 8x4"]),
        (old, part(), &["show Pixels"]),
        (old, dmabuf(size, size.rect(), 64), &["show Pixels"]),
        (plain, whole(size), &["show Pixels"]),
        (ALL, shared(size), &["show Map", "draw Map 0,0 8x4"]),
        (plain, shared(size), &["show Pixels"]),
        (ALL, owned(size), &["show Pixels"]),
        (ALL, huge(), &["show Map", "draw Map 0,0 16384x8192"]),
        (plain, huge(), &["disable"]),
    ] {
        let mut rig = Rig::new(takes);
        let what = format!("{takes:?} {:?}", scanout.info());
        rig.console.show(Some(scanout));
        assert_eq!(names(&rig.wait(DRAW_WAIT)), expected, "{what}");
    }
}

#[test]
fn the_guest_waits_for_the_draw_and_only_for_the_draw() {
    let mut rig = Rig::new(ALL);
    let size = Size::new(64, 64);
    assert!(rig.run().is_empty());
    rig.console.show(Some(whole(size)));
    rig.damage(size.rect());
    let told = rig.run();
    assert_eq!(names(&told), ["show Dmabuf2", "draw Dmabuf2 0,0 64x64"]);
    assert_eq!(rig.held(), 1);
    rig.damage(Rect::new(0, 0, 8, 8));
    assert_eq!(rig.held(), 1, "the guest does not wait for a busy listener");
    rig.damage(Rect::new(32, 32, 8, 8));
    assert!(rig.run().is_empty(), "one draw at a time");
    rig.viewer.answered(told[0].0, false, rig.now);
    assert_eq!((rig.held(), rig.run().len()), (1, 0), "the answer to the scanout is not that to the draw");
    rig.viewer.answered(told[1].0, false, rig.now);
    let told = rig.run();
    assert_eq!((names(&told), rig.held()), (vec!["draw Dmabuf2 0,0 40x40".to_owned()], 0));
    rig.viewer.answered(told[0].0, true, rig.now);
    assert!(rig.run().is_empty(), "a draw that fails is over as well");
    rig.damage(Rect::new(1, 1, 1, 1));
    assert_eq!((rig.run().len(), rig.held()), (1, 1));
}

#[test]
fn a_buffer_of_an_idle_guest_is_drawn_without_it() {
    let mut rig = Rig::new(ALL);
    rig.console.show(Some(whole(Size::new(64, 64))));
    assert_eq!(names(&rig.wait(DRAW_WAIT / 2)), ["show Dmabuf2"]);
    rig.damage(Rect::new(0, 0, 8, 8));
    assert_eq!(names(&rig.run()), ["draw Dmabuf2 0,0 64x64"], "all of it was never drawn");
    assert_eq!(rig.held(), 1, "the guest's own update came in time to be waited for");
    rig.console.show(Some(whole(Size::new(64, 64))));
    rig.damage(Rect::new(0, 0, 64, 64));
    let draw = "draw Dmabuf2 0,0 64x64".to_owned();
    let late = rig.wait(PATIENCE);
    assert_eq!(
        names(&late),
        ["show Dmabuf2".to_owned(), draw],
        "an update that was missed is not waited for"
    );
}

#[test]
fn what_is_refused_is_sent_in_another_way() {
    let mut rig = Rig::new(ALL);
    rig.console.show(Some(whole(Size::new(64, 64))));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let told = rig.wait(DRAW_WAIT);
        seen.extend(names(&told));
        for (id, order) in told {
            rig.viewer.answered(id, !matches!(order, Order::Scanout(_, Means::Pixels)), rig.now);
        }
    }
    let expected =
        ["show Dmabuf2", "draw Dmabuf2 0,0 64x64", "show Dmabuf", "draw Dmabuf 0,0 64x64", "show Pixels"];
    assert_eq!(seen, expected);
    assert_eq!(
        rig.viewer.delivery(),
        Some((Delivery::Images, "the listener refused the memory it was given"))
    );
    rig.console.show(Some(shared(Size::new(64, 64))));
    assert_eq!(names(&rig.run()), ["show Map", "draw Map 0,0 64x64"], "the other memory was not refused");
}

#[test]
fn pixels_that_cannot_be_read_leave_a_black_screen() {
    let mut rig = Rig::new(Takes { map: false, ..ALL });
    rig.console.show(Some(shared(Size::new(64, 64))));
    let told = rig.run();
    rig.viewer.failed(told[0].0);
    assert_eq!(names(&rig.run()), ["disable"]);
    rig.damage(Rect::new(0, 0, 8, 8));
    assert!(rig.run().is_empty());
    rig.console.show(Some(shared(Size::new(64, 64))));
    assert_eq!(names(&rig.run()), ["show Pixels"]);
}

#[test]
fn a_listener_that_never_answers_is_left_alone() {
    let mut rig = Rig::new(ALL);
    let size = Size::new(64, 64);
    let mut told = Vec::new();
    for _ in 0..1000 {
        rig.console.show(Some(whole(size)));
        rig.damage(size.rect());
        told.extend(rig.wait(Duration::from_millis(100)));
        let pointer = Pointer { x: told.len() as i32, y: 0, visible: true };
        rig.viewer.cursor(CursorState { shape: None, pointer });
    }
    assert!(told.len() <= MAX_UNANSWERED + MAX_SCANOUTS + 1, "{} calls without an answer", told.len());
    assert_eq!(rig.held(), 0);
    for (id, _) in told {
        rig.viewer.answered(id, false, rig.now);
    }
    let latest = names(&rig.run());
    assert_eq!(latest.iter().filter(|name| name.starts_with("show")).count(), 1, "{latest:?}");
}

#[test]
fn the_cursor_goes_beside_the_picture_and_the_newest_place_wins() {
    let mut rig = Rig::new(ALL);
    rig.console.show(Some(whole(Size::new(64, 64))));
    rig.damage(Rect::new(0, 0, 64, 64));
    assert_eq!(names(&rig.run()), ["show Dmabuf2", "draw Dmabuf2 0,0 64x64"]);
    let shape = Cursor::new(1, 1, 0, 0, &[9; 4]).unwrap();
    let at = |x| CursorState { shape: Some(shape.clone()), pointer: Pointer { x, y: 0, visible: true } };
    rig.viewer.cursor(at(1));
    let told = rig.run();
    assert_eq!(names(&told), ["cursor"]);
    rig.viewer.cursor(at(2));
    rig.viewer.cursor(at(3));
    assert!(rig.run().is_empty());
    rig.viewer.answered(told[0].0, false, rig.now);
    assert_eq!(names(&rig.run()), ["mouse 3,0 true"]);
    rig.viewer.cursor(CursorState::default());
    assert_eq!(names(&rig.wait(PATIENCE)), ["mouse 0,0 false"], "the last word is said, answered or not");
}

#[derive(Clone, Debug)]
enum Op {
    Show(u32, u8),
    Blank,
    Damage(u32, u32, u32, u32),
    Answer(usize, bool),
    Move(i32),
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        2 => (1u32..100, 0u8..4).prop_map(|(side, kind)| Op::Show(side, kind)),
        1 => Just(Op::Blank),
        6 => (0u32..100, 0u32..100, 1u32..100, 1u32..100).prop_map(|(x, y, w, h)| Op::Damage(x, y, w, h)),
        6 => (0usize..8, proptest::bool::weighted(0.2)).prop_map(|(at, refused)| Op::Answer(at, refused)),
        1 => (0i32..100).prop_map(Op::Move),
        3 => (0u64..40).prop_map(Op::Wait),
        1 => Just(Op::Wait(1500)),
    ];
    proptest::collection::vec(op, 0..120)
}

/// What the listener has on screen, and what it should have.
#[derive(Default)]
struct Screen {
    shown: Option<Arc<Scanout>>,
    stale: Vec<Rect>,
}

impl Screen {
    fn told(&mut self, order: &Order) -> Result<(), TestCaseError> {
        match order {
            Order::Scanout(scanout, means) => {
                let all = scanout.size().rect();
                self.shown = Some(scanout.clone());
                self.stale = if *means == Means::Pixels { Vec::new() } else { vec![all] };
            }
            Order::Update(scanout, _, rect) => {
                let shown = self.shown.as_ref();
                prop_assert!(
                    shown.is_some_and(|s| Arc::ptr_eq(s, scanout)),
                    "an update of what is not shown"
                );
                prop_assert!(scanout.size().rect().contains(*rect));
                self.stale.retain(|stale| !rect.contains(*stale));
            }
            Order::Disable => (self.shown, self.stale) = (None, Vec::new()),
            Order::MouseSet(_) | Order::CursorDefine(_) => {}
        }
        Ok(())
    }
}

/// Lets time pass, and writes down what the listener is told.
fn settle(
    rig: &mut Rig,
    screen: &mut Screen,
    out: &mut Vec<(u64, Order, Instant)>,
    ms: u64,
) -> Result<(), TestCaseError> {
    let started = rig.now;
    for (id, order) in rig.wait(Duration::from_millis(ms)) {
        screen.told(&order)?;
        out.push((id, order, started));
    }
    prop_assert!(out.len() <= MAX_UNANSWERED + 32, "{} calls without an answer", out.len());
    let fresh = |at: Instant| rig.now.duration_since(at) < PATIENCE;
    let draws = out.iter().filter(|(_, order, at)| fresh(*at) && matches!(order, Order::Update(..)));
    let (draws, buffers): (Vec<_>, Vec<_>) =
        draws.partition(|(_, order, _)| matches!(order, Order::Update(_, Means::Map | Means::Pixels, _)));
    // What was sent during a long wait may have become overdue in it as well.
    prop_assert!(ms > 1000 || buffers.len() <= 1, "two draws under way");
    let waits = rig.held();
    prop_assert!(waits <= 1, "the guest waits for {waits} frames");
    prop_assert!(waits == 0 || !draws.is_empty() || !buffers.is_empty(), "the guest waits for nothing");
    Ok(())
}

proptest! {
    #[test]
    fn every_listener_ends_up_with_the_newest_picture(
        ops in ops(), dmabuf2: bool, dmabuf: bool, map: bool,
    ) {
        let mut rig = Rig::new(Takes { dmabuf2, dmabuf: dmabuf || dmabuf2, map });
        let mut screen = Screen::default();
        let mut out: Vec<(u64, Order, Instant)> = Vec::new();
        for op in ops {
            match op {
                Op::Show(side, kind) => {
                    let size = Size::new(side, side);
                    rig.console.show(Some(match kind {
                        0 => owned(size),
                        1 => shared(size),
                        2 => whole(size),
                        _ => dmabuf_part(size),
                    }));
                }
                Op::Blank => rig.console.show(None),
                Op::Damage(x, y, width, height) => {
                    let rect = Rect::new(x, y, width, height);
                    rig.damage(rect);
                    let picture = rig.console.size().unwrap_or_default().rect();
                    screen.stale.extend(rect.intersection(picture));
                }
                Op::Answer(at, refused) if at < out.len() => {
                    let (id, order, _) = out.remove(at);
                    let refused = refused && !matches!(order, Order::Scanout(_, Means::Pixels));
                    rig.viewer.answered(id, refused, rig.now);
                }
                Op::Answer(..) => {}
                Op::Move(x) => {
                    let pointer = Pointer { x, y: 0, visible: true };
                    rig.viewer.cursor(CursorState { shape: None, pointer });
                }
                Op::Wait(ms) => settle(&mut rig, &mut screen, &mut out, ms)?,
            }
        }
        // The guest rests and the listener answers everything.
        for _ in 0..200 {
            settle(&mut rig, &mut screen, &mut out, 10)?;
            for (id, ..) in out.drain(..) {
                rig.viewer.answered(id, false, rig.now);
            }
        }
        prop_assert_eq!(rig.held(), 0);
        prop_assert!(rig.viewer.unanswered.is_empty() && rig.viewer.orders.is_empty());
        prop_assert_eq!(rig.viewer.wake_at(), None, "nothing left to do");
        let same = match (&screen.shown, rig.console.shown()) {
            (Some(there), Some(here)) => Arc::ptr_eq(there, &here),
            (None, None) => true,
            _ => false,
        };
        prop_assert!(same, "another picture than the console's");
        prop_assert!(screen.stale.is_empty(), "never drawn: {:?}", screen.stale);
    }
}

fn dmabuf_part(size: Size) -> Scanout {
    dmabuf(Size::new(size.width + 4, size.height), Rect::new(4, 0, size.width, size.height), 0)
}

#[test]
fn ids_are_unique() {
    let mut rig = Rig::new(ALL);
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        rig.console.show(Some(whole(Size::new(8, 8))));
        for (id, _) in rig.wait(DRAW_WAIT) {
            assert!(ids.insert(id));
            rig.viewer.answered(id, false, rig.now);
        }
    }
}
