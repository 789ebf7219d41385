//! The source, attached to a scripted QEMU, and what a reader of the hub sees of it.

mod attaching;
mod flips;
mod guest;
mod order;
mod pictures;
mod refusals;
mod release;
mod still;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_spice::internals::{Attach, Ended, QmpError, Source, SourceError};
use qemu_spice::internals::{Change, Console, Hub, Leds, Subscription};
use qemu_spice::internals::{
    ConsoleId, DmabufReads, GuestCommand, PixelFormat, PointerButton, Scanout, Size, Window,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scripted_qemu::{
    Input, PATIENCE, Screen, ScriptedQemu, Vm, XR24, XRGB, memfd, named_memfd, open_files,
};

/// A little less than the time a guest waits at most.
const DEADLINE: Duration = Duration::from_millis(15);

/// A source at work, and the hub it writes into.
struct Attached {
    hub: Hub,
    commands: mpsc::Sender<GuestCommand>,
    running: JoinHandle<Result<Ended, SourceError>>,
    cancel: CancellationToken,
}

impl Attached {
    fn to(attach: Attach, wait: bool) -> Self {
        let (commands, receiver) = mpsc::channel(256);
        let (hub, cancel) = (Hub::default(), CancellationToken::new());
        let source = Source { attach, bus_name: "org.qemu".into(), wait, reads: DmabufReads::default() };
        let running = tokio::spawn(source.run(hub.clone(), receiver, cancel.clone()));
        Self { hub, commands, running, cancel }
    }

    fn console(&self) -> Arc<Console> {
        self.hub.console(ConsoleId(0)).unwrap()
    }

    /// Waits until QEMU has answered everything.
    async fn attached(&self) {
        self.guest(|guest| !guest.consoles.is_empty()).await;
    }

    async fn guest(&self, is: impl FnMut(&qemu_spice::internals::Guest) -> bool) {
        let mut guest = self.hub.guest();
        tokio::time::timeout(PATIENCE, guest.wait_for(is)).await.expect("the guest never became so").unwrap();
    }

    async fn ended(self) -> Result<Ended, SourceError> {
        tokio::time::timeout(PATIENCE, self.running).await.expect("the source never ended").unwrap()
    }
}

/// A scripted QEMU with a source attached to it, and the listener of console 0.
async fn start(vm: Vm) -> (ScriptedQemu, Screen, Attached) {
    let mut qemu = ScriptedQemu::start(vm);
    let attached = Attached::to(Attach::Peer(qemu.control_fd()), false);
    let screen = qemu.screen(0).await;
    (qemu, screen, attached)
}

/// What is shown, as packed B, G, R; `None` where nothing is.
fn shown(console: &Console) -> Option<Vec<u8>> {
    console.shown().map(|scanout| pixels(&scanout))
}

fn pixels(scanout: &Scanout) -> Vec<u8> {
    let mut bgrx = vec![0; scanout.size().area() as usize * 4];
    scanout.reader().unwrap().read(scanout.size().rect(), &mut bgrx).unwrap();
    bgrx.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

/// `count` pixels of one grey.
fn grey(level: u8, count: usize) -> Vec<u8> {
    vec![level; count * 4]
}

async fn eventually(mut is: impl FnMut() -> bool) {
    let becomes = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, becomes).await.expect("it never became so");
}

/// The next change a reader sees, as one that waits for it.
async fn next_change(reader: &Subscription) -> Change {
    let next = async {
        loop {
            if let Some(change) = reader.take() {
                return change;
            }
            reader.bell().recv().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("no change came")
}
