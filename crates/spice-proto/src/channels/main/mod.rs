//! The main channel: a session's start, its list of channels and the pointer mode.

mod agent;
pub mod caps;
mod machine;
mod messages;

pub use machine::{MAIN_BODY_MAX, MainChannel, MainEvent, MainStart};
pub use messages::{FromClient, FromServer, Init, MouseMode, MouseModes};

#[cfg(test)]
mod tests;
