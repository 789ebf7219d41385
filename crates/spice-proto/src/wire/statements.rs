//! Statements of what is on the wire. Each makes a type and both directions of it, so that nothing is stated twice.
//!
//! | statement | makes |
//! |---|---|
//! | `messages!` | the messages that one side of a channel sends: an enum, with the number of each message |
//! | `fields!` | a struct whose fields are written one after another, in their order |
//! | `numbers!` | an enum of numbers that the protocol defines |
//!
//! A statement looks like the type it makes. What is added for the wire:
//!
//! - `4 => Ping(Ping)`: the number of a message. `Info = 0`: the number of a value.
//! - `text: String as CountedText`: the field is a `String` and written as `CountedText`, which is a
//!   [`Form<String>`](super::Form). Without `as`, a field is written in the form of its own type.
//! - `"rop": u16 = 8`: always 8 on the wire and no field of the struct. Anything else is refused, under this name.
//! - `_: u32 = 0`: written as 0 and no field of the struct. What a peer has there is skipped.
//! - `"severity" in errors`: the name that an error has for these numbers, or for a malformed message of this enum.
//!
//! Documentation and attributes are kept, and each number is added to the documentation. What is too irregular for a
//! statement implements `Form` by hand.

/// States the messages that one side of a channel sends, as an enum.
///
/// ```text
/// messages! {
///     /// From client to server, on every channel.
///     #[derive(Debug, Clone, PartialEq, Eq)]
///     pub enum FromClient, "base message from client" in errors {
///         /// `SPICE_MSGC_ACK_SYNC`: answers `SetAck`.
///         1 => AckSync {
///             /// From the `SetAck`.
///             generation: u32,
///         },
///         /// `SPICE_MSGC_ACK`: a window of messages has arrived.
///         2 => Ack,
///         /// `SPICE_MSGC_PONG`: answers a ping with its own numbers.
///         3 => Pong(Ping),
///     }
/// }
/// ```
///
/// makes the enum with one variant more, `Unknown { id: u16 }`, and its `encode` and `decode`.
macro_rules! messages {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident, $context:literal in errors {
            $(
                $(#[$doc:meta])*
                $id:literal => $Variant:ident
                    $(( $inner:ty $(as $inner_form:ty)? ))?
                    $({ $( $(#[$field_doc:meta])* $field:ident: $type:ty $(as $form:ty)?, )* })?,
            )*
        }
    ) => {
        $(#[$meta])*
        pub enum $Name {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\nType ", $id, " on the wire.")]
                $Variant $(($inner))? $({ $( $(#[$field_doc])* $field: $type, )* })?,
            )*
            /// Any other type.
            Unknown {
                /// The type.
                id: u16,
            },
        }

        impl $Name {
            /// Returns the message to send. Bulk bytes, such as pixels and video, are shared with it, not copied.
            /// `Unknown` becomes an empty message of its type.
            pub fn encode(&self) -> $crate::wire::Message {
                let mut w = $crate::wire::Writer::new();
                let id = match self {
                    $(
                        Self::$Variant $(( $crate::wire::named!(value: $inner) ))? $({ $($field,)* })? => {
                            $( $crate::wire::write_as!(value, w, $inner $(as $inner_form)?); )?
                            $($( $crate::wire::write_as!($field, w, $type $(as $form)?); )*)?
                            $id
                        }
                    )*
                    Self::Unknown { id } => *id,
                };
                $crate::wire::Message::new(id, w)
            }

            /// Reads the message of type `id`, whose body is `body`.
            ///
            /// # Errors
            /// When the body is shorter or longer than its fields, or when a field has a value that is refused.
            pub fn decode(id: u16, body: &[u8]) -> Result<Self, $crate::wire::WireError> {
                let mut r = $crate::wire::Reader::new(body, $context);
                let message = match id {
                    $(
                        $id => Self::$Variant
                            $(( $crate::wire::read_as!(r, $inner $(as $inner_form)?) ))?
                            $({ $( $field: $crate::wire::read_as!(r, $type $(as $form)?), )* })?,
                    )*
                    _ => return Ok(Self::Unknown { id }),
                };
                r.finish()?;
                Ok(message)
            }
        }
    };
}

/// States a struct whose fields are written one after another.
///
/// ```text
/// fields! {
///     /// A text for the client's log or user.
///     #[derive(Debug, Clone, PartialEq, Eq)]
///     pub struct Notify {
///         /// The sender's time in nanoseconds.
///         pub timestamp: u64,
///         /// How bad it is.
///         pub severity: Severity,
///         _: u32 = 2, // visibility: high
///         /// The text; no NUL in it.
///         pub text: String as CountedText,
///     }
/// }
/// ```
///
/// makes the struct, with the fields that have names, and its [`Form`](super::Form).
macro_rules! fields {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident {
            $(
                $(#[$doc:meta])*
                pub $field:ident: $type:ty $(as $form:ty)?,
                $( $($fixed:literal)? $(_)?: $fixed_type:ty = $value:expr, )*
            )*
        }
    ) => {
        $(#[$meta])*
        pub struct $Name {
            $( $(#[$doc])* pub $field: $type, )*
        }

        impl $crate::wire::Form for $Name {
            fn write(value: &Self, w: &mut $crate::wire::Writer) {
                $(
                    $crate::wire::write_as!(&value.$field, *w, $type $(as $form)?);
                    $( $crate::wire::write_as!(&$value, *w, $fixed_type); )*
                )*
            }

            fn read(r: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::WireError> {
                $(
                    let $field = $crate::wire::read_as!(*r, $type $(as $form)?);
                    $( $crate::wire::read_constant!(r, $fixed_type = $value $(, $fixed)?); )*
                )*
                Ok(Self { $($field,)* })
            }
        }
    };
}

/// States an enum of numbers that the protocol defines.
///
/// ```text
/// numbers! {
///     /// `SPICE_NOTIFY_SEVERITY_*`.
///     #[derive(Debug, Clone, Copy, PartialEq, Eq)]
///     pub enum Severity: u32, "severity" in errors {
///         /// For information.
///         Info = 0,
///         /// A warning.
///         Warn = 1,
///     }
/// }
/// ```
///
/// makes the enum, `code`, `from_code` and its [`Form`](super::Form), which refuses other numbers. With `or Other`
/// instead of `, "severity" in errors`, there is one variant more, `Other`, that keeps any other number.
macro_rules! numbers {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident: $int:ident, $field:literal in errors {
            $( $(#[$doc:meta])* $Variant:ident = $number:literal, )*
        }
    ) => {
        $(#[$meta])*
        pub enum $Name {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\n", $number, " on the wire.")]
                $Variant,
            )*
        }

        impl $Name {
            /// Returns the number on the wire.
            pub fn code(self) -> $int {
                match self {
                    $( Self::$Variant => $number, )*
                }
            }

            /// Finds the one with the number `code`.
            pub fn from_code(code: $int) -> Option<Self> {
                match code {
                    $( $number => Some(Self::$Variant), )*
                    _ => None,
                }
            }
        }

        impl $crate::wire::Form for $Name {
            fn write(value: &Self, w: &mut $crate::wire::Writer) {
                w.$int(value.code());
            }

            fn read(r: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::WireError> {
                let code = r.$int()?;
                Self::from_code(code).ok_or_else(|| r.invalid($field, code))
            }
        }
    };
    (
        $(#[$meta:meta])*
        pub enum $Name:ident: $int:ident or Other {
            $( $(#[$doc:meta])* $Variant:ident = $number:literal, )*
        }
    ) => {
        $(#[$meta])*
        pub enum $Name {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\n", $number, " on the wire.")]
                $Variant,
            )*
            /// A number without a meaning to us.
            Other($int),
        }

        impl $Name {
            /// Returns the number on the wire.
            pub fn code(self) -> $int {
                match self {
                    $( Self::$Variant => $number, )*
                    Self::Other(code) => code,
                }
            }

            /// Finds the one with the number `code`.
            pub fn from_code(code: $int) -> Self {
                match code {
                    $( $number => Self::$Variant, )*
                    _ => Self::Other(code),
                }
            }
        }

        impl $crate::wire::Form for $Name {
            fn write(value: &Self, w: &mut $crate::wire::Writer) {
                w.$int(value.code());
            }

            fn read(r: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::WireError> {
                r.$int().map(Self::from_code)
            }
        }
    };
}

/// Writes `$value`, a reference to a `$type`, in the form that the statement names.
macro_rules! write_as {
    ($value:expr, $w:expr, $type:ty as $form:ty) => {
        <$form as $crate::wire::Form<$type>>::write($value, &mut $w)
    };
    ($value:expr, $w:expr, $type:ty) => {
        <$type as $crate::wire::Form>::write($value, &mut $w)
    };
}

/// Reads a `$type` in the form that the statement names.
macro_rules! read_as {
    ($r:expr, $type:ty as $form:ty) => {
        <$form as $crate::wire::Form<$type>>::read(&mut $r)?
    };
    ($r:expr, $type:ty) => {
        <$type as $crate::wire::Form>::read(&mut $r)?
    };
}

/// Reads a `$type` that no field keeps. With a name, it has to be `$value`.
macro_rules! read_constant {
    ($r:ident, $type:ty = $value:expr, $name:literal) => {
        $r.constant::<$type>($name, $value)?
    };
    ($r:ident, $type:ty = $value:expr) => {
        <$type as $crate::wire::Form>::read($r)?
    };
}

/// Is the name alone. A macro can only repeat what it has matched, so the type has to be named with it.
macro_rules! named {
    ($name:ident: $type:ty) => {
        $name
    };
}

pub(crate) use {fields, messages, named, numbers, read_as, read_constant, write_as};
