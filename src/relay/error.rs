/// Why a call of the display is answered with an error. The names are QEMU's.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.qemu.Display1.Error")]
pub(super) enum DisplayError {
    /// The connection failed; zbus's own kind of error.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// Not now.
    Failed(String),
    /// These arguments make no sense.
    Invalid(String),
    /// Not with this VM.
    Unsupported(String),
}

impl DisplayError {
    /// Refuses arguments for this reason.
    pub(super) fn invalid(reason: &str) -> Self {
        Self::Invalid(reason.to_owned())
    }
}
