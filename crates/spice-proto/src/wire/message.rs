//! A message ready to send, and the bytes of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::writer::saturated_u32;
use super::{Header, HeaderForm, Payload, Writer};

/// One message: its type, the fields, and optionally bulk bytes that end its body.
#[derive(Debug, Clone)]
pub struct Message {
    id: u16,
    fields: Vec<u8>,
    payload: Option<Payload>,
    fds: Vec<Arc<OwnedFd>>,
}

/// The bytes of one message on a connection: write `head`, then `payload`, then send `fds`.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Header and fields.
    pub head: Vec<u8>,
    /// Bulk bytes that follow; the header counts them.
    pub payload: Option<Payload>,
    /// File descriptors to send after it, all with one byte of their own: `SCM_RIGHTS` of `unix(7)`.
    pub fds: Vec<Arc<OwnedFd>>,
}

impl Message {
    /// A message whose body is what `body` has written.
    pub fn new(id: u16, body: Writer) -> Self {
        let (fields, payload) = body.into_parts();
        Self { id, fields, payload, fds: Vec::new() }
    }

    /// The same message, followed by file descriptors.
    pub fn with_fds(self, fds: Vec<Arc<OwnedFd>>) -> Self {
        Self { fds, ..self }
    }

    /// The message type.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Bytes of the body, bulk bytes included.
    pub fn body_len(&self) -> usize {
        self.fields.len().saturating_add(self.payload.as_ref().map_or(0, Payload::len))
    }

    /// A copy of the whole body.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.fields.clone();
        if let Some(payload) = &self.payload {
            body.extend_from_slice(payload.bytes());
        }
        body
    }

    /// Puts the header in front; `serial` counts this connection's messages from 1 and only the full form carries it.
    pub fn into_frame(self, form: HeaderForm, serial: u64) -> Frame {
        let mut head = Writer::with_capacity(form.len().saturating_add(self.fields.len()));
        let size = saturated_u32(self.body_len());
        Header { serial, id: self.id, size }.encode(form, &mut head);
        head.bytes(&self.fields);
        Frame { head: head.into_bytes(), payload: self.payload, fds: self.fds }
    }
}

impl Frame {
    /// The bytes in sending order, for vectored writing. The second slice may be empty.
    pub fn slices(&self) -> [&[u8]; 2] {
        [&self.head, self.payload.as_ref().map_or(&[], Payload::bytes)]
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.slices().iter().map(|slice| slice.len()).sum()
    }

    /// Whether there is nothing to write; no frame of a message is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
