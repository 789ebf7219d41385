//! Cuts the bytes of a connection into messages.

use std::time::Instant;

use crate::channels::ChannelError;
use crate::wire::{Header, HeaderForm, take};

/// A message for the channel itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMessage {
    /// Its type, over `base::LAST`.
    pub id: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// The message that is arriving.
#[derive(Debug)]
pub(super) struct Framing {
    form: HeaderForm,
    body_limit: u32,
    /// Present once it is complete; then `bytes` holds the body.
    header: Option<Header>,
    bytes: Vec<u8>,
    /// When its first byte came.
    since: Option<Instant>,
}

impl Framing {
    pub(super) fn new(form: HeaderForm, body_limit: u32) -> Self {
        Self { form, body_limit, header: None, bytes: Vec::new(), since: None }
    }

    /// When the first byte of a message came that is not complete.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes bytes from the front of `input` until one message is complete, or they are used up.
    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        now: Instant,
    ) -> Result<Option<ClientMessage>, ChannelError> {
        if !input.is_empty() {
            self.since.get_or_insert(now);
        }
        loop {
            let Some(header) = self.header else {
                if !take(&mut self.bytes, input, self.form.len()) {
                    return Ok(None);
                }
                self.header = Some(Header::decode(self.form, &self.bytes, self.body_limit)?);
                self.bytes.clear();
                continue;
            };
            if !take(&mut self.bytes, input, usize::try_from(header.size).unwrap_or(usize::MAX)) {
                return Ok(None);
            }
            self.header = None;
            self.since = None;
            return Ok(Some(ClientMessage { id: header.id, body: std::mem::take(&mut self.bytes) }));
        }
    }
}
