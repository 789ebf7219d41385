//! What each viewer gets: decided here from plain facts, carried out elsewhere, and written down in the [`Roster`].

mod decide;
mod lines;
mod rate;
mod refused;
mod roster;
mod sharpen;
mod tiers;

pub use decide::{Abilities, Delivery, Reason, VideoPolicy, decide};
pub use lines::Lines;
pub use rate::{KernelSample, Rate};
pub use refused::{Refused, RefusedCounts};
pub use roster::{Roster, Seat, ViewerInfo};
pub use sharpen::Sharpen;
pub use tiers::Tiers;
