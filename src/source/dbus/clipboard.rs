//! QEMU's clipboards (`org.qemu.Display1.Clipboard`), of which we are the one peer: what a viewer has copied goes to
//! the guest, what the guest has copied to viewers. At their other end is the guest's agent on QEMU's own
//! `-chardev qemu-vdagent,clipboard=on`. QEMU does not say whether there is one.
//!
//! QEMU calls us on the connection on which we call it, and stands still while the guest pastes: its calls are answered
//! at once, from what the hub has, whatever becomes of ours.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tracing::{debug, warn};
use zbus::MessageStream;
use zbus::message::{Body, Message};

use super::connect::Qemu;
use super::object::{Answer, CLIPBOARD_PEER};
use crate::display1::{CLIPBOARD, CLIPBOARD_PATH, ClipboardCall, Grab, Paste, Refusal, TEXT};
use crate::hub::{AGENT_PORT, Hub, PasteRequest, SELECTIONS};
use crate::source::SourceError;
use crate::source::warning_limit::WarningLimit;

/// The most bytes of a text that are taken from the guest: as many as `spice-proto`'s own agent holds.
const MAX_TEXT: usize = 8 << 20;
/// The most bytes of any other call of QEMU's: a few names of MIME types.
const MAX_CALL: usize = 64 << 10;

/// Connects the clipboards where viewers may have them, unless the guest's agent is on a port of ours and carries them
/// itself.
pub(super) async fn share(qemu: &Qemu, hub: &Hub) -> Infallible {
    let has_agent = hub.guest().borrow().ports.values().any(|port| port.name == AGENT_PORT);
    if has_agent {
        return std::future::pending().await;
    }
    hub.clipboard().wanted().await;
    let calls = match qemu.calls(CLIPBOARD_PATH).await {
        Ok(calls) => calls,
        Err(error) => {
            warn!(%error, "no clipboard");
            return std::future::pending().await;
        }
    };
    let ours = Ours::default();
    // While QEMU registers us it asks us, and waits for the answer.
    tokio::select! {
        () = answer(qemu, hub, &ours, calls) => std::future::pending().await,
        never = tell(qemu, hub, &ours) => match never {},
    }
}

/// What both directions have to know.
#[derive(Debug, Default)]
struct Ours {
    /// The next serial number of each clipboard.
    serials: [AtomicU32; SELECTIONS],
    /// The guest's agent has begun anew, and does not know what viewers have.
    began: Notify,
}

impl Ours {
    fn take_serial(&self, selection: usize) -> u32 {
        self.serials.get(selection).map_or(0, |serial| serial.fetch_add(1, Ordering::Relaxed))
    }

    fn set_serial(&self, selection: usize, next: u32) {
        if let Some(serial) = self.serials.get(selection) {
            serial.store(next, Ordering::Relaxed);
        }
    }
}

/// Answers QEMU's calls until the connection ends.
async fn answer(qemu: &Qemu, hub: &Hub, ours: &Ours, mut calls: MessageStream) {
    let mut warnings = WarningLimit::default();
    while let Some(Ok(call)) = calls.next().await {
        let (header, body) = (call.header(), call.body());
        let path = header.path().map(|path| path.as_str());
        let interface = header.interface().map(|interface| interface.as_str());
        let member = header.member().map_or("", |member| member.as_str());
        let answer = match CLIPBOARD_PEER.answer(path, interface, member, &body) {
            Some(answer) => answer,
            None => carry_out(hub, ours, interface, member, &body),
        };
        if let Err(refusal) = &answer
            && refusal.is_remarkable()
            && let Some(kept_back) = warnings.pass(Instant::now())
        {
            warn!(call = member, error = %refusal, kept_back, "refused what QEMU sent of the clipboard");
        }
        if qemu.reply(&call, answer).await.is_err() {
            return; // QEMU is going; whoever watches for that ends this
        }
    }
}

/// Takes up a call.
fn carry_out(
    hub: &Hub,
    ours: &Ours,
    interface: Option<&str>,
    member: &str,
    body: &Body,
) -> Result<Answer, Refusal> {
    if body.len() > MAX_CALL {
        return Err(Refusal::Clipboard("the call is too long"));
    }
    let clipboard = hub.clipboard();
    match ClipboardCall::decode(interface, member, body)? {
        ClipboardCall::Register(()) => {
            (0..SELECTIONS).for_each(|selection| ours.set_serial(selection, 0));
            ours.began.notify_one();
        }
        ClipboardCall::Unregister(()) => {
            (0..SELECTIONS).for_each(|selection| clipboard.guest_copied(selection, false));
        }
        ClipboardCall::Grab(Grab { selection, serial, mimes }) => {
            let selection = number(selection)?;
            // Of two that copy at the same time QEMU says which was the last.
            ours.set_serial(selection, serial.wrapping_add(1));
            clipboard.guest_copied(selection, mimes.contains(&TEXT));
        }
        ClipboardCall::Release(selection) => clipboard.guest_copied(number(selection)?, false),
        ClipboardCall::Request(Paste { selection, mimes }) => {
            let selection = number(selection)?;
            if !mimes.contains(&TEXT) {
                return Err(Refusal::Clipboard("there is nothing but text"));
            }
            let text = clipboard.viewers().borrow().get(selection).and_then(|copied| copied.text.clone());
            // With an error the guest would wait for ever.
            return Ok(Answer::Clipboard(TEXT, text.unwrap_or_default()));
        }
    }
    Ok(Answer::Nothing)
}

fn number(selection: u32) -> Result<usize, Refusal> {
    let number = usize::try_from(selection).ok().filter(|number| *number < SELECTIONS);
    number.ok_or(Refusal::Clipboard("there is no such selection"))
}

/// Registers us, and brings what viewers have copied to QEMU and what they want of it back.
async fn tell(qemu: &Qemu, hub: &Hub, ours: &Ours) -> Infallible {
    if let Err(error) = register(qemu).await {
        warn!(%error, "no clipboard: does another program share it?");
        return std::future::pending().await;
    }
    debug!("QEMU shares its clipboard");
    hub.change_guest(|guest| guest.clipboard = true);
    tokio::select! {
        never = bring(qemu, hub, ours) => match never {},
        never = fetch(qemu, hub) => match never {},
    }
}

async fn register(qemu: &Qemu) -> Result<(), SourceError> {
    let register = || qemu.call(CLIPBOARD_PATH, CLIPBOARD, "Register", &());
    let registered = match register().await {
        // One that had the connection before us is still there for QEMU (7.0 to 11).
        Err(SourceError::Refused { .. }) if qemu.is_peer() => {
            qemu.call(CLIPBOARD_PATH, CLIPBOARD, "Unregister", &()).await?;
            register().await
        }
        other => other,
    };
    registered.map(|_| ())
}

/// Has QEMU know what viewers have copied.
async fn bring(qemu: &Qemu, hub: &Hub, ours: &Ours) -> Infallible {
    let mut viewers = hub.clipboard().viewers();
    let mut told = [0; SELECTIONS];
    loop {
        let now = viewers.borrow_and_update().clone();
        for (selection, (copied, told)) in now.iter().zip(&mut told).enumerate() {
            let selection_number = u32::try_from(selection).unwrap_or(u32::MAX);
            if std::mem::replace(told, copied.count) == copied.count {
                continue;
            }
            let called = match copied.text {
                Some(_) => {
                    let serial = ours.take_serial(selection);
                    let grab = Grab { selection: selection_number, serial, mimes: vec![TEXT] };
                    qemu.call(CLIPBOARD_PATH, CLIPBOARD, "Grab", &grab).await
                }
                None => qemu.call(CLIPBOARD_PATH, CLIPBOARD, "Release", &selection_number).await,
            };
            if let Err(error) = called {
                debug!(selection, %error, "QEMU does not take what a viewer has copied");
            }
        }
        tokio::select! {
            changed = viewers.changed() => if changed.is_err() { return std::future::pending().await },
            () = ours.began.notified() => told = [0; SELECTIONS],
        }
    }
}

/// Gets what viewers want of the guest's clipboards.
async fn fetch(qemu: &Qemu, hub: &Hub) -> Infallible {
    let mut fetching = FuturesUnordered::new();
    loop {
        tokio::select! {
            request = hub.clipboard().request(), if fetching.len() < SELECTIONS => {
                fetching.push(async move {
                    let PasteRequest { selection, answer } = request;
                    match ask(qemu, selection).await {
                        Ok(text) => _ = answer.send(text), // who asked may have left
                        Err(error) => debug!(selection, %error, "QEMU does not give what the guest has copied"),
                    }
                });
            }
            Some(()) = fetching.next() => {}
        }
    }
}

/// Asks QEMU for the text of a clipboard. The guest has 5 s to answer QEMU.
async fn ask(qemu: &Qemu, selection: usize) -> Result<Vec<u8>, SourceError> {
    const WHAT: &str = "Request";
    let selection = u32::try_from(selection).unwrap_or(u32::MAX);
    let answer = qemu.call(CLIPBOARD_PATH, CLIPBOARD, WHAT, &Paste { selection, mimes: vec![TEXT] }).await?;
    text_of(&answer).map_err(|error| SourceError::Answer { what: WHAT, error })
}

fn text_of(answer: &Message) -> Result<Vec<u8>, String> {
    let body = answer.body();
    if body.len() > MAX_TEXT {
        return Err(format!("it has {} bytes", body.len()));
    }
    let (mime, text): (&str, crate::display1::Bytes<'_>) =
        body.deserialize().map_err(|error| error.to_string())?;
    if mime == TEXT { Ok(text.0.to_vec()) } else { Err("it is no text".to_owned()) }
}

/// QEMU's side of the clipboards without its connection, to be given anything.
pub struct ClipboardCalls {
    hub: Hub,
    ours: Arc<Ours>,
}

impl ClipboardCalls {
    /// Makes it for `hub`.
    #[must_use]
    pub fn new(hub: &Hub) -> Self {
        Self { hub: hub.clone(), ours: Arc::default() }
    }

    /// Carries out a call; returns whether it was refused.
    pub fn call(&self, message: &Message) -> bool {
        let (header, body) = (message.header(), message.body());
        let member = header.member().map_or("", |member| member.as_str());
        carry_out(&self.hub, &self.ours, None, member, &body).is_err()
    }

    /// Takes an answer to what a viewer has asked for; returns the text's length, if it is one.
    #[must_use]
    pub fn answer(&self, message: &Message) -> Option<usize> {
        text_of(message).ok().map(|text| text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried_out(hub: &Hub, ours: &Ours, call: ClipboardCall<'_>) -> Result<Answer, Refusal> {
        let message = call.message().unwrap();
        let (header, body) = (message.header(), message.body());
        carry_out(hub, ours, header.interface().map(|i| i.as_str()), header.member().unwrap(), &body)
    }

    fn grab(selection: u32, serial: u32, mime: &str) -> ClipboardCall<'_> {
        ClipboardCall::Grab(Grab { selection, serial, mimes: vec![mime] })
    }

    #[test]
    fn the_guests_text_is_known_until_it_has_none() {
        let (hub, ours) = (Hub::default(), Ours::default());
        let guests = hub.clipboard().guests();
        carried_out(&hub, &ours, grab(1, 4, TEXT)).unwrap();
        assert_eq!(
            (*guests.borrow(), ours.take_serial(1), ours.take_serial(0)),
            ([None, Some(1), None], 5, 0)
        );
        carried_out(&hub, &ours, ClipboardCall::Register(())).unwrap();
        assert_eq!(ours.take_serial(1), 0, "they begin anew");
        carried_out(&hub, &ours, ClipboardCall::Release(1)).unwrap();
        assert_eq!(*guests.borrow(), [None; 3]);
        carried_out(&hub, &ours, grab(0, 0, "image/png")).unwrap();
        assert_eq!(*guests.borrow(), [None; 3], "no text");
        for odd in [grab(3, 0, TEXT), ClipboardCall::Release(u32::MAX)] {
            assert!(matches!(carried_out(&hub, &ours, odd), Err(Refusal::Clipboard(_))));
        }
    }

    #[test]
    fn the_guest_is_answered_at_once_with_what_a_viewer_has_or_with_nothing() {
        let (hub, ours) = (Hub::default(), Ours::default());
        let paste =
            || carried_out(&hub, &ours, ClipboardCall::Request(Paste { selection: 0, mimes: vec![TEXT] }));
        assert_eq!(paste().unwrap(), Answer::Clipboard(TEXT, [].into()));
        hub.clipboard().viewer_copied(0, Some(b"text".as_slice().into()));
        assert_eq!(paste().unwrap(), Answer::Clipboard(TEXT, b"text".as_slice().into()));
        carried_out(&hub, &ours, grab(0, 1, TEXT)).unwrap();
        assert_eq!(
            paste().unwrap(),
            Answer::Clipboard(TEXT, [].into()),
            "the guest has copied something since"
        );
        let picture = Paste { selection: 0, mimes: vec!["image/png"] };
        assert!(carried_out(&hub, &ours, ClipboardCall::Request(picture)).is_err());
        let long = "x".repeat(MAX_CALL);
        assert!(carried_out(&hub, &ours, grab(0, 1, &long)).is_err());
    }
}
