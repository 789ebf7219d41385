//! Passes on what is allowed of a stream of agent messages.

use super::messages::{Announcement, Header, MessageKind, MonitorsConfig, TransferResult, caps};
use super::pieces::Pieces;
use super::rules::{Direction, Rules, Verdict};
use super::stream::{Part, Stream};
use super::{AgentCaps, AgentError};
use crate::wire::{Reader, Writer};

/// One direction of an agent's stream.
///
/// INVARIANT: it holds no more than one message that it reads as a whole (64 KiB), whatever the size of those that
/// pass.
#[derive(Debug)]
pub struct Filter {
    direction: Direction,
    rules: Rules,
    stream: Stream,
    message: Message,
}

/// What becomes of the message that is arriving.
#[derive(Debug)]
enum Message {
    Passes,
    IsDropped,
    IsRead(Header, Vec<u8>),
}

/// What a filter has found besides what passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What the guest's agent can do. It passes as well, as far as it is allowed.
    Capabilities(AgentCaps),
    /// The client's monitors. They pass as well.
    Monitors(MonitorsConfig),
    /// The client wants to send a file, which is not allowed: the body of the answer.
    FileRefused(Vec<u8>),
    /// A clipboard of so many bytes was left out, because it is too large.
    ClipboardTooLarge(u32),
}

impl Filter {
    /// Passes on what `rules` allow in `direction`.
    pub fn new(direction: Direction, rules: Rules) -> Self {
        Self { direction, rules, stream: Stream::default(), message: Message::IsDropped }
    }

    /// Takes the next bytes of the stream, and adds what passes to `to`.
    ///
    /// # Errors
    /// When the stream is malformed: nothing that comes later can be understood.
    pub fn pass(&mut self, mut bytes: &[u8], to: &mut Pieces) -> Result<Vec<Found>, AgentError> {
        let mut found = Vec::new();
        while let Some(part) = self.stream.next(&mut bytes)? {
            match part {
                Part::Header(header) => self.begin(header, to, &mut found)?,
                Part::Body(body) => match &mut self.message {
                    Message::Passes => to.more(body),
                    Message::IsDropped => {}
                    Message::IsRead(_, whole) => whole.extend_from_slice(body),
                },
            }
            if self.stream.is_body_complete() {
                found.extend(self.complete(to)?);
            }
        }
        Ok(found)
    }

    /// Whether the last message is complete, and no other has begun.
    pub fn is_between_messages(&self) -> bool {
        self.stream.is_between_messages()
    }

    /// Leaves out the rest of the message that is arriving: its receiver has changed.
    pub fn drop_rest(&mut self) {
        self.message = Message::IsDropped;
    }

    fn begin(&mut self, header: Header, to: &mut Pieces, found: &mut Vec<Found>) -> Result<(), AgentError> {
        let Header { kind, size, .. } = header;
        let (mut verdict, limit) = (self.rules.verdict(self.direction, kind), self.rules.limit(kind));
        if size > limit && kind == MessageKind::Clipboard {
            if verdict == Verdict::Pass {
                found.push(Found::ClipboardTooLarge(size));
            }
            verdict = Verdict::Drop;
        } else if size > limit {
            return Err(AgentError::TooLarge { kind, size, limit });
        }
        self.message = match verdict {
            Verdict::Pass => {
                to.begin(header);
                Message::Passes
            }
            Verdict::Drop => Message::IsDropped,
            Verdict::Read => Message::IsRead(header, Vec::new()),
        };
        Ok(())
    }

    /// Ends a message; one that was read as a whole is passed on now, as far as it may.
    fn complete(&mut self, to: &mut Pieces) -> Result<Option<Found>, AgentError> {
        let Message::IsRead(header, body) = std::mem::replace(&mut self.message, Message::IsDropped) else {
            return Ok(None);
        };
        match header.kind {
            MessageKind::AnnounceCapabilities => {
                let mut announced = Announcement::decode(&body)?;
                self.restrict(&mut announced.caps);
                to.message(header.kind, header.opaque, &announced.encode());
                Ok((self.direction == Direction::ToClient).then_some(Found::Capabilities(announced.caps)))
            }
            MessageKind::MonitorsConfig => {
                let monitors = MonitorsConfig::decode(&body)?;
                to.message(header.kind, header.opaque, &body);
                Ok(Some(Found::Monitors(monitors)))
            }
            _ => {
                let transfer = Reader::new(&body, "file transfer").u32()?;
                let mut answer = Writer::new();
                answer.u32(transfer);
                answer.u32(TransferResult::Disabled.code());
                Ok(Some(Found::FileRefused(answer.into_bytes())))
            }
        }
    }

    /// Takes from `announced` what the rules do not allow, so that nobody tries it.
    fn restrict(&self, announced: &mut AgentCaps) {
        if !self.rules.clipboard_to_guest && !self.rules.clipboard_from_guest {
            for cap in [caps::CLIPBOARD, caps::CLIPBOARD_BY_DEMAND, caps::CLIPBOARD_SELECTION] {
                announced.set(cap, false);
            }
        }
        if !self.rules.files && self.direction == Direction::ToClient {
            announced.set(caps::FILE_XFER_DISABLED, true);
        }
    }
}
