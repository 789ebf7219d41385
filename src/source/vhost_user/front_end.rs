//! The VMM's side of the device: its GPU socket, where it is asked for the sizes that its displays want.
//!
//! INVARIANT: only a thread of its own waits for an answer of the VMM, because the VMM may itself wait for us.

use std::sync::Mutex;

use async_channel::{Receiver, Sender};
use tracing::{debug, warn};
use vhost::vhost_user::GpuBackend;
use vhost::vhost_user::gpu_message::VirtioGpuRespDisplayInfo;

use super::gpu::Outputs;
use super::hold::lock;
use crate::frame::Size;

/// The most questions that wait for the VMM.
const QUESTIONS: usize = 4;

/// Where an answer goes.
type Question = Sender<Outputs>;

/// The GPU socket, if the VMM has given one.
#[derive(Debug, Default)]
pub(super) struct FrontEnd(Mutex<Option<Sender<Question>>>);

impl FrontEnd {
    /// Takes the socket that the VMM gives at each start of the device, in the place of the one before.
    pub(super) fn connect(&self, socket: GpuBackend) {
        let (sender, questions) = async_channel::bounded(QUESTIONS);
        *lock(&self.0) = Some(sender);
        let thread = std::thread::Builder::new().name("gpu-socket".into());
        if let Err(error) = thread.spawn(move || answer(&socket, &questions)) {
            warn!(%error, "the VMM cannot be asked for the sizes of its displays: no thread");
        }
    }

    /// Gives the socket up.
    pub(super) fn disconnect(&self) {
        *lock(&self.0) = None;
    }

    /// Asks what displays there should be. `None` without a socket.
    pub(super) fn ask(&self) -> Option<Receiver<Outputs>> {
        let (sender, answer) = async_channel::bounded(1);
        lock(&self.0).as_ref()?.try_send(sender).ok()?;
        Some(answer)
    }
}

/// Passes questions on to the VMM until it or we give up.
fn answer(socket: &GpuBackend, questions: &Receiver<Question>) {
    while let Ok(question) = questions.recv_blocking() {
        match socket.get_display_info() {
            Ok(info) => {
                let _ = question.try_send(outputs(&info));
            }
            Err(error) => {
                debug!(%error, "the VMM closed its GPU socket");
                return;
            }
        }
    }
}

fn outputs(info: &VirtioGpuRespDisplayInfo) -> Outputs {
    let modes = info.pmodes;
    Outputs::new(modes.iter().map(|mode| (mode.enabled != 0).then(|| Size::new(mode.r.width, mode.r.height))))
}
