//! Our place on a real bus: what tools for D-Bus see of it, and `qemu-spice status`.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use qemu_spice::internals::Roster;
use qemu_spice::internals::{Access, Newcomers};
use qemu_spice::internals::{ConsoleId, GuestCommand, Scanout};
use qemu_spice::internals::{ConsoleInfo, Hub};
use qemu_spice::internals::{MessageBus, Presence};
use qemu_spice::internals::{Recorder, Relay};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use zbus::Connection;
use zbus::fdo::DBusProxy;

use crate::bus_tools::{by_busctl, by_gdbus, interfaces, tool};
use crate::private_bus::PrivateBus;
use crate::scripted_qemu::{PATIENCE, XRGB};
use crate::scripted_viewer::{Answers, EVERYTHING, Viewer};

const NAME: &str = "org.qemu.spice";
const INTERFACES: [&str; 2] = [
    include_str!("../../dbus-interfaces/org.qemu.Display1.xml"),
    include_str!("../../dbus-interfaces/org.qemu.Spice1.xml"),
];

/// A qemu-spice without its SPICE half. Ends when dropped.
struct Server {
    hub: Hub,
    commands: mpsc::Receiver<GuestCommand>,
    running: tokio::task::JoinHandle<()>,
    _leave: oneshot::Sender<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(bus: &PrivateBus, vm: &str) -> Server {
    let (hub, roster) = (Hub::default(), Roster::default());
    let (sender, commands) = mpsc::channel(64);
    let relay = Relay::new(hub.clone(), roster.clone(), true, sender, CancellationToken::new());
    let presence = Presence {
        bus: MessageBus::Address(bus.address.clone()),
        hub: hub.clone(),
        roster,
        access: Access::default(),
        newcomers: Newcomers::default(),
        recorder: Recorder::default(),
        addresses: vec!["spice://127.0.0.1:5900".to_owned()],
        pages: Vec::new(),
        relay,
    };
    let connection = presence.connect().await.unwrap();
    let (leave, leaving) = oneshot::channel();
    let running = tokio::spawn(presence.keep(Some(connection), leaving));
    hub.change_guest(|guest| {
        guest.name = vm.into();
        let info = ConsoleInfo { label: "virtio-vga".into(), absolute: true };
        guest.consoles.insert(ConsoleId(0), info);
    });
    let scanout = Scanout::owned(64, 32, 256, XRGB, &[5; 64 * 32 * 4]).unwrap();
    hub.console(ConsoleId(0)).unwrap().show(Some(scanout));
    Server { hub, commands, running, _leave: leave }
}

/// Waits until as many qemu-spices are on the bus.
pub async fn wait_for_owners(bus: &Connection, count: usize) {
    let proxy = DBusProxy::new(bus).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let owners = proxy.list_queued_owners(NAME.try_into().unwrap()).await.unwrap_or_default();
        if owners.len() == count {
            return;
        }
        assert!(Instant::now() < deadline, "{} of {count} have the name", owners.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_see_the_interfaces_as_they_are_written_down() {
    let Some(bus) = PrivateBus::start() else { return };
    let _server = serve(&bus, "introspected").await;
    wait_for_owners(&bus.connect().await, 1).await;
    let mut written: BTreeMap<_, _> = INTERFACES.iter().flat_map(|xml| interfaces(xml)).collect();
    assert_eq!(written.values().map(Vec::len).sum::<usize>(), 23 + 28 + 11);
    for member in written.values().flatten() {
        assert!(!member.contains("<!--  -->"), "without a word of explanation: {member}");
    }
    assert!(written.remove("org.qemu.Spice1.Client").is_some(), "an object of it is in clients.rs");
    let objects = ["/org/qemu/Display1/VM", "/org/qemu/Display1/Console_0", "/org/qemu/Spice1"];
    let address = format!("--address={}", bus.address);
    let mut found = [BTreeMap::new(), BTreeMap::new()];
    for path in objects {
        found[0].extend(by_busctl(&bus, NAME, path).await);
        found[1].extend(by_gdbus(&bus, NAME, path).await);
    }
    for found in found.into_iter().filter(|found| !found.is_empty()) {
        for (name, members) in &written {
            assert_eq!(Some(members), found.get(name), "{name}");
        }
        assert_eq!(found.len(), written.len());
    }
    // And as people use them.
    let asked = [&address, "get-property", NAME, objects[1], "org.qemu.Display1.Console", "Width"];
    if let Some(width) = tool("busctl", &asked).await {
        assert_eq!(width, "u 64\n");
    }
    let tree = tool("busctl", &[&address, "tree", "--list", NAME]).await.unwrap_or_default();
    assert!(tree.is_empty() || objects.iter().all(|path| tree.lines().any(|line| line == *path)), "{tree}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_of_every_server_and_its_viewers() {
    let Some(bus) = PrivateBus::start() else { return };
    let program = env!("CARGO_BIN_EXE_qemu-spice");
    let nobody = Command::new(program).args(["status", "--dbus-address", &bus.address]).output().unwrap();
    assert!(!nobody.status.success());
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no qemu-spice on unix:path="));

    let mut first = serve(&bus, "first").await;
    let viewers = bus.connect().await;
    wait_for_owners(&viewers, 1).await;
    let second = serve(&bus, "second").await;
    wait_for_owners(&viewers, 2).await;
    let mut viewer = Viewer::register(&viewers, Some(NAME), 0, EVERYTHING, Answers::All).await.unwrap();
    assert_eq!(viewer.heard().await.name, "Scanout");

    let text = tool(program, &["status", "--dbus-address", &bus.address]).await.unwrap();
    let row = text.lines().find(|line| line.contains("dbus")).unwrap();
    let process = format!("(process {})", std::process::id());
    for word in [&process, "Images", "QEMU gives the pixels by value"] {
        assert!(row.contains(word), "{text}");
    }
    let json = tool(program, &["status", "--json", "-a", &bus.address]).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names: Vec<_> = json.as_array().unwrap().iter().map(|server| &server["VMName"]).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(json[0]["Viewers"][0]["sent"], 1);
    let console = serde_json::json!({
        "console": 0, "label": "virtio-vga", "draws": 0, "late": 0, "held": 0,
        "width": 64, "height": 32, "memory": "owned", "format": "XR24",
    });
    assert_eq!(json[0]["Consoles"][0], console);
    assert_eq!(json[1]["Viewers"], serde_json::json!([]));

    // Keys of a viewer that leaves come up; the next in the queue has the name when the first is gone.
    let path = "/org/qemu/Display1/Console_0";
    let keyboard = Some("org.qemu.Display1.Keyboard");
    viewers.call_method(Some(NAME), path, keyboard, "Press", &30u32).await.unwrap();
    drop(viewer);
    for down in [true, false] {
        let command = tokio::time::timeout(PATIENCE, first.commands.recv()).await.expect("no key");
        assert_eq!(command, Some(GuestCommand::Key { qnum: 30, down }));
    }
    drop(first);
    wait_for_owners(&viewers, 1).await;
    let mut viewer = Viewer::register(&viewers, Some(NAME), 0, EVERYTHING, Answers::All).await.unwrap();
    assert_eq!(viewer.heard().await.name, "Scanout");
    assert!(second.hub.guest().borrow().name == "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_restarts_is_joined_again_and_viewers_do_not_notice() {
    let Some(mut bus) = PrivateBus::start() else { return };
    let server = serve(&bus, "stays").await;
    let viewers = bus.connect().await;
    wait_for_owners(&viewers, 1).await;
    let mut viewer = Viewer::register(&viewers, Some(NAME), 0, EVERYTHING, Answers::All).await.unwrap();
    assert_eq!(viewer.heard().await.name, "Scanout");
    bus.restart();
    let console = server.hub.console(ConsoleId(0)).unwrap();
    console.damage((0, 0, 1, 1), None);
    assert_eq!(viewer.heard().await.name, "Update");
    let viewers = bus.connect().await;
    wait_for_owners(&viewers, 1).await;
    let mut other = Viewer::register(&viewers, Some(NAME), 0, EVERYTHING, Answers::All).await.unwrap();
    assert_eq!(other.heard().await.name, "Scanout");
}
