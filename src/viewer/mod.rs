//! What each viewer gets: decided here from plain facts, carried out elsewhere.

mod decide;
mod sharpen;

pub use decide::{Abilities, Delivery, Reason, VideoPolicy, decide};
pub use sharpen::Sharpen;
