//! The VMM's side of the graphics card: its GPU socket. There it is asked for the sizes that its displays want, and
//! told the sizes that the guest chose, without which QEMU takes no places of a pointer.
//!
//! INVARIANT: only a thread of its own waits for the VMM, because the VMM may itself wait for us.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_channel::{Receiver, Sender};
use tracing::{debug, warn};
use vhost::vhost_user::GpuBackend;
use vhost::vhost_user::gpu_message::{VhostUserGpuScanout, VhostUserGpuUpdate, VirtioGpuRespDisplayInfo};

use super::gpu::Outputs;
use super::hold::lock;
use crate::frame::Size;

/// The most messages that wait for the VMM.
const MESSAGES: usize = 4;

/// What the thread is to do.
enum Message {
    /// Ask which displays there should be, and pass the answer on.
    Ask(Sender<Outputs>),
    /// Tell the sizes that changed.
    Tell,
}

/// The sizes of scanouts; 0x0 if one is off.
type Sizes = Arc<Mutex<BTreeMap<u32, Size>>>;

/// The GPU socket, if the VMM has given one.
#[derive(Debug, Default)]
pub(super) struct FrontEnd {
    thread: Mutex<Option<Sender<Message>>>,
    sizes: Sizes,
}

impl FrontEnd {
    /// Takes the socket that the VMM gives at each start of the device, in the place of the one before.
    pub(super) fn connect(&self, socket: GpuBackend) {
        let (sender, messages) = async_channel::bounded(MESSAGES);
        let _ = sender.try_send(Message::Tell);
        *lock(&self.thread) = Some(sender);
        let sizes = self.sizes.clone();
        let thread = std::thread::Builder::new().name("gpu-socket".into());
        if let Err(error) = thread.spawn(move || serve(&socket, &messages, &sizes)) {
            warn!(%error, "the VMM cannot be asked for the sizes of its displays: no thread");
        }
    }

    /// Gives the socket up.
    pub(super) fn disconnect(&self) {
        *lock(&self.thread) = None;
    }

    /// Returns whether the VMM has given a socket, and so has displays of its own.
    pub(super) fn is_connected(&self) -> bool {
        lock(&self.thread).is_some()
    }

    /// Asks what displays there should be. `None` without a socket.
    pub(super) fn ask(&self) -> Option<Receiver<Outputs>> {
        let (sender, answer) = async_channel::bounded(1);
        lock(&self.thread).as_ref()?.try_send(Message::Ask(sender)).ok()?;
        Some(answer)
    }

    /// Tells the size of a scanout, if it is another one; `None` if it is off.
    pub(super) fn tell(&self, scanout: u32, size: Option<Size>) {
        let size = size.unwrap_or_default();
        if lock(&self.sizes).insert(scanout, size) == Some(size) {
            return;
        }
        if let Some(thread) = lock(&self.thread).as_ref() {
            // With a full queue the thread comes to the sizes anyway.
            let _ = thread.try_send(Message::Tell);
        }
    }
}

/// Speaks with the VMM until it or we give up.
fn serve(socket: &GpuBackend, messages: &Receiver<Message>, sizes: &Sizes) {
    let mut told = BTreeMap::new();
    while let Ok(message) = messages.recv_blocking() {
        let now = lock(sizes).clone();
        let done = tell(socket, &now, &mut told).and_then(|()| match message {
            Message::Ask(question) => {
                let _ = question.try_send(outputs(&socket.get_display_info()?));
                Ok(())
            }
            Message::Tell => Ok(()),
        });
        if let Err(error) = done {
            debug!(%error, "the VMM closed its GPU socket");
            return;
        }
    }
}

/// Tells the sizes that are not `told` yet.
fn tell(
    socket: &GpuBackend,
    sizes: &BTreeMap<u32, Size>,
    told: &mut BTreeMap<u32, Size>,
) -> std::io::Result<()> {
    for (&scanout_id, &size) in sizes {
        if told.insert(scanout_id, size) != Some(size) {
            let Size { width, height } = size;
            socket.set_scanout(&VhostUserGpuScanout { scanout_id, width, height })?;
            if size.area() > 0 {
                // QEMU takes up a size with the first pixels of it. No other may follow when the scanout is off.
                let first = VhostUserGpuUpdate { scanout_id, x: 0, y: 0, width: 1, height: 1 };
                socket.update_scanout(&first, &[0; 4])?;
            }
        }
    }
    Ok(())
}

fn outputs(info: &VirtioGpuRespDisplayInfo) -> Outputs {
    let modes = info.pmodes;
    Outputs::new(modes.iter().map(|mode| (mode.enabled != 0).then(|| Size::new(mode.r.width, mode.r.height))))
}
