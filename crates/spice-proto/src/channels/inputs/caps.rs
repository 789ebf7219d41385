//! Capabilities of the inputs channel (`SPICE_INPUTS_CAP_*`).

use crate::wire::Cap;

/// `KEY_SCANCODE`.
pub const KEY_SCANCODE: Cap = Cap::bit(0);
