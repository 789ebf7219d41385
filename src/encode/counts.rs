use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::codec::AccessUnit;
use super::{Codec, lock};

/// What the encoders of a codec have done since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct EncodeCounts {
    /// Frames.
    pub frames: u64,
    /// Key frames among them.
    pub keys: u64,
    /// Bytes of all frames.
    pub bytes: u64,
    /// Time from the start of a frame to its end, added up.
    pub time: Duration,
}

/// The counts of each codec in use. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct CountsByCodec(Arc<Mutex<BTreeMap<Codec, EncodeCounts>>>);

impl CountsByCodec {
    /// Counts a frame that took so long.
    pub(super) fn count(&self, codec: Codec, unit: &AccessUnit, time: Duration) {
        let mut all = lock(&self.0);
        let counts = all.entry(codec).or_default();
        counts.frames = counts.frames.saturating_add(1);
        counts.keys = counts.keys.saturating_add(u64::from(unit.key));
        counts.bytes = counts.bytes.saturating_add(unit.data.len().try_into().unwrap_or(u64::MAX));
        counts.time = counts.time.saturating_add(time);
    }

    /// Returns the counts of all codecs.
    pub(super) fn all(&self) -> BTreeMap<Codec, EncodeCounts> {
        lock(&self.0).clone()
    }
}
