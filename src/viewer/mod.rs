//! What each viewer gets: decided here from plain facts, given to the [`Output`] that carries it, and written
//! down in the [`Roster`].

mod decide;
mod feed;
mod log_limit;
mod network;
mod packed;
mod rate;
mod refused;
mod roster;
mod sharpen;
mod sleep;
mod tiers;

pub(crate) use decide::Abilities;
pub(crate) use decide::{Delivery, Reason, VideoPolicy, decide};
pub(crate) use feed::{Event, Exact, Feed, Output, Policy, Shown, ShownExactly, Update};
pub(crate) use log_limit::LogLimit;
pub(crate) use packed::{Images, Packed};
use rate::Rate;
pub(crate) use refused::Refused;
pub(crate) use refused::RefusedCounts;
pub use roster::Roster;
pub(crate) use roster::{Listing, ViewerInfo};
use sharpen::Sharpen;
pub(crate) use sleep::sleep_until;
use tiers::Tiers;
