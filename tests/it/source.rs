//! The source, attached to a scripted QEMU, and what a reader of the hub sees of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_spice::frame::{ConsoleId, DmabufReads, GuestCommand, PixelFormat, PointerButton, Scanout};
use qemu_spice::hub::{Change, Console, Hub, Leds, Subscription};
use qemu_spice::source::{Attach, Ended, QmpError, Source, SourceError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scripted_qemu::{
    Input, PATIENCE, Screen, ScriptedQemu, Vm, XR24, XRGB, memfd, named_memfd, open_files,
};

/// A little less than the time a guest waits at most.
const DEADLINE: Duration = Duration::from_millis(15);

/// A source at work, and the hub it writes into.
struct Attached {
    hub: Hub,
    commands: mpsc::Sender<GuestCommand>,
    running: JoinHandle<Result<Ended, SourceError>>,
    cancel: CancellationToken,
}

impl Attached {
    fn to(attach: Attach, wait: bool) -> Self {
        let (commands, receiver) = mpsc::channel(256);
        let (hub, cancel) = (Hub::default(), CancellationToken::new());
        let source = Source { attach, bus_name: "org.qemu".into(), wait, reads: DmabufReads::default() };
        let running = tokio::spawn(source.run(hub.clone(), receiver, cancel.clone()));
        Self { hub, commands, running, cancel }
    }

    fn console(&self) -> Arc<Console> {
        self.hub.console(ConsoleId(0)).unwrap()
    }

    /// Waits until QEMU has answered everything.
    async fn attached(&self) {
        self.guest(|guest| !guest.consoles.is_empty()).await;
    }

    async fn guest(&self, is: impl FnMut(&qemu_spice::hub::Guest) -> bool) {
        let mut guest = self.hub.guest();
        tokio::time::timeout(PATIENCE, guest.wait_for(is)).await.expect("the guest never became so").unwrap();
    }

    async fn ended(self) -> Result<Ended, SourceError> {
        tokio::time::timeout(PATIENCE, self.running).await.expect("the source never ended").unwrap()
    }
}

/// A scripted QEMU with a source attached to it, and the listener of console 0.
async fn start(vm: Vm) -> (ScriptedQemu, Screen, Attached) {
    let mut qemu = ScriptedQemu::start(vm);
    let attached = Attached::to(Attach::Peer(qemu.control_fd()), false);
    let screen = qemu.screen(0).await;
    (qemu, screen, attached)
}

/// What is shown, as packed B, G, R; `None` where nothing is.
fn shown(console: &Console) -> Option<Vec<u8>> {
    console.shown().map(|scanout| pixels(&scanout))
}

fn pixels(scanout: &Scanout) -> Vec<u8> {
    let mut bgrx = vec![0; scanout.size().area() as usize * 4];
    scanout.reader().unwrap().read(scanout.size().rect(), &mut bgrx).unwrap();
    bgrx.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

/// `count` pixels of one grey.
fn grey(level: u8, count: usize) -> Vec<u8> {
    vec![level; count * 4]
}

async fn eventually(mut is: impl FnMut() -> bool) {
    let becomes = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, becomes).await.expect("it never became so");
}

/// The next change a reader sees, as one that waits for it.
async fn next_change(reader: &Subscription) -> Change {
    let next = async {
        loop {
            if let Some(change) = reader.take() {
                return change;
            }
            reader.bell().recv().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("no change came")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_are_seen_in_their_order() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let (console, reader) = (attached.console(), attached.console().subscribe());
    let listener = "org.qemu.Display1.Listener";
    let script = tokio::spawn(async move {
        for round in 0..250u32 {
            // The picture's number is its width; its pixels are none, then the number's low byte.
            let (width, level) = (round + 1, round as u8);
            let black = grey(0, width as usize);
            screen
                .post(listener, "Scanout", &(width, 1u32, width * 4, XRGB, black.as_slice()), round % 2 == 0)
                .await;
            screen.post(listener, "Disable", &(), false).await;
            let drawn = grey(level, width as usize);
            let update = (0i32, 0i32, width as i32, 1i32, width * 4, XRGB, drawn.as_slice());
            screen.post(listener, "Update", &update, round % 3 == 0).await;
            screen.post(listener, "MouseSet", &(round as i32, 0i32, 1i32), false).await;
        }
        screen.mouse_set(1000, 0, true).await.unwrap();
        screen
    });
    let mut last = 0;
    while console.cursor().borrow().pointer.x != 1000 {
        let Some(change) = reader.take() else {
            tokio::task::yield_now().await;
            continue;
        };
        // On a machine that stands still for long enough, the Disable counts.
        let Some(scanout) = change.scanout else { continue };
        assert!(scanout.size().width >= last, "an old scanout after a new one");
        assert!(change.replaced || scanout.size().width == last, "another scanout without notice");
        last = scanout.size().width;
    }
    let _screen = script.await.unwrap();
    assert_eq!(shown(&console).unwrap(), [249; 250 * 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disable_after_the_new_scanout_is_absorbed_and_one_alone_is_not() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let (one, two) = (memfd(&grey(1, 4)), memfd(&grey(2, 4)));
    // As QEMU flips between two buffers of a guest.
    let listener = "org.qemu.Display1.Listener";
    for flip in 0..20 {
        let buffer = if flip % 2 == 0 { &one } else { &two };
        screen.scanout_dmabuf(buffer, 2, 2, 8, XR24, false).await.unwrap();
        screen.post(listener, "Disable", &(), false).await;
        screen.post(listener, "UpdateDMABUF", &(0i32, 0i32, 2i32, 2i32), false).await;
        screen.mouse_set(flip, 0, true).await.unwrap();
    }
    // Longer than a Disable stands that follows a flip.
    tokio::time::sleep(Duration::from_millis(3300)).await;
    assert_eq!(shown(&console).unwrap(), [2; 12], "an absorbed Disable came back");
    let said = Instant::now();
    screen.disable().await.unwrap();
    eventually(|| shown(&console).is_none()).await;
    assert!(said.elapsed() >= Duration::from_millis(590), "a Disable blanks before it has stood");
    screen.scanout(1, 1, 4, XRGB, &grey(3, 1)).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [3; 3]);
}

/// The files that a call brought are closed as soon as what it showed is not shown any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_resolutions_leave_nothing_behind() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let (console, reader) = (attached.console(), attached.console().subscribe());
    for round in 0..1000u32 {
        let (width, height) = (1 + round % 50, 1 + round % 40);
        let level = u8::try_from(round % 251).unwrap();
        let fd = named_memfd("resolution", &grey(level, (width * height) as usize));
        match round % 3 {
            0 => screen.scanout_dmabuf(&fd, width, height, width * 4, XR24, false).await.unwrap(),
            1 => screen.scanout_map(&fd, 0, width, height, width * 4, XRGB).await.unwrap(),
            _ => {
                let whole = (0, 0, width, height);
                screen.scanout_dmabuf2(&fd, whole, (0, width * 4), XR24, (width, height)).await.unwrap();
            }
        }
        drop(fd); // as QEMU does: the memory lives on by the file that came with the call
        if round % 7 == 0 {
            assert_eq!(next_change(&reader).await.scanout.unwrap().size().width, width);
            assert_eq!(shown(&console).unwrap(), vec![level; (width * height * 3) as usize]);
        }
    }
    assert!(open_files("resolution") <= 9, "{} buffers are kept", open_files("resolution"));
    screen.update_map((0, 0, 1, 1)).await.unwrap();
    screen.disable().await.unwrap();
    eventually(|| shown(&console).is_none() && open_files("resolution") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_flips_is_answered_and_its_last_buffer_shown() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let (console, reader) = (attached.console(), attached.console().subscribe());
    let buffers: Vec<OwnedFd> = (1..=3).map(|level| memfd(&grey(level, 16))).collect();
    let listener = "org.qemu.Display1.Listener";
    for buffer in buffers.iter().cycle().take(1000) {
        screen.scanout_dmabuf(buffer, 4, 4, 16, XR24, false).await.unwrap();
        screen.post(listener, "Disable", &(), false).await;
        screen.update_dmabuf((0, 0, 4, 4)).await.unwrap();
        assert!(next_change(&reader).await.scanout.is_some(), "a black frame between two flips");
    }
    assert_eq!(shown(&console).unwrap(), [1; 48]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_shows_its_part_of_a_buffer_that_is_for_all() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    // Two heads of 2x2, side by side in one buffer of 4x2 that starts after 8 bytes.
    let row = [grey(1, 2), grey(2, 2)].concat();
    let fd = memfd(&[grey(9, 2), row.clone(), row].concat());
    screen.scanout_dmabuf2(&fd, (2, 0, 2, 2), (8, 16), XR24, (4, 2)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2; 12]);
    screen.scanout_dmabuf2(&fd, (0, 0, 2, 2), (8, 16), XR24, (4, 2)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [1; 12]);
}

/// Brightness in one file, colour in another or behind it in the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_of_two_planes_is_shown_wherever_they_are() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let (luma, chroma) = (vec![0x80u8; 16], vec![0x80u8; 8]);
    let together = memfd(&[luma.clone(), chroma.clone()].concat());
    let apart = [memfd(&luma), memfd(&chroma)];
    let nv12 = u32::from_le_bytes(*b"NV12");
    let apart: Vec<_> = apart.iter().collect();
    for (files, offsets) in [(vec![&together], vec![0, 16]), (apart, vec![0, 0])] {
        screen.scanout_dmabuf2_of(&files, (4, 4), (&offsets, &[4, 4]), nv12).await.unwrap();
        let shown = shown(&attached.console()).unwrap();
        assert!(shown.iter().all(|level| (0x7e..=0x84).contains(level)), "{shown:?}");
    }
    let refused = screen.scanout_dmabuf2_of(&[&together], (4, 4), (&[0, 17], &[4, 4]), nv12).await;
    assert!(
        matches!(refused, Err(zbus::Error::MethodError(..))),
        "the second plane ends outside: {refused:?}"
    );
    let refused = screen.scanout_dmabuf2_of(&[&together], (4, 4), (&[0], &[4]), nv12).await;
    assert!(matches!(refused, Err(zbus::Error::MethodError(..))), "a plane is missing: {refused:?}");
}

/// What QEMU 9.0 to 10.0 say when a guest flips: releasing the old buffer discards the new one's scanout if it was not
/// sent by then.
async fn lose_a_flip(screen: &Screen) {
    screen.lose();
    screen.disable().await.unwrap();
    screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn flips_that_qemu_loses_are_seen_where_the_buffer_is_known() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let (one, two) = (memfd(&grey(1, 4)), memfd(&grey(2, 4)));
    for buffer in [&one, &two] {
        screen.scanout_dmabuf(buffer, 2, 2, 8, XR24, false).await.unwrap();
        screen.disable().await.unwrap();
        screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
    }
    for round in 0..10 {
        lose_a_flip(&screen).await;
        assert_eq!(shown(&console).unwrap(), [1 + round % 2; 12]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_flip_to_a_buffer_that_nobody_knows_is_asked_for() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    let (console, reader) = (attached.console(), attached.console().subscribe());
    let (old, new) = (memfd(&grey(1, 4)), memfd(&grey(2, 16)));
    screen.scanout_dmabuf(&old, 2, 2, 8, XR24, false).await.unwrap();
    assert!(next_change(&reader).await.replaced);
    lose_a_flip(&screen).await; // it is now four times as large
    assert!(reader.take().is_none(), "the old buffer is read while the guest may draw into it");

    let again = qemu.screen(0).await;
    again.scanout_dmabuf(&new, 4, 4, 16, XR24, false).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [2; 48]);
    // QEMU goes on waiting for the answers on the old connection, whose pictures are not shown any more.
    screen.scanout_dmabuf(&old, 2, 2, 8, XR24, false).await.unwrap();
    screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
    again.update_dmabuf((0, 0, 4, 4)).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [2; 48]);
    drop(again);
    eventually(|| shown(&console).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_goes_on_while_qemu_is_slow_to_show_a_console_again() {
    let vm = Vm { shows_again_late: Some(Duration::from_secs(2)), ..Vm::default() };
    let (mut qemu, screen, attached) = start(vm).await;
    let (old, new) = (memfd(&grey(1, 4)), memfd(&grey(2, 16)));
    screen.scanout_dmabuf(&old, 2, 2, 8, XR24, false).await.unwrap();
    lose_a_flip(&screen).await;
    // By now QEMU was asked, and has not come to it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(qemu.more_screens(), 0);
    let began = Instant::now();
    screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "the guest waits for QEMU's other connection");
    assert_eq!(qemu.more_screens(), 0, "the answer came only with the new connection");
    let again = qemu.screen(0).await;
    again.scanout_dmabuf(&new, 4, 4, 16, XR24, false).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2; 48]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_drawn_before_the_registration_ends_is_seen() {
    let late = Vm { answers_late: Some(Duration::from_millis(300)), ..Vm::default() };
    let (_qemu, screen, attached) = start(late).await;
    screen.scanout(2, 1, 8, XRGB, &grey(0, 2)).await.unwrap();
    screen.update((1, 0, 1, 1), 4, XRGB, &grey(9, 1)).await.unwrap();
    assert!(attached.hub.guest().borrow().consoles.is_empty(), "the registration has ended already");
    assert_eq!(shown(&attached.console()).unwrap(), [0, 0, 0, 9, 9, 9]);
    attached.attached().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_lie_are_refused_and_the_next_good_frame_is_shown() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let fd = memfd(&grey(5, 64));
    let pipe = OwnedFd::from(std::io::pipe().unwrap().0);
    let max = u32::MAX;
    let wrong = [
        ("short data", screen.scanout(8, 8, 32, XRGB, &grey(0, 63)).await),
        ("no data", screen.scanout(8, 8, 32, XRGB, &[]).await),
        ("no area", screen.scanout(0, 8, 32, XRGB, &[]).await),
        ("huge", screen.scanout(max, max, max, XRGB, &grey(0, 64)).await),
        ("stride", screen.scanout(8, 8, 31, XRGB, &grey(0, 64)).await),
        ("stride of nothing", screen.scanout(8, 8, 0, XRGB, &grey(0, 64)).await),
        ("format", screen.scanout(8, 8, 32, 7, &grey(0, 64)).await),
        ("map past its end", screen.scanout_map(&fd, 4, 8, 8, 32, XRGB).await),
        ("map far past its end", screen.scanout_map(&fd, max, 8, 8, max, XRGB).await),
        ("map of a pipe", screen.scanout_map(&pipe, 0, 8, 8, 32, XRGB).await),
        ("dmabuf past its end", screen.scanout_dmabuf(&fd, 8, 8, 36, XR24, false).await),
        ("dmabuf's fourcc", screen.scanout_dmabuf(&fd, 8, 8, 32, 0, false).await),
        ("dmabuf is huge", screen.scanout_dmabuf(&fd, max, max, max, XR24, true).await),
        (
            "tiled dmabuf is too small",
            screen.scanout_dmabuf_tiled(&fd, 8, 9, 32, XR24, 0x0100_0000_0000_0001, false).await,
        ),
        ("part outside", screen.scanout_dmabuf2(&fd, (1, 0, 8, 8), (0, 32), XR24, (8, 8)).await),
        ("part far outside", screen.scanout_dmabuf2(&fd, (max, max, max, max), (0, 32), XR24, (8, 8)).await),
        ("offset", screen.scanout_dmabuf2(&fd, (0, 0, 8, 8), (max, max), XR24, (8, 8)).await),
        ("update of nothing", screen.update((0, 0, 1, 1), 4, XRGB, &grey(0, 1)).await),
        ("cursor", screen.cursor_define(64, 64, (0, 0), &grey(0, 1)).await),
        ("huge cursor", screen.cursor_define(i32::MAX, i32::MAX, (0, 0), &grey(0, 1)).await),
        ("types", screen.call("org.qemu.Display1.Listener", "Scanout", &(1u32, "two")).await),
        ("no such method", screen.call("org.qemu.Display1.Listener", "Explode", &()).await),
        ("no such interface", screen.call("org.qemu.Display1.Listener.Win32.Map", "ScanoutMap", &()).await),
    ];
    for (what, answer) in wrong {
        assert!(matches!(answer, Err(zbus::Error::MethodError(..))), "{what}: {answer:?}");
        assert!(shown(&console).is_none(), "{what}");
    }
    screen
        .post_without_files(
            "org.qemu.Display1.Listener.Unix.Map",
            "ScanoutMap",
            "huuuuu",
            &[9, 0, 8, 8, 32, XRGB],
        )
        .await;
    screen.mouse_set(0, 0, true).await.unwrap();
    assert!(shown(&console).is_none(), "a file that did not come");
    screen.scanout_map(&fd, 0, 8, 8, 32, XRGB).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [5; 64 * 3]);
    for at in [(-1, 0, 4, 4), (6, 6, 4, 4), (i32::MAX, i32::MAX, i32::MAX, i32::MAX), (0, 0, -4, 4)] {
        screen.update_map(at).await.unwrap();
        screen.update_dmabuf(at).await.unwrap();
        assert!(screen.update(at, 16, XRGB, &grey(1, 16)).await.is_err(), "{at:?}");
    }
    assert_eq!(shown(&console).unwrap(), [5; 64 * 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_call_with_any_arguments_gets_an_answer() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let listener = "org.qemu.Display1.Listener";
    let map = "org.qemu.Display1.Listener.Unix.Map";
    let dmabuf2 = "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2";
    for interface in
        [listener, map, dmabuf2, "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.Introspectable"]
    {
        for method in [
            "Scanout",
            "Update",
            "ScanoutDMABUF",
            "UpdateDMABUF",
            "Disable",
            "MouseSet",
            "CursorDefine",
            "ScanoutMap",
            "UpdateMap",
            "ScanoutDMABUF2",
            "Get",
            "GetAll",
            "Set",
            "Introspect",
        ] {
            let _ = screen.call(interface, method, &()).await;
            let _ = screen.call(interface, method, &u32::MAX).await;
            let _ = screen.call(interface, method, &"").await;
            let _ = screen.call(interface, method, &(i32::MIN, i32::MIN, i32::MIN)).await;
            let _ = screen.call(interface, method, &(i32::MIN, i32::MAX, i32::MIN, i32::MAX)).await;
            let _ = screen.call(interface, method, &(vec![vec![0u8; 9]; 9], "x", 1u64)).await;
            screen.post_without_files(interface, method, "huuutb", &[0, 1, 1, 1, 0, 0]).await;
            screen.post_without_files(interface, method, "ay", &[u32::MAX]).await;
            screen.post_without_files(interface, method, "uuuuay", &[1, 1, 4, XRGB, 1 << 30]).await;
        }
    }
    screen.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [1; 3]);
    let xml = screen.ask("org.freedesktop.DBus.Introspectable", "Introspect", &()).await.unwrap();
    assert!(xml.body().deserialize::<String>().unwrap().contains(dmabuf2));
    screen.call("org.freedesktop.DBus.Peer", "Ping", &()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_short_while_it_is_shown_hurts_nobody() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let fd = memfd(&grey(5, 4096 * 4));
    screen.scanout_map(&fd, 0, 64, 64, 256, XRGB).await.unwrap();
    rustix::fs::ftruncate(&fd, 0).unwrap();
    screen.update_map((0, 0, 64, 64)).await.unwrap();
    let scanout = attached.console().shown().unwrap();
    assert!(scanout.reader().unwrap().read(scanout.size().rect(), &mut grey(0, 4096)).is_err());
    screen.scanout(1, 1, 4, XRGB, &grey(7, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [7; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_waits_for_a_waiting_reader_and_never_long() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let fd = memfd(&grey(5, 64));
    // Nothing is shown yet.
    screen.update_dmabuf((0, 0, 8, 8)).await.unwrap();
    screen.scanout_dmabuf(&fd, 8, 8, 32, XR24, false).await.unwrap();
    // Nobody reads.
    screen.update_dmabuf((0, 0, 8, 8)).await.unwrap();

    // A reader that waits, reads and lets go: that, not the deadline, is what answers.
    let mut reader = attached.console().subscribe();
    assert!(next_change(&reader).await.replaced);
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        assert!(reader.take().is_none());
        let (let_go, read) = std::sync::mpsc::channel();
        let reading = tokio::spawn(async move {
            let change = next_change(&reader).await;
            assert_eq!(change.damage.area(), 16);
            let_go.send(()).unwrap();
            drop(change);
            reader
        });
        let waited = screen.update_dmabuf((0, 0, 4, 4)).await.unwrap();
        assert!(waited >= DEADLINE || read.try_recv().is_ok(), "answered before it was read");
        quickest = quickest.min(waited);
        reader = reading.await.unwrap();
    }
    assert!(quickest < DEADLINE, "{quickest:?}");

    // A reader that never lets go: the deadline answers, and what comes after is not held up either.
    assert!(reader.take().is_none());
    let waited = screen.update_dmabuf((0, 0, 4, 4)).await.unwrap();
    let held = reader.take().unwrap();
    assert!(held.release.is_some() && waited >= DEADLINE, "{waited:?}");
    screen.update_dmabuf((0, 0, 4, 4)).await.unwrap();
    // Other calls never wait.
    assert!(reader.take().is_some() && reader.take().is_none());
    screen.post("org.qemu.Display1.Listener", "UpdateDMABUF", &(0i32, 0i32, 1i32, 1i32), false).await;
    screen.mouse_set(3, 4, true).await.unwrap();
    assert_eq!(attached.console().cursor().borrow().pointer.x, 3);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_updates_is_answered_whatever_a_reader_does() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let fd = memfd(&grey(5, 64));
    screen.scanout_dmabuf(&fd, 8, 8, 32, XR24, false).await.unwrap();
    let reader = attached.console().subscribe();
    let _ = reader.take();
    let _ = reader.take();
    let update = |n: i32| screen.update_dmabuf((n % 8, 0, 1, 8));
    let answers = futures_util::future::join_all((0..500).map(update)).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_wants_no_answer_gets_none() {
    use futures_util::StreamExt;
    let (_qemu, screen, _attached) = start(Vm::default()).await;
    let mut said = zbus::MessageStream::from(screen.connection());
    let fd = memfd(&grey(5, 64));
    screen.scanout_dmabuf(&fd, 8, 8, 32, XR24, false).await.unwrap();
    let rect = (0i32, 0i32, 1i32, 1i32);
    for _ in 0..10 {
        screen.post("org.qemu.Display1.Listener", "UpdateDMABUF", &rect, true).await;
        screen.post("org.qemu.Display1.Listener", "Nonsense", &rect, true).await;
    }
    screen.mouse_set(0, 0, false).await.unwrap();
    let answers = async { said.next().await.unwrap().unwrap() };
    let first = tokio::time::timeout(PATIENCE, answers).await.unwrap();
    let second = tokio::time::timeout(PATIENCE, said.next()).await.unwrap().unwrap().unwrap();
    assert!(
        second.header().reply_serial() > first.header().reply_serial(),
        "the scanout's answer, then the cursor's"
    );
    assert!(futures_util::FutureExt::now_or_never(said.next()).is_none(), "answers that nobody wanted");
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_without_shared_memory_works() {
    let (_qemu, screen, attached) = start(Vm { old: true, ..Vm::default() }).await;
    assert!(screen.interfaces.is_empty());
    screen.scanout(2, 1, 8, XRGB, &grey(1, 2)).await.unwrap();
    screen.update((0, 0, 1, 1), 4, XRGB, &grey(2, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2, 2, 2, 1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_map_leaves_the_picture_for_the_scanout_that_follows() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    assert_eq!(
        screen.interfaces,
        ["org.qemu.Display1.Listener.Unix.Map", "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2"]
    );
    screen.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    let short = memfd(&[0; 3]);
    assert!(screen.scanout_map(&short, 0, 1, 1, 4, XRGB).await.is_err());
    assert_eq!(shown(&attached.console()).unwrap(), [1; 3]);
    screen.scanout(1, 1, 4, XRGB, &grey(2, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2; 3]);
}

/// A pixel of full red, half green and no blue, in every format, with padding after each row.
#[tokio::test(flavor = "multi_thread")]
async fn every_format_shows_the_same_picture_by_value_by_map_and_by_dmabuf() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let formats: [(u32, &[u8; 4], &[u8]); 18] = [
        (0x2002_0888, b"XR24", &[0x00, 0x80, 0xff, 7]),
        (0x2002_8888, b"AR24", &[0x00, 0x80, 0xff, 7]),
        (0x2003_0888, b"XB24", &[0xff, 0x80, 0x00, 7]),
        (0x2003_8888, b"AB24", &[0xff, 0x80, 0x00, 7]),
        (0x2009_0888, b"RX24", &[7, 0x00, 0x80, 0xff]),
        (0x2009_8888, b"RA24", &[7, 0x00, 0x80, 0xff]),
        (0x2008_0888, b"BX24", &[7, 0xff, 0x80, 0x00]),
        (0x2008_8888, b"BA24", &[7, 0xff, 0x80, 0x00]),
        (0x1802_0888, b"RG24", &[0x00, 0x80, 0xff]),
        (0x1803_0888, b"BG24", &[0xff, 0x80, 0x00]),
        (0x1002_0565, b"RG16", &[0x00, 0xfc]),
        (0x1003_0565, b"BG16", &[0x1f, 0x04]),
        (0x1002_0555, b"XR15", &[0x00, 0x7e]),
        (0x1002_1555, b"AR15", &[0x00, 0xfe]),
        (0x2002_0aaa, b"XR30", &[0x00, 0x00, 0xf8, 0x3f]),
        (0x2002_2aaa, b"AR30", &[0x00, 0x00, 0xf8, 0xff]),
        (0x2003_0aaa, b"XB30", &[0xff, 0x03, 0x08, 0x00]),
        (0x2003_2aaa, b"AB30", &[0xff, 0x03, 0x08, 0xc0]),
    ];
    for (pixman, fourcc, pixel) in formats {
        let name = PixelFormat::from_pixman(pixman).unwrap();
        // Three pixels a row, then 7 bytes of padding that must not be seen; the last row has none.
        let row = pixel.repeat(3);
        let mut bytes = [row.clone(), vec![0xaa; 7]].concat().repeat(2);
        bytes.extend(&row);
        let stride = row.len() as u32 + 7;
        let fd = memfd(&[vec![0xbb; 16], bytes.clone()].concat());
        let fourcc = u32::from_le_bytes(*fourcc);
        let same = |how: &str| {
            let all = shown(&console).unwrap();
            assert_eq!(all.len(), 27, "{name:?} {how}");
            for bgr in all.chunks_exact(3) {
                // Five bits hold half of green as 0x84, six as 0x82.
                assert!(
                    bgr[0] == 0 && (0x80..=0x84).contains(&bgr[1]) && bgr[2] == 0xff,
                    "{name:?} {how}: {bgr:x?}"
                );
            }
        };
        screen.scanout(3, 3, stride, pixman, &bytes).await.unwrap();
        same("by value");
        screen.scanout_map(&fd, 16, 3, 3, stride, pixman).await.unwrap();
        same("by map");
        screen.scanout_dmabuf2(&fd, (0, 0, 3, 3), (16, stride), fourcc, (3, 3)).await.unwrap();
        same("by dmabuf");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_whose_first_row_is_the_lowest_is_turned_over() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let fd = memfd(&[grey(1, 2), grey(2, 2)].concat());
    screen.scanout_dmabuf(&fd, 2, 2, 8, XR24, true).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]);
    screen.scanout_dmabuf(&fd, 2, 2, 8, XR24, false).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_graphic_console_has_one_listener() {
    let vm = Vm { consoles: vec![(0, "Graphic"), (1, "Text"), (2, "Graphic")], ..Vm::default() };
    let (mut qemu, first, attached) = start(vm).await;
    let second = qemu.screen(2).await;
    attached.attached().await;
    assert_eq!(qemu.more_screens(), 0);
    first.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    second.scanout(1, 1, 4, XRGB, &grey(2, 1)).await.unwrap();
    let at = |n| shown(&attached.hub.console(ConsoleId(n)).unwrap());
    assert_eq!((at(0), at(1), at(2)), (Some(vec![1; 3]), None, Some(vec![2; 3])));
    let guest = attached.hub.guest().borrow().clone();
    assert_eq!((guest.name.as_str(), guest.uuid[1], guest.consoles.len()), ("scripted", 0x11, 2));
    // One console's socket breaks: the other goes on.
    drop(first);
    second.scanout(1, 1, 4, XRGB, &grey(3, 1)).await.unwrap();
    assert!(!attached.running.is_finished());
    assert_eq!(at(2), Some(vec![3; 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_lights_and_pointing_device_are_followed() {
    let (qemu, _screen, attached) = start(Vm { absolute: false, ..Vm::default() }).await;
    attached.attached().await;
    assert!(!attached.hub.guest().borrow().is_absolute());
    qemu.set_absolute(0, true).await;
    attached.guest(|guest| guest.is_absolute()).await;
    qemu.set_leds(0, 6).await;
    attached.guest(|guest| guest.leds.bits() == Leds::NUM | Leds::CAPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_is_followed() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    screen.mouse_set(10, 20, true).await.unwrap();
    screen.cursor_define(2, 2, (1, -1), &grey(9, 4)).await.unwrap();
    let cursor = attached.console().cursor().borrow().clone();
    let shape = cursor.shape.unwrap();
    assert_eq!(
        (shape.width(), shape.hot_spot(), cursor.pointer.y, cursor.pointer.visible),
        (2, (1, 0), 20, true)
    );
    screen.mouse_set(0, 0, false).await.unwrap();
    let cursor = attached.console().cursor().borrow().clone();
    assert!(!cursor.pointer.visible && cursor.shape.is_some(), "the shape is kept for when it shows again");
}

/// On one thread: nothing is taken before all has been given.
#[tokio::test]
async fn input_arrives_in_order_inside_the_screen_and_without_stale_places() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    screen.scanout(64, 32, 256, XRGB, &grey(0, 64 * 32)).await.unwrap();
    attached.attached().await;
    let console = ConsoleId(0);
    let give = |command| attached.commands.try_send(command).unwrap();
    let at = |x, y| GuestCommand::Position { console, x, y };
    let left = |down| GuestCommand::Button { console, button: PointerButton::Left, down };
    for x in 0..50 {
        give(at(x, 1));
    }
    give(left(true));
    for x in 0..40 {
        give(at(1000 + x, 5000));
    }
    give(left(false));
    give(GuestCommand::Motion { console, dx: 1, dy: 1 }); // not what this guest's device takes
    give(GuestCommand::Button { console: ConsoleId(7), button: PointerButton::Extra, down: true });
    give(GuestCommand::Key { qnum: 0xb7, down: true });
    give(GuestCommand::Key { qnum: 0xb7, down: false });
    give(GuestCommand::Button { console, button: PointerButton::WheelDown, down: true });
    let expected = [
        Input::Position(49, 1),
        Input::Button(0, true),
        Input::Position(63, 31),
        Input::Button(0, false),
        Input::Key(0xb7, true),
        Input::Key(0xb7, false),
        Input::Button(4, true),
    ];
    for expected in expected {
        assert_eq!(qemu.input().await, expected);
    }
    qemu.set_absolute(0, false).await;
    attached.guest(|guest| !guest.is_absolute()).await;
    give(at(1, 1));
    give(GuestCommand::Motion { console, dx: -5, dy: 7 });
    assert_eq!(qemu.input().await, Input::Motion(-5, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_leaving_ends_the_source_and_blackens_the_screen() {
    let (qemu, screen, attached) = start(Vm::default()).await;
    screen.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    attached.attached().await;
    let console = attached.console();
    qemu.leave();
    drop(screen);
    assert_eq!(attached.ended().await.unwrap(), Ended::QemuLeft);
    assert!(shown(&console).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_wait_the_next_qemu_is_attached_and_readers_stay() {
    let mut first = ScriptedQemu::start(Vm { name: "first", ..Vm::default() });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let attached = Attached::to(Attach::Qmp(path.clone()), true);
    let reader = attached.console().subscribe();
    first.listen_at(&path);
    let screen = first.screen(0).await;
    screen.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    attached.guest(|guest| guest.name == "first").await;
    assert_eq!(pixels(&next_change(&reader).await.scanout.unwrap()), [1; 3]);
    first.leave();
    drop(screen);
    assert!(next_change(&reader).await.scanout.is_none());
    // What is typed now is for nobody.
    attached.commands.try_send(GuestCommand::Key { qnum: 1, down: true }).unwrap();

    let mut second = ScriptedQemu::start(Vm { name: "second", ..Vm::default() });
    second.listen_at(&path);
    let screen = second.screen(0).await;
    screen.scanout(1, 1, 4, XRGB, &grey(2, 1)).await.unwrap();
    attached.guest(|guest| guest.name == "second").await;
    assert_eq!(pixels(&next_change(&reader).await.scanout.unwrap()), [2; 3]);
    attached.commands.try_send(GuestCommand::Key { qnum: 2, down: true }).unwrap();
    assert_eq!(second.input().await, Input::Key(2, true));
    attached.cancel.cancel();
    assert_eq!(attached.ended().await.unwrap(), Ended::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_another_program_took_leaves_the_picture() {
    let (qemu, screen, attached) = start(Vm::default()).await;
    attached.attached().await;
    let _other = Attached::to(Attach::Peer(qemu.control_fd()), false);
    // Longer than the source needs to see that QEMU itself is still there.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    screen.scanout(1, 1, 4, XRGB, &grey(4, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [4; 3]);
    assert!(!attached.running.is_finished());
    drop(screen);
    assert_eq!(attached.ended().await.unwrap(), Ended::QemuLeft);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_can_be_wrong_has_its_line() {
    let line = async |attach| Attached::to(attach, false).ended().await.unwrap_err().to_string();
    let text = Vm { consoles: vec![(0, "Text")], ..Vm::default() };
    let blind = ScriptedQemu::start(text);
    assert!(line(Attach::Peer(blind.control_fd())).await.contains("no graphic console"));

    let absent = line(Attach::Qmp("/nonexistent/qmp".into())).await;
    assert!(absent.contains("/nonexistent/qmp") && absent.contains("-qmp unix:"), "{absent}");
    let mut refusing = ScriptedQemu::start(Vm { refuses_qmp: true, ..Vm::default() });
    let refused = line(Attach::Qmp(refusing.qmp_path())).await;
    assert!(refused.contains("not in p2p mode") && refused.contains("-display dbus,p2p=yes"), "{refused}");

    let nowhere = line(Attach::Bus("unix:path=/nonexistent/bus".into())).await;
    assert!(nowhere.contains("/nonexistent/bus"), "{nowhere}");
    let nonsense = line(Attach::Bus("nonsense".into())).await;
    assert!(nonsense.contains("nonsense"), "{nonsense}");

    // Sockets whose other end is gone, or is no QEMU.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(theirs);
    assert!(line(Attach::Peer(OwnedFd::from(ours))).await.contains("closed the connection"));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut &theirs, b"RFB 003.008\n").unwrap();
    assert!(line(Attach::Peer(OwnedFd::from(ours))).await.contains("no D-Bus display"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, &[b'x'; 200_000]).unwrap_or_default();
    });
    let attached = Attached::to(Attach::Qmp(path), true);
    let error = attached.ended().await.unwrap_err();
    assert!(matches!(error, SourceError::Qmp { error: QmpError::Foreign(_), .. }), "{error}");
}
