//! Bytes on the wire: cursors, headers, and the field types that several messages share.
//!
//! Layouts and numbers follow spice-protocol 0.14 (`enums.h`, `protocol.h`, and the message descriptions). All
//! integers are little-endian and packed.
//!
//! `statements.rs` has the macros by which each message is stated once, `form.rs` how the types of fields are written.

mod caps;
mod channel_id;
mod error;
mod form;
mod geometry;
mod header;
mod message;
mod payload;
mod reader;
mod statements;
mod take;
mod writer;

pub use caps::{Cap, Caps};
pub use channel_id::{ChannelId, ChannelType};
pub use error::{WireError, WireErrorKind};
pub(crate) use form::{Byte, Form};
pub use geometry::{Point, Rect, Size};
pub use header::{Header, HeaderForm};
pub use message::{Frame, Message};
pub use payload::Payload;
pub use reader::Reader;
pub(crate) use statements::{fields, messages, named, numbers, read_as, read_constant, write_as};
pub(crate) use take::take;
pub use writer::Writer;
