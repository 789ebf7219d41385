//! The device as the crate `vhost-user-backend` drives it: one thread for each of its two queues, and one that answers
//! the VMM.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::warn;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{GpuBackend, VhostUserVirtioFeatures};
use vhost_user_backend::VhostUserBackend;
use virtio_bindings::virtio_config::{VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmm_sys_util::epoll::EventSet;

use super::front_end::FrontEnd;
use super::gpu::{Config, Device as Gpu, Effect, asks_for_display};
use super::hold::{Turn, lock};
use super::notices::Notices;
use super::pictures::Pictures;
use super::pixels::{DeviceMemory, Guards, GuestMemory, Pixels, Snapshot};
use super::queue::{self, Broken, Request, Vring};
use super::socket::{Device, check_end};
use crate::frame::{Size, Window};

/// `VIRTIO_GPU_F_EDID` and `VIRTIO_GPU_F_RESOURCE_BLOB`, by their bits.
const GPU_FEATURES: u64 = 1 << 1 | 1 << 3;

/// The largest queue: virtio's limit, which crosvm asks for. QEMU's have 64 and 16 entries.
const QUEUE_SIZE: usize = 32_768;

/// The queues, each with its worker thread, so that a frame that is being read does not hold the pointer.
const CONTROL: usize = 0;
const QUEUES: usize = 2;

/// How long the VMM may take to say which sizes its displays want. While a display of its own holds QEMU up, that is up
/// to a second.
const SIZES_WITHIN: Duration = Duration::from_millis(1500);

/// A virtio-gpu device with one connection to a VMM.
#[derive(Debug)]
pub(super) struct Backend {
    memory: GuestMemory,
    guards: Mutex<Arc<Guards>>,
    device: Mutex<Gpu<Pixels>>,
    /// INVARIANT: nobody who holds this lock waits for the VMM, which may wait for our answer to a config request.
    config: Mutex<Config>,
    front_end: FrontEnd,
    notices: Notices,
    pictures: Pictures,
    turns: [Turn; QUEUES],
    is_broken: AtomicBool,
    /// The connection has ended.
    is_over: AtomicBool,
}

impl Backend {
    /// Makes a device without resources, for a guest whose memory `memory` will be.
    pub(super) fn new(memory: GuestMemory, pictures: Pictures) -> Self {
        Self {
            memory,
            guards: Mutex::default(),
            device: Mutex::default(),
            config: Mutex::default(),
            front_end: FrontEnd::default(),
            notices: Notices::default(),
            pictures,
            turns: Default::default(),
            is_broken: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Fits the display numbered `scanout` to a viewer's window. Where the VMM has displays of its own, they decide.
    pub(super) fn fit(&self, scanout: u32, window: &Window) {
        if !self.front_end.is_connected() && lock(&self.config).fit(scanout, window) {
            self.notices.config_changed();
        }
    }

    /// Carries out all requests that wait in the queues of a worker `thread`.
    pub(super) fn kicked(&self, vrings: &[Vring], thread: usize) {
        let done = vrings.iter().try_for_each(|vring| self.work(thread, vring));
        if done.is_err()
            && vrings.iter().any(queue::is_running)
            && !self.is_broken.swap(true, Ordering::Relaxed)
        {
            warn!(
                "the guest broke a queue of its graphics card: its screen may stand still until it reboots"
            );
        }
    }

    /// Carries out all requests that wait in a queue.
    fn work(&self, queue: usize, vring: &Vring) -> Result<(), Broken> {
        let Some(turn) = self.turns.get(queue) else { return Ok(()) };
        let _turn = turn.begin();
        while queue::is_running(vring) && !turn.is_ending() && !self.is_over.load(Ordering::SeqCst) {
            queue::wake(vring)?;
            let mut took = false;
            while !turn.is_ending() {
                let memory = queue::snapshot(&self.memory);
                let Some(request) = queue::take(vring, &memory)? else { break };
                took = true;
                let reply = self.carry_out(queue, &request, &memory, turn);
                request.answer(&reply, vring, &memory)?;
            }
            if !queue::rest(vring)? || !took {
                break;
            }
        }
        Ok(())
    }

    /// Carries out one request. Returns its reply when what it drew was read.
    fn carry_out(&self, queue: usize, request: &Request, memory: &Snapshot, turn: &Turn) -> Vec<u8> {
        let host = DeviceMemory { guest: memory.clone(), guards: lock(&self.guards).clone() };
        if queue != CONTROL {
            let effect = lock(&self.device).cursor(&request.bytes, &host);
            self.pictures.apply(effect.into_iter().collect(), turn);
            return Vec::new();
        }
        if asks_for_display(&request.bytes) {
            self.update_outputs(turn);
        }
        let outputs = lock(&self.config).outputs(&request.bytes);
        let outcome = lock(&self.device).control(&request.bytes, &outputs, &host);
        self.tell_sizes(&outcome.effects);
        self.pictures.apply(outcome.effects, turn);
        outcome.reply
    }

    /// Tells the VMM the sizes of pictures that changed.
    fn tell_sizes(&self, effects: &[Effect<Pixels>]) {
        for effect in effects {
            if let Effect::Show { scanout, picture } = effect {
                self.front_end.tell(
                    *scanout,
                    picture.as_ref().map(|picture| Size::new(picture.part.width, picture.part.height)),
                );
            }
        }
    }

    /// Asks the VMM which displays there should be now. If it does not say, they are as before.
    fn update_outputs(&self, turn: &Turn) {
        let Some(answer) = self.front_end.ask() else { return };
        if let Some(Ok(outputs)) = turn.wait(answer.recv(), Instant::now() + SIZES_WITHIN) {
            lock(&self.config).set_outputs(outputs);
        }
    }
}

impl Device for Backend {
    const NAME: &'static str = "graphics card";

    fn take_notices(&self, socket: OwnedFd) {
        self.notices.connect(socket);
    }

    fn end(&self) {
        self.notices.disconnect();
        self.is_over.store(true, Ordering::SeqCst);
        self.pictures.end();
        self.front_end.disconnect();
        for turn in &self.turns {
            turn.end();
        }
    }
}

/// Returns the features of any device here: those of its queues. QEMU offers RING_RESET to the guest whatever we say,
/// and asks us for what the guest took.
pub(super) fn ring_features() -> u64 {
    let bits = [
        VIRTIO_F_VERSION_1,
        VIRTIO_F_NOTIFY_ON_EMPTY,
        VIRTIO_F_RING_RESET,
        VIRTIO_RING_F_INDIRECT_DESC,
        VIRTIO_RING_F_EVENT_IDX,
    ];
    let bits: u64 = bits.iter().fold(0, |all, bit| all | 1 << bit);
    bits | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        ring_features() | GPU_FEATURES
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::RESET_DEVICE
    }

    /// Forgets what the guest made. A pause does not come here.
    fn reset_device(&self) {
        lock(&self.config).reset();
        let effects = lock(&self.device).reset();
        self.tell_sizes(&effects);
        let [turn, ..] = &self.turns;
        self.pictures.apply(effects, turn);
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let [offset, size] = [offset, size].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        lock(&self.config).read(offset, size)
    }

    fn set_config(&self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        if lock(&self.config).write(usize::try_from(offset).unwrap_or(usize::MAX), bytes) {
            self.notices.config_changed();
        }
        Ok(())
    }

    fn update_memory(&self, memory: GuestMemory) -> io::Result<()> {
        *lock(&self.guards) = Guards::of(&memory);
        Ok(())
    }

    fn set_gpu_socket(&self, socket: GpuBackend) -> io::Result<()> {
        self.front_end.connect(socket);
        Ok(())
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        vec![1, 2]
    }

    /// Waits until the queue's worker has answered what it took: at once, even if it is still being read.
    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        if let Some(turn) = usize::try_from(queue).ok().and_then(|queue| self.turns.get(queue)) {
            turn.end();
        }
        Ok(())
    }

    /// INVARIANT: never another error than that of the end, because the crate ends the worker on it without a word.
    fn handle_event(&self, event: u16, _events: EventSet, vrings: &[Vring], thread: usize) -> io::Result<()> {
        check_end(event)?;
        self.kicked(vrings, thread);
        Ok(())
    }
}
