//! The number that ties the channels of a session together, and other random bytes.

use rsa::rand_core::{OsRng, RngCore};

/// Makes bytes that nobody can guess.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// Makes a connection id for a new session: random, because whoever knows it may ask for its channels, and never 0.
pub fn session_id() -> u32 {
    loop {
        let id = OsRng.next_u32();
        if id != 0 {
            return id;
        }
    }
}
