//! Changes a qemu-spice that runs, over the bus that it is on.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use zbus::names::{BusName, OwnedBusName};
use zbus::zvariant::{DynamicType, Fd, OwnedFd, OwnedObjectPath, OwnedValue};
use zbus::{Connection, Message};
use zeroize::Zeroizing;

use super::{CLIENT_INTERFACE, INTERFACE, PATH};

/// A qemu-spice on a bus.
pub(crate) struct Control {
    bus: Connection,
    server: OwnedBusName,
}

/// An invitation that was made.
pub(crate) struct Invitation {
    /// Its number.
    pub(crate) id: u32,
    /// What its bearer shows in the place of the password.
    pub(crate) secret: Zeroizing<String>,
    /// The connection file for its bearer; empty if the server has no address on a network.
    pub(crate) file: Zeroizing<String>,
    /// The URL for its bearer's browser; empty if the server has no page.
    pub(crate) page: Zeroizing<String>,
}

/// A picture of a console.
pub(crate) struct Picture {
    /// Packed rows from the top, four bytes a pixel: B, G, R and one without a meaning.
    pub(crate) pixels: File,
    /// Pixels of a row.
    pub(crate) width: u32,
    /// Rows.
    pub(crate) height: u32,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// No program can have such a name.
    #[error("`{0}` is not a name on a bus: `qemu-spice status` tells them")]
    Name(String),
    /// Nobody has the name.
    #[error("no qemu-spice is named {0} on this bus: it needs QEMU on the bus, or --relay-bus")]
    Nobody(String),
    /// No client of the program has that number.
    #[error("no client {0} is connected: `qemu-spice status` lists them")]
    NoClient(u64),
    /// The program has no such object.
    #[error("it is another version of qemu-spice, or none")]
    NoObject,
    /// The program refused, or cannot be reached.
    #[error("{0}")]
    Refused(String),
}

impl Control {
    /// Speaks to the program named `server` on `bus`.
    ///
    /// # Errors
    /// If no program can have such a name.
    pub(crate) fn find(bus: &Connection, server: &str) -> Result<Self, ControlError> {
        let name = BusName::try_from(server).map_err(|_| ControlError::Name(server.to_owned()))?;
        Ok(Self { bus: bus.clone(), server: name.to_owned().into() })
    }

    /// Changes the password; `connected` says what becomes of the viewers.
    ///
    /// # Errors
    /// If the program is not there, or refuses.
    pub(crate) async fn set_password(&self, password: &str, connected: &str) -> Result<(), ControlError> {
        self.call("SetPassword", &(password, connected)).await.map(drop)
    }

    /// Changes when the password expires.
    ///
    /// # Errors
    /// If the program is not there, or refuses.
    pub(crate) async fn expire_password(&self, time: &str) -> Result<(), ControlError> {
        self.call("ExpirePassword", &time).await.map(drop)
    }

    /// Returns the numbers of the clients.
    ///
    /// # Errors
    /// If the program is not there, or answers otherwise.
    pub(crate) async fn clients(&self) -> Result<Vec<u64>, ControlError> {
        let properties = "org.freedesktop.DBus.Properties";
        let answer = self.call_at(PATH, properties, "Get", &(INTERFACE, "Clients")).await?;
        let other = |error: String| ControlError::Refused(format!("{}: {error}", self.server));
        let value: OwnedValue = answer.body().deserialize().map_err(|error| other(error.to_string()))?;
        let paths = Vec::<OwnedObjectPath>::try_from(value).map_err(|error| other(error.to_string()))?;
        Ok(paths.iter().filter_map(|path| client_number(path)).collect())
    }

    /// Disconnects a client.
    ///
    /// # Errors
    /// If there is none of this number, or the program is not there.
    pub(crate) async fn disconnect(&self, client: u64) -> Result<(), ControlError> {
        let path = format!("{PATH}/Client_{client}");
        match self.call_at(&path, CLIENT_INTERFACE, "Disconnect", &()).await {
            Err(ControlError::NoObject) => Err(ControlError::NoClient(client)),
            called => called.map(drop),
        }
    }

    /// Makes an invitation that ends at `until`, for a viewer that finds the server at `host`.
    ///
    /// # Errors
    /// If the program is not there, or refuses.
    pub(crate) async fn invite(
        &self,
        name: &str,
        (look, once): (bool, bool),
        until: &str,
        host: &str,
    ) -> Result<Invitation, ControlError> {
        let answer = self.call("Invite", &(name, look, once, until, host)).await?;
        let body = answer.body();
        let read = body.deserialize::<(u32, String, String, String)>();
        let (id, secret, file, page) = read.map_err(|error| ControlError::Refused(error.to_string()))?;
        let [secret, file, page] = [secret, file, page].map(Zeroizing::new);
        Ok(Invitation { id, secret, file, page })
    }

    /// Withdraws an invitation.
    ///
    /// # Errors
    /// If the program is not there, or refuses.
    pub(crate) async fn revoke(&self, invitation: u32) -> Result<(), ControlError> {
        self.call("Revoke", &invitation).await.map(drop)
    }

    /// Begins to record a console into `file`. The socket tells how far it is, and closing it ends the recording.
    ///
    /// # Errors
    /// If the program is not there, or refuses.
    pub(crate) async fn record(&self, file: &File, console: u32) -> Result<UnixStream, ControlError> {
        let answer = self.call("Record", &(Fd::from(file.as_fd()), console)).await?;
        let control = answer.body().deserialize::<OwnedFd>();
        let control = control.map_err(|error| ControlError::Refused(error.to_string()))?;
        Ok(UnixStream::from(std::os::fd::OwnedFd::from(control)))
    }

    /// Returns what a console shows now.
    ///
    /// # Errors
    /// If the program is not there, or has no picture.
    pub(crate) async fn screenshot(&self, console: u32) -> Result<Picture, ControlError> {
        let answer = self.call("Screenshot", &console).await?;
        let body = answer.body();
        let read = body.deserialize::<(OwnedFd, u32, u32)>();
        let (pixels, width, height) = read.map_err(|error| ControlError::Refused(error.to_string()))?;
        Ok(Picture { pixels: std::os::fd::OwnedFd::from(pixels).into(), width, height })
    }

    async fn call(
        &self,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Message, ControlError> {
        self.call_at(PATH, INTERFACE, method, body).await
    }

    async fn call_at(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Message, ControlError> {
        let called = self.bus.call_method(Some(&self.server), path, Some(interface), method, body).await;
        called.map_err(|error| match error {
            zbus::Error::MethodError(name, ..)
                if name.as_str() == "org.freedesktop.DBus.Error.ServiceUnknown" =>
            {
                ControlError::Nobody(self.server.to_string())
            }
            zbus::Error::MethodError(name, ..)
                if name.as_str() == "org.freedesktop.DBus.Error.UnknownObject" =>
            {
                ControlError::NoObject
            }
            zbus::Error::MethodError(_, Some(reason), _) => ControlError::Refused(reason),
            error => ControlError::Refused(error.to_string()),
        })
    }
}

/// Returns the number of the client that has an object at `path`.
pub(super) fn client_number(path: &str) -> Option<u64> {
    path.strip_prefix(PATH)?.strip_prefix("/Client_")?.parse().ok()
}
