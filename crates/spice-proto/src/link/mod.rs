//! The link stage: how the connection of each channel starts, and who is let in.

pub mod caps;
mod failure;
mod machine;
mod messages;
mod sasl;

pub use failure::LinkFailure;
pub use machine::{HELLO_TIMEOUT, LINK_TIMEOUT, LinkEvent, LinkMachine, LinkRequest};
pub use messages::{
    LINK_HEADER_LEN, LINK_MAGIC, LINK_MESS_MAX, LINK_MESS_MIN, LinkError, LinkHeader, LinkMess, LinkReply,
};
pub use sasl::{SASL_DATA_MAX, SASL_MESSAGES_MAX, SaslMessage};

#[cfg(test)]
mod tests;
