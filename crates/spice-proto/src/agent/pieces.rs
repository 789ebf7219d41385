//! Cuts messages into pieces that a peer takes.

use std::collections::VecDeque;

use super::messages::{Header, MessageKind, PIECE_MAX};

/// Pieces of messages, each of [`PIECE_MAX`] bytes at most and of one message alone, as agents and clients expect it.
#[derive(Debug, Default)]
pub struct Pieces {
    ready: VecDeque<Vec<u8>>,
    /// The last piece may still grow.
    open: bool,
}

impl Pieces {
    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.open &= self.ready.len() > 1;
        self.ready.pop_front()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Adds a whole message.
    pub fn message(&mut self, kind: MessageKind, opaque: u64, body: &[u8]) {
        self.begin(Header { kind, opaque, size: u32::try_from(body.len()).unwrap_or(u32::MAX) });
        self.more(body);
    }

    /// Begins a message.
    pub(super) fn begin(&mut self, header: Header) {
        self.ready.push_back(header.encode());
        self.open = true;
    }

    /// Adds more of the body of the message that was begun.
    pub(super) fn more(&mut self, mut body: &[u8]) {
        while !body.is_empty() {
            let last = self.ready.back_mut().filter(|last| self.open && last.len() < PIECE_MAX);
            let Some(last) = last else {
                self.ready.push_back(Vec::with_capacity(body.len().min(PIECE_MAX)));
                self.open = true;
                continue;
            };
            let room = PIECE_MAX.saturating_sub(last.len()).min(body.len());
            let (now, later) = body.split_at_checked(room).unwrap_or((body, &[]));
            last.extend_from_slice(now);
            body = later;
        }
    }
}
