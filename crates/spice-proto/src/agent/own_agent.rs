//! An agent that the server itself is, for guests that have none: the size of the client's windows, and text in its
//! clipboards.

use super::AgentError;
use super::messages::{
    AgentCaps, Announcement, ClipboardType, Grab, Header, MessageKind, MonitorsConfig, caps,
};
use super::pieces::Pieces;
use super::rules::{Direction, Rules, Verdict};
use super::stream::{Part, Stream};
use crate::wire::{Form, Reader, WireError, Writer};

/// Most bytes of a clipboard, which is held as a whole here.
const CLIPBOARD_MAX: u32 = 8 << 20;
/// Clipboards of a desktop: what was copied, what is selected, and the third of X.
const SELECTIONS: u8 = 3;
/// `VD_AGENT_SUCCESS`.
const SUCCESS: u32 = 1;

/// The server's own agent, for one client.
///
/// INVARIANT: it holds no more than one message of the client, of 8 MiB at most, and of that what has arrived.
#[derive(Debug)]
pub struct OwnAgent {
    rules: Rules,
    has_clipboard: bool,
    /// Whether the client has announced itself.
    started: bool,
    /// Whether the client numbers its clipboards.
    selects: bool,
    stream: Stream,
    /// The message that is arriving; none if it is left out.
    message: Option<(Header, Vec<u8>)>,
}

/// What a client wants of the guest. A `selection` is the number of a clipboard: 0 what was copied, 1 what is selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEvent {
    /// Its windows have these sizes.
    Monitors(MonitorsConfig),
    /// It has something new in a clipboard.
    Grab {
        /// Which clipboard.
        selection: u8,
        /// What it can be had as.
        types: Vec<ClipboardType>,
    },
    /// It has nothing in a clipboard any more.
    Release {
        /// Which clipboard.
        selection: u8,
    },
    /// It asks for what the guest has.
    Request {
        /// In which clipboard.
        selection: u8,
        /// As what.
        kind: ClipboardType,
    },
    /// It has been asked, and this is what it has.
    Clipboard {
        /// In which clipboard.
        selection: u8,
        /// As what; [`ClipboardType::None`] if it has nothing.
        kind: ClipboardType,
        /// The content.
        data: Vec<u8>,
    },
    /// It has been asked, and what it has is so many bytes, which are too many.
    ClipboardTooLarge(u32),
}

impl OwnAgent {
    /// An agent that keeps to `rules`; `has_clipboard` if text can be brought to the guest and back.
    pub fn new(rules: Rules, has_clipboard: bool) -> Self {
        let has_clipboard = has_clipboard && (rules.clipboard_to_guest || rules.clipboard_from_guest);
        Self {
            rules,
            has_clipboard,
            started: false,
            selects: false,
            stream: Stream::default(),
            message: None,
        }
    }

    /// Takes the next bytes of the client's stream, and returns what it wants. Answers are added to `to`.
    ///
    /// # Errors
    /// When the stream is malformed.
    pub fn take(&mut self, mut bytes: &[u8], to: &mut Pieces) -> Result<Vec<OwnEvent>, AgentError> {
        let mut events = Vec::new();
        while let Some(part) = self.stream.next(&mut bytes)? {
            match part {
                Part::Header(header) => {
                    let verdict = self.rules.verdict(Direction::ToGuest, header.kind);
                    let fits = self.fits(header)?;
                    self.message = (fits && verdict != Verdict::Drop).then(|| (header, Vec::new()));
                    if !fits && verdict != Verdict::Drop {
                        events.push(OwnEvent::ClipboardTooLarge(header.size));
                    }
                }
                Part::Body(body) => {
                    if let Some((_, whole)) = &mut self.message {
                        whole.extend_from_slice(body);
                    }
                }
            }
            if self.stream.is_body_complete()
                && let Some((header, body)) = self.message.take()
            {
                events.extend(self.message(header.kind, &body, to)?);
            }
        }
        Ok(events)
    }

    /// Whether the client has announced itself, so that it can be told of clipboards.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Tells the client that the guest has copied something, which can be had as `types`.
    pub fn grab(&self, selection: u8, types: &[ClipboardType], to: &mut Pieces) {
        if self.rules.clipboard_from_guest {
            self.clipboard(to, MessageKind::ClipboardGrab, selection, |w| {
                Grab { types: types.to_vec() }.write(w)
            });
        }
    }

    /// Tells the client that the guest's clipboard is empty.
    pub fn release(&self, selection: u8, to: &mut Pieces) {
        if self.rules.clipboard_from_guest {
            self.clipboard(to, MessageKind::ClipboardRelease, selection, |_| {});
        }
    }

    /// Asks the client for what it has copied.
    pub fn request(&self, selection: u8, kind: ClipboardType, to: &mut Pieces) {
        if self.rules.clipboard_to_guest {
            self.clipboard(to, MessageKind::ClipboardRequest, selection, |w| w.u32(kind.code()));
        }
    }

    /// Answers the client's request; with [`ClipboardType::None`] if the guest has nothing.
    pub fn answer(&self, selection: u8, kind: ClipboardType, data: &[u8], to: &mut Pieces) {
        self.clipboard(to, MessageKind::Clipboard, selection, |w| {
            w.u32(kind.code());
            w.bytes(data);
        });
    }

    fn clipboard(&self, to: &mut Pieces, kind: MessageKind, selection: u8, rest: impl FnOnce(&mut Writer)) {
        // Without numbers there is one clipboard.
        if !self.has_clipboard || (!self.selects && selection != 0) {
            return;
        }
        let mut w = Writer::new();
        if self.selects {
            w.bytes(&[selection, 0, 0, 0]);
        }
        rest(&mut w);
        to.message(kind, 0, &w.into_bytes());
    }

    /// Whether a message is small enough. Those of clipboards may be left out, any other ends the stream.
    fn fits(&self, header: Header) -> Result<bool, AgentError> {
        let Header { kind, size, .. } = header;
        let limit = self.rules.limit(kind).min(CLIPBOARD_MAX);
        if size > limit && kind != MessageKind::Clipboard {
            return Err(AgentError::TooLarge { kind, size, limit });
        }
        Ok(size <= limit)
    }

    fn message(
        &mut self,
        kind: MessageKind,
        body: &[u8],
        to: &mut Pieces,
    ) -> Result<Option<OwnEvent>, WireError> {
        let mut r = Reader::new(body, "agent message");
        Ok(match kind {
            MessageKind::AnnounceCapabilities => {
                let announced = Announcement::decode(body)?;
                self.started = true;
                self.selects = announced.caps.has(caps::CLIPBOARD_SELECTION);
                if announced.wants_answer {
                    self.announce(to);
                }
                None
            }
            MessageKind::MonitorsConfig => {
                let monitors = MonitorsConfig::decode(body)?;
                let reply = [MessageKind::MonitorsConfig.code(), SUCCESS].map(u32::to_le_bytes).concat();
                to.message(MessageKind::Reply, 0, &reply);
                Some(OwnEvent::Monitors(monitors))
            }
            MessageKind::ClipboardGrab => {
                let selection = self.selection(&mut r)?;
                Some(OwnEvent::Grab { selection, types: Grab::read(&mut r)?.types })
            }
            MessageKind::ClipboardRelease => Some(OwnEvent::Release { selection: self.selection(&mut r)? }),
            MessageKind::ClipboardRequest => {
                let selection = self.selection(&mut r)?;
                Some(OwnEvent::Request { selection, kind: ClipboardType::read(&mut r)? })
            }
            MessageKind::Clipboard => {
                let selection = self.selection(&mut r)?;
                let kind = ClipboardType::read(&mut r)?;
                Some(OwnEvent::Clipboard { selection, kind, data: r.rest().to_vec() })
            }
            _ => None,
        })
    }

    /// Reads the number of a clipboard, which stands there if client and agent both number them.
    fn selection(&self, r: &mut Reader<'_>) -> Result<u8, WireError> {
        if !self.selects {
            return Ok(0);
        }
        let [selection, ..] = r.array::<4>()?;
        if selection >= SELECTIONS {
            return Err(r.invalid("selection", selection));
        }
        Ok(selection)
    }

    fn announce(&self, to: &mut Pieces) {
        let mut own = AgentCaps::of(&[
            caps::MONITORS_CONFIG,
            caps::REPLY,
            // Without it the second of two displays would be taken for the first when that is closed.
            caps::SPARSE_MONITORS_CONFIG,
            caps::MONITORS_CONFIG_POSITION,
            caps::FILE_XFER_DISABLED,
        ]);
        if self.has_clipboard {
            own.set(caps::CLIPBOARD_BY_DEMAND, true);
            own.set(caps::CLIPBOARD_SELECTION, true);
            own.set(caps::CLIPBOARD_NO_RELEASE_ON_REGRAB, true);
        }
        let announcement = Announcement { wants_answer: false, caps: own };
        to.message(MessageKind::AnnounceCapabilities, 0, &announcement.encode());
    }
}
