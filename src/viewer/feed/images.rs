use std::sync::Arc;

use super::next_change;
use super::output::{Exact, Update};
use crate::frame::Size;
use crate::hub::{Asked, Console, ExactReader, Subscription};
use crate::viewer::Listing;

/// The pictures of a viewer that gets no video: exact ones, always.
pub(super) struct Images {
    changes: Subscription,
    /// Of a picture of this size. None while the console is off.
    exact: Option<(Size, Arc<ExactReader>)>,
}

impl Images {
    pub(super) fn new(console: &Arc<Console>) -> Self {
        Self { changes: console.subscribe(), exact: None }
    }

    /// Waits for the next update to show, and counts it. May be dropped and called again.
    pub(super) async fn next(&mut self, listing: &Listing) -> Update {
        let change = next_change(&self.changes).await;
        listing.sent(change.missed);
        let size = change.scanout.map(|scanout| scanout.size());
        if self.exact.as_ref().map(|(size, _)| *size) != size {
            let reader = self.changes.console().read_exactly().map(Arc::new);
            self.exact = size.zip(reader);
        }
        match self.exact.clone() {
            Some((_, picture)) => Update::Exact(Exact::new(picture, Asked::all(), change.release)),
            None => Update::Blank,
        }
    }
}
