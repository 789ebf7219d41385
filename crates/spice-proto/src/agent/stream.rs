//! Finds the messages in a stream that comes in pieces.

use super::messages::{HEADER_LEN, Header};
use crate::wire::{WireError, take};

/// A stream of agent messages, of which it holds a part of a header at most.
#[derive(Debug, Default)]
pub(super) struct Stream {
    header: Vec<u8>,
    /// Bytes of the current message's body that are still to come.
    left: u32,
}

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A message begins.
    Header(Header),
    /// More of its body.
    Body(&'a [u8]),
}

impl Stream {
    /// Takes the next part from the front of `input`; `None` once that is used up.
    ///
    /// # Errors
    /// When a header is malformed.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Part<'a>>, WireError> {
        if self.left > 0 && !input.is_empty() {
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
            let (body, rest) = input.split_at_checked(wanted).unwrap_or((*input, &[]));
            *input = rest;
            self.left = self.left.saturating_sub(u32::try_from(body.len()).unwrap_or(u32::MAX));
            return Ok(Some(Part::Body(body)));
        }
        if self.left > 0 || !take(&mut self.header, input, HEADER_LEN) {
            return Ok(None);
        }
        let header = Header::decode(&std::mem::take(&mut self.header))?;
        self.left = header.size;
        Ok(Some(Part::Header(header)))
    }

    /// Whether the last message is complete, and no other has begun.
    pub(super) fn is_between_messages(&self) -> bool {
        self.left == 0 && self.header.is_empty()
    }

    /// Whether the body of the current message is complete.
    pub(super) fn is_body_complete(&self) -> bool {
        self.left == 0
    }
}
