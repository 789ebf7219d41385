//! Why bytes could not be read.

/// A failure to decode something a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{context}: {kind}")]
pub struct WireError {
    /// What was being decoded, by its protocol name.
    pub context: &'static str,
    /// What was wrong with it.
    pub kind: WireErrorKind,
}

/// What was wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireErrorKind {
    /// The bytes ended inside a field.
    #[error("{needed} bytes needed, {have} left")]
    NotEnoughBytes {
        /// Bytes the field takes.
        needed: usize,
        /// Bytes that were left.
        have: usize,
    },
    /// Bytes were left after the last field.
    #[error("{left} bytes after the last field")]
    TrailingBytes {
        /// How many.
        left: usize,
    },
    /// A field holds a value the protocol does not define, or that we refuse.
    #[error("invalid {field} ({value})")]
    InvalidValue {
        /// The field's name.
        field: &'static str,
        /// What it held.
        value: u64,
    },
    /// A size or count is above our limit for it.
    #[error("{field} of {value} is over the limit of {limit}")]
    TooLarge {
        /// The field's name.
        field: &'static str,
        /// What it held.
        value: u64,
        /// The most we accept.
        limit: u64,
    },
}

impl WireError {
    /// An invalid value in `field` of `context`.
    pub fn invalid(context: &'static str, field: &'static str, value: impl Into<u64>) -> Self {
        Self { context, kind: WireErrorKind::InvalidValue { field, value: value.into() } }
    }

    /// A size or count in `field` of `context` that is over `limit`.
    pub fn too_large(
        context: &'static str,
        field: &'static str,
        value: impl Into<u64>,
        limit: impl Into<u64>,
    ) -> Self {
        Self { context, kind: WireErrorKind::TooLarge { field, value: value.into(), limit: limit.into() } }
    }
}
