//! The number that ties the channels of a session together.

use rsa::rand_core::{OsRng, RngCore};

/// Makes a connection id for a new session: random, because whoever knows it may ask for its channels, and never 0.
pub fn session_id() -> u32 {
    loop {
        let id = OsRng.next_u32();
        if id != 0 {
            return id;
        }
    }
}
