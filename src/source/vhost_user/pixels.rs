//! The memory that the device works on: the guest's, and files of our own that readers can map.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tracing::debug;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryLoadGuard,
    GuestMemoryMmap, GuestMemoryRegion, MmapRegion, VolatileMemory,
};

use super::gpu::{Host, Range};
use crate::frame::Buffer;
use crate::sys::{FilePages, sealed_memory, udmabuf};

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
    InPlace(Arc<Buffer>),
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
            Self::InPlace(_) => None,
        }
    }
}

/// The device's memory during one command.
#[derive(Debug)]
pub(super) struct DeviceMemory(pub(super) Snapshot);

impl DeviceMemory {
    /// Finds a range of guest memory in the file that the VMM shares it by. `None` if it is not all in one.
    fn pages(&self, Range { address, len, .. }: Range) -> Option<FilePages<'_>> {
        let (region, at) = self.0.to_region_addr(GuestAddress(address))?;
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
        let buffer = udmabuf(&pages?).and_then(Buffer::new);
        let buffer = buffer.inspect_err(|error| debug!(%error, "a blob of the guest is copied, not shared"));
        buffer.ok().map(|buffer| Pixels::InPlace(Arc::new(buffer)))
    }

    fn copy(&self, address: u64, len: u64, pixels: &Pixels, at: u64) -> Option<()> {
        let (len, at) = (usize::try_from(len).ok()?, usize::try_from(at).ok()?);
        let to = pixels.copied()?.get_slice(at, len).ok()?;
        let mut done = 0;
        for from in self.0.get_slices(GuestAddress(address), len) {
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
        self.0.read_slice(out, GuestAddress(address)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestAddressSpace;

    #[test]
    fn pixels_are_copied_from_guest_memory_and_from_nowhere_else() {
        // Two regions side by side, and a gap.
        let ranges = [(GuestAddress(0), 4096), (GuestAddress(4096), 4096), (GuestAddress(16_384), 4096)];
        let guest = GuestMemoryMmap::from_ranges(&ranges).unwrap();
        guest.write_slice(b"abcdef", GuestAddress(4093)).unwrap();
        let memory = DeviceMemory(GuestMemory::new(guest).memory());
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
}
