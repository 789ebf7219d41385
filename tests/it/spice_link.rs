//! The least of a SPICE client: one channel's link stage, and what comes after it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::scripted_qemu::PATIENCE;

pub const MAIN: u8 = 1;
pub const INPUTS: u8 = 3;

/// A channel that the server let in, or did not.
pub struct Channel {
    pub socket: UnixStream,
    /// The server's answer to the ticket: 0 if it let the client in.
    pub result: u32,
}

impl Channel {
    /// Links over `socket`, with a ticket that opens nothing.
    pub fn link(mut socket: UnixStream, session: u32, kind: u8) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut hello = b"REDQ".to_vec();
        for number in [2u32, 2, 18, session] {
            hello.extend(number.to_le_bytes());
        }
        hello.extend([kind, 0]);
        for number in [0u32, 0, 18] {
            hello.extend(number.to_le_bytes());
        }
        socket.write_all(&hello).unwrap();
        let head: [u8; 16] = read(&mut socket);
        let mut reply = vec![0; u32::from_le_bytes(head[12..].try_into().unwrap()) as usize];
        socket.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..4], [0; 4], "the link message is not taken");
        socket.write_all(&[7; 128]).unwrap();
        let result = u32::from_le_bytes(read(&mut socket));
        Self { socket, result }
    }

    /// Reads the next message: its type and body.
    pub fn message(&mut self) -> Option<(u16, Vec<u8>)> {
        let mut head = [0; 18];
        if self.socket.read_exact(&mut head).is_err() {
            return None;
        }
        let mut body = vec![0; u32::from_le_bytes(head[10..14].try_into().unwrap()) as usize];
        self.socket.read_exact(&mut body).unwrap();
        Some((u16::from_le_bytes([head[8], head[9]]), body))
    }

    /// Reads the number of the session, from the first message of a main channel.
    pub fn session(&mut self) -> u32 {
        let (kind, body) = self.message().unwrap();
        assert_eq!(kind, 103);
        u32::from_le_bytes(body[..4].try_into().unwrap())
    }
}

fn read<const N: usize>(socket: &mut UnixStream) -> [u8; N] {
    let mut bytes = [0; N];
    socket.read_exact(&mut bytes).unwrap();
    bytes
}
