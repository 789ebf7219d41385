//! A hostile guest: a whole virtio-gpu on queues in the guest's memory, with a viewer that reads what it shows.
//!
//! The guest puts well-formed commands with any numbers into its queues, and then changes any bytes of its memory:
//! rings,
//! descriptors, commands.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{ConsoleId, Hub, QUEUE_ADDRESSES, QUEUE_ENTRIES, QueuesInMemory};

/// Bytes of guest memory: the queues, room for commands, and pixels.
const MEMORY: usize = 0x40000;

/// Where commands begin, and how far they are apart.
const COMMANDS: u64 = 0x5000;
const COMMAND: u64 = 0x400;

#[derive(Debug, Arbitrary)]
struct Input {
    rounds: Vec<Round>,
}

#[derive(Debug, Arbitrary)]
struct Round {
    commands: Vec<Request>,
    /// What is written over all that, and where.
    patches: Vec<(u32, u8)>,
    resets: bool,
}

#[derive(Debug, Arbitrary)]
struct Request {
    kind: u8,
    cursor: bool,
    fence: bool,
    /// Small numbers make commands that fit each other; of a large one the low half is shifted up.
    numbers: Vec<(bool, u16)>,
}

fuzz_target!(|input: Input| {
    let hub = Hub::default();
    let Some(guest) = QueuesInMemory::new(hub.clone(), &vec![0x5a; MEMORY]) else { return };
    for queue in QUEUE_ADDRESSES {
        guest.write(queue[1], &[0; 4 + 2 * QUEUE_ENTRIES as usize]);
        guest.write(queue[2], &[0; 4]);
    }
    let mut next = [0_u16; 2];
    for round in input.rounds.iter().take(16) {
        for request in round.commands.iter().take(usize::from(QUEUE_ENTRIES / 2)) {
            ask(&guest, request, &mut next[usize::from(request.cursor)]);
        }
        for (address, byte) in &round.patches {
            let _ = guest.write(u64::from(*address) % MEMORY as u64, &[*byte]);
        }
        guest.work();
        look(&hub);
        if round.resets {
            guest.reset();
        }
    }
});

/// Puts a command into its queue.
fn ask(guest: &QueuesInMemory, request: &Request, next: &mut u16) {
    let [descriptors, available, _] = QUEUE_ADDRESSES[usize::from(request.cursor)];
    let slot = *next % (QUEUE_ENTRIES / 2);
    let at = COMMANDS + u64::from(slot) * COMMAND;
    let kind = if request.cursor { 0x300 } else { 0x100 } + u32::from(request.kind % 16);
    let header = [kind, u32::from(request.fence), 1, 2, 3, 0];
    let number = |&(large, number): &(bool, u16)| u32::from(number) << if large { 16 } else { 0 };
    let numbers = header.into_iter().chain(request.numbers.iter().map(number));
    let bytes: Vec<u8> = numbers.take(128).flat_map(u32::to_le_bytes).collect();
    let _ = guest.write(at, &bytes);
    for (entry, address, len, flags) in
        [(slot * 2, at, bytes.len() as u32, 1_u16), (slot * 2 + 1, at + COMMAND / 2, 0x200, 2)]
    {
        let mut descriptor = address.to_le_bytes().to_vec();
        descriptor.extend(len.to_le_bytes());
        descriptor.extend(flags.to_le_bytes());
        descriptor.extend((slot * 2 + 1).to_le_bytes());
        let _ = guest.write(descriptors + u64::from(entry) * 16, &descriptor);
    }
    let _ = guest.write(available + 4 + u64::from(*next % QUEUE_ENTRIES) * 2, &(slot * 2).to_le_bytes());
    *next = next.wrapping_add(1);
    let _ = guest.write(available + 2, &next.to_le_bytes());
}

/// Reads everything that is shown.
fn look(hub: &Hub) {
    for console in (0..16).filter_map(|id| hub.console(ConsoleId(id))) {
        let Some(scanout) = console.shown() else { continue };
        let size = scanout.size();
        // Large pictures take time, and are read like small ones.
        let rows = size.height.min(8);
        let part = qemu_spice::internals::Rect::new(0, size.height - rows, size.width, rows);
        let mut pixels = vec![0; usize::try_from(part.area() * 4).expect("a picture")];
        scanout.reader().expect("memory of ours").read(part, &mut pixels).expect("what is shown can be read");
    }
}
