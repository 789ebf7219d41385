//! The display offered again, to viewers that do what the test says.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use qemu_spice::internals::FileId;
use qemu_spice::internals::Relay;
use qemu_spice::internals::Roster;
use qemu_spice::internals::{
    Buffer, ConsoleId, Cursor, Dmabuf, DmabufPlane, DmabufReads, GuestCommand, Pointer, PointerButton, Rect,
    Scanout, Size, Window,
};
use qemu_spice::internals::{Console, ConsoleInfo, Hub, Leds, ReleaseQueue};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zbus::connection::Builder;
use zbus::fdo::ObjectManager;
use zbus::zvariant::OwnedValue;
use zbus::{Connection, Guid};

use crate::scripted_qemu::{PATIENCE, XR24, XRGB, named_memfd, open_files};
use crate::scripted_viewer::{Answers, DMABUF2, EVERYTHING, Viewer, register_fd};

const SIZE: Size = Size::new(64, 32);

/// A hub with one console, offered to whoever is at the other end of `bus`.
struct Offered {
    hub: Hub,
    console: Arc<Console>,
    roster: Roster,
    commands: mpsc::Receiver<GuestCommand>,
    end: CancellationToken,
    bus: Connection,
}

async fn offer(passthrough: bool) -> Offered {
    let (hub, roster, end) = (Hub::default(), Roster::default(), CancellationToken::new());
    let (sender, commands) = mpsc::channel(16);
    let relay = Relay::new(hub.clone(), roster.clone(), passthrough, sender, end.clone());
    let console = hub.console(ConsoleId(0)).unwrap();
    attach(&hub);
    let bus = connect(relay).await;
    Offered { hub, console, roster, commands, end, bus }
}

fn attach(hub: &Hub) {
    hub.change_guest(|guest| {
        guest.name = "offered".into();
        guest.uuid = [0x42; 16];
        let info = ConsoleInfo { label: "virtio-vga".into(), absolute: true };
        guest.consoles.insert(ConsoleId(0), info);
    });
}

/// A connection to the relay without a bus between.
async fn connect(relay: Relay) -> Connection {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let (published, ready) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let server = Builder::unix_stream(theirs).server(Guid::generate()).unwrap().p2p();
        let server = server.serve_at("/org/qemu/Display1", ObjectManager).unwrap();
        let connection = server.build().await.unwrap();
        let published = async || {
            published.send(()).unwrap();
            Ok(())
        };
        let _ = relay.serve(&connection, published).await;
    });
    let client = Builder::unix_stream(ours).p2p().method_timeout(PATIENCE).build().await.unwrap();
    ready.await.unwrap();
    client
}

impl Offered {
    async fn viewer(&self, interfaces: &'static [&'static str], answers: Answers) -> Viewer {
        Viewer::register(&self.bus, None, 0, interfaces, answers).await.unwrap()
    }

    fn damage(&self, rect: Rect, releases: &ReleaseQueue) {
        let given = (rect.x as i32, rect.y as i32, rect.width as i32, rect.height as i32);
        self.console.damage(given, Some(releases.release(1)));
    }

    async fn get(&self, object: &str, interface: &str, property: &str) -> OwnedValue {
        let path = format!("/org/qemu/Display1/{object}");
        let properties = Some("org.freedesktop.DBus.Properties");
        let interface = format!("org.qemu.Display1.{interface}");
        let names = (interface, property);
        let asked = self.bus.call_method(None::<&str>, path, properties, "Get", &names);
        asked.await.unwrap().body().deserialize().unwrap()
    }
}

fn buffer() -> OwnedFd {
    named_buffer("scanout")
}

fn named_buffer(name: &str) -> OwnedFd {
    named_memfd(name, &vec![7; SIZE.area() as usize * 4])
}

fn shared(fd: OwnedFd) -> Scanout {
    Scanout::shared(fd, 0, SIZE.width, SIZE.height, SIZE.width * 4, XRGB).unwrap()
}

fn dmabuf(fd: OwnedFd) -> Scanout {
    let plane = DmabufPlane { buffer: Arc::new(Buffer::new(fd).unwrap()), offset: 0, stride: SIZE.width * 4 };
    let (planes, crop) = (vec![plane], SIZE.rect());
    let dmabuf = Dmabuf { planes, fourcc: XR24, modifier: 0, backing: SIZE, crop, bottom_up: true };
    Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap()
}

async fn eventually(mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "it never happens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_is_passed_on_as_it_is() {
    let offered = offer(true).await;
    let fd = buffer();
    let file = FileId::of(&fd).unwrap();
    offered.console.show(Some(dmabuf(fd)));
    let (w, h) = (u64::from(SIZE.width), u64::from(SIZE.height));

    let mut new = offered.viewer(EVERYTHING, Answers::All).await;
    let heard = new.heard().await;
    assert_eq!((heard.name.as_str(), heard.files()), ("ScanoutDMABUF2", vec![file]));
    assert_eq!(heard.numbers, [0, 0, w, h, 0, w * 4, 1, u64::from(XR24), w, h, 0, 1]);
    let heard = new.heard().await;
    assert_eq!((heard.name.as_str(), heard.numbers), ("UpdateDMABUF", vec![0, 0, w, h]));

    let mut old = offered.viewer(&[], Answers::All).await;
    let heard = old.heard().await;
    assert_eq!((heard.name.as_str(), heard.files()), ("ScanoutDMABUF", vec![file]));
    assert_eq!(heard.numbers, [w, h, w * 4, u64::from(XR24), 0, 1]);

    let deliveries: Vec<String> = offered.roster.snapshot().into_iter().map(|v| v.delivery).collect();
    assert_eq!(deliveries, ["Passthrough", "Passthrough"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_planes_each_is_passed_on() {
    let offered = offer(true).await;
    let buffers = [buffer(), buffer()].map(|fd| Arc::new(Buffer::new(fd).unwrap()));
    let files = [buffers[0].id(), buffers[1].id(), buffers[1].id()].to_vec();
    let plane = |buffer: &Arc<Buffer>, offset, stride| DmabufPlane { buffer: buffer.clone(), offset, stride };
    let planes = vec![plane(&buffers[0], 0, 256), plane(&buffers[1], 64, 32), plane(&buffers[1], 512, 64)];
    let (modifier, crop) = (0x0100_0000_0000_0004, Rect::new(8, 4, 40, 20));
    let dmabuf = Dmabuf { planes, fourcc: XR24, modifier, backing: SIZE, crop, bottom_up: false };
    offered.console.show(Some(Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap()));
    let mut viewer = offered.viewer(EVERYTHING, Answers::All).await;
    let heard = viewer.heard().await;
    assert_eq!((heard.name.as_str(), heard.files()), ("ScanoutDMABUF2", files));
    let strides = [256, 32, 64];
    let expected =
        [&[8, 4, 40, 20, 0, 64, 512][..], &strides, &[3, u64::from(XR24), 64, 32, modifier, 0]].concat();
    assert_eq!(heard.numbers, expected);
    assert_eq!(viewer.heard().await.numbers, [0, 0, 40, 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_memory_is_passed_on_and_pixels_go_by_value() {
    let offered = offer(true).await;
    let fd = buffer();
    let file = FileId::of(&fd).unwrap();
    let mut viewer = offered.viewer(EVERYTHING, Answers::All).await;
    let mut plain = offered.viewer(&[DMABUF2], Answers::All).await;
    offered.console.show(Some(shared(fd)));
    let (w, h) = (u64::from(SIZE.width), u64::from(SIZE.height));
    let heard = viewer.heard().await;
    assert_eq!((heard.name.as_str(), heard.files()), ("ScanoutMap", vec![file]));
    assert_eq!(heard.numbers, [0, w, h, w * 4, u64::from(XRGB)]);
    assert_eq!(viewer.heard().await.name, "UpdateMap");
    let heard = plain.heard().await;
    assert_eq!((heard.name.as_str(), heard.data), ("Scanout", vec![7; SIZE.area() as usize * 4]));

    let pixels: Vec<u8> = (0..SIZE.area() as u32).flat_map(|n| [n as u8, 1, 2, 255]).collect();
    let owned = Scanout::owned(SIZE.width, SIZE.height, SIZE.width * 4, XRGB, &pixels).unwrap();
    offered.console.show(Some(owned));
    let heard = viewer.heard().await;
    assert_eq!((heard.name.as_str(), heard.numbers), ("Scanout", vec![w, h, w * 4, u64::from(XRGB)]));
    assert_eq!(heard.data, pixels);
    let part = Rect::new(2, 1, 3, 1);
    offered.console.shown().unwrap().write(part, 12, XRGB, &[9; 12]).unwrap();
    offered.console.damage((2, 1, 3, 1), None);
    let heard = viewer.heard().await;
    assert_eq!((heard.name.as_str(), heard.numbers), ("Update", vec![2, 1, 3, 1, 12, u64::from(XRGB)]));
    assert_eq!(heard.data, [9, 9, 9, 255].repeat(3));
    offered.console.show(None);
    assert_eq!(viewer.heard().await.name, "Disable");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_buffers_gets_pixels_as_does_everyone_if_the_user_says_so() {
    let offered = offer(true).await;
    offered.console.show(Some(dmabuf(buffer())));
    let mut viewer = offered.viewer(EVERYTHING, Answers::NoFds).await;
    for name in ["ScanoutDMABUF2", "ScanoutDMABUF", "Scanout"] {
        viewer.heard_of(name).await;
    }
    let row = &offered.roster.snapshot()[0];
    assert_eq!((row.delivery.as_str(), row.transport), ("Images", "dbus"));
    assert!(row.reason.contains("refused"), "{}", row.reason);

    let offered = offer(false).await;
    offered.console.show(Some(dmabuf(buffer())));
    let mut viewer = offered.viewer(EVERYTHING, Answers::All).await;
    assert_eq!(viewer.heard().await.name, "Scanout");
    assert!(offered.roster.snapshot()[0].reason.contains("--passthrough never"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_waits_for_the_draws_answer() {
    let offered = offer(true).await;
    let mut viewer = offered.viewer(EVERYTHING, Answers::NoDraws).await;
    let releases = ReleaseQueue::default();
    offered.console.show(Some(dmabuf(buffer())));
    let heard = viewer.heard_of("UpdateDMABUF").await;
    viewer.answer(&heard).await;
    // Until the relay has taken the answer in, it is busy and the guest does not wait.
    let held = async {
        loop {
            offered.damage(Rect::new(1, 2, 3, 4), &releases);
            let heard = viewer.heard_of("UpdateDMABUF").await;
            let released = tokio::time::timeout(Duration::from_millis(100), releases.returned()).await;
            if released.is_err() {
                return heard;
            }
            viewer.answer(&heard).await;
        }
    };
    let heard = tokio::time::timeout(PATIENCE, held).await.expect("the guest never waits");
    assert_eq!(heard.numbers, [1, 2, 3, 4]);
    viewer.answer(&heard).await;
    tokio::time::timeout(PATIENCE, releases.returned()).await.expect("the guest waits after the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_never_answers_holds_up_nobody_else() {
    let offered = offer(true).await;
    let mut stuck = offered.viewer(EVERYTHING, Answers::NoDraws).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        // Connected, and then never another word: it does not even say what it takes.
        silent.push(offered.viewer(EVERYTHING, Answers::Nothing).await);
    }
    offered.console.show(Some(dmabuf(buffer())));
    stuck.heard_of("UpdateDMABUF").await;
    let mut quick = offered.viewer(EVERYTHING, Answers::All).await;
    quick.heard_of("UpdateDMABUF").await;
    let releases = ReleaseQueue::default();
    for n in 0..200 {
        offered.damage(Rect::new(n % 60, 0, 1, 1), &releases);
        // A draw that is waited for in vain is given up after a second; each of these is over long before.
        let done = async {
            quick.heard_of("UpdateDMABUF").await;
            releases.returned().await;
        };
        tokio::time::timeout(Duration::from_millis(900), done).await.expect("the guest waits");
    }
    let told = std::iter::from_fn(|| (!stuck.hears_nothing()).then_some(())).count();
    assert!(told < 16, "the stuck viewer was told {told} things");
}

/// Connects as a listener that takes pixels, byte by byte: authentication, and the answer to the one question.
fn join_by_hand(mut socket: &UnixStream) {
    use std::io::{Read, Write};
    let user = rustix::process::getuid().as_raw().to_string();
    let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
    write!(socket, "\0AUTH EXTERNAL {user}\r\n").unwrap();
    assert!(socket.read(&mut [0; 256]).unwrap() > 0);
    socket.write_all(b"BEGIN\r\n").unwrap();
    let mut call = [0; 256];
    assert!(socket.read(&mut call).unwrap() > 16);
    // Without contents: only the serial of what it answers, in the header.
    let mut answer = vec![b'l', 2, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 5, 1, b'u', 0];
    answer.extend(&call[8..12]);
    socket.write_all(&answer).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_talks_nonsense_is_gone() {
    use std::io::Write;
    let offered = offer(true).await;
    let endless: Vec<u8> = [b'l', 1, 0, 1].into_iter().cycle().take(4096).collect();
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        eprintln!("{panic}");
    }));
    // A call of 100 MB, no message at all, one of another version, calls whose answers nobody reads, an invalid name.
    let huge = [b'l', 1, 0, 1, 0, 0, 0, 6, 1, 0, 0, 0, 16, 0, 0, 0];
    let ping = {
        let call = zbus::Message::method_call("/", "Ping").unwrap();
        call.build(&()).unwrap().data().to_vec()
    };
    let mut broken = ping.clone();
    let at = memchr::memmem::find(&ping, b"Ping").unwrap();
    broken[at] = b'|';
    let pings = ping.repeat(100_000);
    let version = b"l\x01\x00\x09aaaaaaaaaaaa";
    for words in [&huge[..], &endless, version, b"hello, this is HTTP", &pings, &broken] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        register_fd(&offered.bus, None, 0, theirs.into()).await.unwrap();
        let words = words.to_vec();
        let said = tokio::task::spawn_blocking(move || {
            join_by_hand(&ours);
            let _ = (&ours).write_all(&words);
            ours
        });
        let socket = tokio::time::timeout(PATIENCE, said).await.expect("it is read for ever").unwrap();
        eventually(|| offered.roster.snapshot().is_empty()).await;
        drop(socket);
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_does_not_read_holds_up_nobody_else() {
    let offered = offer(true).await;
    let big = Size::new(1024, 512);
    let pixels = vec![3; big.area() as usize * 4];
    let owned = || Scanout::owned(big.width, big.height, big.width * 4, XRGB, &pixels).unwrap();
    // Far more than a socket holds, and nobody reads it.
    let (ours, theirs) = UnixStream::pair().unwrap();
    register_fd(&offered.bus, None, 0, theirs.into()).await.unwrap();
    std::thread::spawn(move || {
        join_by_hand(&ours);
        std::thread::sleep(Duration::from_secs(60));
    });
    let mut quick = offered.viewer(&[], Answers::All).await;
    for _ in 0..5 {
        offered.console.show(Some(owned()));
        let heard = quick.heard().await;
        assert_eq!((heard.name.as_str(), heard.data.len()), ("Scanout", pixels.len()));
    }
    eventually(|| offered.roster.snapshot().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_is_told() {
    let offered = offer(true).await;
    offered.console.change_cursor(|cursor| {
        cursor.shape = Some(Cursor::new(2, 1, 1, 0, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap());
        cursor.pointer = Pointer { x: -3, y: 5, visible: true };
    });
    let mut viewer = offered.viewer(EVERYTHING, Answers::All).await;
    let heard = viewer.heard().await;
    assert_eq!((heard.name.as_str(), heard.numbers), ("CursorDefine", vec![2, 1, 1, 0]));
    assert_eq!(heard.data, [1, 2, 3, 4, 5, 6, 7, 8]);
    let heard = viewer.heard().await;
    assert_eq!((heard.name.as_str(), heard.numbers), ("MouseSet", vec![-3i64 as u64, 5, 1]));
    offered.console.change_cursor(|cursor| cursor.pointer.visible = false);
    assert_eq!(viewer.heard().await.numbers[2], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn input_reaches_the_guest_in_order_and_nothing_stays_pressed() {
    let mut offered = offer(true).await;
    offered.console.show(Some(shared(buffer())));
    let viewer = offered.viewer(EVERYTHING, Answers::All).await;
    let bus = offered.bus.clone();
    let call = async |interface: &str, method: &str, arguments: &[u32]| {
        let interface = Some(format!("org.qemu.Display1.{interface}"));
        let path = "/org/qemu/Display1/Console_0";
        let done = match *arguments {
            [one] => bus.call_method(None::<&str>, path, interface.as_deref(), method, &one).await,
            [x, y] if method == "RelMotion" => {
                bus.call_method(None::<&str>, path, interface.as_deref(), method, &(x as i32, y as i32)).await
            }
            [x, y] => bus.call_method(None::<&str>, path, interface.as_deref(), method, &(x, y)).await,
            _ => panic!(),
        };
        match done {
            Ok(_) => "done".to_owned(),
            Err(zbus::Error::MethodError(name, ..)) => name.to_string(),
            Err(error) => panic!("{error}"),
        }
    };
    let (invalid, failed) = ("org.qemu.Display1.Error.Invalid", "org.qemu.Display1.Error.Failed");
    for (interface, method, arguments, expected) in [
        ("Keyboard", "Press", &[30][..], "done"),
        ("Keyboard", "Press", &[0xb7], "done"),
        ("Keyboard", "Release", &[30], "done"),
        ("Keyboard", "Press", &[0x100], invalid),
        ("Mouse", "Press", &[2], "done"),
        ("Mouse", "Press", &[99], invalid),
        ("Mouse", "SetAbsPosition", &[63, 31], "done"),
        ("Mouse", "SetAbsPosition", &[64, 0], invalid),
        ("Mouse", "RelMotion", &[1, 1], invalid),
    ] {
        assert_eq!(call(interface, method, arguments).await, expected, "{interface}.{method} {arguments:?}");
    }
    offered.hub.change_guest(|guest| guest.consoles.get_mut(&ConsoleId(0)).unwrap().absolute = false);
    assert_eq!(call("Mouse", "RelMotion", &[u32::MAX, 7]).await, "done");
    assert_eq!(call("Mouse", "SetAbsPosition", &[0, 0]).await, invalid);

    let console = ConsoleId(0);
    let key = |qnum, down| GuestCommand::Key { qnum, down };
    let right = |down| GuestCommand::Button { console, button: PointerButton::Right, down };
    let window = async |width: u32| {
        let path = "/org/qemu/Display1/Console_0";
        let size = &(300_u16, 200_u16, 0_i32, -5_i32, width, 600_u32);
        let interface = Some("org.qemu.Display1.Console");
        let called = bus.call_method(None::<&str>, path, interface, "SetUIInfo", size);
        called.await.is_ok()
    };
    assert!(window(800).await && !window(1 << 20).await);
    let size = Size::new(800, 600);
    let window = Window { size, width_mm: 300, height_mm: 200, x: 0, y: -5 };
    for expected in [
        key(30, true),
        key(0xb7, true),
        key(30, false),
        right(true),
        GuestCommand::Position { console, x: 63, y: 31 },
        GuestCommand::Motion { console, dx: -1, dy: 7 },
        GuestCommand::Window { console, window },
    ] {
        assert_eq!(offered.commands.recv().await.unwrap(), expected);
    }
    drop(viewer);
    for expected in [key(0xb7, false), right(false)] {
        let command = tokio::time::timeout(PATIENCE, offered.commands.recv()).await;
        assert_eq!(command.expect("it stays pressed").unwrap(), expected);
    }
    // A guest that takes nothing in makes nobody wait.
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(call("Keyboard", "Press", &[1]).await);
    }
    assert_eq!(answers.iter().filter(|answer| *answer == failed).count(), 4, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_are_those_of_the_vm() {
    let offered = offer(true).await;
    assert_eq!(String::try_from(offered.get("VM", "VM", "Name").await).unwrap(), "offered");
    let uuid = String::try_from(offered.get("VM", "VM", "UUID").await).unwrap();
    assert_eq!(uuid, "42424242-4242-4242-4242-424242424242");
    let label = offered.get("Console_0", "Console", "Label").await;
    assert_eq!(String::try_from(label).unwrap(), "virtio-vga");
    let objects = zbus::fdo::ObjectManagerProxy::builder(&offered.bus);
    let objects = objects.destination("org.qemu.spice").unwrap().path("/org/qemu/Display1").unwrap();
    let objects = objects.build().await.unwrap();
    let managed = objects.get_managed_objects().await.unwrap();
    let mut paths: Vec<_> = managed.keys().map(|path| path.as_str()).collect();
    paths.sort();
    assert_eq!(paths, ["/org/qemu/Display1/Console_0", "/org/qemu/Display1/VM"]);

    let changes = Changes::watch(&offered.bus).await;
    offered.console.show(Some(shared(buffer())));
    changes.wait_for("Console_0 org.qemu.Display1.Console Height U32(32)").await;
    offered.hub.change_guest(|guest| guest.leds = Leds::from_bits(2));
    changes.wait_for("Console_0 org.qemu.Display1.Keyboard Modifiers U32(2)").await;
    offered.hub.change_guest(|guest| {
        guest.consoles.insert(ConsoleId(3), ConsoleInfo::default());
    });
    changes.wait_for("VM org.qemu.Display1.VM ConsoleIDs").await;
    assert_eq!(u32::try_from(offered.get("Console_3", "Console", "Width").await).unwrap(), 0);
    offered.hub.detach();
    changes.wait_for("VM org.qemu.Display1.VM ConsoleIDs").await;
    eventually_async(async || objects.get_managed_objects().await.unwrap().len() == 1).await;
    attach(&offered.hub);
    eventually_async(async || objects.get_managed_objects().await.unwrap().len() == 2).await;
}

async fn eventually_async(mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is().await {
        assert!(Instant::now() < deadline, "it never happens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The properties that changed, as text.
struct Changes(tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>);

impl Changes {
    async fn watch(bus: &Connection) -> Self {
        use futures_util::StreamExt;
        let mut stream = zbus::MessageStream::from(bus);
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                let header = message.header();
                if header.member().is_none_or(|member| member.as_str() != "PropertiesChanged") {
                    continue;
                }
                type Changed = (String, std::collections::HashMap<String, OwnedValue>, Vec<String>);
                let (interface, values, _): Changed = message.body().deserialize().unwrap();
                let object = header.path().unwrap().as_str().rsplit('/').next().unwrap();
                for (name, value) in values {
                    let _ = sender.send(format!("{object} {interface} {name} {:?}", *value));
                }
            }
        });
        Self(receiver.into())
    }

    async fn wait_for(&self, change: &str) {
        let mut changes = self.0.lock().await;
        let found = async { while !changes.recv().await.unwrap().starts_with(change) {} };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {change}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_turned_away() {
    let offered = offer(true).await;
    let name_of = |done: zbus::Result<()>| match done {
        Err(zbus::Error::MethodError(name, ..)) => name.to_string(),
        other => format!("{other:?}"),
    };
    let invalid = "org.qemu.Display1.Error.Invalid";
    assert_eq!(name_of(register_fd(&offered.bus, None, 0, buffer()).await), invalid);
    let (datagrams, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    assert_eq!(name_of(register_fd(&offered.bus, None, 0, datagrams.into()).await), invalid);
    let nowhere = register_fd(&offered.bus, None, 9, buffer()).await;
    assert_eq!(name_of(nowhere), "org.freedesktop.DBus.Error.UnknownObject");
    // Sockets that nobody serves are held no longer than a handshake, and there are not many.
    let mut others = Vec::new();
    let mut taken = 0;
    for _ in 0..40 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        others.push(ours);
        match register_fd(&offered.bus, None, 0, theirs.into()).await {
            Ok(()) => taken += 1,
            full => assert_eq!(name_of(full), "org.qemu.Display1.Error.Failed"),
        }
    }
    assert_eq!((taken, offered.roster.snapshot().len()), (16, 16));
    // Words that are no handshake end it at once, however many there are.
    use std::io::Write;
    for mut socket in others.drain(..8) {
        let flood = std::thread::spawn(move || socket.write_all(&vec![b'x'; 1 << 20]).is_err());
        assert!(flood.join().unwrap(), "a megabyte of handshake is read");
    }
    for (mut socket, words) in others.iter().zip(["\n", "\0\n\n", "\0AUTH\r\n\r\n", "\0BEGIN\r\n"]) {
        socket.write_all(words.as_bytes()).unwrap();
    }
    drop(others);
    eventually(|| offered.roster.snapshot().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_viewers_that_went() {
    let offered = offer(true).await;
    offered.console.show(Some(dmabuf(named_buffer("counted"))));
    let mut first = offered.viewer(EVERYTHING, Answers::All).await;
    first.heard_of("UpdateDMABUF").await;
    eventually(|| open_files("counted") == 1).await;
    for _ in 0..20 {
        let mut viewer = offered.viewer(EVERYTHING, Answers::NoDraws).await;
        viewer.heard_of("UpdateDMABUF").await;
        drop(viewer);
    }
    eventually(|| offered.roster.snapshot().len() == 1 && open_files("counted") == 1).await;

    // A VM that leaves takes its viewers' listeners with it, as QEMU does; so does the end.
    offered.hub.detach();
    first.ended().await;
    eventually(|| offered.roster.snapshot().is_empty() && open_files("counted") == 0).await;
    attach(&offered.hub);
    let mut last = None;
    while last.is_none() {
        last = Viewer::register(&offered.bus, None, 0, EVERYTHING, Answers::All).await.ok();
    }
    offered.end.cancel();
    last.unwrap().ended().await;
    eventually(|| offered.roster.snapshot().is_empty()).await;
}
