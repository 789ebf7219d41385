//! Capabilities for every channel (`SPICE_COMMON_CAP_*`).

use crate::wire::Cap;

/// The client says which authentication it uses.
pub const AUTH_SELECTION: Cap = Cap::bit(0);
/// Authentication by ticket.
pub const AUTH_SPICE: Cap = Cap::bit(1);
/// Authentication by SASL.
pub const AUTH_SASL: Cap = Cap::bit(2);
/// 6 byte headers.
pub const MINI_HEADER: Cap = Cap::bit(3);
