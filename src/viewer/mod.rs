//! What each viewer gets: decided here from plain facts, carried out elsewhere.

mod decide;

pub use decide::{Abilities, Delivery, Reason, VideoPolicy, decide};
