use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tracing::warn;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost_user_backend::VhostUserBackend;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vmm_sys_util::epoll::EventSet;

use super::PointingDevice;
use super::config::Config;
use super::events::{EV_LED, Event};
use crate::hub::{Hub, Leds};
use crate::source::together::Together;
use crate::source::vhost_user::LABEL;
use crate::source::vhost_user::backend::ring_features;
use crate::source::vhost_user::hold::lock;
use crate::source::vhost_user::pixels::{Guards, GuestMemory};
use crate::source::vhost_user::queue::{self, Broken, Vring};
use crate::source::vhost_user::socket::{Device, check_end};

/// The queues: events for the guest, and LEDs from it.
const EVENTS: u16 = 0;
const QUEUES: usize = 2;

/// The largest queue. QEMU's have 4 entries.
const QUEUE_SIZE: usize = 1024;

/// A keyboard and pointer with one connection to a VMM.
pub(in crate::source::vhost_user) struct InputDevice {
    memory: GuestMemory,
    guards: Mutex<Arc<Guards>>,
    hub: Hub,
    together: Together,
    pointer: PointingDevice,
    config: Mutex<Config>,
    /// Where events go, once the guest's driver is there.
    events: Mutex<Option<Vring>>,
    /// The guest made room for events, or stopped to take any.
    room: Notify,
    leds: Mutex<u8>,
    is_broken: AtomicBool,
}

impl InputDevice {
    /// Makes a device for a guest whose memory `memory` will be. Its LEDs, and what its pointer is, are told.
    pub(in crate::source::vhost_user) fn new(
        memory: GuestMemory,
        hub: Hub,
        together: Together,
        pointer: PointingDevice,
    ) -> Self {
        let device = Self {
            memory,
            guards: Mutex::default(),
            hub,
            together,
            pointer,
            config: Mutex::new(Config::new(pointer)),
            events: Mutex::default(),
            room: Notify::new(),
            leds: Mutex::default(),
            is_broken: AtomicBool::new(false),
        };
        device.tell_pointer(Some(pointer == PointingDevice::Tablet));
        device
    }

    /// Returns what the pointer is.
    pub(super) fn pointer(&self) -> PointingDevice {
        self.pointer
    }

    /// Gives a group of events to the guest, and waits while it has no room for them. A guest without a driver gets
    /// none.
    pub(super) async fn send(&self, group: &[Event]) {
        let group: Vec<_> = group.iter().map(|event| event.encode()).collect();
        loop {
            let room = self.room.notified();
            let Some(vring) = lock(&self.events).clone() else { return };
            match queue::push(&vring, &queue::snapshot(&self.memory), &group) {
                Ok(true) => return,
                Ok(false) => room.await,
                Err(broken) => return self.complain(&broken),
            }
        }
    }

    /// Takes the LED states that the guest sent.
    fn take_leds(&self, vring: &Vring) -> Result<(), Broken> {
        let memory = queue::snapshot(&self.memory);
        let mut leds = lock(&self.leds);
        while queue::is_running(vring) {
            let mut took = false;
            while let Some(request) = queue::take(vring, &memory)? {
                took = true;
                for event in request.bytes.as_chunks::<8>().0 {
                    change(&mut leds, Event::decode(*event));
                }
                request.answer(&[], vring, &memory)?;
            }
            if !queue::rest(vring)? || !took {
                break;
            }
        }
        let bits = u32::from(*leds);
        self.hub.change_guest(|guest| guest.leds = Leds::from_bits(bits));
        Ok(())
    }

    fn complain(&self, _: &Broken) {
        if !self.is_broken.swap(true, Ordering::Relaxed) {
            warn!("the guest broke a queue of its keyboard: no key reaches it until it reboots");
        }
    }

    /// Tells whether the pointer takes places; `None` without one.
    fn tell_pointer(&self, absolute: Option<bool>) {
        self.together.set_pointer(absolute);
        let absolute = absolute == Some(true);
        self.hub.change_guest(|guest| {
            for console in guest.consoles.values_mut().filter(|console| console.label.starts_with(LABEL)) {
                console.absolute = absolute;
            }
        });
    }
}

/// Changes LEDs as an event says. Linux' order is Num, Caps, Scroll.
fn change(leds: &mut u8, event: Event) {
    let bit = match (event.kind, event.code) {
        (EV_LED, 0) => Leds::NUM,
        (EV_LED, 1) => Leds::CAPS,
        (EV_LED, 2) => Leds::SCROLL,
        _ => return,
    };
    *leds = if event.value == 0 { *leds & !bit } else { *leds | bit };
}

impl Device for InputDevice {
    const NAME: &'static str = "keyboard";

    fn end(&self) {
        *lock(&self.events) = None;
        self.room.notify_one();
        self.tell_pointer(None);
    }
}

impl VhostUserBackend for InputDevice {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        // With event indices the guest would tell of the first new buffer alone, when a group needs more than one.
        ring_features() & !(1 << VIRTIO_RING_F_EVENT_IDX)
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::RESET_DEVICE
    }

    fn reset_device(&self) {
        *lock(&self.leds) = 0;
        self.hub.change_guest(|guest| guest.leds = Leds::default());
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let [offset, size] = [offset, size].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        lock(&self.config).read(offset, size)
    }

    fn set_config(&self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        lock(&self.config).write(usize::try_from(offset).unwrap_or(usize::MAX), bytes);
        Ok(())
    }

    fn update_memory(&self, memory: GuestMemory) -> io::Result<()> {
        *lock(&self.guards) = Guards::of(&memory);
        Ok(())
    }

    /// The queue takes nothing any more, so nothing waits for room in it.
    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        if queue == u32::from(EVENTS) {
            *lock(&self.events) = None;
            self.room.notify_one();
        }
        Ok(())
    }

    /// INVARIANT: never another error than that of the end, because the crate ends the worker on it without a word.
    fn handle_event(
        &self,
        event: u16,
        _events: EventSet,
        vrings: &[Vring],
        _thread: usize,
    ) -> io::Result<()> {
        check_end(event)?;
        let Some(vring) = vrings.get(usize::from(event)) else { return Ok(()) };
        if event == EVENTS {
            if queue::is_running(vring) {
                *lock(&self.events) = Some(vring.clone());
            }
            self.room.notify_one();
        } else if let Err(broken) = self.take_leds(vring)
            && queue::is_running(vring)
        {
            self.complain(&broken);
        }
        Ok(())
    }
}
