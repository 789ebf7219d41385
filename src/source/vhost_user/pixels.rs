//! The memory that the device works on: the guest's, and files of our own that readers can map.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tracing::debug;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend,
    GuestMemoryLoadGuard, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress, MmapRegion,
    VolatileMemory,
};

use super::gpu::{Host, Range};
use crate::frame::{Buffer, GuestPixels};
use crate::sys::{FilePages, TruncationGuard, sealed_memory, udmabuf};

/// The guest's memory, as the VMM last told where it is.
pub(super) type GuestMemory = GuestMemoryAtomic<GuestMemoryMmap>;

/// The guest's memory as it is now.
pub(super) type Snapshot = GuestMemoryLoadGuard<GuestMemoryMmap>;

/// The pixels of a resource. Clones are the same memory.
#[derive(Clone, Debug)]
pub(super) enum Pixels {
    /// Copied here.
    Copied(Memory),
    /// The guest's own memory, as a GPU buffer.
    Buffer(Arc<Buffer>),
    /// The guest's own memory, in pieces.
    Pieces(Arc<Pieces>),
}

/// Ranges of guest memory that are one after the other in a resource.
#[derive(Debug)]
pub(super) struct Pieces {
    memory: Snapshot,
    ranges: Vec<Range>,
    _guards: Arc<Guards>,
}

impl GuestPixels for Pieces {
    fn len(&self) -> u64 {
        self.ranges.last().map_or(0, |last| last.at + last.len)
    }

    fn read_at(&self, mut at: u64, out: &mut [u8]) -> io::Result<()> {
        let first = self.ranges.partition_point(|range| range.at + range.len <= at);
        let mut rest = out;
        for range in self.ranges.iter().skip(first) {
            if rest.is_empty() {
                break;
            }
            let skipped = at - range.at;
            let len = usize::try_from(range.len - skipped).unwrap_or(usize::MAX).min(rest.len());
            let (now, after) = rest.split_at_mut_checked(len).ok_or(io::ErrorKind::UnexpectedEof)?;
            let address = GuestAddress(range.address + skipped);
            self.memory.read_slice(now, address).map_err(io::Error::other)?;
            at += u64::try_from(len).unwrap_or(u64::MAX);
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Guards of all memory of a guest, whose files its VMM could cut short.
#[derive(Debug, Default)]
pub(super) struct Guards {
    _regions: Vec<TruncationGuard>,
}

impl Guards {
    /// Guards the memory as it is now.
    pub(super) fn of(memory: &GuestMemory) -> Arc<Self> {
        let memory = memory.memory();
        let regions = memory.iter().filter_map(|region| {
            let start = region.get_host_address(MemoryRegionAddress(0)).ok()?;
            TruncationGuard::new(start, usize::try_from(region.len()).ok()?)
        });
        Arc::new(Self { _regions: regions.collect() })
    }
}

/// Shared memory of our own. It keeps its size, so readers may map it.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<MmapRegion>);

impl Memory {
    fn new(bytes: u64) -> io::Result<Self> {
        let file = sealed_memory(bytes)?;
        let size = usize::try_from(bytes).map_err(io::Error::other)?;
        let region = MmapRegion::from_file(FileOffset::new(File::from(file), 0), size);
        Ok(Self(Arc::new(region.map_err(io::Error::other)?)))
    }

    /// Returns another fd of the file.
    ///
    /// # Errors
    /// If there are too many open files.
    pub(super) fn file(&self) -> io::Result<OwnedFd> {
        let file = self.0.file_offset().ok_or(io::ErrorKind::NotFound)?;
        Ok(file.file().try_clone()?.into())
    }
}

impl Pixels {
    fn copied(&self) -> Option<&MmapRegion> {
        match self {
            Self::Copied(memory) => Some(&memory.0),
            Self::Buffer(_) | Self::Pieces(_) => None,
        }
    }
}

/// The device's memory during one command.
#[derive(Debug)]
pub(super) struct DeviceMemory {
    /// The guest's.
    pub(super) guest: Snapshot,
    /// … guarded.
    pub(super) guards: Arc<Guards>,
}

impl DeviceMemory {
    /// Finds a range of guest memory in the file that the VMM shares it by. `None` if it is not all in one.
    fn pages(&self, Range { address, len, .. }: Range) -> Option<FilePages<'_>> {
        let (region, at) = self.guest.to_region_addr(GuestAddress(address))?;
        let file = region.file_offset()?;
        let is_inside = at.0.checked_add(len).is_some_and(|end| end <= region.len());
        let offset = file.start().checked_add(at.0)?;
        is_inside.then(|| FilePages { fd: file.file().as_fd(), offset, len })
    }
}

impl Host for DeviceMemory {
    type Pixels = Pixels;

    fn allocate(&self, bytes: u64) -> Option<Pixels> {
        let made = Memory::new(bytes);
        // The guest is told, and could fill a log with it.
        let made = made.inspect_err(|error| debug!(%error, bytes, "no memory for a picture of the guest"));
        made.ok().map(Pixels::Copied)
    }

    fn share(&self, ranges: &[Range]) -> Option<Pixels> {
        let pages: Option<Vec<_>> = ranges.iter().map(|range| self.pages(*range)).collect();
        let buffer = pages.ok_or(io::ErrorKind::Unsupported.into());
        let buffer = buffer.and_then(|pages| udmabuf(&pages)).and_then(Buffer::new);
        match buffer {
            Ok(buffer) => return Some(Pixels::Buffer(Arc::new(buffer))),
            Err(error) => debug!(%error, "a blob of the guest is read in pieces"),
        }
        let is_there = |range: &Range| {
            let len = usize::try_from(range.len).ok();
            len.is_some_and(|len| self.guest.check_range(GuestAddress(range.address), len))
        };
        ranges.iter().all(is_there).then(|| {
            let (memory, guards) = (self.guest.clone(), self.guards.clone());
            Pixels::Pieces(Arc::new(Pieces { memory, ranges: ranges.to_vec(), _guards: guards }))
        })
    }

    fn copy(&self, address: u64, len: u64, pixels: &Pixels, at: u64) -> Option<()> {
        let (len, at) = (usize::try_from(len).ok()?, usize::try_from(at).ok()?);
        let to = pixels.copied()?.get_slice(at, len).ok()?;
        let mut done = 0;
        for from in self.guest.get_slices(GuestAddress(address), len) {
            let from = from.ok()?;
            from.copy_to_volatile_slice(to.offset(done).ok()?);
            done += from.len();
        }
        (done == len).then_some(())
    }

    fn read(&self, pixels: &Pixels, out: &mut [u8]) -> Option<()> {
        pixels.copied()?.get_slice(0, out.len()).ok()?.read_slice(out, 0).ok()
    }

    fn read_guest(&self, address: u64, out: &mut [u8]) -> Option<()> {
        self.guest.read_slice(out, GuestAddress(address)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_copied_from_guest_memory_and_from_nowhere_else() {
        // Two regions side by side, and a gap.
        let ranges = [(GuestAddress(0), 4096), (GuestAddress(4096), 4096), (GuestAddress(16_384), 4096)];
        let guest = GuestMemoryMmap::from_ranges(&ranges).unwrap();
        guest.write_slice(b"abcdef", GuestAddress(4093)).unwrap();
        let memory = DeviceMemory { guest: GuestMemory::new(guest).memory(), guards: Arc::default() };
        let pixels = memory.allocate(100).unwrap();
        assert_eq!(memory.copy(4093, 6, &pixels, 94), Some(()));
        let mut all = [0; 100];
        memory.read(&pixels, &mut all).unwrap();
        assert_eq!((&all[..94], &all[94..]), (&[0; 94][..], &b"abcdef"[..]));
        for (address, len, at) in [(4093, 6, 95), (8190, 6, 0), (12_288, 1, 0), (u64::MAX, 2, 0), (0, 101, 0)]
        {
            assert_eq!(memory.copy(address, len, &pixels, at), None, "{address} {len} {at}");
        }
        assert_eq!(pixels.copied().unwrap().size(), 100);
    }

    #[test]
    fn a_blob_is_read_where_it_is_even_if_its_file_is_cut_short() {
        let file = File::from(rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        file.set_len(16_384).unwrap();
        let part =
            |start, at| (GuestAddress(start), 8192, Some(FileOffset::new(file.try_clone().unwrap(), at)));
        let guest = GuestMemoryMmap::from_ranges_with_files([part(0, 0), part(0x10_0000, 8192)]).unwrap();
        let memory = GuestMemory::new(guest);
        let device = DeviceMemory { guest: memory.memory(), guards: Guards::of(&memory) };
        // The last pages of the second region come first.
        let ranges = [(0, 0x10_1000, 4096), (4096, 100, 1000)];
        let ranges = ranges.map(|(at, address, len)| Range { at, address, len });
        // Such memory may shrink, so it becomes no buffer.
        let Some(Pixels::Pieces(pieces)) = device.share(&ranges) else { panic!("it cannot be read") };
        assert_eq!(pieces.len(), 5096);
        device.guest.write_slice(b"end", GuestAddress(0x10_1ffd)).unwrap();
        device.guest.write_slice(b"begin", GuestAddress(100)).unwrap();
        let mut found = [0; 8];
        pieces.read_at(4093, &mut found).unwrap();
        assert_eq!(&found, b"endbegin");
        assert!(pieces.read_at(5090, &mut found).is_err() && pieces.read_at(u64::MAX, &mut found).is_err());
        let outside = Range { at: 0, address: 0x10_1000, len: 4097 };
        assert!(device.share(&[outside]).is_none());
        file.set_len(0).unwrap();
        pieces.read_at(4093, &mut found).unwrap();
        assert_eq!(found, [0; 8]);
        let pixels = device.allocate(16).unwrap();
        assert_eq!(device.copy(100, 16, &pixels, 0), Some(()), "the guest has lost its memory, not we ours");
    }
}
