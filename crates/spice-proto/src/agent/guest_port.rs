//! How the agent's stream looks at the guest's serial port `com.redhat.spice.0`.

use super::messages::{Header, MessageKind, MouseState, PIECE_MAX};
use crate::wire::{Form, Reader, WireError, Writer, take};

/// Bytes of a chunk's header: `VDIChunkHeader`.
const CHUNK_HEADER_LEN: usize = 8;
/// The port that carries what is between the agent and the client: `VDP_CLIENT_PORT`.
const CLIENT_PORT: u32 = 1;
/// The port that carries what is between the agent and the server: `VDP_SERVER_PORT`.
const SERVER_PORT: u32 = 2;

/// Reads the chunks that a guest sends.
///
/// INVARIANT: it holds a part of a chunk's header at most.
#[derive(Debug, Default)]
pub struct GuestPort {
    header: Vec<u8>,
    /// Bytes of the current chunk that are still to come.
    left: u32,
    /// Whether they are for the client.
    for_client: bool,
}

impl GuestPort {
    /// Returns the chunk that carries `piece` of a client's stream to the guest.
    pub fn chunk(piece: &[u8]) -> Vec<u8> {
        Self::chunk_of(CLIENT_PORT, piece)
    }

    /// Returns the chunk that tells the guest's agent where the pointer is. It may stand between any two of the
    /// client's.
    pub fn mouse(state: MouseState) -> Vec<u8> {
        let mut body = Writer::new();
        MouseState::write(&state, &mut body);
        let body = body.into_bytes();
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let header = Header { kind: MessageKind::MouseState, opaque: 0, size };
        Self::chunk_of(SERVER_PORT, &[header.encode(), body].concat())
    }

    fn chunk_of(port: u32, data: &[u8]) -> Vec<u8> {
        let mut w = Writer::with_capacity(CHUNK_HEADER_LEN.saturating_add(data.len().min(PIECE_MAX)));
        w.u32(port);
        w.len32(data.len());
        w.bytes(data);
        w.into_bytes()
    }

    /// Takes the next bytes for the client from the front of `input`; `None` once that is used up.
    ///
    /// # Errors
    /// When a chunk is for no port that there is.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, WireError> {
        loop {
            if self.left == 0 {
                if !take(&mut self.header, input, CHUNK_HEADER_LEN) {
                    return Ok(None);
                }
                let header = std::mem::take(&mut self.header);
                let mut r = Reader::new(&header, "chunk of the guest's agent");
                let port = r.u32()?;
                // The other one is for the server, which asks for nothing.
                if !(CLIENT_PORT..=SERVER_PORT).contains(&port) {
                    return Err(r.invalid("port", port));
                }
                (self.left, self.for_client) = (r.u32()?, port == CLIENT_PORT);
                continue;
            }
            if input.is_empty() {
                return Ok(None);
            }
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
            let (data, rest) = input.split_at_checked(wanted).unwrap_or((*input, &[]));
            *input = rest;
            self.left = self.left.saturating_sub(u32::try_from(data.len()).unwrap_or(u32::MAX));
            if self.for_client {
                return Ok(Some(data));
            }
        }
    }
}
