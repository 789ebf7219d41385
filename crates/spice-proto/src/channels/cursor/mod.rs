//! The cursor channel: what the guest's pointer looks like and where it is.

mod machine;
mod messages;

pub use machine::{CURSOR_BODY_MAX, CursorChannel, Pointer};
pub use messages::{CURSOR_SIZE_MAX, FromServer, Position, Shape, State};

#[cfg(test)]
mod tests;
