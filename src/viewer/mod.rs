//! What each viewer gets: decided here from plain facts, carried out elsewhere, and written down in the [`Roster`].

mod decide;
mod rate;
mod roster;
mod sharpen;
mod tiers;

pub use decide::{Abilities, Delivery, Reason, VideoPolicy, decide};
pub use rate::{KernelSample, Rate};
pub use roster::{Roster, Seat, ViewerInfo};
pub use sharpen::Sharpen;
pub use tiers::Tiers;
