//! Changes a qemu-spice that runs, over the bus that it is on.

use serde::Serialize;
use zbus::Connection;
use zbus::names::{BusName, OwnedBusName};
use zbus::zvariant::DynamicType;

use super::{INTERFACE, PATH};

/// A qemu-spice on a bus.
pub(crate) struct Control {
    bus: Connection,
    server: OwnedBusName,
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
        self.call("SetPassword", &(password, connected)).await
    }

    /// Changes when the password expires.
    ///
    /// # Errors
    /// If the program is not there, or refuses.
    pub(crate) async fn expire_password(&self, time: &str) -> Result<(), ControlError> {
        self.call("ExpirePassword", &time).await
    }

    async fn call(&self, method: &str, body: &(impl Serialize + DynamicType)) -> Result<(), ControlError> {
        let called = self.bus.call_method(Some(&self.server), PATH, Some(INTERFACE), method, body).await;
        called.map(|_| ()).map_err(|error| match error {
            zbus::Error::MethodError(name, ..)
                if name.as_str() == "org.freedesktop.DBus.Error.ServiceUnknown" =>
            {
                ControlError::Nobody(self.server.to_string())
            }
            zbus::Error::MethodError(_, Some(reason), _) => ControlError::Refused(reason),
            error => ControlError::Refused(error.to_string()),
        })
    }
}
