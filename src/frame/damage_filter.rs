use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Rect, Region, Scanout};

/// Pictures' worth of updates after which comparing starts.
const SUSPICIOUS: u64 = 8;

/// Upper limit of that number. It doubles each time comparing finds that most did change.
const MOVING: u64 = 32;

/// Cap on the credit in pictures: comparing goes on while it saved more pixels than it found changed. One new
/// page does not end it, a film does.
const CREDIT: u64 = 4;

/// Time without an update after which the copy is dropped.
const REST: Duration = Duration::from_secs(2);

/// Finds the real damage in updates of memory that QEMU can write to. Some devices report the whole picture
/// every 30 ms although only a cursor blinks (QEMU's VGA in text mode), because they do not know what the
/// guest draws.
///
/// Guests that flip say as little: each flip is another buffer, whatever is drawn in it. The copy is handed on from one
/// to the next.
///
/// It keeps at most one copy, of the scanout shown, and none while nobody reads pixels. Pixels by value are
/// compared as they are written ([`Scanout::write`]) and need no copy.
///
/// A pure state machine but for the pixels.
#[derive(Debug)]
pub struct DamageFilter {
    /// The scanout that has a copy.
    kept: Option<Arc<Scanout>>,
    /// The part that was not reported as damaged since the copy was made. Something there may have been drawn before,
    /// be in the copy, and be reported only now.
    unsure: Region,
    /// Pixels reported as damaged since comparing stopped.
    told: u64,
    /// Pictures' worth of updates before comparing starts.
    wait: u64,
    /// Pixels reported, less twice the pixels changed.
    credit: u64,
    /// When the copy is given back.
    rest_at: Option<Instant>,
}

impl Default for DamageFilter {
    fn default() -> Self {
        Self { kept: None, unsure: Region::new(), told: 0, wait: SUSPICIOUS, credit: 0, rest_at: None }
    }
}

impl DamageFilter {
    /// Returns the damage that readers need to read for an update of `told`. It is empty if nothing changed.
    #[must_use]
    pub fn changed(&mut self, told: Rect, scanout: &Arc<Scanout>, now: Instant) -> Region {
        if !scanout.is_read() {
            return told.into();
        }
        if !self.kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, scanout)) {
            return self.suspect(told, scanout, now);
        }
        self.rest_at = Some(now + REST);
        let Ok(mut changed) = scanout.take_in(told) else {
            self.give_up();
            return told.into();
        };
        let picture = scanout.size().area();
        match (self.credit + told.area()).checked_sub(changed.area().saturating_mul(2)) {
            Some(credit) => {
                self.credit = credit.min(picture * CREDIT);
                if credit >= picture {
                    self.wait = SUSPICIOUS; // it was worth it
                }
            }
            None => self.give_up(),
        }
        for &unsure in self.unsure.within(told).rects() {
            changed.add(unsure);
        }
        self.unsure = self.unsure.without([told].into_iter());
        changed
    }

    /// Takes notice of a `scanout` in the place of the one `before`. Returns it, and the damage that readers need to
    /// read: all of it, unless both are of the same kind and were compared.
    #[must_use]
    pub fn flipped(&mut self, before: &Scanout, scanout: Scanout, now: Instant) -> (Arc<Scanout>, Region) {
        let is_kept = self.kept.as_ref().is_some_and(|kept| std::ptr::eq(Arc::as_ptr(kept), before));
        if before.info() != scanout.info() || !is_kept {
            self.forget_copy();
        }
        let scanout = Arc::new(scanout.after(before));
        if self.kept.is_some() {
            self.kept = Some(scanout.clone());
        }
        let changed = self.changed(scanout.size().rect(), &scanout, now);
        (scanout, changed)
    }

    /// Returns when to call [`DamageFilter::tick`] next.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        self.rest_at
    }

    /// Drops the copy if nothing was drawn for a while.
    pub fn tick(&mut self, now: Instant) {
        if self.rest_at.is_some_and(|at| at <= now) {
            self.end(SUSPICIOUS);
        }
    }

    /// Stops comparing because it costs more than it saves. The next attempt comes later than the last.
    pub fn give_up(&mut self) {
        self.end((self.wait * 2).min(MOVING));
    }

    /// Stops comparing because another picture is shown or nobody reads it.
    pub fn forget(&mut self) {
        self.end(SUSPICIOUS);
    }

    /// Starts comparing after enough updates.
    fn suspect(&mut self, told: Rect, scanout: &Arc<Scanout>, now: Instant) -> Region {
        self.forget_copy();
        self.told = self.told.saturating_add(told.area());
        if self.told <= scanout.size().area().saturating_mul(self.wait) {
            return told.into();
        }
        if scanout.keep_copy().is_err() {
            self.give_up();
            return told.into();
        }
        self.kept = Some(scanout.clone());
        self.rest_at = Some(now + REST);
        self.unsure = Region::from(scanout.size().rect()).without([told].into_iter());
        told.into()
    }

    /// Stops comparing if it does, but goes on counting towards the next time if it does not.
    fn forget_copy(&mut self) {
        if self.kept.is_some() {
            self.forget();
        }
    }

    /// Stops comparing until `wait` pictures' worth of updates.
    fn end(&mut self, wait: u64) {
        if let Some(kept) = self.kept.take() {
            kept.drop_copy();
        }
        *self = Self { wait, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Buffer, Dmabuf, DmabufPlane, DmabufReads, MODIFIER_LINEAR, PixelFormat, Size};
    use std::os::fd::OwnedFd;

    const XRGB: u32 = 0x2002_0888;
    const SIZE: Size = Size::new(40, 40);

    /// What a guest draws into, and who looks.
    struct Rig {
        fd: OwnedFd,
        scanout: Arc<Scanout>,
        filter: DamageFilter,
        now: Instant,
        /// What a viewer has read.
        seen: Vec<u8>,
    }

    impl Rig {
        fn new() -> Self {
            let fd = rustix::fs::memfd_create("still", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::io::pwrite(&fd, &[1; 40 * 40 * 4], 0).unwrap();
            let scanout = Scanout::shared(fd.try_clone().unwrap(), 0, 40, 40, 160, XRGB).unwrap();
            Self::of(fd, scanout)
        }

        /// The same memory as a dmabuf.
        fn dmabuf() -> Self {
            let fd = Self::new().fd;
            let buffer = Arc::new(Buffer::new(fd.try_clone().unwrap()).unwrap());
            let planes = vec![DmabufPlane { buffer, offset: 0, stride: 160 }];
            let fourcc = PixelFormat::Xrgb8888.fourcc();
            let (backing, crop) = (SIZE, SIZE.rect());
            let dmabuf =
                Dmabuf { planes, fourcc, modifier: MODIFIER_LINEAR, backing, crop, bottom_up: false };
            Self::of(fd, Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap())
        }

        fn of(fd: OwnedFd, scanout: Scanout) -> Self {
            let seen = vec![0; 40 * 40 * 4];
            let mut rig = Self {
                fd,
                scanout: Arc::new(scanout),
                filter: DamageFilter::default(),
                now: Instant::now(),
                seen,
            };
            rig.read(SIZE.rect());
            rig
        }

        /// Draws one pixel.
        fn draw(&self, x: u32, y: u32, level: u8) {
            rustix::io::pwrite(&self.fd, &[level; 4], u64::from((y * 40 + x) * 4)).unwrap();
        }

        fn draw_all(&self, level: u8) {
            rustix::io::pwrite(&self.fd, &[level; 40 * 40 * 4], 0).unwrap();
        }

        fn update(&mut self, told: Rect) -> Region {
            self.now += Duration::from_millis(30);
            self.filter.changed(told, &self.scanout, self.now)
        }

        /// So many updates of everything: how many of them a viewer hears of.
        fn heard(&mut self, updates: usize) -> usize {
            (0..updates).filter(|_| !self.update(SIZE.rect()).is_empty()).count()
        }

        /// Draws one pixel into another buffer, in which all else is the same, and shows that.
        fn flip(&mut self, x: u32, y: u32, level: u8) -> Region {
            self.now += Duration::from_millis(30);
            let memory = self.memory();
            self.fd = rustix::fs::memfd_create("next", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::io::pwrite(&self.fd, &memory, 0).unwrap();
            self.draw(x, y, level);
            let next = Scanout::shared(self.fd.try_clone().unwrap(), 0, 40, 40, 160, XRGB).unwrap();
            let (next, changed) = self.filter.flipped(&self.scanout.clone(), next, self.now);
            self.scanout = next;
            changed
        }

        fn read(&mut self, part: Rect) {
            self.read_of(&self.scanout.clone(), part);
        }

        fn read_of(&mut self, scanout: &Scanout, part: Rect) {
            let mut reader = scanout.reader().unwrap();
            for y in part.y..part.bottom() {
                let at = ((y * 40 + part.x) * 4) as usize;
                let row = &mut self.seen[at..][..part.width as usize * 4];
                reader.read(Rect { y, height: 1, ..part }, row).unwrap();
            }
        }

        fn memory(&self) -> Vec<u8> {
            let mut all = vec![0; 40 * 40 * 4];
            rustix::io::pread(&self.fd, &mut all, 0).unwrap();
            all
        }
    }

    #[test]
    fn a_picture_that_stands_still_is_told_of_a_few_times_only() {
        for mut rig in [Rig::new(), Rig::dmabuf()] {
            assert_eq!(rig.heard(1000), 9);
        }
    }

    #[test]
    fn a_small_part_drawn_again_and_again_is_told_of_for_a_while_only() {
        let mut rig = Rig::new();
        let part = Rect::new(0, 0, 20, 20);
        let told: Vec<Region> = (0..1000).map(|_| rig.update(part)).filter(|told| !told.is_empty()).collect();
        assert_eq!(told.len(), 33, "as many pixels as eight pictures have");
        assert!(told.iter().all(|told| told.rects() == [part]));
        let rest = rig.update(SIZE.rect()).area();
        assert!(rest >= SIZE.area() - part.area(), "nobody knows what was there before");
        assert!(rig.update(SIZE.rect()).is_empty());
    }

    #[test]
    fn what_passes_through_is_left_alone() {
        let fd = Rig::new().fd;
        let mut rig = Rig::new();
        rig.scanout = Arc::new(Scanout::shared(fd, 0, 40, 40, 160, XRGB).unwrap());
        assert_eq!(rig.heard(100), 100);
        assert!(rig.filter.kept.is_none() && !rig.scanout.is_read(), "nobody but us would have read it");
        rig.read(SIZE.rect());
        assert_eq!(rig.heard(100), 9);
    }

    #[test]
    fn every_change_is_told_of_at_once_and_no_more_than_that() {
        let mut rig = Rig::new();
        rig.heard(20);
        for level in 2..50 {
            rig.draw(3, 3, level);
            rig.draw(35, u32::from(level) % 3 + 8, level);
            let changed = rig.update(SIZE.rect());
            assert!(
                changed.rects().iter().any(|rect| rect.contains(Rect::new(3, 3, 1, 1))),
                "change {level}"
            );
            assert!(changed.area() < 33 * 8 + 1, "{changed:?}");
            assert_eq!(rig.heard(usize::from(level) % 20), 0);
        }
        rig.draw(7, 9, 99);
        assert_eq!(rig.update(SIZE.rect()).rects(), [Rect::new(7, 9, 1, 1)]);
    }

    /// The guest draws and takes back what it drew between two updates, and a viewer reads just then.
    #[test]
    fn a_viewer_that_reads_between_two_updates_does_not_keep_what_was_there_then() {
        let mut rig = Rig::new();
        for round in 0..30 {
            for rect in rig.update(SIZE.rect()).rects().to_vec() {
                rig.draw(20, 20, 77);
                rig.read(rect);
                rig.draw(20, 20, 1);
            }
            rig.draw(5, 5, round);
            for rect in rig.update(SIZE.rect()).rects().to_vec() {
                rig.draw(6, 5, 77);
                rig.read(rect);
                rig.draw(6, 5, 1);
            }
        }
        for _ in 0..2 {
            for rect in rig.update(SIZE.rect()).rects().to_vec() {
                rig.read(rect);
            }
        }
        assert!(rig.seen == rig.memory());
    }

    #[test]
    fn of_a_guest_that_flips_what_it_drew_is_told_of_and_no_more() {
        let mut rig = Rig::new();
        let told: Vec<Region> = (0..50).map(|round| rig.flip(3, round % 40, 200)).collect();
        let all = told.iter().filter(|told| told.rects() == [SIZE.rect()]).count();
        assert_eq!(all, 9, "it is compared from then on");
        assert!(told[9..].iter().all(|told| told.area() <= 1), "{told:?}");
        assert!(rig.update(SIZE.rect()).is_empty(), "it was told of with the flip");
        rig.filter.forget();
        assert_eq!(rig.flip(0, 0, 9).rects(), [SIZE.rect()]);
    }

    /// A reader is slow, and reads what a buffer showed that the guest draws in again.
    #[test]
    fn a_viewer_that_reads_a_buffer_that_was_shown_does_not_keep_what_is_drawn_there() {
        let mut rig = Rig::new();
        (0..20).for_each(|round| _ = rig.flip(3, round, 200));
        rig.read(SIZE.rect());
        for round in 0..20 {
            let changed = rig.flip(20, 20, round);
            let (before, drawn_again) = (rig.scanout.clone(), rig.fd.try_clone().unwrap());
            let next = rig.flip(5, 5, round);
            rustix::io::pwrite(&drawn_again, &[77; 40 * 40 * 4], 0).unwrap();
            changed.rects().iter().for_each(|&rect| rig.read_of(&before, rect));
            next.rects().iter().for_each(|&rect| rig.read(rect));
            assert!(rig.seen == rig.memory(), "round {round}");
        }
    }

    #[test]
    fn a_page_that_turns_does_not_end_the_looking() {
        let mut rig = Rig::new();
        rig.heard(20);
        for page in 2..10 {
            rig.draw_all(page);
            assert_eq!(rig.heard(10), 1, "page {page}");
        }
    }

    #[test]
    fn a_moving_picture_is_hardly_looked_at() {
        let mut rig = Rig::new();
        let mut looks = 0;
        for frame in 0..2000_u32 {
            rig.draw_all((frame % 250) as u8);
            assert_eq!(rig.update(SIZE.rect()).rects(), [SIZE.rect()]);
            looks += usize::from(rig.filter.kept.is_some());
            rig.read(SIZE.rect());
            assert!(rig.seen == rig.memory(), "frame {frame}");
        }
        assert!((1..70).contains(&looks), "{looks} looks at 2000 updates");
        assert!(rig.heard(1000) < 40, "it stands still at last");
    }

    #[test]
    fn the_copy_is_given_back_when_nothing_is_drawn_any_more() {
        let mut rig = Rig::new();
        rig.heard(20);
        let due = rig.filter.wake_at().unwrap();
        rig.filter.tick(due - Duration::from_millis(1));
        assert!(rig.filter.kept.is_some());
        rig.filter.tick(due);
        assert!(rig.filter.kept.is_none() && rig.filter.wake_at().is_none());
        rig.draw(1, 1, 9);
        rig.read(SIZE.rect());
        assert!(rig.seen == rig.memory(), "what is read is the memory again");
        assert_eq!(rig.heard(20), 9);
    }

    #[test]
    fn another_picture_is_not_taken_for_the_same() {
        let (mut rig, other) = (Rig::new(), Rig::new());
        rig.heard(20);
        let before = std::mem::replace(&mut rig.scanout, other.scanout.clone());
        assert_eq!(rig.heard(20), 9);
        assert_eq!(Arc::strong_count(&before), 1, "the one before is kept for nothing");
    }

    #[test]
    fn memory_that_is_gone_is_told_of_as_ever() {
        let mut rig = Rig::new();
        rig.heard(20);
        rustix::fs::ftruncate(&rig.fd, 100).unwrap();
        assert_eq!(rig.heard(100), 100);
        assert!(rig.filter.kept.is_none());
    }
}
