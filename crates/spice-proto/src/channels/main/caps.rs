//! Capabilities of the main channel (`SPICE_MAIN_CAP_*`).

use crate::wire::Cap;

/// Migration without a new session.
pub const SEMI_SEAMLESS_MIGRATE: Cap = Cap::bit(0);
/// The `NAME` and `UUID` messages.
pub const NAME_AND_UUID: Cap = Cap::bit(1);
/// `AGENT_CONNECTED_TOKENS` in place of `AGENT_CONNECTED`.
pub const AGENT_CONNECTED_TOKENS: Cap = Cap::bit(2);
/// Migration with the channels' state.
pub const SEAMLESS_MIGRATE: Cap = Cap::bit(3);
