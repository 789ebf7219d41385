//! SPICE on the wire: cursors over bytes, headers, capabilities, the link stage and every message we know.
//!
//! Layouts and numbers follow spice-protocol 0.14 (`enums.h`, `protocol.h`, and the message descriptions). All
//! integers are little-endian and packed. Each message has both directions of code (encode and decode), because the
//! tests drive the server with a client made of the same types.

mod caps;
mod error;
mod geometry;
mod header;
mod link;
mod message;
pub mod msg;
mod payload;
mod reader;
mod writer;

pub use caps::{Cap, Caps, common, display, inputs, main};
pub use error::{WireError, WireErrorKind};
pub use geometry::{Point, Rect};
pub use header::{Header, HeaderForm};
pub use link::{
    ChannelId, ChannelType, LINK_HEADER_LEN, LINK_MAGIC, LINK_MESS_MAX, LINK_MESS_MIN, LinkError, LinkHeader,
    LinkMess, LinkReply, PUB_KEY_LEN,
};
pub use message::{Frame, Message};
pub use payload::Payload;
pub use reader::Reader;
pub use writer::Writer;
