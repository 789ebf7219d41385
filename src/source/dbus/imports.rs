use std::collections::VecDeque;
use std::sync::Arc;

use crate::frame::{Buffer, Dmabuf};

/// The most buffers remembered: two heads' worth of triple buffering. Each keeps its memory alive.
const MAX_KNOWN: usize = 8;

/// The buffers that a guest flips between. QEMU sends a new fd with each flip; knowing the buffer again saves mapping
/// it again, page by page.
#[derive(Debug, Default)]
pub(super) struct Imports {
    recent: VecDeque<Arc<Buffer>>,
}

impl Imports {
    /// The same dmabuf, with those buffers in place of its own that are the same memory and known already.
    pub(super) fn known(&mut self, mut dmabuf: Dmabuf) -> Dmabuf {
        for plane in &mut dmabuf.planes {
            let known = self.recent.iter().position(|buffer| buffer.id() == plane.buffer.id());
            if let Some(buffer) = known.and_then(|at| self.recent.remove(at)) {
                plane.buffer = buffer;
            }
            self.recent.push_front(plane.buffer.clone());
            self.recent.truncate(MAX_KNOWN);
        }
        dmabuf
    }

    /// Forgets all: the guest stopped showing them.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{DmabufPlane, Rect, Size};
    use std::os::fd::OwnedFd;

    fn memory() -> OwnedFd {
        rustix::fs::memfd_create("buffer", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
    }

    fn flip(fd: &OwnedFd) -> Dmabuf {
        let buffer = Arc::new(Buffer::new(fd.try_clone().unwrap()).unwrap());
        Dmabuf {
            planes: vec![DmabufPlane { buffer, offset: 0, stride: 4 }],
            fourcc: 0,
            modifier: 0,
            backing: Size::new(1, 1),
            crop: Rect::new(0, 0, 1, 1),
            bottom_up: false,
        }
    }

    #[test]
    fn a_buffer_is_known_again_by_another_fd() {
        let (mut imports, front, back) = (Imports::default(), memory(), memory());
        let first = imports.known(flip(&front));
        assert!(!Arc::ptr_eq(&imports.known(flip(&back)).planes[0].buffer, &first.planes[0].buffer));
        assert!(Arc::ptr_eq(&imports.known(flip(&front)).planes[0].buffer, &first.planes[0].buffer));
    }

    #[test]
    fn a_guest_that_never_comes_back_to_a_buffer_is_not_followed_for_ever() {
        let mut imports = Imports::default();
        for _ in 0..100 {
            imports.known(flip(&memory()));
        }
        assert_eq!(imports.recent.len(), MAX_KNOWN);
    }
}
