//! The source against a real QEMU, whose BIOS writes text on a VGA screen.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use qemu_spice::internals::FileId;
use qemu_spice::internals::Hub;
use qemu_spice::internals::Roster;
use qemu_spice::internals::{Access, MessageBus, Newcomers, Presence};
use qemu_spice::internals::{Attach, Ended, Source};
use qemu_spice::internals::{ConsoleId, DmabufReads, GuestCommand};
use qemu_spice::internals::{Recorder, Relay};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::private_bus::PrivateBus;

/// TCG on a busy machine: QEMU needs seconds to get to its BIOS.
const PATIENCE: Duration = Duration::from_secs(60);

struct RealQemu {
    child: Child,
    dir: tempfile::TempDir,
}

impl RealQemu {
    /// Starts QEMU with this display; `None`, with the reason printed, where there is none that could.
    fn start(display: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        let known = Command::new("qemu-system-x86_64").args(["-display", "help"]).output();
        match known {
            Ok(known) if String::from_utf8_lossy(&known.stdout).lines().any(|line| line.trim() == "dbus") => {
            }
            Ok(_) => {
                eprintln!("skipped: this QEMU has no D-Bus display (Debian: qemu-system-modules-opengl)");
                return None;
            }
            Err(error) => {
                eprintln!("skipped: no qemu-system-x86_64 ({error})");
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let monitor = |name: &str| format!("unix:{},server=on,wait=off", dir.path().join(name).display());
        let child = Command::new("qemu-system-x86_64")
            .args([
                "-machine", "pc", "-accel", "tcg", "-m", "32", "-vga", "std", "-net", "none", "-name",
                "first",
            ])
            .args(["-display", display, "-qmp", &monitor("qmp"), "-qmp", &monitor("test-qmp")])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let qemu = Self { child, dir };
        Some(qemu)
    }

    fn qmp_path(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    /// What QEMU itself says is on screen: width, height, and bytes B, G, R.
    fn screendump(&self) -> (u32, u32, Vec<u8>) {
        let file = self.dir.path().join("screen.ppm");
        let mut monitor = Monitor::connect(&self.dir.path().join("test-qmp"));
        monitor.run(&format!(
            r#"{{"execute": "screendump", "arguments": {{"filename": "{}"}}}}"#,
            file.display()
        ));
        let ppm = std::fs::read(file).unwrap();
        let mut fields = ppm.splitn(4, |byte| byte.is_ascii_whitespace());
        let mut field = || String::from_utf8(fields.next().unwrap().to_vec()).unwrap();
        assert_eq!(field(), "P6");
        let (width, height): (u32, u32) = (field().parse().unwrap(), field().parse().unwrap());
        let pixels = fields.next().unwrap().strip_prefix(b"255\n").unwrap();
        let bgr = pixels.chunks_exact(3).flat_map(|rgb| [rgb[2], rgb[1], rgb[0]]).collect();
        (width, height, bgr)
    }
}

impl Drop for RealQemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn connect(path: &Path) -> Self {
        let mut monitor = Self(BufReader::new(UnixStream::connect(path).unwrap()));
        monitor.line();
        monitor.run(r#"{"execute": "qmp_capabilities"}"#);
        monitor
    }

    fn run(&mut self, command: &str) {
        self.0.get_mut().write_all(command.as_bytes()).unwrap();
        while !self.line().contains("\"return\"") {}
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(!line.contains("\"error\""), "{line}");
        line
    }
}

/// What the hub has, as [`RealQemu::screendump`].
fn shown(hub: &Hub) -> Option<(u32, u32, Vec<u8>)> {
    let scanout = hub.console(ConsoleId(0)).unwrap().shown()?;
    let size = scanout.size();
    let mut bgrx = vec![0; size.area() as usize * 4];
    scanout.reader().unwrap().read(size.rect(), &mut bgrx).unwrap();
    let bgr = bgrx.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    Some((size.width, size.height, bgr))
}

/// Waits until the hub shows text, and exactly what QEMU says.
async fn wait_for_the_same_text(qemu: &RealQemu, hub: &Hub) {
    let same = async {
        loop {
            let before = shown(hub);
            let text = before
                .as_ref()
                .is_some_and(|(_, _, bgr)| bgr.iter().filter(|&&byte| byte > 100).count() > 1000);
            // The cursor blinks: twice the same picture, and QEMU's in between.
            if text && before.as_ref() == Some(&qemu.screendump()) && before == shown(hub) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, same).await.expect("never the picture that QEMU has");
}

fn source(attach: Attach, wait: bool) -> Source {
    Source { attach, bus_name: "org.qemu".into(), wait, reads: DmabufReads::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_qmp_the_picture_is_the_one_qemu_has() {
    let Some(mut qemu) = RealQemu::start("dbus,p2p=yes", &[], &[]) else { return };
    let hub = Hub::default();
    let (_commands, receiver) = mpsc::channel(16);
    let source = source(Attach::Qmp(qemu.qmp_path()), true);
    let running = tokio::spawn(source.run(hub.clone(), receiver, CancellationToken::new()));
    let mut guest = hub.guest();
    let guest = tokio::time::timeout(PATIENCE, guest.wait_for(|guest| !guest.consoles.is_empty()));
    let guest = guest.await.expect("never attached").unwrap().clone();
    assert_eq!(guest.name, "first");
    wait_for_the_same_text(&qemu, &hub).await;
    qemu.child.kill().unwrap();
    let gone = async {
        while shown(&hub).is_some() || !hub.guest().borrow().consoles.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("a dead QEMU's picture stays");
    // It waits for the next QEMU, at a socket whose other end is dying just now.
    let ended = tokio::time::timeout(Duration::from_secs(2), running).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bus_the_picture_is_the_one_qemu_has() {
    let Some(bus) = PrivateBus::start() else { return };
    let address = bus.address.clone();

    // Nobody is there, and nobody is waited for.
    let (_commands, receiver) = mpsc::channel(16);
    let impatient = source(Attach::Bus(address.clone()), false);
    let error =
        impatient.run(Hub::default(), receiver, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.contains("nobody owns org.qemu") && error.contains("--wait"), "{error}");

    let hub = Hub::default();
    let (_commands, receiver) = mpsc::channel(16);
    let waiting = source(Attach::Bus(address.clone()), true);
    let cancel = CancellationToken::new();
    let running = tokio::spawn(waiting.run(hub.clone(), receiver, cancel.clone()));
    if let Some(qemu) = RealQemu::start("dbus", &[], &[("DBUS_SESSION_BUS_ADDRESS", &address)]) {
        wait_for_the_same_text(&qemu, &hub).await;
        has_what_our_interface_file_says(&address).await;
        // One that does not wait, beside the first: QEMU 9.2 and later shows a console to both.
        let other = Hub::default();
        let (_commands, receiver) = mpsc::channel(16);
        let leaving = source(Attach::Bus(address.clone()), false);
        let leaving = tokio::spawn(leaving.run(other.clone(), receiver, CancellationToken::new()));
        wait_for_the_same_text(&qemu, &other).await;
        drop(qemu);
        let ended = tokio::time::timeout(PATIENCE, leaving).await.expect("it does not see QEMU leave");
        assert_eq!(ended.unwrap().unwrap(), Ended::QemuLeft);
    }
    cancel.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Cancelled);
}

/// QEMU's one peer-to-peer connection, shared: the display offered again is one that we can attach to ourselves.
#[tokio::test(flavor = "multi_thread")]
async fn offered_again_the_picture_is_the_one_qemu_has() {
    let Some(bus) = PrivateBus::start() else { return };
    let Some(qemu) = RealQemu::start("dbus,p2p=yes", &[], &[]) else { return };
    let (hub, roster, end) = (Hub::default(), Roster::default(), CancellationToken::new());
    let (commands, receiver) = mpsc::channel(16);
    let source_of_all = source(Attach::Qmp(qemu.qmp_path()), true);
    let running = tokio::spawn(source_of_all.run(hub.clone(), receiver, end.clone()));
    let relay = Relay::new(hub.clone(), roster.clone(), true, commands, end.clone());
    let presence = Presence {
        bus: MessageBus::Address(bus.address.clone()),
        hub: hub.clone(),
        roster: roster.clone(),
        access: Access::default(),
        newcomers: Newcomers::default(),
        recorder: Recorder::default(),
        addresses: Vec::new(),
        pages: Vec::new(),
        relay,
    };
    let connection = presence.connect().await.unwrap();
    let (_leave, leaving) = oneshot::channel();
    let present = tokio::spawn(presence.keep(Some(connection), leaving));
    wait_for_the_same_text(&qemu, &hub).await;

    let mut viewers = Vec::new();
    for _ in 0..2 {
        let viewer = Hub::default();
        let (commands, receiver) = mpsc::channel(16);
        let mut again = source(Attach::Bus(bus.address.clone()), true);
        again.bus_name = "org.qemu.spice".into();
        tokio::spawn(again.run(viewer.clone(), receiver, end.clone()));
        viewers.push((viewer, commands));
    }
    for (viewer, _) in &viewers {
        wait_for_the_same_text(&qemu, viewer).await;
        assert_eq!(viewer.guest().borrow().name, "first");
        // The very memory that QEMU has: nothing was copied on the way.
        let file = |hub: &Hub| {
            let shown = hub.console(ConsoleId(0)).unwrap().shown().unwrap();
            shown.as_shared().map(|memory| FileId::of(memory.fd).unwrap())
        };
        assert_eq!(file(viewer), file(&hub));
    }
    assert_eq!(roster.snapshot().len(), 2);
    end.cancel();
    present.abort();
    running.await.unwrap().unwrap();
}

/// Every method and property that we use is there, with the types we use.
async fn has_what_our_interface_file_says(address: &str) {
    let bus = zbus::connection::Builder::address(address).unwrap().build().await.unwrap();
    let mut theirs = Vec::new();
    for path in ["/org/qemu/Display1/VM", "/org/qemu/Display1/Console_0"] {
        let interface = Some("org.freedesktop.DBus.Introspectable");
        let xml = bus.call_method(Some("org.qemu"), path, interface, "Introspect", &()).await.unwrap();
        theirs.extend(members(&xml.body().deserialize::<String>().unwrap()));
    }
    let ours = members(include_str!("../../dbus-interfaces/org.qemu.Display1.xml"));
    assert_eq!(ours.len(), 23);
    for member in ours {
        assert!(theirs.contains(&member), "QEMU has no {member}");
    }
}

/// Interface, name and types of each method and property, in the order of the text.
fn members(xml: &str) -> Vec<String> {
    let attribute = |tag: &str, name: &str| {
        let rest = tag.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
        rest.split('"').next().unwrap().to_owned()
    };
    let (mut interface, mut members) = (String::new(), Vec::<String>::new());
    for tag in xml.split('<').filter(|tag| !tag.starts_with('!')) {
        let name = attribute(tag, "name");
        match tag.split_whitespace().next() {
            Some("interface") => interface = name,
            Some("method") => members.push(format!("{interface} {name} ")),
            Some("property") => members.push(format!("{interface} {name} {}", attribute(tag, "type"))),
            Some("arg") if attribute(tag, "direction") == "in" => {
                members.last_mut().unwrap().push_str(&attribute(tag, "type"));
            }
            _ => {}
        }
    }
    members
}

/// SeaBIOS offers its menu for half a minute; the menu only comes if the key does.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_the_bios_menu() {
    let menu = ["-boot", "menu=on,splash-time=30000"];
    let Some(qemu) = RealQemu::start("dbus,p2p=yes", &menu, &[]) else { return };
    let hub = Hub::default();
    let (commands, receiver) = mpsc::channel(16);
    let source = source(Attach::Qmp(qemu.qmp_path()), true);
    let running = tokio::spawn(source.run(hub.clone(), receiver, CancellationToken::new()));
    wait_for_the_same_text(&qemu, &hub).await;
    let lit = || shown(&hub).map_or(0, |(_, _, bgr)| bgr.iter().filter(|&&byte| byte > 100).count());
    let before = lit();
    let opened = async {
        // "Select boot device:" and a line for each is a thousand lit pixels more; the cursor has 18.
        while lit() < before + 3000 {
            for down in [true, false] {
                commands.send(GuestCommand::Key { qnum: 1, down }).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), opened).await.expect("the menu never opened");
    running.abort();
}
