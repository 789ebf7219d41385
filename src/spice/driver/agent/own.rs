//! The server's own agent in the hands of one client: its windows, and text between its clipboards and the guest's.

use std::sync::Arc;

use spice_proto::agent::{ClipboardType, MonitorsConfig, OwnAgent, OwnEvent, Pieces, Rules};
use tokio::sync::{oneshot, watch};
use tracing::info;

use crate::hub::{Clipboard, GuestCopied, SELECTIONS};
use crate::spice::driver::ChannelEnd;
use crate::viewer::LogLimit;

/// The most bytes of a text that the guest is given. QEMU's own end of the guest's agent (`ui/vdagent.c` of 7.0 to 11)
/// drops a message that does not fit its buffer of 1 MiB together with what waits there, and the guest would wait for
/// ever.
const TEXT_MAX: usize = (1 << 20) - (64 << 10);

/// The agent, and its end of the clipboards. Dropped, the client has nothing in them any more.
pub(super) struct Own {
    agent: OwnAgent,
    clipboard: Option<ClipboardEnd>,
}

/// A client's end of the clipboards.
struct ClipboardEnd {
    clipboard: Arc<Clipboard>,
    guests: watch::Receiver<GuestCopied>,
    /// What the client was told that the guest has.
    told: GuestCopied,
    has: [Has; SELECTIONS],
    /// What the client has asked for.
    pasting: [Option<oneshot::Receiver<Vec<u8>>>; SELECTIONS],
}

/// What the client has in a clipboard.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Has {
    /// No text.
    #[default]
    Nothing,
    /// Text, for which it was asked.
    Asked,
    /// Text, which the guest can have.
    Given,
}

/// What happened to the guest's clipboards.
enum News {
    /// The guest has copied something, or has nothing any more.
    Copied,
    /// What the client has asked for is there, or there is nothing.
    Pasted(usize, Option<Vec<u8>>),
}

impl Own {
    /// Makes an agent that keeps to `rules`; with a clipboard if the guest's can be reached.
    pub(super) fn new(rules: Rules, clipboard: Option<&Arc<Clipboard>>) -> Self {
        let clipboard = clipboard.map(|clipboard| ClipboardEnd {
            guests: clipboard.guests(),
            clipboard: clipboard.clone(),
            told: [None; SELECTIONS],
            has: [Has::Nothing; SELECTIONS],
            pasting: std::array::from_fn(|_| None),
        });
        Self { agent: OwnAgent::new(rules, clipboard.is_some()), clipboard }
    }

    /// Whether it has a clipboard.
    pub(super) fn has_clipboard(&self) -> bool {
        self.clipboard.is_some()
    }

    /// Takes the next piece of the client's stream; returns the sizes of its windows if they are in it. What goes to
    /// the client is added to `to`.
    ///
    /// # Errors
    /// If the stream is malformed.
    pub(super) fn take(
        &mut self,
        piece: &[u8],
        to: &mut Pieces,
        log: &LogLimit,
    ) -> Result<Option<MonitorsConfig>, ChannelEnd> {
        let mut monitors = None;
        for event in self.agent.take(piece, to)? {
            match (event, &mut self.clipboard) {
                (OwnEvent::Monitors(config), _) => monitors = Some(config),
                (event, Some(end)) => end.take(event, &self.agent, to, log),
                (_, None) => {}
            }
        }
        Ok(monitors)
    }

    /// Waits until something happens to the guest's clipboards, and adds to `to` what the client is told of it.
    /// Cancel-safe.
    pub(super) async fn follow(&mut self, to: &mut Pieces) {
        let Some(end) = &mut self.clipboard else { return std::future::pending().await };
        // A client that has not begun does not know how to be told.
        if !self.agent.is_started() {
            return std::future::pending().await;
        }
        match end.news().await {
            News::Copied => end.tell(&self.agent, to),
            News::Pasted(selection, text) => {
                let text = text.map(|text| (ClipboardType::Text, text));
                let (kind, text) = text.unwrap_or((ClipboardType::None, Vec::new()));
                self.agent.answer(number(selection), kind, &text, to);
            }
        }
    }
}

impl ClipboardEnd {
    /// Takes up what the client did.
    fn take(&mut self, event: OwnEvent, agent: &OwnAgent, to: &mut Pieces, log: &LogLimit) {
        match event {
            OwnEvent::Grab { selection, types } if types.contains(&ClipboardType::Text) => {
                // The guest stands still while it pastes, so the text is got before.
                self.set(usize::from(selection), Has::Asked);
                agent.request(selection, ClipboardType::Text, to);
            }
            OwnEvent::Grab { selection, .. } | OwnEvent::Release { selection } => {
                self.give(usize::from(selection), None);
            }
            OwnEvent::Clipboard { selection, kind, data } => {
                let selection = usize::from(selection);
                if self.has.get(selection).is_none_or(|has| *has == Has::Nothing) {
                    return; // nobody has asked
                }
                let is_text = kind == ClipboardType::Text;
                if is_text && data.len() > TEXT_MAX {
                    too_large(data.len(), log);
                }
                self.give(selection, (is_text && data.len() <= TEXT_MAX).then(|| data.into()));
            }
            OwnEvent::ClipboardTooLarge(bytes) => {
                too_large(usize::try_from(bytes).unwrap_or(usize::MAX), log);
                for selection in 0..SELECTIONS {
                    if self.has.get(selection) == Some(&Has::Asked) {
                        self.give(selection, None);
                    }
                }
            }
            OwnEvent::Request { selection, kind: ClipboardType::Text } => {
                let selection = usize::from(selection);
                if let Some(pasting @ None) = self.pasting.get_mut(selection) {
                    *pasting = Some(self.clipboard.paste(selection));
                }
            }
            OwnEvent::Request { selection, .. } => agent.answer(selection, ClipboardType::None, &[], to),
            OwnEvent::Monitors(_) => {}
        }
    }

    /// Gives the guest what the client has.
    fn give(&mut self, selection: usize, text: Option<Arc<[u8]>>) {
        self.set(selection, if text.is_some() { Has::Given } else { Has::Nothing });
        self.clipboard.viewer_copied(selection, text);
    }

    fn set(&mut self, selection: usize, has: Has) {
        if let Some(known) = self.has.get_mut(selection) {
            *known = has;
        }
    }

    async fn news(&mut self) -> News {
        if self.guests.has_changed().is_ok_and(|changed| changed) || *self.guests.borrow() != self.told {
            return News::Copied;
        }
        let [copied, selected, third] = &mut self.pasting;
        let (selection, text) = tokio::select! {
            changed = self.guests.changed() => match changed {
                Ok(()) => return News::Copied,
                Err(_) => return std::future::pending().await, // they live as long as the hub
            },
            text = pasted(copied) => (0, text),
            text = pasted(selected) => (1, text),
            text = pasted(third) => (2, text),
        };
        if let Some(pasting) = self.pasting.get_mut(selection) {
            *pasting = None;
        }
        News::Pasted(selection, text)
    }

    /// Tells the client what the guest has copied since it was last told.
    fn tell(&mut self, agent: &OwnAgent, to: &mut Pieces) {
        let now = *self.guests.borrow_and_update();
        for (selection, (now, told)) in now.iter().zip(&mut self.told).enumerate() {
            if now == told {
                continue;
            }
            *told = *now;
            match now {
                Some(_) => {
                    if let Some(has) = self.has.get_mut(selection) {
                        *has = Has::Nothing;
                    }
                    agent.grab(number(selection), &[ClipboardType::Text], to);
                }
                None => agent.release(number(selection), to),
            }
        }
    }
}

impl Drop for ClipboardEnd {
    fn drop(&mut self) {
        (0..SELECTIONS).for_each(|selection| self.clipboard.viewer_copied(selection, None));
    }
}

/// Waits for what was asked for; for ever if nothing was.
async fn pasted(pasting: &mut Option<oneshot::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match pasting {
        Some(answer) => answer.await.ok(),
        None => std::future::pending().await,
    }
}

fn too_large(bytes: usize, log: &LogLimit) {
    log.log(|_| {
        info!(bytes, most = TEXT_MAX, "a text that a viewer has copied is too large for QEMU's clipboard")
    });
}

fn number(selection: usize) -> u8 {
    u8::try_from(selection).unwrap_or(u8::MAX)
}
