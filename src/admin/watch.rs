//! What `qemu-spice status --watch` prints after the status: what every qemu-spice on a bus tells of its clients, as it
//! tells it.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde_json::{Map, Value as Json};
use zbus::fdo::DBusProxy;
use zbus::message::{Message, Type};
use zbus::{Connection, MatchRule, MessageStream};

use super::control::client_number;
use super::status::{Entry, client, printable};
use super::{INTERFACE, NAME, PATH};

/// The most clients that are remembered, to print who they were when they have left.
const MAX_REMEMBERED: usize = 4096;

/// The signals of every qemu-spice on a bus.
pub(crate) struct Watch {
    /// For questions about clients. Their answers must not wait behind signals.
    questions: Connection,
    /// All that comes on a connection of its own, in the order of the bus.
    signals: MessageStream,
    /// The clients that were told of, by the server's unique name and their number.
    known: BTreeMap<(String, u64), Map<String, Json>>,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) struct Event {
    /// The unique name of the server.
    server: String,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A signal about a client, such as `ClientConnected`, and what is known of the client.
    Client { signal: String, number: u64, client: Map<String, Json> },
    /// The server ends.
    Leaving(String),
    /// The server has the name that all ask for; nobody has it if the server is empty.
    Owner,
}

impl Watch {
    /// Begins to watch on the connection `bus`, which nobody else reads, and asks `questions` on another.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub(crate) async fn start(bus: Connection, questions: Connection) -> zbus::Result<Self> {
        let stream = MessageStream::from(&bus);
        let signals = || MatchRule::builder().msg_type(Type::Signal);
        let clients = signals().interface(INTERFACE)?.path(PATH)?.build();
        let owners = signals()
            .sender("org.freedesktop.DBus")?
            .interface("org.freedesktop.DBus")?
            .member("NameOwnerChanged")?
            .add_arg(NAME)?
            .build();
        let proxy = DBusProxy::new(&bus).await?;
        proxy.add_match_rule(clients).await?;
        proxy.add_match_rule(owners).await?;
        Ok(Self { questions, signals: stream, known: BTreeMap::new() })
    }

    /// Waits for the next event; `None` if the connection ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let message = self.signals.next().await?.ok()?;
            // What does not fit is left out: anybody on the bus can send it.
            if let Some(event) = self.event(&message).await {
                return Some(event);
            }
        }
    }

    async fn event(&mut self, signal: &Message) -> Option<Event> {
        let header = signal.header();
        if header.message_type() != Type::Signal {
            return None;
        }
        let (server, member) = (header.sender()?.to_string(), header.member()?.to_string());
        let body = signal.body();
        let what = match member.as_str() {
            "NameOwnerChanged" => {
                let (_, _, owner): (String, String, String) = body.deserialize().ok()?;
                return Some(Event { server: owner, what: What::Owner });
            }
            "Leaving" => What::Leaving(body.deserialize().ok()?),
            "ClientConnected" | "ClientInitialized" | "ClientDisconnected" => {
                let path: zbus::zvariant::ObjectPath<'_> = body.deserialize().ok()?;
                let number = client_number(&path)?;
                let key = (server.clone(), number);
                let client = match member.as_str() {
                    "ClientDisconnected" => self.known.remove(&key).unwrap_or_default(),
                    _ => client(&self.questions, &server, &path).await.unwrap_or_default(),
                };
                if member != "ClientDisconnected" && self.known.len() < MAX_REMEMBERED {
                    self.known.insert(key, client.clone());
                }
                What::Client { signal: member, number, client }
            }
            _ => return None,
        };
        Some(Event { server, what })
    }
}

impl Event {
    /// Formats the event as a line.
    pub(crate) fn to_text(&self) -> String {
        let server = &self.server;
        match &self.what {
            What::Owner if server.is_empty() => format!("no qemu-spice has the name {NAME}"),
            What::Owner => format!("{server}: has the name {NAME}"),
            What::Leaving(reason) => format!("{server}: ends: {}", printable(reason)),
            What::Client { signal, number, client } => {
                let what = match signal.as_str() {
                    "ClientConnected" => "connected",
                    "ClientInitialized" => "opened its channels",
                    _ => "disconnected",
                };
                let client = Entry(client);
                match (client.text("Peer"), client.text("Transport")) {
                    (peer, _) if peer.is_empty() => format!("{server}: client {number} {what}"),
                    (peer, over) => format!("{server}: client {number} {what}: {peer} over {over}"),
                }
            }
        }
    }

    /// Formats the event as a JSON object.
    pub(crate) fn to_json(&self) -> Json {
        let server = self.server.as_str();
        match &self.what {
            What::Owner => serde_json::json!({ "BusName": server, "event": "NameOwner" }),
            What::Leaving(reason) => {
                serde_json::json!({ "BusName": server, "event": "Leaving", "reason": reason })
            }
            What::Client { signal, number, client } => {
                let mut client = client.clone();
                client.insert("Client".to_owned(), (*number).into());
                serde_json::json!({ "BusName": server, "event": signal, "client": client })
            }
        }
    }
}
