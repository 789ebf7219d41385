//! Capabilities of the playback channel (`SPICE_PLAYBACK_CAP_*`).

use crate::wire::Cap;

/// `VOLUME`: the volume of the guest is told, and not in the samples.
pub const VOLUME: Cap = Cap::bit(1);
/// `LATENCY`.
pub const LATENCY: Cap = Cap::bit(2);
/// `OPUS`.
pub const OPUS: Cap = Cap::bit(3);
