//! Cuts the bytes of a connection into messages.

use std::time::Instant;

use crate::channels::ChannelError;
use crate::wire::{Header, HeaderForm, take};

/// A message for the channel itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMessage {
    /// Its type, over `base::LAST`.
    pub id: u16,
    /// Its body, or a part of it if messages of this type are passed on in parts.
    pub body: Vec<u8>,
}

/// The message that is arriving.
#[derive(Debug)]
pub(super) struct Framing {
    form: HeaderForm,
    body_limit: u32,
    /// The type whose messages have no limit, because they are passed on in parts as they come.
    in_parts: Option<u16>,
    /// Present once it is complete; then `bytes` holds the body, and `size` is what is missing of one in parts.
    header: Option<Header>,
    bytes: Vec<u8>,
    /// When its first byte came.
    since: Option<Instant>,
}

impl Framing {
    pub(super) fn new(form: HeaderForm, body_limit: u32) -> Self {
        Self { form, body_limit, in_parts: None, header: None, bytes: Vec::new(), since: None }
    }

    /// Passes on messages of type `id` in parts, each as a message of its own.
    pub(super) fn pass_in_parts(&mut self, id: u16) {
        self.in_parts = Some(id);
    }

    /// When the first byte of a message came that is not complete.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes bytes from the front of `input` until one message is complete, or a part of one, or they are used up.
    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        now: Instant,
    ) -> Result<Option<ClientMessage>, ChannelError> {
        if !input.is_empty() {
            self.since.get_or_insert(now);
        }
        loop {
            let Some(header) = &mut self.header else {
                if !take(&mut self.bytes, input, self.form.len()) {
                    return Ok(None);
                }
                let limit = |id| if self.in_parts == Some(id) { u32::MAX } else { self.body_limit };
                self.header = Some(Header::decode(self.form, &self.bytes, limit)?);
                self.bytes.clear();
                continue;
            };
            let (id, size) = (header.id, usize::try_from(header.size).unwrap_or(usize::MAX));
            if self.in_parts == Some(id) {
                self.since = None;
                let (part, rest) = input.split_at_checked(size).unwrap_or((input, &[]));
                *input = rest;
                header.size = header.size.saturating_sub(u32::try_from(part.len()).unwrap_or(u32::MAX));
                if header.size == 0 {
                    self.header = None;
                } else if part.is_empty() {
                    return Ok(None);
                }
                return Ok(Some(ClientMessage { id, body: part.to_vec() }));
            }
            if !take(&mut self.bytes, input, size) {
                return Ok(None);
            }
            self.header = None;
            self.since = None;
            return Ok(Some(ClientMessage { id, body: std::mem::take(&mut self.bytes) }));
        }
    }
}
