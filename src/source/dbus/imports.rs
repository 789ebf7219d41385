use std::collections::VecDeque;
use std::sync::Arc;

use crate::frame::{BufferId, Dmabuf};

/// The most buffers remembered: two heads' worth of triple buffering. Each keeps its memory alive.
const MAX_KNOWN: usize = 8;

/// The buffers that a guest flips between. QEMU sends a new fd with each flip; knowing the buffer again saves mapping
/// it again, page by page.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// The one shown now comes first, then the one before it.
    recent: VecDeque<Known>,
    /// A flip was lost since QEMU last told of one.
    lost: bool,
}

#[derive(Debug)]
struct Known {
    dmabuf: Dmabuf,
    /// What followed it the last time.
    next: Option<Ids>,
}

/// Which buffers a dmabuf's planes are in.
type Ids = Vec<BufferId>;

impl Imports {
    /// Whether this is what was shown last.
    pub(super) fn is_shown(&self, dmabuf: &Dmabuf) -> bool {
        self.recent.front().is_some_and(|known| are_same(&known.dmabuf, dmabuf))
    }

    /// Whether a flip is the one that would have been guessed; `None` if none would, or it is no flip.
    pub(super) fn would_guess(&self, dmabuf: &Dmabuf) -> Option<bool> {
        let guess = self.recent.get(self.next()?).filter(|_| !self.is_shown(dmabuf))?;
        Some(are_same(&guess.dmabuf, dmabuf))
    }

    /// A flip: gives the same dmabuf, with those buffers in place of its own that are the same memory and known
    /// already.
    pub(super) fn known(&mut self, mut dmabuf: Dmabuf) -> Dmabuf {
        for plane in &mut dmabuf.planes {
            let mut planes = self.recent.iter().flat_map(|known| &known.dmabuf.planes);
            if let Some(known) = planes.find(|known| known.buffer.id() == plane.buffer.id()) {
                plane.buffer = Arc::clone(&known.buffer);
            }
        }
        let same = self.recent.iter().position(|known| are_same(&known.dmabuf, &dmabuf));
        if let Some(before) = self.recent.front_mut().filter(|_| !self.lost && same != Some(0)) {
            before.next = Some(ids(&dmabuf));
        }
        let next = same.and_then(|at| self.recent.remove(at)).and_then(|known| known.next);
        self.recent.push_front(Known { dmabuf: dmabuf.clone(), next });
        self.recent.truncate(MAX_KNOWN);
        self.lost = false;
        dmabuf
    }

    /// A flip that was lost: gives what the guest shows now, if that can be guessed. Guests take their two or three
    /// buffers in turn.
    pub(super) fn guess(&mut self) -> Option<Dmabuf> {
        self.lost = true;
        let guessed = self.recent.remove(self.next()?)?;
        let dmabuf = guessed.dmabuf.clone();
        self.recent.push_front(guessed);
        Some(dmabuf)
    }

    /// Which of the buffers the guest takes next, going by the last time.
    fn next(&self) -> Option<usize> {
        let shown = self.recent.front()?;
        let others = || (1..).zip(self.recent.iter().skip(1)).filter(|(_, known)| known.is_like(shown));
        let followed = |known: &Known| shown.next.as_ref().is_some_and(|next| *next == ids(&known.dmabuf));
        let (at, _) = others().find(|(_, known)| followed(known)).or_else(|| others().next())?;
        Some(at)
    }

    /// Forgets all: the guest stopped showing them.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }
}

impl Known {
    /// Whether a guest could flip between the two.
    fn is_like(&self, other: &Self) -> bool {
        let (one, other) = (&self.dmabuf, &other.dmabuf);
        (one.fourcc, one.modifier, one.backing, one.crop)
            == (other.fourcc, other.modifier, other.backing, other.crop)
    }
}

fn ids(dmabuf: &Dmabuf) -> Ids {
    dmabuf.planes.iter().map(|plane| plane.buffer.id()).collect()
}

/// Whether both are the same picture in the same memory.
fn are_same(one: &Dmabuf, other: &Dmabuf) -> bool {
    let layout = |dmabuf: &Dmabuf| {
        let places = dmabuf.planes.iter().map(|plane| (plane.offset, plane.stride)).collect::<Vec<_>>();
        (places, dmabuf.fourcc, dmabuf.modifier, dmabuf.backing, dmabuf.crop, dmabuf.bottom_up)
    };
    ids(one) == ids(other) && layout(one) == layout(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Buffer, DmabufPlane, Rect, Size};
    use std::os::fd::OwnedFd;

    fn memory() -> OwnedFd {
        rustix::fs::memfd_create("buffer", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
    }

    fn flip(fd: &OwnedFd) -> Dmabuf {
        sized(fd, 1)
    }

    fn sized(fd: &OwnedFd, side: u32) -> Dmabuf {
        let buffer = Arc::new(Buffer::new(fd.try_clone().unwrap()).unwrap());
        Dmabuf {
            planes: vec![DmabufPlane { buffer, offset: 0, stride: 4 }],
            fourcc: 0,
            modifier: 0,
            backing: Size::new(side, side),
            crop: Rect::new(0, 0, side, side),
            bottom_up: false,
        }
    }

    fn is(guess: Option<Dmabuf>, fd: &OwnedFd) -> bool {
        guess.is_some_and(|guess| ids(&guess) == ids(&flip(fd)))
    }

    #[test]
    fn a_buffer_is_known_again_by_another_fd() {
        let (mut imports, front, back) = (Imports::default(), memory(), memory());
        let first = imports.known(flip(&front));
        assert!(!Arc::ptr_eq(&imports.known(flip(&back)).planes[0].buffer, &first.planes[0].buffer));
        assert!(Arc::ptr_eq(&imports.known(flip(&front)).planes[0].buffer, &first.planes[0].buffer));
        assert!(Arc::ptr_eq(&imports.known(sized(&front, 2)).planes[0].buffer, &first.planes[0].buffer));
    }

    #[test]
    fn a_guest_that_never_comes_back_to_a_buffer_is_not_followed_for_ever() {
        let mut imports = Imports::default();
        for _ in 0..100 {
            imports.known(flip(&memory()));
        }
        assert_eq!(imports.recent.len(), MAX_KNOWN);
    }

    #[test]
    fn between_two_buffers_every_lost_flip_is_guessed() {
        let (mut imports, old, one, two) = (Imports::default(), memory(), memory(), memory());
        for buffer in [&old, &one, &two] {
            imports.known(flip(buffer));
        }
        for _ in 0..10 {
            assert!(is(imports.guess(), &one));
            assert!(is(imports.guess(), &two));
        }
        assert_eq!(imports.would_guess(&flip(&one)), Some(true));
        assert_eq!(imports.would_guess(&flip(&old)), Some(false));
        assert_eq!(imports.would_guess(&flip(&two)), None, "it is shown already");
        imports.known(flip(&one));
        assert!(is(imports.guess(), &two));
    }

    #[test]
    fn three_buffers_are_taken_in_turn_once_that_was_seen() {
        let (mut imports, buffers) = (Imports::default(), [memory(), memory(), memory()]);
        for buffer in buffers.iter().chain(&buffers) {
            imports.known(flip(buffer));
        }
        for turn in 0..10 {
            assert!(is(imports.guess(), &buffers[turn % 3]), "turn {turn}");
        }
    }

    #[test]
    fn buffers_of_another_size_are_no_guess() {
        let mut imports = Imports::default();
        assert!(imports.guess().is_none());
        let buffers = [memory(), memory(), memory()];
        imports.known(flip(&buffers[0]));
        assert!(imports.guess().is_none());
        imports.known(flip(&buffers[1]));
        imports.known(sized(&buffers[2], 2));
        assert!(imports.guess().is_none());
    }
}
