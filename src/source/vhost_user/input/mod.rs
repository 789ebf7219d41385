//! Keyboard and pointer of the guest, in one virtio-input device.

mod config;
mod device;
mod events;
mod keys;

pub(super) use device::InputDevice;

use std::convert::Infallible;

use tokio::sync::mpsc;

use crate::frame::GuestCommand;
use crate::hub::Hub;
use crate::source::moves::coalesce;

/// What the pointer of a device is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum PointingDevice {
    /// It is put to places.
    #[default]
    Tablet,
    /// It is moved by ways.
    Mouse,
}

/// The most commands taken at once.
const BATCH: usize = 128;

/// Brings commands to the guest, in order. While it has no room they wait in `commands`, which is bounded, and of
/// places that wait only the last counts.
pub(super) async fn forward(
    device: &InputDevice,
    hub: &Hub,
    commands: &mut mpsc::Receiver<GuestCommand>,
) -> Infallible {
    let mut batch = Vec::with_capacity(BATCH);
    while commands.recv_many(&mut batch, BATCH).await > 0 {
        coalesce(&mut batch);
        for command in batch.drain(..) {
            let size = match command {
                GuestCommand::Position { console, .. } => {
                    hub.console(console).and_then(|console| console.size())
                }
                _ => None,
            };
            device.send(&events::events(command, device.pointer(), size)).await;
        }
    }
    std::future::pending().await
}
