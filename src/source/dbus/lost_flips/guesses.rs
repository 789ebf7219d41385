use std::collections::VecDeque;

use crate::frame::{BufferId, Dmabuf};

/// The most dmabufs remembered: triple buffering of two heads. Each keeps its memory alive.
const MAX_KNOWN: usize = 8;

/// The dmabufs that a guest flips between, from which the next one can be guessed.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    /// The one shown now comes first, then the one before it.
    recent: VecDeque<KnownFlip>,
    /// Whether a flip was lost since QEMU last sent one.
    lost: bool,
}

#[derive(Debug)]
struct KnownFlip {
    dmabuf: Dmabuf,
    /// The buffers that followed it the last time.
    next: Option<Ids>,
}

/// The buffers of a dmabuf's planes.
type Ids = Vec<BufferId>;

impl Guesses {
    /// Returns whether `dmabuf` was shown last.
    pub(super) fn is_shown(&self, dmabuf: &Dmabuf) -> bool {
        self.recent.front().is_some_and(|known| are_same(&known.dmabuf, dmabuf))
    }

    /// Returns whether the flip to `dmabuf` would have been guessed; `None` if there is no guess, or no flip.
    pub(super) fn would_guess(&self, dmabuf: &Dmabuf) -> Option<bool> {
        let guess = self.recent.get(self.next()?).filter(|_| !self.is_shown(dmabuf))?;
        Some(are_same(&guess.dmabuf, dmabuf))
    }

    /// Remembers that QEMU sent a flip to `dmabuf`.
    pub(super) fn flipped(&mut self, dmabuf: &Dmabuf) {
        let same = self.recent.iter().position(|known| are_same(&known.dmabuf, dmabuf));
        if let Some(before) = self.recent.front_mut().filter(|_| !self.lost && same != Some(0)) {
            before.next = Some(ids(dmabuf));
        }
        let next = same.and_then(|at| self.recent.remove(at)).and_then(|known| known.next);
        self.recent.push_front(KnownFlip { dmabuf: dmabuf.clone(), next });
        self.recent.truncate(MAX_KNOWN);
        self.lost = false;
    }

    /// Guesses what the guest shows after a lost flip: guests take their two or three buffers in turn. `None` if that
    /// cannot be guessed.
    pub(super) fn guess(&mut self) -> Option<Dmabuf> {
        self.lost = true;
        let guessed = self.recent.remove(self.next()?)?;
        let dmabuf = guessed.dmabuf.clone();
        self.recent.push_front(guessed);
        Some(dmabuf)
    }

    /// Returns the index of the buffer that the guest takes next, if it does as the last time.
    fn next(&self) -> Option<usize> {
        let shown = self.recent.front()?;
        let others = || (1..).zip(self.recent.iter().skip(1)).filter(|(_, known)| known.is_like(shown));
        let followed =
            |known: &KnownFlip| shown.next.as_ref().is_some_and(|next| *next == ids(&known.dmabuf));
        let (at, _) = others().find(|(_, known)| followed(known)).or_else(|| others().next())?;
        Some(at)
    }

    /// Forgets all buffers, because the guest stopped showing them.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }
}

impl KnownFlip {
    /// Returns whether a guest could flip between the two.
    fn is_like(&self, other: &Self) -> bool {
        let (one, other) = (&self.dmabuf, &other.dmabuf);
        (one.fourcc, one.modifier, one.backing, one.crop)
            == (other.fourcc, other.modifier, other.backing, other.crop)
    }
}

fn ids(dmabuf: &Dmabuf) -> Ids {
    dmabuf.planes.iter().map(|plane| plane.buffer.id()).collect()
}

/// Returns whether both are the same picture in the same memory.
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
    use std::sync::Arc;

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
    fn between_two_buffers_every_lost_flip_is_guessed() {
        let (mut guesses, old, one, two) = (Guesses::default(), memory(), memory(), memory());
        for buffer in [&old, &one, &two] {
            guesses.flipped(&flip(buffer));
        }
        for _ in 0..10 {
            assert!(is(guesses.guess(), &one));
            assert!(is(guesses.guess(), &two));
        }
        assert_eq!(guesses.would_guess(&flip(&one)), Some(true));
        assert_eq!(guesses.would_guess(&flip(&old)), Some(false));
        assert_eq!(guesses.would_guess(&flip(&two)), None, "it is shown already");
        guesses.flipped(&flip(&one));
        assert!(is(guesses.guess(), &two));
    }

    #[test]
    fn three_buffers_are_taken_in_turn_once_that_was_seen() {
        let (mut guesses, buffers) = (Guesses::default(), [memory(), memory(), memory()]);
        for buffer in buffers.iter().chain(&buffers) {
            guesses.flipped(&flip(buffer));
        }
        for turn in 0..10 {
            assert!(is(guesses.guess(), &buffers[turn % 3]), "turn {turn}");
        }
    }

    #[test]
    fn buffers_of_another_size_are_no_guess() {
        let mut guesses = Guesses::default();
        assert!(guesses.guess().is_none());
        let buffers = [memory(), memory(), memory()];
        guesses.flipped(&flip(&buffers[0]));
        assert!(guesses.guess().is_none());
        guesses.flipped(&flip(&buffers[1]));
        guesses.flipped(&sized(&buffers[2], 2));
        assert!(guesses.guess().is_none());
    }
}
