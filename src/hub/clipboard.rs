//! The clipboards that a viewer and the guest share, where the guest's VMM carries them: text alone.
//!
//! What a viewer has copied is here before the guest asks for it, because the guest stands still until it is answered.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot, watch};

/// Clipboards of a desktop, by their numbers: what was copied, what is selected, and the third of X.
pub(crate) const SELECTIONS: usize = 3;

/// Requests of viewers that wait for the source. One viewer at a time has the clipboards, and asks once for each.
const REQUESTS: usize = 16;

/// The clipboards. The source is at one end, the viewer that has the agent at the other.
#[derive(Debug)]
pub(crate) struct Clipboard {
    wanted: watch::Sender<bool>,
    guests: watch::Sender<GuestCopied>,
    viewers: watch::Sender<ViewerCopied>,
    ask: mpsc::Sender<PasteRequest>,
    asked: Mutex<mpsc::Receiver<PasteRequest>>,
}

/// Of each clipboard, if the guest has text in it, how often it has copied something so far.
pub(crate) type GuestCopied = [Option<u64>; SELECTIONS];

/// What a viewer has in each clipboard.
pub(crate) type ViewerCopied = [Copied; SELECTIONS];

/// What a viewer has in one clipboard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Copied {
    /// How often a viewer has copied something so far.
    pub count: u64,
    /// The text; `None` if it has none, or the guest has copied something since.
    pub text: Option<Arc<[u8]>>,
}

/// A viewer wants the text that the guest has copied, for the source to get.
#[derive(Debug)]
pub(crate) struct PasteRequest {
    /// In which clipboard, below [`SELECTIONS`].
    pub selection: usize,
    /// Takes the text. It is dropped if there is none.
    pub answer: oneshot::Sender<Vec<u8>>,
}

impl Default for Clipboard {
    fn default() -> Self {
        let (ask, asked) = mpsc::channel(REQUESTS);
        Self {
            wanted: watch::Sender::default(),
            guests: watch::Sender::default(),
            viewers: watch::Sender::default(),
            ask,
            asked: Mutex::new(asked),
        }
    }
}

impl Clipboard {
    /// Has the source connect the clipboards, because viewers may have them.
    pub(crate) fn want(&self) {
        self.wanted.send_replace(true);
    }

    /// Watches what the guest has copied.
    pub(crate) fn guests(&self) -> watch::Receiver<GuestCopied> {
        self.guests.subscribe()
    }

    /// Takes what a viewer has copied into `selection`, in the place of what anybody has copied before; `None` if it
    /// has no text there any more.
    pub(crate) fn viewer_copied(&self, selection: usize, text: Option<Arc<[u8]>>) {
        self.viewers.send_if_modified(|viewers| {
            let copied = viewers.get_mut(selection).filter(|copied| text.is_some() || copied.text.is_some());
            let changes = copied.is_some();
            if let Some(copied) = copied {
                *copied = Copied { count: copied.count.saturating_add(1), text };
            }
            changes
        });
    }

    /// Asks for the text that the guest has in `selection`. The answer is an error if it has none.
    pub(crate) fn paste(&self, selection: usize) -> oneshot::Receiver<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        // Where too many wait, this one is not answered.
        let _ = self.ask.try_send(PasteRequest { selection, answer });
        answered
    }

    /// Waits until somebody wants the clipboards. For the source alone, as all that follow.
    pub(crate) async fn wanted(&self) {
        let _ = self.wanted.subscribe().wait_for(|wanted| *wanted).await; // `self` keeps the sender
    }

    /// Takes what the guest has copied: whether there `is_text` in `selection`. What a viewer had there is out of date.
    pub(crate) fn guest_copied(&self, selection: usize, is_text: bool) {
        if is_text {
            // The guest knows, so nobody has to be woken up.
            self.viewers.send_if_modified(|viewers| {
                if let Some(copied) = viewers.get_mut(selection) {
                    copied.text = None;
                }
                false
            });
        }
        self.guests.send_if_modified(|guests| {
            let known = guests.get_mut(selection).filter(|known| is_text || known.is_some());
            let changes = known.is_some();
            if let Some(known) = known {
                *known = is_text.then(|| known.unwrap_or_default().saturating_add(1));
            }
            changes
        });
    }

    /// Watches what a viewer has copied.
    pub(crate) fn viewers(&self) -> watch::Receiver<ViewerCopied> {
        self.viewers.subscribe()
    }

    /// Waits for the next request.
    pub(crate) async fn request(&self) -> PasteRequest {
        match self.asked.lock().await.recv().await {
            Some(request) => request,
            None => std::future::pending().await, // `self` keeps a sender
        }
    }

    /// Forgets a VM that is gone.
    pub(crate) fn forget(&self) {
        (0..SELECTIONS).for_each(|selection| self.guest_copied(selection, false));
        if let Ok(mut asked) = self.asked.try_lock() {
            while asked.try_recv().is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn text(text: &str) -> Option<Arc<[u8]>> {
        Some(text.as_bytes().into())
    }

    #[test]
    fn whoever_copied_last_has_the_clipboard() {
        let clipboard = Clipboard::default();
        let (mut guests, mut viewers) = (clipboard.guests(), clipboard.viewers());
        clipboard.viewer_copied(0, None);
        assert!(!viewers.has_changed().unwrap(), "it had nothing before");
        clipboard.viewer_copied(0, text("one"));
        assert_eq!(viewers.borrow_and_update()[0], Copied { count: 1, text: text("one") });
        clipboard.guest_copied(0, true);
        assert!(!viewers.has_changed().unwrap() && viewers.borrow()[0].text.is_none());
        assert_eq!(*guests.borrow_and_update(), [Some(1), None, None]);
        clipboard.guest_copied(0, true);
        assert_eq!(*guests.borrow_and_update(), [Some(2), None, None], "something new");
        clipboard.viewer_copied(1, text("two"));
        clipboard.viewer_copied(1, None);
        assert_eq!(viewers.borrow_and_update()[1], Copied { count: 2, text: None });
        clipboard.forget();
        assert_eq!(*guests.borrow_and_update(), GuestCopied::default());
        clipboard.guest_copied(9, true);
        clipboard.viewer_copied(9, text("nowhere"));
        assert!(!guests.has_changed().unwrap() && !viewers.has_changed().unwrap());
    }

    #[tokio::test]
    async fn what_the_guest_has_is_asked_for() {
        let clipboard = Clipboard::default();
        let answer = clipboard.paste(1);
        let request = clipboard.request().await;
        assert_eq!(request.selection, 1);
        request.answer.send(b"text".to_vec()).unwrap();
        assert_eq!(answer.await.unwrap(), b"text");

        let answers: Vec<_> = (0..=REQUESTS).map(|_| clipboard.paste(0)).collect();
        assert!(answers.into_iter().next_back().unwrap().await.is_err(), "too many wait");
        let answer = clipboard.paste(0);
        clipboard.forget();
        assert!(answer.await.is_err() && clipboard.request().now_or_never().is_none());
        assert!(clipboard.wanted().now_or_never().is_none());
        clipboard.want();
        clipboard.wanted().await;
    }
}
