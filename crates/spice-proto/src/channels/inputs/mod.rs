//! The inputs channel: what a client's keyboard and pointer do to the guest.

pub mod caps;
mod event;
mod machine;
mod messages;
mod pressed;
mod scancode;

pub use event::{Button, InputEvent};
pub use machine::{INPUTS_BODY_MAX, InputsChannel};
pub use messages::{FromClient, FromServer, LockKeys};

#[cfg(test)]
mod tests;
