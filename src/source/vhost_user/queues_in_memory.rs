//! The device on queues that are already in a memory, without a VMM: for tests and the fuzz target.

use vhost_user_backend::VringT;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap};

use super::backend::Backend;
use super::pictures::Pictures;
use super::pixels::GuestMemory;
use super::queue::Vring;
use crate::frame::DmabufReads;
use crate::hub::Hub;
use crate::source::together::Together;

/// Entries of each queue.
pub const QUEUE_ENTRIES: u16 = 64;

/// Where each queue has its descriptors, available ring and used ring: control first, then cursor.
pub const QUEUE_ADDRESSES: [[u64; 3]; 2] = [[0x1000, 0x1800, 0x2000], [0x3000, 0x3800, 0x4000]];

/// A device and its guest's memory.
pub struct QueuesInMemory {
    backend: Backend,
    vrings: [Vring; 2],
    memory: GuestMemory,
}

impl QueuesInMemory {
    /// Makes a device that shows its pictures in `hub`, for a guest with this memory. `None` if that is empty.
    #[must_use]
    pub fn new(hub: Hub, memory: &[u8]) -> Option<Self> {
        let guest = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), memory.len())]).ok()?;
        guest.write_slice(memory, GuestAddress(0)).ok()?;
        let memory = GuestMemory::new(guest);
        let vring = |[descriptors, available, used]: [u64; 3]| {
            let vring = Vring::new(memory.clone(), QUEUE_ENTRIES).ok()?;
            vring.set_queue_size(QUEUE_ENTRIES);
            vring.set_queue_info(descriptors, available, used).ok()?;
            vring.set_queue_ready(true);
            vring.set_enabled(true);
            Some(vring)
        };
        let [control, cursor] = QUEUE_ADDRESSES.map(vring);
        let vrings = [control?, cursor?];
        Some(Self {
            backend: Backend::new(
                memory.clone(),
                Pictures::new(hub, Together::default(), DmabufReads::default()),
            ),
            vrings,
            memory,
        })
    }

    /// Carries out what waits in both queues.
    pub fn work(&self) {
        for (queue, vring) in self.vrings.iter().enumerate() {
            self.backend.kicked(std::slice::from_ref(vring), queue);
        }
    }

    /// Resets the device, as a guest that reboots.
    pub fn reset(&self) {
        vhost_user_backend::VhostUserBackend::reset_device(&self.backend);
    }

    /// Writes into the guest's memory. `None` if it is not there.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Option<()> {
        self.memory.memory().write_slice(bytes, GuestAddress(address)).ok()
    }

    /// Reads the guest's memory. `None` if it is not there.
    #[must_use]
    pub fn read(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.memory.memory().read_slice(&mut bytes, GuestAddress(address)).ok()?;
        Some(bytes)
    }
}

impl std::fmt::Debug for QueuesInMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuesInMemory").field("backend", &self.backend).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ConsoleId, Rect, Size};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Puts commands into the control queue: each a readable buffer and a writable one. Returns where replies are.
    fn queue(guest: &QueuesInMemory, commands: &[(u32, &[u32])]) -> Vec<u64> {
        let [descriptors, available, _] = QUEUE_ADDRESSES[0];
        let before = u16::from_le_bytes(guest.read(available + 2, 2).unwrap().try_into().unwrap());
        let mut replies = Vec::new();
        for (index, (kind, numbers)) in (before..).zip(commands) {
            let slot = index % (QUEUE_ENTRIES / 2);
            let (at, head) = (0x8000 + u64::from(slot) * 0x1000, slot * 2);
            let request: Vec<u8> =
                [*kind, 0, 0, 0, 0, 0].iter().chain(*numbers).flat_map(|n| n.to_le_bytes()).collect();
            guest.write(at, &request).unwrap();
            let mut chain = Vec::new();
            for (address, len, flags, next) in
                [(at, request.len() as u32, 1_u16, head + 1), (at + 0x800, 0x600, 2, 0)]
            {
                chain.extend(address.to_le_bytes());
                chain.extend(len.to_le_bytes());
                chain.extend(flags.to_le_bytes());
                chain.extend(next.to_le_bytes());
            }
            guest.write(descriptors + u64::from(head) * 16, &chain).unwrap();
            let entry = available + 4 + u64::from(index % QUEUE_ENTRIES) * 2;
            guest.write(entry, &head.to_le_bytes()).unwrap();
            replies.push(at + 0x800);
        }
        let after = before + commands.len() as u16;
        guest.write(available + 2, &after.to_le_bytes()).unwrap();
        replies
    }

    fn answered(guest: &QueuesInMemory) -> u16 {
        u16::from_le_bytes(guest.read(QUEUE_ADDRESSES[0][2] + 2, 2).unwrap().try_into().unwrap())
    }

    /// A guest that shows a picture of 64x32 pixels at 0x40000.
    fn guest(hub: &Hub) -> QueuesInMemory {
        let guest = QueuesInMemory::new(hub.clone(), &vec![0; 0x50000]).unwrap();
        queue(
            &guest,
            &[
                (0x101, &[1, 2, 64, 32]),
                (0x106, &[1, 1, 0x40000, 0, 64 * 32 * 4, 0]),
                (0x103, &[0, 0, 64, 32, 0, 1]),
            ],
        );
        guest.work();
        assert_eq!(answered(&guest), 3);
        guest
    }

    const TRANSFER: (u32, &[u32]) = (0x105, &[0, 0, 64, 32, 0, 0, 1, 0]);
    const FLUSH: (u32, &[u32]) = (0x104, &[8, 8, 16, 16, 1, 0]);

    #[test]
    fn what_a_guest_draws_reaches_a_reader() {
        let hub = Hub::default();
        let guest = guest(&hub);
        let reader = hub.console(ConsoleId(0)).unwrap().subscribe();
        let change = reader.take().unwrap();
        assert_eq!(change.scanout.unwrap().size(), Size::new(64, 32));
        guest.write(0x40000 + 8 * 64 * 4, &[7; 64 * 4]).unwrap();
        let replies = queue(&guest, &[TRANSFER, FLUSH]);
        guest.work();
        assert_eq!(guest.read(replies[1], 4).unwrap(), [0, 0x11, 0, 0]);
        let change = reader.take().unwrap();
        assert_eq!(change.damage.rects(), [Rect::new(8, 8, 16, 16)]);
        let mut row = vec![0; 16 * 4];
        change.scanout.unwrap().reader().unwrap().read(Rect::new(8, 8, 16, 1), &mut row).unwrap();
        assert_eq!(row, [7; 16 * 4]);
        guest.reset();
        let scanout = reader.take().unwrap().scanout.unwrap();
        scanout.reader().unwrap().read(Rect::new(8, 8, 16, 1), &mut row).unwrap();
        assert_eq!(row, [0; 16 * 4], "a reboot makes the screen black");
    }

    #[test]
    fn a_flush_is_answered_when_the_reader_that_waited_has_read() {
        let hub = Hub::default();
        let guest = Arc::new(guest(&hub));
        let console = hub.console(ConsoleId(0)).unwrap();
        let reader = console.subscribe();
        while reader.take().is_some() {}
        queue(&guest, &[TRANSFER, FLUSH]);
        let worker = guest.clone();
        let began = Instant::now();
        let thread = std::thread::spawn(move || worker.work());
        let change = loop {
            if let Some(change) = reader.take() {
                break change;
            }
            assert!(began.elapsed() < Duration::from_secs(5));
        };
        assert!(
            answered(&guest) < 5 || began.elapsed() > Duration::from_millis(16),
            "the reader has not read"
        );
        drop(change);
        thread.join().unwrap();
        let draws = console.draws();
        assert_eq!((answered(&guest), draws.answered), (5, 1));
        assert!(draws.late == 0 || began.elapsed() > Duration::from_millis(16), "the reader was in time");
        // A reader that does not come holds the guest no longer than a frame.
        while reader.take().is_some() {}
        queue(&guest, &[FLUSH]);
        guest.work();
        assert_eq!((answered(&guest), console.draws().late), (6, draws.late + 1));
    }

    /// As Linux does at a change of mode, and as a hostile guest does without end.
    #[tokio::test]
    async fn a_scanout_that_is_off_for_a_moment_stays_and_costs_one_task() {
        let hub = Hub::default();
        let guest = guest(&hub);
        let console = hub.console(ConsoleId(0)).unwrap();
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        for _ in 0..200 {
            queue(&guest, &[(0x103, &[0, 0, 64, 32, 0, 0]), (0x103, &[0, 0, 64, 32, 0, 1])]);
            guest.work();
            assert!(console.shown().is_some());
        }
        assert_eq!(tasks(), before + 1);
        queue(&guest, &[(0x103, &[0, 0, 64, 32, 0, 0])]);
        guest.work();
        assert!(console.shown().is_some(), "it is not off for long");
        let dark = async {
            while console.shown().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), dark).await.expect("it stays off");
        assert_eq!(tasks(), before);
    }

    #[test]
    fn a_broken_queue_ends_nothing() {
        let guest = guest(&Hub::default());
        let [descriptors, available, _] = QUEUE_ADDRESSES[0];
        // An index that runs ahead by more than there are entries.
        guest.write(available + 2, &1000_u16.to_le_bytes()).unwrap();
        guest.work();
        guest.write(available + 2, &3_u16.to_le_bytes()).unwrap();
        // A chain that goes on for ever, and one that does not exist.
        for head in [0_u16, 0xffff] {
            queue(&guest, &[FLUSH]);
            let next = [1_u16, 0].map(u16::to_le_bytes).concat();
            guest.write(descriptors + 12, &next).unwrap();
            let before = answered(&guest);
            guest.write(available + 4 + u64::from(before % QUEUE_ENTRIES) * 2, &head.to_le_bytes()).unwrap();
            guest.work();
        }
        let replies = queue(&guest, &[TRANSFER]);
        guest.work();
        let _ = guest.read(replies[0], 4);
    }
}
