use super::{Rect, Region};

/// Rows that share one rectangle of changes: about a line of text.
const BAND: u32 = 16;

/// Bytes compared at a time to find where two rows differ: a cache line.
const STEP: usize = 64;

/// Takes the rows of a part of a picture, from the top, in place of what they were, and finds out where they differ.
///
/// It compares whole rows, and no more of them once most of the part has changed.
#[derive(Debug)]
pub(super) struct ChangedRows {
    part: Rect,
    /// The next row.
    y: u32,
    /// What differs of the last few rows. Its columns count from the part's first.
    band: Option<Rect>,
    changed: Region,
    /// The pixels of what changed above the band.
    area: u64,
}

impl ChangedRows {
    /// Starts with the top row of `part`.
    pub(super) fn new(part: Rect) -> Self {
        Self { part, y: part.y, band: None, changed: Region::new(), area: 0 }
    }

    /// Returns whether more than half of the part changed. The rest then counts as changed and is not
    /// compared.
    pub(super) fn is_most(&self) -> bool {
        self.area.saturating_mul(2) > self.part.area()
    }

    /// Replaces the next row, `before`, with `now`. Both have 4 bytes for each pixel of the part's width.
    pub(super) fn row(&mut self, before: &mut [u8], now: &[u8]) {
        let y = self.y;
        self.y = y.saturating_add(1);
        if self.band.is_some_and(|band| y - band.y >= BAND) {
            self.end_band();
        }
        if self.is_most() {
            before.copy_from_slice(now);
        } else if before != now {
            let known = self.band.map_or((self.part.width, 0), |band| (band.x, band.right()));
            let (left, right) = span(known, before, now);
            self.band = Some(match self.band {
                Some(band) => Rect { x: left, width: right - left, height: y - band.y + 1, ..band },
                None => Rect::new(left, y, right - left, 1),
            });
            before.copy_from_slice(now);
        }
    }

    /// Returns the changed region.
    pub(super) fn end(mut self) -> Region {
        self.end_band();
        if self.is_most() { self.part.into() } else { self.changed }
    }

    fn end_band(&mut self) {
        if let Some(band) = self.band.take() {
            self.area += band.area();
            self.changed.add(Rect { x: self.part.x + band.x, ..band });
        }
    }
}

/// Returns the columns from the first difference to behind the last. Columns from `left` to `right` are known
/// to differ, so only those outside are compared. `left` = width and `right` = 0 means that none is known.
fn span((left, right): (u32, u32), before: &[u8], now: &[u8]) -> (u32, u32) {
    let at = |column: u32| usize::try_from(column).unwrap_or(usize::MAX).saturating_mul(4);
    let column = |pixel: usize| u32::try_from(pixel).unwrap_or(u32::MAX);
    let (head, tail) = (..at(left), at(right)..);
    let first = first(before.get(head).unwrap_or_default(), now.get(head).unwrap_or_default());
    let last = last(before.get(tail.clone()).unwrap_or_default(), now.get(tail).unwrap_or_default());
    (
        first.map_or(left, column),
        last.map_or(right, |pixel| right.saturating_add(column(pixel)).saturating_add(1)),
    )
}

/// Returns the first pixel that differs.
fn first(before: &[u8], now: &[u8]) -> Option<usize> {
    let step = before.chunks(STEP).zip(now.chunks(STEP)).position(|(before, now)| before != now)? * STEP;
    let mut pixels = before.get(step..)?.chunks(4).zip(now.get(step..)?.chunks(4));
    Some(step / 4 + pixels.position(|(before, now)| before != now)?)
}

/// Returns the last pixel that differs.
fn last(before: &[u8], now: &[u8]) -> Option<usize> {
    let step = before.chunks(STEP).zip(now.chunks(STEP)).rposition(|(before, now)| before != now)? * STEP;
    let mut pixels = before.get(step..)?.chunks(4).zip(now.get(step..)?.chunks(4)).take(STEP / 4);
    Some(step / 4 + pixels.rposition(|(before, now)| before != now)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Size;
    use proptest::prelude::*;

    /// Merges `now`, packed rows of `part`, into `before`.
    fn merged(part: Rect, before: &mut [u8], now: &[u8]) -> Region {
        let mut merge = ChangedRows::new(part);
        let row = part.width as usize * 4;
        before
            .chunks_exact_mut(row)
            .zip(now.chunks_exact(row))
            .for_each(|(before, now)| merge.row(before, now));
        merge.end()
    }

    /// A picture of one colour, and the same with these parts of it changed.
    fn pictures(size: Size, parts: &[Rect]) -> (Vec<u8>, Vec<u8>) {
        let before = vec![7; size.area() as usize * 4];
        let mut now = before.clone();
        for part in parts {
            for (y, x) in (part.y..part.bottom()).flat_map(|y| (part.x..part.right()).map(move |x| (y, x))) {
                now[(y * size.width + x) as usize * 4] = 8;
            }
        }
        (before, now)
    }

    fn differing(size: Size, parts: &[Rect]) -> Vec<Rect> {
        let (mut before, now) = pictures(size, parts);
        let mut rects = merged(size.rect(), &mut before, &now).rects().to_vec();
        assert!(before == now);
        rects.sort_by_key(|rect| (rect.y, rect.x));
        rects
    }

    #[test]
    fn a_caret_and_a_clock_are_two_small_changes() {
        let size = Size::new(1920, 1080);
        assert_eq!(differing(size, &[]), []);
        let small = [Rect::new(1800, 3, 101, 17), Rect::new(13, 1000, 8, 16)];
        assert_eq!(differing(size, &small), small);
        let corner = [Rect::new(1919, 1079, 1, 1)];
        assert_eq!(differing(size, &corner), corner);
    }

    #[test]
    fn of_a_part_that_mostly_changed_the_rest_is_not_compared() {
        let size = Size::new(64, 100);
        let (mut before, now) = pictures(size, &[Rect::new(0, 0, 64, 60)]);
        let mut merge = ChangedRows::new(size.rect());
        let mut most_at = None;
        for (y, (before, now)) in before.chunks_exact_mut(256).zip(now.chunks_exact(256)).enumerate() {
            most_at = most_at.or(merge.is_most().then_some(y));
            merge.row(before, now);
        }
        assert_eq!(most_at, Some(65), "the fourth band of 16 is over");
        assert_eq!(merge.end().rects(), [size.rect()]);
        assert!(before == now, "what is not compared is taken over all the same");
        assert_eq!(differing(size, &[Rect::new(0, 0, 64, 50)]), [Rect::new(0, 0, 64, 50)]);
    }

    proptest! {
        #[test]
        fn every_pixel_that_differs_is_told_of_and_taken_over(
            (x, y, width, height) in (0u32..50, 0u32..50, 1u32..60, 1u32..90),
            changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 0..12),
        ) {
            let part = Rect::new(x, y, width, height);
            let before = vec![0; part.area() as usize * 4];
            let mut now = before.clone();
            for (at, level) in changes {
                let at = at as usize % now.len();
                now[at] = level;
            }
            let mut merging = before.clone();
            let told = merged(part, &mut merging, &now);
            prop_assert!(merging == now);
            for pixel in 0..part.area() as usize {
                if before[pixel * 4..][..4] != now[pixel * 4..][..4] {
                    let at = Rect::new(x + pixel as u32 % width, y + pixel as u32 / width, 1, 1);
                    prop_assert!(told.rects().iter().any(|rect| rect.contains(at)), "{at:?} is not in {told:?}");
                }
            }
            prop_assert!(told.rects().iter().all(|&rect| part.contains(rect)));
            prop_assert_eq!(told.is_empty(), before == now);
        }
    }
}
