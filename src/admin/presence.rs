use std::convert::Infallible;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{debug, info, warn};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::RequestNameReply;

use super::server::StatusObject;
use super::{NAME, PATH, clients};
use crate::hub::Hub;
use crate::publish::Recorder;
use crate::relay::Relay;
use crate::spice::{Access, Newcomers};
use crate::viewer::Roster;

/// How long a bus has to take us in.
const DEADLINE: Duration = Duration::from_secs(10);

/// The most messages of callers that wait to be handled; each can have the 128 MiB that D-Bus allows.
const QUEUE: usize = 8;

/// How long until a bus that is not there, or went away, is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A message bus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MessageBus {
    /// The user's session bus.
    Session,
    /// The one at this D-Bus address.
    Address(String),
}

/// A bus that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("no D-Bus bus at {bus}: {error}")]
pub struct BusError {
    bus: MessageBus,
    error: zbus::Error,
}

/// What we are on a bus.
#[derive(Clone, Debug)]
pub struct Presence {
    /// The bus.
    pub bus: MessageBus,
    /// What there is to see.
    pub hub: Hub,
    /// Who sees it.
    pub roster: Roster,
    /// Who may.
    pub access: Access,
    /// Where connections go that are handed over.
    pub newcomers: Newcomers,
    /// What records consoles for callers.
    pub recorder: Recorder,
    /// The URIs at which SPICE clients find it.
    pub addresses: Vec<String>,
    /// The URLs of the page for browsers.
    pub pages: Vec<String>,
    /// What offers it to D-Bus viewers.
    pub relay: Relay,
}

impl MessageBus {
    /// Connects to it.
    ///
    /// # Errors
    /// If it is not there, or does not take us in.
    pub async fn connect(&self) -> Result<Connection, BusError> {
        let connecting = async { self.builder()?.build().await };
        self.within(connecting).await
    }

    fn builder(&self) -> zbus::Result<Builder<'static>> {
        Ok(match self {
            Self::Session => Builder::session()?,
            Self::Address(address) => Builder::address(address.as_str())?,
        }
        .method_timeout(DEADLINE)
        .max_queued(QUEUE))
    }

    async fn within(
        &self,
        connecting: impl Future<Output = zbus::Result<Connection>>,
    ) -> Result<Connection, BusError> {
        let late = || zbus::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let connected = tokio::time::timeout(DEADLINE, connecting).await.unwrap_or_else(|_| Err(late()));
        connected.map_err(|error| BusError { bus: self.clone(), error })
    }
}

impl fmt::Display for MessageBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => f.write_str("the session bus"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

impl Presence {
    /// Connects to the bus, without a name yet.
    ///
    /// # Errors
    /// If it is not there, or does not take us in.
    pub async fn connect(&self) -> Result<Connection, BusError> {
        let (hub, roster, access) = (self.hub.clone(), self.roster.clone(), self.access.clone());
        let (newcomers, addresses) = (self.newcomers.clone(), self.addresses.clone());
        let (pages, recorder) = (self.pages.clone(), self.recorder.clone());
        let clients = Vec::new();
        let server = StatusObject { hub, roster, access, newcomers, recorder, addresses, pages, clients };
        let connecting = async { self.bus.builder()?.serve_at(PATH, server)?.build().await };
        self.bus.within(connecting).await
    }

    /// Stays on the bus: on this connection, and on another one whenever the last has ended. Ends once `leaving` has
    /// a reason, which is told there.
    ///
    /// Without a `connection` the bus is QEMU's. If it is not there, whoever looks for QEMU on it tells so, and waits
    /// or ends: it is tried again once QEMU was found.
    pub async fn keep(self, connection: Option<Connection>, leaving: oneshot::Receiver<String>) {
        let current = Mutex::default();
        let lock = || current.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = tokio::select! {
            never = self.stay(connection, |connection| *lock() = connection) => match never {},
            reason = leaving => reason,
        };
        let connection = lock().take();
        if let Some(connection) = connection {
            clients::leave(&connection, reason).await;
        }
    }

    /// Stays on the bus, and reports on which connection.
    async fn stay(&self, mut connection: Option<Connection>, on: impl Fn(Option<Connection>)) -> Infallible {
        if connection.is_none() {
            connection = self.connect().await.ok();
        }
        if connection.is_none() {
            let _ = self.hub.guest().wait_for(|guest| !guest.consoles.is_empty()).await;
        }
        // Whether it is known that the bus is away.
        let mut away = false;
        loop {
            let connected = match connection.take() {
                Some(connection) => Ok(connection),
                None => self.connect().await,
            };
            match connected {
                Ok(connection) => {
                    away = false;
                    on(Some(connection.clone()));
                    let ended = tokio::select! {
                        ended = self.relay.serve(&connection, async || claim_name(&connection).await) => ended,
                        ended = clients::follow(&connection, self.access.sessions()) => ended,
                    };
                    on(None);
                    let reason = ended.err().map_or_else(|| "it closed".to_owned(), |e| e.to_string());
                    warn!(bus = %self.bus, reason, "the connection to D-Bus ended");
                }
                Err(error) if std::mem::replace(&mut away, true) => debug!(%error, "still not on D-Bus"),
                Err(error) => info!(%error, "not on D-Bus; trying again until it works"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn claim_name(connection: &Connection) -> zbus::Result<()> {
    const BUS: Option<&str> = Some("org.freedesktop.DBus");
    let unique = connection.unique_name().map_or_else(String::new, ToString::to_string);
    // No flags: who is not the first waits in a queue, as QEMU does for its name. zbus's own default is to push the
    // first one out.
    let flags = 0u32;
    let asked =
        connection.call_method(BUS, "/org/freedesktop/DBus", BUS, "RequestName", &(NAME, flags)).await;
    match asked.and_then(|answer| answer.body().deserialize::<RequestNameReply>()) {
        Ok(RequestNameReply::InQueue) => {
            info!(name = NAME, unique, "on D-Bus, behind another qemu-spice of the same name");
        }
        Ok(_) => info!(name = NAME, unique, "on D-Bus"),
        // Such as on the system bus, where a policy says who may have a name.
        Err(error) => warn!(name = NAME, unique, %error, "on D-Bus, but not under our name"),
    }
    Ok(())
}
