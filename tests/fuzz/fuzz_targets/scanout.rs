//! Scanouts as QEMU describes them, in its three kinds of memory, and updates of them: refused, or readable.
#![no_main]

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{Buffer, Dmabuf, DmabufPlane, DmabufReads, ReadPath};
use qemu_spice::internals::{Rect, Scanout, Size, DamageFilter};
use rustix::fs::{MemfdFlags, SealFlags};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    memory: Memory,
    /// Rectangles: of memory that is ours they are written, of other memory they are said to have changed.
    updates: Vec<[u16; 4]>,
    data: &'a [u8],
}

#[derive(Debug, Arbitrary)]
enum Memory {
    Owned {
        width: u32,
        height: u32,
        stride: u32,
        pixman: u32,
    },
    Shared {
        offset: u32,
        width: u32,
        height: u32,
        stride: u32,
        pixman: u32,
    },
    Dmabuf {
        fourcc: u32,
        modifier: u64,
        backing: [u16; 2],
        crop: [u16; 4],
        bottom_up: bool,
        sealed: bool,
        planes: Vec<[u32; 2]>,
    },
}

fuzz_target!(|input: Input<'_>| {
    let Some(scanout) = scanout(&input.memory, input.data) else { return };
    let (scanout, mut still) = (Arc::new(scanout), DamageFilter::default());
    read(&scanout, scanout.size().rect());
    for rect in input.updates.iter().copied().map(rect) {
        if let Memory::Owned { stride, pixman, .. } = input.memory {
            let Ok(changed) = scanout.write(rect, stride, pixman, input.data) else { continue };
            assert!(changed.rects().iter().all(|part| rect.contains(*part)));
        } else if let Some(rect) = rect.intersection(scanout.size().rect()) {
            let changed = still.changed(rect, &scanout, Instant::now());
            assert!(changed.rects().iter().all(|part| scanout.size().rect().contains(*part)));
        }
        read(&scanout, rect);
    }
});

fn scanout(memory: &Memory, data: &[u8]) -> Option<Scanout> {
    match *memory {
        Memory::Owned { width, height, stride, pixman } => {
            Scanout::owned(width, height, stride, pixman, data).ok()
        }
        Memory::Shared { offset, width, height, stride, pixman } => {
            Scanout::shared(file(data, false), offset, width, height, stride, pixman).ok()
        }
        Memory::Dmabuf {
            fourcc,
            modifier,
            backing: [width, height],
            crop,
            bottom_up,
            sealed,
            ref planes,
        } => {
            let buffer = Arc::new(Buffer::new(file(data, sealed)).expect("a file has a size"));
            let plane = |&[offset, stride]: &[u32; 2]| DmabufPlane { buffer: buffer.clone(), offset, stride };
            let planes = planes.iter().map(plane).collect();
            let backing = Size::new(width.into(), height.into());
            let dmabuf = Dmabuf { planes, fourcc, modifier, backing, crop: rect(crop), bottom_up };
            Scanout::dmabuf(dmabuf, &DmabufReads::new(ReadPath::Auto, Some("/nowhere".into()))).ok()
        }
    }
}

/// A file that QEMU shares. One that is sealed cannot be cut short, and is mapped.
fn file(data: &[u8], sealed: bool) -> OwnedFd {
    let file =
        rustix::fs::memfd_create("scanout", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a file");
    rustix::io::write(&file, data).expect("room");
    if sealed {
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL).expect("a seal");
    }
    file
}

fn read(scanout: &Scanout, part: Rect) {
    let Ok(mut reader) = scanout.reader() else { return };
    let Some(part) = part.intersection(scanout.size().rect()) else { return };
    let mut pixels = vec![0; usize::try_from(part.area() * 4).expect("no more than its memory")];
    reader.read(part, &mut pixels).expect("what was checked can be read");
}

fn rect([x, y, width, height]: [u16; 4]) -> Rect {
    Rect::new(x.into(), y.into(), width.into(), height.into())
}
