//! Our place on a real bus: what tools for D-Bus see of it, and `qemu-spice status`.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use qemu_spice::internals::Access;
use qemu_spice::internals::Relay;
use qemu_spice::internals::Roster;
use qemu_spice::internals::{ConsoleId, GuestCommand, Scanout};
use qemu_spice::internals::{ConsoleInfo, Hub};
use qemu_spice::internals::{MessageBus, Presence};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zbus::Connection;
use zbus::fdo::DBusProxy;

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
        relay,
    };
    let connection = presence.connect().await.unwrap();
    let running = tokio::spawn(async move { match presence.keep(Some(connection)).await {} });
    hub.change_guest(|guest| {
        guest.name = vm.into();
        let info = ConsoleInfo { label: "virtio-vga".into(), absolute: true };
        guest.consoles.insert(ConsoleId(0), info);
    });
    let scanout = Scanout::owned(64, 32, 256, XRGB, &[5; 64 * 32 * 4]).unwrap();
    hub.console(ConsoleId(0)).unwrap().show(Some(scanout));
    Server { hub, commands, running }
}

/// Waits until as many qemu-spices are on the bus.
async fn wait_for_owners(bus: &Connection, count: usize) {
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

/// What a tool prints; `None` where it is not installed.
async fn tool(program: &str, arguments: &[&str]) -> Option<String> {
    let (program, arguments) = (program.to_owned(), arguments.iter().map(|a| (*a).to_owned()));
    let mut command = Command::new(&program);
    command.args(arguments);
    match tokio::task::spawn_blocking(move || command.output()).await.unwrap() {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program}: {error}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            eprintln!("skipped: no {program} ({error})");
            None
        }
    }
}

/// Each interface of ours in some introspection, with its members as text: types, names, annotations, comments.
fn interfaces(xml: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut interface, mut comment) = (String::new(), String::new());
    for tag in xml.split('<').skip(1).filter(|tag| !tag.starts_with("!DOCTYPE")) {
        if let Some(text) = tag.strip_prefix("!--") {
            let text = text.split("-->").next().unwrap();
            comment = text.split_whitespace().collect::<Vec<_>>().join(" ");
            continue;
        }
        let text = tag.split('>').next().unwrap().trim_end_matches('/');
        let kind = text.split_whitespace().next().unwrap_or_default();
        let mut attributes: Vec<String> = text
            .split('"')
            .collect::<Vec<_>>()
            .chunks_exact(2)
            .map(|pair| format!("{}{}", pair[0].split_whitespace().last().unwrap(), pair[1]))
            .collect();
        attributes.sort();
        let line = format!("{kind} {}", attributes.join(" "));
        match kind {
            "interface" => interface = attributes[0].trim_start_matches("name=").to_owned(),
            "method" | "signal" | "property" => {
                let members = found.entry(interface.clone()).or_default();
                members.push(format!("{line} <!-- {} -->", std::mem::take(&mut comment)));
            }
            "arg" | "annotation" => {
                let member = found.get_mut(&interface).unwrap().last_mut().unwrap();
                *member += &format!(" / {line}");
            }
            _ => {}
        }
    }
    found.retain(|name, _| name.starts_with("org.qemu."));
    found.values_mut().for_each(|members| members.sort());
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_see_the_interfaces_as_they_are_written_down() {
    let Some(bus) = PrivateBus::start() else { return };
    let _server = serve(&bus, "introspected").await;
    wait_for_owners(&bus.connect().await, 1).await;
    let written: BTreeMap<_, _> = INTERFACES.iter().flat_map(|xml| interfaces(xml)).collect();
    assert_eq!(written.values().map(Vec::len).sum::<usize>(), 23 + 10);
    for member in written.values().flatten() {
        assert!(!member.contains("<!--  -->"), "without a word of explanation: {member}");
    }
    let objects = ["/org/qemu/Display1/VM", "/org/qemu/Display1/Console_0", "/org/qemu/Spice1"];
    let address = format!("--address={}", bus.address);
    let mut by_busctl = BTreeMap::new();
    let mut by_gdbus = BTreeMap::new();
    for path in objects {
        let asked = ["--xml-interface", &address, "introspect", NAME, path];
        if let Some(xml) = tool("busctl", &asked).await {
            by_busctl.extend(interfaces(&xml));
        }
        let asked = ["introspect", "--xml", "--address", &bus.address, "--dest", NAME, "--object-path", path];
        if let Some(xml) = tool("gdbus", &asked).await {
            by_gdbus.extend(interfaces(&xml));
        }
    }
    for found in [by_busctl, by_gdbus].into_iter().filter(|found| !found.is_empty()) {
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
