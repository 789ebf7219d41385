//! What the device shows becomes scanouts, damage and cursors of the hub's consoles.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tracing::{debug, warn};

use super::LABEL;
use super::gpu::{CursorChange, Effect, Picture};
use super::hold::{Turn, lock};
use super::pixels::Pixels;
use crate::frame::{
    ConsoleId, Dmabuf, DmabufPlane, DmabufReads, MODIFIER_LINEAR, Scanout, ScanoutError, Size,
};
use crate::hub::{ConsoleInfo, Hub, Ledger, ReleaseQueue};
use crate::source::together::Together;
use crate::source::warning_limit::WarningLimit;

/// The latest that a frame is released to the guest, whatever its readers do: one interval of a 60 Hz display.
const RELEASE_DEADLINE: Duration = Duration::from_millis(16);

/// How long a scanout has to be off before its console goes dark. Linux turns each off for a moment when it changes the
/// mode or the buffer's format.
const DARK_AFTER: Duration = Duration::from_millis(600);

/// Writes what one device shows into a hub.
#[derive(Debug)]
pub(super) struct Pictures {
    hub: Hub,
    together: Together,
    reads: DmabufReads,
    frames: Mutex<Frames>,
    dark: Arc<Mutex<Dark>>,
    warnings: Mutex<WarningLimit>,
    /// Runs what time alone makes due. Without it nothing is put off.
    runtime: Option<Handle>,
}

/// When each console goes dark whose scanout is off and still shown; none if the scanout is on again.
///
/// INVARIANT: a console that is in here has one [`go_dark`], however often the guest turns its scanout off and on.
type Dark = BTreeMap<ConsoleId, Option<Instant>>;

/// The frames that readers hold.
#[derive(Debug)]
struct Frames {
    unanswered: Ledger<()>,
    releases: ReleaseQueue,
}

impl Pictures {
    /// Makes the consoles of a device whose first display is there from the start. `reads` reads buffers that are not
    /// copied.
    pub(super) fn new(hub: Hub, together: Together, reads: DmabufReads) -> Self {
        let frames = Frames { unanswered: Ledger::new(RELEASE_DEADLINE), releases: ReleaseQueue::default() };
        let (dark, runtime) = (Arc::default(), Handle::try_current().ok());
        let (frames, warnings) = (Mutex::new(frames), Mutex::default());
        let pictures = Self { hub, together, reads, frames, dark, warnings, runtime };
        pictures.announce(pictures.together.console(0));
        pictures
    }

    /// Brings `effects` to the hub, in their order. Returns when everyone has read who waited for what changed, at the
    /// latest at the deadline of the frame, or when `turn` ends.
    pub(super) fn apply(&self, effects: Vec<Effect<Pixels>>, turn: &Turn) {
        let mut damage = Vec::new();
        for effect in effects {
            match effect {
                Effect::Show { scanout, picture } => self.show(self.together.console(scanout), picture),
                Effect::Damage { scanout, part } => damage.push((self.together.console(scanout), part)),
                Effect::Cursor(change) => self.change_cursor(change),
            }
        }
        if damage.is_empty() {
            return;
        }
        let began = Instant::now();
        let mut frames = lock(&self.frames);
        let (id, _) = frames.unanswered.hold((), began);
        let release = frames.releases.release(id);
        for (console, part) in &damage {
            self.hub.add_console(*console).damage_region(&(*part).into(), Some(release.clone()));
        }
        drop(release);
        frames.wait(id, began + RELEASE_DEADLINE, turn);
        for (console, _) in damage {
            self.hub.add_console(console).count_draws(frames.unanswered.draws());
        }
    }

    fn show(&self, console: ConsoleId, picture: Option<Picture<Pixels>>) {
        let shown = match picture.map(|picture| scanout(picture, &self.reads)).transpose() {
            Ok(shown) => shown,
            Err(error) => {
                if let Some(kept_back) = lock(&self.warnings).pass(Instant::now()) {
                    warn!(%console, %error, kept_back, "the guest's picture cannot be shown");
                }
                None
            }
        };
        let mut dark = lock(&self.dark);
        match (&shown, &self.runtime) {
            (Some(scanout), _) => {
                debug!(%console, size = %scanout.size(), "scanout");
                self.announce(console);
                if let Some(due) = dark.get_mut(&console) {
                    *due = None;
                }
            }
            (None, Some(runtime)) => {
                let due = Some(Instant::now() + DARK_AFTER);
                if dark.insert(console, due).is_none() {
                    runtime.spawn(go_dark(self.hub.clone(), self.dark.clone(), console));
                }
                return;
            }
            (None, None) => return self.hub.add_console(console).go_dark(),
        }
        self.hub.add_console(console).show(shown);
    }

    /// Ends what was put off. Nothing is written to the hub afterwards by time alone.
    pub(super) fn end(&self) {
        lock(&self.dark).values_mut().for_each(|due| *due = None);
    }

    fn change_cursor(&self, change: CursorChange) {
        let CursorChange { scanout, shape, pointer } = change;
        self.hub.add_console(self.together.console(scanout)).change_cursor(|cursor| {
            cursor.pointer = pointer;
            if let Some(shape) = shape {
                cursor.shape = Some(shape);
            }
        });
    }

    fn announce(&self, console: ConsoleId) {
        let info = ConsoleInfo { label: LABEL.into(), absolute: self.together.pointer() == Some(true) };
        self.hub.change_guest(|guest| {
            guest.consoles.entry(console).or_insert(info);
        });
    }
}

/// Makes a console dark, if its scanout stays off.
async fn go_dark(hub: Hub, dark: Arc<Mutex<Dark>>, console: ConsoleId) {
    loop {
        tokio::time::sleep(DARK_AFTER).await;
        let mut dark = lock(&dark);
        let due = dark.get(&console).copied().flatten();
        if due.is_some_and(|due| due > Instant::now()) {
            continue;
        }
        dark.remove(&console);
        if due.is_some() {
            hub.add_console(console).go_dark();
        }
        return;
    }
}

impl Frames {
    /// Waits until the frame numbered `id` is released.
    fn wait(&mut self, id: u64, deadline: Instant, turn: &Turn) {
        while let Some(returned) = turn.wait(self.releases.returned(), deadline) {
            let _ = self.unanswered.returned(returned, Instant::now());
            if returned == id {
                return;
            }
        }
        // Late, or interrupted: nothing is owed any more.
        let _ = self.unanswered.expired(Instant::now()).or_else(|| self.unanswered.next(Instant::now()));
    }
}

/// Makes a scanout of a picture. Its numbers were checked against its memory when it was made.
fn scanout(picture: Picture<Pixels>, reads: &DmabufReads) -> Result<Scanout, ScanoutError> {
    let Picture { pixels, offset, stride, whole, part, format } = picture;
    let first = u64::from(offset) + u64::from(part.y) * u64::from(stride);
    let first = first + u64::from(part.x) * u64::from(format.bytes_per_pixel());
    let first = u32::try_from(first).map_err(|_| ScanoutError::Crop);
    match pixels {
        Pixels::Copied(memory) => {
            let pixman = format.pixman().ok_or(ScanoutError::Format(format.fourcc()))?;
            Scanout::shared(memory.file()?, first?, part.width, part.height, stride, pixman)
        }
        Pixels::Pieces(pieces) => {
            Scanout::guest(pieces, first?, Size::new(part.width, part.height), stride, format)
        }
        Pixels::Buffer(buffer) => {
            let dmabuf = Dmabuf {
                planes: vec![DmabufPlane { buffer, offset, stride }],
                fourcc: format.fourcc(),
                modifier: MODIFIER_LINEAR,
                backing: whole,
                crop: part,
                bottom_up: false,
            };
            Scanout::dmabuf(dmabuf, reads)
        }
    }
}
