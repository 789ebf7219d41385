//! `org.qemu.Spice1.Client`: an object for each client, made and removed as clients come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio::sync::oneshot;
use tracing::info;
use zbus::object_server::{InterfaceRef, SignalEmitter};
use zbus::zvariant::OwnedObjectPath;
use zbus::{Connection, interface};

use super::PATH;
use super::server::StatusObject;
use crate::spice::{ClientInfo, Sessions};
use crate::transport::Peer;

/// The object `org.qemu.Spice1.Client`.
struct ClientObject {
    sessions: Arc<Sessions>,
    info: ClientInfo,
    /// Whether it has had another channel than its main one.
    initialized: bool,
}

#[interface(name = "org.qemu.Spice1.Client", spawn = false)]
impl ClientObject {
    /// Disconnects the client. It may come again.
    fn disconnect(&self) -> zbus::fdo::Result<()> {
        let number = self.info.number;
        if !self.sessions.end(number, "it was disconnected over D-Bus") {
            return Err(zbus::fdo::Error::Failed(format!("client {number} has left")));
        }
        info!(client = number, "a client is disconnected, as asked over D-Bus");
        Ok(())
    }

    /// Who the client is, as "Viewers" of the server has it: its address and port, or its process.
    #[zbus(property(emits_changed_signal = "const"))]
    fn peer(&self) -> String {
        self.info.route.peer.to_string()
    }

    /// The client's IP address; empty on a unix socket.
    #[zbus(property(emits_changed_signal = "const"))]
    fn host(&self) -> String {
        match self.info.route.peer {
            Peer::Network(address) => address.ip().to_canonical().to_string(),
            Peer::Local { .. } => String::new(),
        }
    }

    /// The client's port; empty on a unix socket, or if a proxy does not tell it.
    #[zbus(property(emits_changed_signal = "const"))]
    fn service(&self) -> String {
        match self.info.route.peer {
            Peer::Network(address) if address.port() != 0 => address.port().to_string(),
            Peer::Network(_) | Peer::Local { .. } => String::new(),
        }
    }

    /// "ipv4", "ipv6" or "unix".
    #[zbus(property(emits_changed_signal = "const"))]
    fn family(&self) -> &str {
        match self.info.route.peer {
            Peer::Network(address) if address.ip().to_canonical().is_ipv4() => "ipv4",
            Peer::Network(_) => "ipv6",
            Peer::Local { .. } => "unix",
        }
    }

    /// The proxy that the client came through: its address and port, or its process; empty without one.
    #[zbus(property(emits_changed_signal = "const"))]
    fn proxy(&self) -> String {
        self.info.route.proxy.map_or_else(String::new, |proxy| proxy.to_string())
    }

    /// What the connection is made of, as "Viewers" of the server has it: "tcp", "tls", "ws", "wss" or "unix".
    #[zbus(property(emits_changed_signal = "const"))]
    fn transport(&self) -> &str {
        self.info.route.transport()
    }

    /// Whether the connection is encrypted.
    #[zbus(property(emits_changed_signal = "const"), name = "TLS")]
    fn tls(&self) -> bool {
        self.info.route.tls
    }

    /// Whether the client came as a WebSocket, as browsers do.
    #[zbus(property(emits_changed_signal = "const"))]
    fn web_socket(&self) -> bool {
        self.info.route.web_socket
    }

    /// When the client had logged in, in seconds since 1970.
    #[zbus(property(emits_changed_signal = "const"))]
    fn since(&self) -> u64 {
        self.info.since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// By what the client was let in: "anyone", "the password" or "invitation" with its number and name. One that was
    /// handed over without having to log in has "anyone".
    #[zbus(property(emits_changed_signal = "const"))]
    fn by(&self) -> String {
        self.info.grant.who.to_string()
    }

    /// What the client may do: "use" or "look".
    #[zbus(property(emits_changed_signal = "const"))]
    fn rights(&self) -> &str {
        self.info.grant.rights.name()
    }

    /// The channels that the client has besides its main one, such as "display:0".
    #[zbus(property)]
    fn channels(&self) -> Vec<String> {
        self.info.channels.iter().map(ToString::to_string).collect()
    }

    /// What the client has of the guest that one client at a time can have: "agent" (copy and paste, files, and the
    /// size of its screens) and "microphone". The first that came has it, and when it leaves, the one that waits
    /// longest.
    #[zbus(property)]
    fn holds(&self) -> Vec<&'static str> {
        self.info.holds.iter().map(|what| what.name()).collect()
    }
}

/// Keeps an object for each of the clients on a connection, and tells who comes and goes. Who comes and goes while a
/// slow bus takes a signal is told of at once then, or never if it has left again.
///
/// # Errors
/// If the connection breaks.
pub(super) async fn follow(connection: &Connection, sessions: &Arc<Sessions>) -> zbus::Result<()> {
    let server = connection.object_server().interface::<_, StatusObject>(PATH).await?;
    let mut objects = Objects { connection, server, sessions, known: BTreeMap::new() };
    let mut changes = sessions.changes();
    loop {
        changes.mark_unchanged();
        objects.update(sessions.clients()).await?;
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Tells the bus that it is over. Without a `reason` the program was stopped from inside.
pub(super) async fn leave(connection: &Connection, reason: Result<String, oneshot::error::RecvError>) {
    let reason = reason.unwrap_or_else(|_| "qemu-spice ends".to_owned());
    if let Ok(emitter) = SignalEmitter::new(connection, PATH) {
        let _ = StatusObject::leaving(&emitter, &reason).await; // a bus that is gone needs no farewell
    }
}

/// The objects of clients on one connection.
struct Objects<'a> {
    connection: &'a Connection,
    server: InterfaceRef<StatusObject>,
    sessions: &'a Arc<Sessions>,
    known: BTreeMap<u64, InterfaceRef<ClientObject>>,
}

impl Objects<'_> {
    /// Makes the objects those of `clients`.
    async fn update(&mut self, clients: Vec<ClientInfo>) -> zbus::Result<()> {
        let is_there = |number: &u64| clients.iter().any(|client| client.number == *number);
        let gone: Vec<u64> = self.known.keys().copied().filter(|number| !is_there(number)).collect();
        for number in gone {
            self.remove(number).await?;
        }
        for client in clients {
            match self.known.get(&client.number) {
                Some(object) => self.change(&object.clone(), client).await?,
                None => self.add(client).await?,
            }
        }
        Ok(())
    }

    async fn add(&mut self, client: ClientInfo) -> zbus::Result<()> {
        let (number, path, initialized) = (client.number, path(client.number)?, !client.channels.is_empty());
        let objects = self.connection.object_server();
        objects
            .at(&path, ClientObject { sessions: self.sessions.clone(), info: client, initialized })
            .await?;
        self.known.insert(number, objects.interface(&path).await?);
        self.list().await?;
        StatusObject::client_connected(self.server.signal_emitter(), &path).await?;
        if initialized {
            StatusObject::client_initialized(self.server.signal_emitter(), &path).await?;
        }
        Ok(())
    }

    async fn change(&self, object: &InterfaceRef<ClientObject>, client: ClientInfo) -> zbus::Result<()> {
        let mut known = object.get_mut().await;
        if known.info == client {
            return Ok(());
        }
        let initialized = !known.initialized && !client.channels.is_empty();
        known.initialized |= initialized;
        let path = path(client.number)?;
        let before = std::mem::replace(&mut known.info, client);
        if before.channels != known.info.channels {
            known.channels_changed(object.signal_emitter()).await?;
        }
        if before.holds != known.info.holds {
            known.holds_changed(object.signal_emitter()).await?;
        }
        drop(known);
        if initialized {
            StatusObject::client_initialized(self.server.signal_emitter(), &path).await?;
        }
        Ok(())
    }

    async fn remove(&mut self, number: u64) -> zbus::Result<()> {
        self.known.remove(&number);
        let path = path(number)?;
        self.connection.object_server().remove::<ClientObject, _>(&path).await?;
        self.list().await?;
        StatusObject::client_disconnected(self.server.signal_emitter(), &path).await
    }

    /// Lists the objects in the server's property.
    async fn list(&self) -> zbus::Result<()> {
        let clients = self.known.keys().map(|number| path(*number)).collect::<Result<_, _>>()?;
        let mut server = self.server.get_mut().await;
        server.clients = clients;
        server.clients_changed(self.server.signal_emitter()).await
    }
}

fn path(number: u64) -> zbus::Result<OwnedObjectPath> {
    Ok(OwnedObjectPath::try_from(format!("{PATH}/Client_{number}"))?)
}
