//! What each viewer gets: decided here from plain facts, carried out elsewhere, and written down in the [`Roster`].

mod decide;
mod lines;
mod rate;
mod refused;
mod roster;
mod sharpen;
mod tiers;

pub(crate) use decide::Abilities;
pub(crate) use decide::{Delivery, Reason, VideoPolicy, decide};
pub(crate) use lines::Lines;
pub(crate) use rate::{KernelSample, Rate};
pub(crate) use refused::Refused;
pub(crate) use refused::RefusedCounts;
pub use roster::Roster;
pub(crate) use roster::{Seat, ViewerInfo};
pub(crate) use sharpen::Sharpen;
pub(crate) use tiers::Tiers;
