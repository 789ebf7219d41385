//! Capabilities of the record channel (`SPICE_RECORD_CAP_*`).

use crate::wire::Cap;

/// `VOLUME`: the volume of the guest is told.
pub const VOLUME: Cap = Cap::bit(1);
/// `OPUS`.
pub const OPUS: Cap = Cap::bit(2);
