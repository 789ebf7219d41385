//! Which agent messages may pass.

use super::MessageKind;

/// Most bytes of a message that is no clipboard and no file.
const SMALL_MAX: u32 = 1 << 16;
/// Most bytes of a part of a file: sixteen times what spice-gtk 0.42 sends at a time.
const FILE_PART_MAX: u32 = 1 << 20;

/// The way of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the guest's agent.
    ToGuest,
    /// From the guest's agent to the client.
    ToClient,
}

/// What the operator allows.
/// By default nothing passes but the size of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// What the client has copied can be pasted in the guest.
    pub clipboard_to_guest: bool,
    /// What the guest has copied can be pasted at the client.
    pub clipboard_from_guest: bool,
    /// The most bytes of a clipboard.
    pub clipboard_max: u32,
    /// The client may send files to the guest.
    pub files: bool,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Passes on as it comes.
    Pass,
    /// Is left out.
    Drop,
    /// Is read as a whole first.
    Read,
}

impl Rules {
    /// Says what to do with a message of `kind` that goes in `direction`.
    pub(super) fn verdict(self, direction: Direction, kind: MessageKind) -> Verdict {
        use Direction::{ToClient, ToGuest};
        use MessageKind::{
            AnnounceCapabilities, AudioVolumeSync, Clipboard, ClipboardGrab, ClipboardRelease,
            ClipboardRequest, DisplayConfig, FileXferData, FileXferStart, FileXferStatus, MaxClipboard,
            MonitorsConfig, Reply,
        };
        // Whoever asks gets what the other side has copied.
        let clipboard = |gives: Direction| match gives {
            ToGuest => self.clipboard_to_guest,
            ToClient => self.clipboard_from_guest,
        };
        let passes = match (direction, kind) {
            (_, AnnounceCapabilities) | (ToGuest, MonitorsConfig) => return Verdict::Read,
            (ToGuest, FileXferStart) if !self.files => return Verdict::Read,
            (_, Clipboard | ClipboardGrab | ClipboardRelease) => clipboard(direction),
            (ToGuest, ClipboardRequest) => clipboard(ToClient),
            (ToClient, ClipboardRequest) => clipboard(ToGuest),
            (ToGuest, FileXferStart | FileXferData) | (_, FileXferStatus) => self.files,
            (ToGuest, DisplayConfig | MaxClipboard | AudioVolumeSync) => true,
            (ToClient, Reply | AudioVolumeSync) => true,
            // The rest is between the agent and the server, or not known.
            _ => false,
        };
        if passes { Verdict::Pass } else { Verdict::Drop }
    }

    /// Returns the most bytes that the body of a message of `kind` may have. Those of a clipboard that is over its
    /// limit are left out, larger ones of other kinds end the stream.
    pub(super) fn limit(self, kind: MessageKind) -> u32 {
        match kind {
            // The number of the clipboard and the type of what is in it.
            MessageKind::Clipboard => self.clipboard_max.saturating_add(8),
            MessageKind::FileXferData => FILE_PART_MAX,
            _ => SMALL_MAX,
        }
    }
}
