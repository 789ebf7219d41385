//! The guest's serial ports that end at QEMU's `-chardev dbus`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tracing::{debug, warn};
use zbus::message::Body;
use zbus::names::OwnedInterfaceName;
use zbus::zvariant::{Fd, ObjectPath, OwnedObjectPath, OwnedValue, Value};

use super::connect::Qemu;
use crate::display1::{CHARDEV, chardev_id, chardev_path};
use crate::hub::{Guest, Hub, PortInfo, PortRequest, PortWish};
use crate::source::SourceError;

/// The most ports of a VM that are known. QEMU's virtio-serial has 31 for each device.
const MAX_PORTS: usize = 64;

/// The longest name of a port kept, in characters, and the longest that QEMU may have for it, in bytes.
const MAX_NAME: usize = 256;

/// Requests that are carried out at a time.
const MAX_AT_A_TIME: usize = 64;

/// How long to wait before a port is asked for again that is still connected to somebody: to a client that has just
/// left, which QEMU sees when it next looks.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_millis(2000),
];

/// What an object has: the properties of each of its interfaces.
type Interfaces = HashMap<OwnedInterfaceName, HashMap<String, OwnedValue>>;

/// Takes up that QEMU has an object more.
pub(super) fn added(guest: &mut Guest, body: &Body) {
    if let Ok((path, interfaces)) = body.deserialize::<(OwnedObjectPath, Interfaces)>() {
        add(guest, path.as_str(), &interfaces);
    }
}

/// Takes up that QEMU has an object less.
pub(super) fn removed(guest: &mut Guest, body: &Body) {
    if let Ok((path, interfaces)) = body.deserialize::<(ObjectPath<'_>, Vec<&str>)>()
        && let Some(id) = chardev_id(path.as_str()).filter(|_| interfaces.contains(&CHARDEV))
    {
        guest.ports.remove(id);
    }
}

/// Adds the port whose object is at `path`, if it is a port's.
pub(super) fn add(guest: &mut Guest, path: &str, interfaces: &Interfaces) {
    let found = interfaces.iter().find(|(interface, _)| interface.as_str() == CHARDEV);
    let id = chardev_id(path).filter(|id| id.len() <= MAX_NAME);
    let (Some(id), Some((_, properties))) = (id, found) else { return };
    if guest.ports.len() < MAX_PORTS && !guest.ports.contains_key(id) {
        let mut port = PortInfo::default();
        change(&mut port, |name| properties.get(name).map(|value| &**value));
        guest.add_port(id.to_owned(), port);
    }
}

/// Takes up those `properties` of a port that are there.
pub(super) fn change<'a>(port: &mut PortInfo, properties: impl Fn(&str) -> Option<&'a Value<'a>>) {
    if let Some(Value::Str(name)) = properties("Name") {
        port.name = name.chars().take(MAX_NAME).collect();
    }
    if let Some(Value::Bool(is_open)) = properties("FEOpened") {
        port.is_open = *is_open;
    }
    if let Some(Value::Str(owner)) = properties("Owner") {
        port.is_taken = !owner.is_empty();
    }
}

/// Does what is asked for with the ports of this QEMU.
pub(super) async fn serve(qemu: &Qemu, hub: &Hub) -> Infallible {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            request = hub.ports().next(), if running.len() < MAX_AT_A_TIME => {
                let path = chardev_path(&request.id);
                if hub.guest().borrow().ports.contains_key(&request.id)
                    && ObjectPath::try_from(path.as_str()).is_ok()
                {
                    running.push(carry_out(qemu, path, request));
                } else {
                    debug!(port = request.id, "no such port");
                }
            }
            Some(()) = running.next() => {}
        }
    }
}

async fn carry_out(qemu: &Qemu, path: String, request: PortRequest) {
    let PortRequest { id, wish, done } = request;
    let carried_out = match wish {
        PortWish::Connect(socket) => connect(qemu, &path, socket, &done).await,
        PortWish::Break => qemu.call(&path, CHARDEV, "SendBreak", &()).await.map(drop),
    };
    match carried_out {
        Ok(()) => drop(done.send(())), // not everybody waits for it
        Err(error) => warn!(port = id, %error, "QEMU refuses the port; is another program connected to it?"),
    }
}

/// Connects a port to `socket`, again and again as long as somebody waits for that.
async fn connect(
    qemu: &Qemu,
    path: &str,
    socket: UnixStream,
    done: &oneshot::Sender<()>,
) -> Result<(), SourceError> {
    let socket = Fd::from(OwnedFd::from(socket));
    let mut pauses = PAUSES.into_iter();
    loop {
        match (qemu.call(path, CHARDEV, "Register", &socket).await, pauses.next()) {
            (Err(SourceError::Refused { .. }), Some(pause)) if !done.is_closed() => {
                tokio::time::sleep(pause).await;
            }
            (called, _) => return called.map(drop),
        }
    }
}
