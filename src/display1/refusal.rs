use crate::frame::{CursorError, ScanoutError};
use crate::sound::{FormatError, MixerError};

/// Why a listener answers a call with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not the path of our one object.
    #[error("there is no object at this path")]
    Object,
    /// No interface of this name.
    #[error("there is no such interface")]
    Interface,
    /// No method of this name.
    #[error("there is no such method")]
    Method,
    /// No property of this name.
    #[error("there is no such property")]
    Property,
    /// A property that only we set.
    #[error("properties of this object cannot be set")]
    ReadOnly,
    /// Arguments of the wrong types.
    #[error("{method} takes ({wanted}): {error}")]
    Types {
        /// The method.
        method: &'static str,
        /// The types it takes.
        wanted: String,
        /// What is wrong.
        error: String,
    },
    /// Numbers that make no sense together.
    #[error("{0}")]
    Numbers(&'static str),
    /// A picture that cannot be one, or cannot be read.
    #[error("{0}")]
    Scanout(#[from] ScanoutError),
    /// A cursor that cannot be one.
    #[error("{0}")]
    Cursor(#[from] CursorError),
    /// A format that no sound has.
    #[error("{0}")]
    Format(#[from] FormatError),
    /// A stream that is not there, or too much of one.
    #[error("{0}")]
    Stream(#[from] MixerError),
    /// A change of a picture that was never shown.
    #[error("nothing is shown that could change")]
    Nothing,
    /// A clipboard that no desktop has, or more of one than is taken.
    #[error("{0}")]
    Clipboard(&'static str),
    /// The system refused.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl Refusal {
    /// The name of the D-Bus error.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Object => "org.freedesktop.DBus.Error.UnknownObject",
            Self::Interface => "org.freedesktop.DBus.Error.UnknownInterface",
            Self::Method => "org.freedesktop.DBus.Error.UnknownMethod",
            Self::Property => "org.freedesktop.DBus.Error.UnknownProperty",
            Self::ReadOnly => "org.freedesktop.DBus.Error.PropertyReadOnly",
            Self::Scanout(ScanoutError::System(_)) | Self::System(_) => {
                "org.freedesktop.DBus.Error.NotSupported"
            }
            Self::Types { .. }
            | Self::Numbers(_)
            | Self::Scanout(_)
            | Self::Cursor(_)
            | Self::Format(_)
            | Self::Stream(_)
            | Self::Clipboard(_)
            | Self::Nothing => "org.freedesktop.DBus.Error.InvalidArgs",
        }
    }

    /// Whether it is about what QEMU wanted to show, rather than about asking for what there is not.
    pub(crate) fn is_remarkable(&self) -> bool {
        !matches!(self, Self::Object | Self::Interface | Self::Method | Self::Property | Self::ReadOnly)
    }
}
