use crate::frame::{Rect, Scanout};

/// After so many updates of the same part in a row it is looked at whether anything changes.
const SUSPICIOUS: u32 = 8;

/// After so many looks in a row at which something had changed it is a moving picture: for a while nobody looks.
const MOVING: u32 = 3;

/// The largest part that is looked at, in pixels: two copies of it are kept, and who looks is in the way of what QEMU says
/// next. A VGA's text has 720x400.
const MAX_AREA: u64 = 800 * 600;

/// Finds out what really changed in updates of shared memory: QEMU's VGA sends one of the whole screen every 30 ms in text
/// mode, where no more than a cursor blinks.
#[derive(Debug, Default)]
pub(super) struct Still {
    part: Option<Rect>,
    /// How often in a row.
    times: u32,
    /// How many looks in a row found a change.
    changes: u32,
    /// What the part looked like at the last update.
    seen: Vec<u8>,
    /// For the next look.
    spare: Vec<u8>,
}

impl Still {
    /// The part of an update's that changed since the last one, as far as was looked; `None` if nothing did.
    pub(super) fn changed(&mut self, part: Rect, scanout: &Scanout) -> Option<Rect> {
        if self.part != Some(part) {
            *self = Self { part: Some(part), ..Self::default() };
        }
        self.times = self.times.saturating_add(1);
        let Some(bytes) = usize::try_from(part.area() * 4).ok().filter(|_| part.area() <= MAX_AREA) else {
            return Some(part);
        };
        if self.times <= SUSPICIOUS {
            return Some(part);
        }
        self.spare.resize(bytes, 0);
        let mut read = || scanout.reader().and_then(|mut reader| reader.read(part, &mut self.spare));
        if read().is_err() {
            self.forget();
            return Some(part);
        }
        let changed =
            if self.seen.is_empty() { Some(part) } else { differing(part, &self.seen, &self.spare) };
        std::mem::swap(&mut self.seen, &mut self.spare);
        self.changes = if changed.is_some() { self.changes + 1 } else { 0 };
        if self.changes > MOVING {
            self.forget();
        }
        changed
    }

    /// What is shown is another picture, or drawn by somebody else.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Where two pictures of a part differ: the smallest rectangle around it.
fn differing(part: Rect, before: &[u8], now: &[u8]) -> Option<Rect> {
    let row = usize::try_from(part.width).ok()? * 4;
    let rows = || (part.y..).zip(before.chunks_exact(row).zip(now.chunks_exact(row)));
    let differs = |(y, (before, now)): (u32, (&[u8], &[u8]))| {
        let pixels = || (part.x..).zip(before.as_chunks::<4>().0.iter().zip(now.as_chunks::<4>().0));
        let changed = || pixels().filter(|(_, (before, now))| before != now).map(|(x, _)| x);
        let (left, right) = (changed().next()?, changed().last()?);
        Some(Rect::new(left, y, right - left + 1, 1))
    };
    rows().filter(|(_, (before, now))| before != now).filter_map(differs).reduce(Rect::union)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    const XRGB: u32 = 0x2002_0888;

    fn memory(level: u8) -> (OwnedFd, Scanout) {
        let fd = rustix::fs::memfd_create("still", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::pwrite(&fd, &[level; 64], 0).unwrap();
        let scanout = Scanout::shared(fd.try_clone().unwrap(), 0, 4, 4, 16, XRGB).unwrap();
        (fd, scanout)
    }

    /// How many of so many updates are not passed over.
    fn told(still: &mut Still, part: Rect, scanout: &Scanout, updates: usize) -> usize {
        (0..updates).filter(|_| still.changed(part, scanout).is_some()).count()
    }

    #[test]
    fn a_picture_that_stands_still_is_told_of_a_few_times_only() {
        let (mut still, (_fd, scanout)) = (Still::default(), memory(1));
        assert_eq!(told(&mut still, scanout.size().rect(), &scanout, 1000), 9);
    }

    #[test]
    fn every_change_is_told_of_at_once() {
        let (mut still, (fd, scanout)) = (Still::default(), memory(1));
        let part = scanout.size().rect();
        told(&mut still, part, &scanout, 20);
        for level in 2..50 {
            rustix::io::pwrite(&fd, &[level], 63).unwrap();
            assert!(still.changed(part, &scanout).unwrap().contains(Rect::new(3, 3, 1, 1)), "change {level}");
            told(&mut still, part, &scanout, usize::from(level) % 20);
        }
    }

    #[test]
    fn no_more_is_told_of_than_what_changed() {
        let (mut still, (fd, scanout)) = (Still::default(), memory(1));
        let part = scanout.size().rect();
        told(&mut still, part, &scanout, 20);
        rustix::io::pwrite(&fd, &[7], 16 + 8).unwrap();
        rustix::io::pwrite(&fd, &[7], 32 + 4).unwrap();
        assert_eq!(still.changed(part, &scanout), Some(Rect::new(1, 1, 2, 2)));
        assert_eq!(still.changed(part, &scanout), None);
    }

    #[test]
    fn a_cursor_that_blinks_costs_one_update_a_blink() {
        let (mut still, (fd, scanout)) = (Still::default(), memory(1));
        let part = scanout.size().rect();
        told(&mut still, part, &scanout, 20);
        let blink = |level: u8| rustix::io::pwrite(&fd, &[level % 2], 63).unwrap();
        let counts = (0..20).map(|level| {
            blink(level);
            told(&mut still, part, &scanout, 8)
        });
        assert!(counts.eq([1; 20]));
    }

    #[test]
    fn a_moving_picture_is_mostly_not_looked_at() {
        let (mut still, (fd, scanout)) = (Still::default(), memory(1));
        let mut looks = 0;
        for level in 0..120 {
            rustix::io::pwrite(&fd, &[level], 63).unwrap();
            assert!(still.changed(scanout.size().rect(), &scanout).is_some());
            looks += usize::from(still.times > SUSPICIOUS);
        }
        assert!(looks < 45, "{looks} looks at 120 updates");
    }

    #[test]
    fn other_parts_are_not_taken_for_the_same() {
        let (mut still, (_fd, scanout)) = (Still::default(), memory(1));
        told(&mut still, scanout.size().rect(), &scanout, 20);
        assert!(still.changed(Rect::new(0, 0, 2, 2), &scanout).is_some());
        let gone = memory(1).1;
        told(&mut still, gone.size().rect(), &gone, 20);
        still.forget();
        assert!(still.changed(gone.size().rect(), &gone).is_some());
    }
}
