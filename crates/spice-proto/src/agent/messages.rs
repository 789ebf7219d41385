//! Messages of the guest agent (`vd_agent.h` of spice-protocol 0.14), as far as a server reads or writes them.

use crate::wire::{Form, Reader, WireError, Writer, fields, numbers};

/// Most bytes of one piece of agent data: `VD_AGENT_MAX_DATA_SIZE`.
pub const PIECE_MAX: usize = 2048;

/// Bytes of a [`Header`].
pub const HEADER_LEN: usize = 20;

/// The only version: `VD_AGENT_PROTOCOL`.
const PROTOCOL: u32 = 1;
/// Most monitors of a client. spice-gtk sends 16 at most, and libspice-server takes 256.
const MONITORS_MAX: u32 = 256;
/// Most words of capabilities. One is in use.
const CAPS_WORDS_MAX: usize = 64;
/// Most types that a clipboard is offered in. Six exist.
const TYPES_MAX: usize = 64;

/// The start of an agent message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub kind: MessageKind,
    /// A number for the receiver; 0 with all clients.
    pub opaque: u64,
    /// Bytes of the body.
    pub size: u32,
}

numbers! {
    /// `VD_AGENT_*`: what a message is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum MessageKind: u32 or Other {
        /// Where the pointer is, and its buttons.
        MouseState = 1,
        /// The client's monitors.
        MonitorsConfig = 2,
        /// Whether a message was carried out.
        Reply = 3,
        /// What is in a clipboard.
        Clipboard = 4,
        /// Which decorations of the desktop the client does without.
        DisplayConfig = 5,
        /// What the sender can do.
        AnnounceCapabilities = 6,
        /// A clipboard has something new.
        ClipboardGrab = 7,
        /// Asks for what is in a clipboard.
        ClipboardRequest = 8,
        /// A clipboard has nothing any more.
        ClipboardRelease = 9,
        /// A file is to be transferred.
        FileXferStart = 10,
        /// How a transfer is doing.
        FileXferStatus = 11,
        /// A part of a file.
        FileXferData = 12,
        /// The client is gone.
        ClientDisconnected = 13,
        /// The largest clipboard that is accepted.
        MaxClipboard = 14,
        /// The volume of the client.
        AudioVolumeSync = 15,
        /// Which devices the displays are.
        GraphicsDeviceInfo = 16,
    }
}

numbers! {
    /// `VD_AGENT_CLIPBOARD_*`: what a clipboard holds.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ClipboardType: u32 or Other {
        /// Nothing.
        None = 0,
        /// UTF-8.
        Text = 1,
        /// A PNG picture.
        Png = 2,
        /// A BMP picture.
        Bmp = 3,
        /// A TIFF picture.
        Tiff = 4,
        /// A JPEG picture.
        Jpeg = 5,
        /// Paths of files.
        FileList = 6,
    }
}

numbers! {
    /// `VD_AGENT_FILE_XFER_STATUS_*`: how a transfer is doing.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum TransferResult: u32 or Other {
        /// The receiver waits for the data.
        CanSend = 0,
        /// It was given up.
        Cancelled = 1,
        /// It failed.
        Error = 2,
        /// All has arrived.
        Success = 3,
        /// Files are not accepted here.
        Disabled = 7,
    }
}

/// Capabilities: bit numbers of `VD_AGENT_CAP_*`.
pub mod caps {
    /// [`MouseState`](super::MessageKind::MouseState) is understood.
    pub const MOUSE_STATE: u32 = 0;
    /// [`MonitorsConfig`](super::MessageKind::MonitorsConfig) is understood.
    pub const MONITORS_CONFIG: u32 = 1;
    /// [`Reply`](super::MessageKind::Reply) is sent.
    pub const REPLY: u32 = 2;
    /// Clipboards that are sent unasked; out of use.
    pub const CLIPBOARD: u32 = 3;
    /// Clipboards that are sent when asked for.
    pub const CLIPBOARD_BY_DEMAND: u32 = 5;
    /// Several clipboards: a number stands in front of their messages.
    pub const CLIPBOARD_SELECTION: u32 = 6;
    /// Monitors of size 0 may stand between others.
    pub const SPARSE_MONITORS_CONFIG: u32 = 7;
    /// The largest clipboard is known.
    pub const MAX_CLIPBOARD: u32 = 10;
    /// Monitors have places.
    pub const MONITORS_CONFIG_POSITION: u32 = 12;
    /// Files are not accepted.
    pub const FILE_XFER_DISABLED: u32 = 13;
    /// A clipboard that gets something new is not emptied first.
    pub const CLIPBOARD_NO_RELEASE_ON_REGRAB: u32 = 16;
}

/// The capabilities of an agent or a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentCaps(Vec<u32>);

/// [`MessageKind::AnnounceCapabilities`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The receiver is asked for its own.
    pub wants_answer: bool,
    /// What the sender can do.
    pub caps: AgentCaps,
}

/// [`MessageKind::MonitorsConfig`]: the monitors, or windows, of a client. A monitor's place in the list is the
/// number of the display that it shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonitorsConfig {
    /// In the order of the displays.
    pub monitors: Vec<Monitor>,
    /// Whether the places mean something.
    pub has_places: bool,
}

/// One of a client's monitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Monitor {
    /// Pixels; 0 if the client does not show the display.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pixels from the left of the desktop.
    pub x: i32,
    /// Pixels from the top of the desktop.
    pub y: i32,
    /// Millimetres; 0 if not known.
    pub width_mm: u16,
    /// Millimetres; 0 if not known.
    pub height_mm: u16,
}

fields! {
    /// [`MessageKind::MouseState`]: where the pointer is, and all buttons that are pressed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MouseState {
        /// Pixels from the left of the display.
        pub x: u32,
        /// Pixels from the top of the display.
        pub y: u32,
        /// A bit for each button: `VD_AGENT_LBUTTON_MASK` and so on.
        pub buttons: u32,
        /// The number of the display.
        pub display: u8,
    }
}

fields! {
    /// A monitor in its list, without its size in millimetres, which comes behind the list.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct MonitorEntry {
        /// Pixels.
        pub height: u32,
        /// Pixels.
        pub width: u32,
        /// Bits of a pixel.
        pub depth: u32,
        /// Pixels from the left.
        pub x: i32,
        /// Pixels from the top.
        pub y: i32,
    }
}

/// [`MessageKind::ClipboardGrab`]: what somebody's clipboard can be had as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grab {
    /// The types, best first.
    pub types: Vec<ClipboardType>,
}

/// `VD_AGENT_CONFIG_MONITORS_FLAG_*`.
const FLAG_PLACES: u32 = 1;
const FLAG_MILLIMETRES: u32 = 2;

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// When it is not one, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes, "agent message");
        r.constant("protocol", PROTOCOL)?;
        let header = Self { kind: MessageKind::read(&mut r)?, opaque: r.u64()?, size: r.u32()? };
        r.finish()?;
        Ok(header)
    }

    /// Returns its bytes.
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::with_capacity(HEADER_LEN);
        w.u32(PROTOCOL);
        w.u32(self.kind.code());
        w.u64(self.opaque);
        w.u32(self.size);
        w.into_bytes()
    }
}

impl AgentCaps {
    /// Returns these capabilities.
    pub fn of(bits: &[u32]) -> Self {
        let mut caps = Self::default();
        bits.iter().for_each(|bit| caps.set(*bit, true));
        caps
    }

    /// Whether capability `bit` is among them.
    pub fn has(&self, bit: u32) -> bool {
        self.word(bit).is_some_and(|word| word & mask(bit) != 0)
    }

    /// Adds capability `bit`, or takes it away.
    pub fn set(&mut self, bit: u32, has: bool) {
        let words = word_of(bit).saturating_add(1);
        if has && self.0.len() < words {
            self.0.resize(words, 0);
        }
        if let Some(word) = self.0.get_mut(word_of(bit)) {
            *word = if has { *word | mask(bit) } else { *word & !mask(bit) };
        }
    }

    fn word(&self, bit: u32) -> Option<u32> {
        self.0.get(word_of(bit)).copied()
    }
}

fn word_of(bit: u32) -> usize {
    usize::try_from(bit / u32::BITS).unwrap_or(usize::MAX)
}

fn mask(bit: u32) -> u32 {
    1 << (bit % u32::BITS)
}

impl Announcement {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "agent capabilities");
        let wants_answer = bool::read(&mut r)?;
        let words = r.remaining() / 4;
        if words > CAPS_WORDS_MAX {
            return Err(WireError::too_large("agent capabilities", "words", len(words), len(CAPS_WORDS_MAX)));
        }
        let caps = (0..words).map(|_| r.u32()).collect::<Result<_, _>>()?;
        Ok(Self { wants_answer, caps: AgentCaps(caps) })
    }

    /// Returns the body of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        bool::write(&self.wants_answer, &mut w);
        self.caps.0.iter().for_each(|word| w.u32(*word));
        w.into_bytes()
    }
}

impl MonitorsConfig {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// When it is malformed, or has too many monitors.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "monitors");
        let (count, flags) = (r.u32()?, r.u32()?);
        r.at_most("num_of_monitors", count, MONITORS_MAX)?;
        let monitors = (0..count).map(|_| MonitorEntry::read(&mut r));
        let mut monitors = monitors.map(|entry| entry.map(Monitor::from)).collect::<Result<Vec<_>, _>>()?;
        if flags & FLAG_MILLIMETRES != 0 {
            for monitor in &mut monitors {
                (monitor.height_mm, monitor.width_mm) = (r.u16()?, r.u16()?);
            }
        }
        Ok(Self { monitors, has_places: flags & FLAG_PLACES != 0 })
    }

    /// Returns the body of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.len32(self.monitors.len());
        w.u32(if self.has_places { FLAG_PLACES } else { 0 } | FLAG_MILLIMETRES);
        for monitor in &self.monitors {
            let Monitor { width, height, x, y, .. } = *monitor;
            MonitorEntry::write(&MonitorEntry { height, width, depth: 32, x, y }, &mut w);
        }
        for monitor in &self.monitors {
            w.u16(monitor.height_mm);
            w.u16(monitor.width_mm);
        }
        w.into_bytes()
    }
}

impl From<MonitorEntry> for Monitor {
    fn from(entry: MonitorEntry) -> Self {
        let MonitorEntry { height, width, x, y, .. } = entry;
        Self { width, height, x, y, width_mm: 0, height_mm: 0 }
    }
}

impl Grab {
    /// Reads the body of a message, after the number of the clipboard.
    ///
    /// # Errors
    /// When it is malformed, or has too many types.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = r.remaining() / 4;
        if count > TYPES_MAX {
            return Err(WireError::too_large("clipboard grab", "types", len(count), len(TYPES_MAX)));
        }
        Ok(Self { types: (0..count).map(|_| ClipboardType::read(r)).collect::<Result<_, _>>()? })
    }

    /// Appends what comes after the number of the clipboard.
    pub(super) fn write(&self, w: &mut Writer) {
        self.types.iter().for_each(|kind| w.u32(kind.code()));
    }
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
