use std::collections::VecDeque;
use std::sync::Arc;

use crate::frame::{Buffer, Dmabuf};

/// The most pictures whose buffers are remembered: triple buffering of two heads. Each keeps its memory alive.
const MAX_KNOWN: usize = 8;

/// The buffers that a guest showed last. QEMU sends a new file descriptor with each flip; a buffer that is recognized
/// does not need to be mapped again, page by page.
#[derive(Debug, Default)]
pub(super) struct KnownBuffers {
    /// Those of each picture; the one shown last comes first.
    recent: VecDeque<Vec<Arc<Buffer>>>,
}

impl KnownBuffers {
    /// Replaces those buffers of `dmabuf` that are the same memory as a known one by the known one, and remembers the
    /// others.
    pub(super) fn reuse(&mut self, mut dmabuf: Dmabuf) -> Dmabuf {
        for plane in &mut dmabuf.planes {
            let mut known = self.recent.iter().flatten();
            if let Some(known) = known.find(|known| known.id() == plane.buffer.id()) {
                plane.buffer = Arc::clone(known);
            }
        }
        let buffers: Vec<_> = dmabuf.planes.iter().map(|plane| Arc::clone(&plane.buffer)).collect();
        let is_same = |known: &Vec<Arc<Buffer>>| {
            known.iter().map(|buffer| buffer.id()).eq(buffers.iter().map(|buffer| buffer.id()))
        };
        if let Some(same) = self.recent.iter().position(is_same) {
            self.recent.remove(same);
        }
        self.recent.push_front(buffers);
        self.recent.truncate(MAX_KNOWN);
        dmabuf
    }

    /// Forgets all buffers, because the guest stopped showing them.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{DmabufPlane, Size};
    use std::os::fd::OwnedFd;

    fn memory() -> OwnedFd {
        rustix::fs::memfd_create("buffer", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
    }

    fn dmabuf(fd: &OwnedFd, size: Size) -> Dmabuf {
        let buffer = Arc::new(Buffer::new(fd.try_clone().unwrap()).unwrap());
        Dmabuf {
            planes: vec![DmabufPlane { buffer, offset: 0, stride: 4 }],
            fourcc: 0,
            modifier: 0,
            backing: size,
            crop: size.rect(),
            bottom_up: false,
        }
    }

    #[test]
    fn a_buffer_is_recognized_behind_another_fd() {
        let (mut known, front, back) = (KnownBuffers::default(), memory(), memory());
        let mut reused = |fd, side| known.reuse(dmabuf(fd, Size::new(side, side))).planes.remove(0).buffer;
        let first = reused(&front, 1);
        assert!(!Arc::ptr_eq(&reused(&back, 1), &first));
        assert!(Arc::ptr_eq(&reused(&front, 1), &first));
        assert!(Arc::ptr_eq(&reused(&front, 2), &first), "another size of the same memory");
    }

    #[test]
    fn two_heads_of_three_buffers_with_four_planes_each_are_all_recognized() {
        let mut known = KnownBuffers::default();
        let memories: Vec<[OwnedFd; 4]> = (0..6).map(|_| std::array::from_fn(|_| memory())).collect();
        let picture = |fds: &[OwnedFd; 4]| Dmabuf {
            planes: fds.iter().flat_map(|fd| dmabuf(fd, Size::new(1, 1)).planes).collect(),
            ..dmabuf(&fds[0], Size::new(1, 1))
        };
        let first: Vec<Dmabuf> = memories.iter().map(|fds| known.reuse(picture(fds))).collect();
        for (fds, first) in memories.iter().zip(&first) {
            let again = known.reuse(picture(fds));
            let pairs = again.planes.iter().zip(&first.planes);
            assert!(pairs.into_iter().all(|(again, first)| Arc::ptr_eq(&again.buffer, &first.buffer)));
        }
    }

    #[test]
    fn a_guest_that_never_returns_to_a_buffer_keeps_few_alive() {
        let mut known = KnownBuffers::default();
        (0..100).for_each(|_| drop(known.reuse(dmabuf(&memory(), Size::new(1, 1)))));
        assert_eq!(known.recent.len(), MAX_KNOWN);
    }
}
