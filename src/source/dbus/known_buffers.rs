use std::collections::VecDeque;
use std::sync::Arc;

use crate::frame::{Buffer, Dmabuf};

/// The most buffers remembered: triple buffering of two heads. Each keeps its memory alive.
const MAX_KNOWN: usize = 8;

/// The buffers that a guest showed last. QEMU sends a new file descriptor with each flip; a buffer that is recognized
/// does not need to be mapped again, page by page.
#[derive(Debug, Default)]
pub(super) struct KnownBuffers {
    /// The one used last comes first.
    recent: VecDeque<Arc<Buffer>>,
}

impl KnownBuffers {
    /// Replaces those buffers of `dmabuf` that are the same memory as a known one by the known one, and remembers the
    /// others.
    pub(super) fn reuse(&mut self, mut dmabuf: Dmabuf) -> Dmabuf {
        for plane in &mut dmabuf.planes {
            let known = self.recent.iter().position(|known| known.id() == plane.buffer.id());
            if let Some(known) = known.and_then(|at| self.recent.remove(at)) {
                plane.buffer = known;
            }
            self.recent.push_front(Arc::clone(&plane.buffer));
        }
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
    fn a_guest_that_never_returns_to_a_buffer_keeps_few_alive() {
        let mut known = KnownBuffers::default();
        (0..100).for_each(|_| drop(known.reuse(dmabuf(&memory(), Size::new(1, 1)))));
        assert_eq!(known.recent.len(), MAX_KNOWN);
    }
}
