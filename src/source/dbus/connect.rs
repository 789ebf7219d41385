use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use futures_util::StreamExt;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use serde::Serialize;
use tokio::net::UnixStream;
use zbus::connection::Builder;
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};
use zbus::message::{Flags, Message};
use zbus::names::{BusName, OwnedUniqueName};
use zbus::zvariant::{DynamicType, OwnedValue};
use zbus::{Connection, MatchRule, MessageStream};

use super::object::{Answer, reply};
use crate::display1::{ROOT, Refusal, VM, VM_PATH};
use crate::source::SourceError;
use crate::source::obstacle::DisplayOptions;

/// How long a bus, or a QEMU that may be busy loading a VM, gets for one answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// The most messages of one kind that wait for us. QEMU has little to say besides its pictures.
const QUEUE: usize = 16;

/// A bus, and who owns QEMU's name on it.
pub(in crate::source) struct Bus {
    connection: Connection,
    proxy: DBusProxy<'static>,
    name: BusName<'static>,
    owners: NameOwnerChangedStream,
}

impl Bus {
    /// Connects to the bus at an address, or to the session bus.
    pub(in crate::source) async fn connect(address: Option<&str>, name: &str) -> Result<Self, SourceError> {
        let name = BusName::try_from(name.to_owned())
            .map_err(|error| SourceError::BusName { name: name.to_owned(), error: error.into() })?;
        let watched = name.clone();
        let connecting = async {
            let builder = match address {
                Some(address) => Builder::address(address)?,
                None => Builder::session()?,
            };
            let connection = builder.method_timeout(DEADLINE).build().await?;
            let proxy = DBusProxy::new(&connection).await?;
            let owners = proxy.receive_name_owner_changed_with_args(&[(0, watched.as_str())]).await?;
            Ok((connection, proxy, owners))
        };
        let connected = within("its bus", connecting).await?;
        let (connection, proxy, owners) = connected.map_err(|error| match address {
            Some(address) => SourceError::NoBus { address: address.to_owned(), error },
            None => SourceError::NoSessionBus(error),
        })?;
        Ok(Self { connection, proxy, name, owners })
    }

    /// Returns the owner of the name, if there is one.
    pub(in crate::source) async fn owner(&self) -> Result<Option<OwnedUniqueName>, SourceError> {
        match self.proxy.get_name_owner(self.name.clone()).await {
            Ok(owner) => Ok(Some(owner)),
            Err(zbus::fdo::Error::NameHasNoOwner(_)) => Ok(None),
            Err(error) => Err(refused("GetNameOwner", error.into())),
        }
    }

    /// Waits for the next owner of the name.
    pub(in crate::source) async fn next_owner(&mut self) -> Result<OwnedUniqueName, SourceError> {
        while let Some(change) = self.owners.next().await {
            let args = change.args().map_err(|error| refused("NameOwnerChanged", error))?;
            if let Some(owner) = args.new_owner.as_ref() {
                return Ok(owner.to_owned().into());
            }
        }
        Err(SourceError::Left)
    }

    /// Becomes the connection to the QEMU with this unique name.
    pub(in crate::source) async fn into_qemu(self, owner: OwnedUniqueName) -> Qemu {
        let process = self.proxy.get_connection_unix_process_id((&owner).into()).await;
        let known = process.map(DisplayOptions::of_process).unwrap_or_default();
        Qemu { connection: self.connection, name: Some(owner), known }
    }
}

/// The connection on which we ask and QEMU answers.
pub(in crate::source) struct Qemu {
    connection: Connection,
    /// Its unique name on a bus; none where the connection leads to it alone.
    name: Option<OwnedUniqueName>,
    pub(super) known: DisplayOptions,
}

impl Qemu {
    /// Makes a connection of a socket that has QEMU at its other end. QEMU is the server there.
    pub(in crate::source) async fn peer(socket: OwnedFd, known: DisplayOptions) -> Result<Self, SourceError> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        let connecting = async {
            stream.set_nonblocking(true)?;
            let stream = UnixStream::from_std(stream.try_clone()?)?;
            Builder::unix_stream(stream).p2p().method_timeout(DEADLINE).build().await
        };
        match within("a new connection", connecting).await? {
            Ok(connection) => Ok(Self { connection, name: None, known }),
            Err(_) if hung_up(&stream) => Err(SourceError::Left),
            Err(error) => Err(SourceError::Handshake(error)),
        }
    }

    /// Returns whether the connection leads to QEMU alone, without a bus.
    pub(super) fn is_peer(&self) -> bool {
        self.name.is_none()
    }

    /// Asks for the VM's UUID.
    pub(in crate::source) async fn uuid(&self) -> Result<String, SourceError> {
        let answer = self.call(VM_PATH, "org.freedesktop.DBus.Properties", "Get", &(VM, "UUID")).await?;
        let uuid: Result<OwnedValue, _> = answer.body().deserialize();
        let uuid = uuid.and_then(|value| Ok(String::try_from(value)?));
        uuid.map_err(|error| SourceError::Answer { what: "Get", error: error.to_string() })
    }

    /// Calls a method of one of QEMU's objects and waits for the answer.
    pub(super) async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &'static str,
        body: &B,
    ) -> Result<Message, SourceError>
    where
        B: Serialize + DynamicType,
    {
        let name = self.name.as_ref().map(|name| name.as_ref());
        let called = self.connection.call_method(name, path, Some(interface), method, body).await;
        called.map_err(|error| refused(method, error))
    }

    /// Calls a method whose answer nobody needs: QEMU is told not to send one.
    pub(super) async fn tell<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> zbus::Result<()>
    where
        B: Serialize + DynamicType,
    {
        let mut message =
            Message::method_call(path, method)?.interface(interface)?.with_flags(Flags::NoReplyExpected)?;
        if let Some(name) = &self.name {
            message = message.destination(name)?;
        }
        self.connection.send(&message.build(body)?).await
    }

    /// Subscribes to the calls that QEMU makes of our object at `path`.
    pub(super) async fn calls(&self, path: &'static str) -> Result<MessageStream, SourceError> {
        let watching = async {
            let mut rule = MatchRule::builder().msg_type(zbus::message::Type::MethodCall).path(path)?;
            if let Some(name) = &self.name {
                rule = rule.sender(name)?;
            }
            MessageStream::for_match_rule(rule.build(), &self.connection, Some(QUEUE)).await
        };
        watching.await.map_err(|error| refused("AddMatch", error))
    }

    /// Answers one of these calls.
    pub(super) async fn reply(&self, call: &Message, answer: Result<Answer, Refusal>) -> zbus::Result<()> {
        reply(&self.connection, call, answer).await
    }

    /// Subscribes to the changes of QEMU's objects and their properties.
    pub(super) async fn changes(&self) -> Result<MessageStream, SourceError> {
        let watching = async {
            let mut rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).path_namespace(ROOT)?;
            if let Some(name) = &self.name {
                rule = rule.sender(name)?;
            }
            MessageStream::for_match_rule(rule.build(), &self.connection, Some(QUEUE)).await
        };
        watching.await.map_err(|error| refused("AddMatch", error))
    }

    /// Waits until QEMU is gone, or the bus between us.
    pub(super) async fn left(&self) {
        if let Some(name) = &self.name {
            tokio::select! {
                () = self.connection.closed() => {}
                // Where the bus cannot tell, the connection to it is about to end.
                gone = vanished(&self.connection, name) => if gone.is_err() { self.connection.closed().await },
            }
        } else {
            self.connection.closed().await;
        }
    }
}

/// Waits until nobody has a unique name any more.
async fn vanished(connection: &Connection, name: &OwnedUniqueName) -> zbus::Result<()> {
    let bus = DBusProxy::new(connection).await?;
    // Watched before asked, so that its end does not fall between.
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, name.as_str())]).await?;
    if !bus.name_has_owner(name.into()).await? {
        return Ok(());
    }
    while let Some(change) = owners.next().await {
        if change.args()?.new_owner.is_none() {
            return Ok(());
        }
    }
    Err(zbus::Error::InvalidReply)
}

/// Returns whether the other end of a socket is closed.
fn hung_up(socket: impl AsFd) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(socket, &mut [0], flags) {
        Ok((_, length)) => length == 0,
        Err(error) => error == Errno::CONNRESET,
    }
}

/// Runs `future` for [`DEADLINE`] at most.
async fn within<T>(what: &'static str, future: impl Future<Output = T>) -> Result<T, SourceError> {
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.map_err(|_| SourceError::Deadline { what, after: DEADLINE })
}

/// Says why a call failed: QEMU left, was too slow, or refused.
fn refused(what: &'static str, error: zbus::Error) -> SourceError {
    match &error {
        zbus::Error::InputOutput(io) if io.kind() == std::io::ErrorKind::TimedOut => {
            SourceError::Deadline { what, after: DEADLINE }
        }
        zbus::Error::InputOutput(_) => SourceError::Left,
        // The bus, on behalf of a QEMU that is gone.
        zbus::Error::MethodError(name, ..)
            if matches!(
                name.as_str(),
                "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NoReply"
            ) =>
        {
            SourceError::Left
        }
        _ => SourceError::Refused { what, error },
    }
}
