use std::cmp::{max, min};

/// The most rectangles a [`Region`] holds; more are joined. Enough for a moving window, a clock and a caret,
/// few enough that walking them costs nothing beside reading their pixels.
const MAX_RECTS: usize = 16;

/// Two rectangles are joined when that adds at most this many pixels: a row of a tile costs more than they do.
const JOIN_SLACK: u64 = 64 * 64;

/// Width and height of a picture in pixels.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// Makes a size.
    #[must_use]
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Returns the rectangle that covers all of it.
    #[must_use]
    pub const fn rect(self) -> Rect {
        Rect { x: 0, y: 0, width: self.width, height: self.height }
    }

    /// Returns the number of pixels.
    #[must_use]
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A rectangle of a picture: pixels, top-left origin.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Rect {
    /// Makes a rectangle.
    #[must_use]
    pub const fn new(x: u32, y: u32, width: u32, height: u32) -> Self {
        Self { x, y, width, height }
    }

    /// Clips an untrusted rectangle to a picture; `None` if nothing is left.
    #[must_use]
    pub fn clipped(x: i32, y: i32, width: i32, height: i32, picture: Size) -> Option<Self> {
        let span = |at: i32, len: i32, limit: u32| {
            let start = max(i64::from(at), 0);
            let end = min(i64::from(at) + i64::from(len), i64::from(limit));
            let (start, end) = (u32::try_from(start).ok()?, u32::try_from(end).ok()?);
            (end > start).then(|| (start, end - start))
        };
        let (x, width) = span(x, width, picture.width)?;
        let (y, height) = span(y, height, picture.height)?;
        Some(Self { x, y, width, height })
    }

    /// Returns the first column to the right of the rectangle.
    #[must_use]
    pub fn right(self) -> u32 {
        self.x.saturating_add(self.width)
    }

    /// Returns the first row below the rectangle.
    #[must_use]
    pub fn bottom(self) -> u32 {
        self.y.saturating_add(self.height)
    }

    /// Returns the number of pixels.
    #[must_use]
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Returns whether every pixel of `other` is in this rectangle.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.x <= other.x
            && self.y <= other.y
            && self.right() >= other.right()
            && self.bottom() >= other.bottom()
    }

    /// Returns the smallest rectangle that covers both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let (x, y) = (min(self.x, other.x), min(self.y, other.y));
        Self {
            x,
            y,
            width: max(self.right(), other.right()) - x,
            height: max(self.bottom(), other.bottom()) - y,
        }
    }

    /// Returns the rectangle covered by both, if any.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (x, y) = (max(self.x, other.x), max(self.y, other.y));
        let width = min(self.right(), other.right()).checked_sub(x).filter(|&n| n > 0)?;
        let height = min(self.bottom(), other.bottom()).checked_sub(y).filter(|&n| n > 0)?;
        Some(Self { x, y, width, height })
    }

    /// Returns what is left of the rectangle without `other`: at most four rectangles.
    pub fn minus(self, other: Self) -> impl Iterator<Item = Self> {
        let hole = self.intersection(other).unwrap_or(Self { height: 0, width: 0, ..self });
        let whole = if hole.area() == 0 { Some(self) } else { None };
        let (right, bottom) = (hole.right(), hole.bottom());
        let parts = [
            Self { height: hole.y - self.y, ..self },
            Self { y: bottom, height: self.bottom() - bottom, ..self },
            Self { y: hole.y, width: hole.x - self.x, height: hole.height, ..self },
            Self { x: right, y: hole.y, width: self.right() - right, height: hole.height },
        ];
        let parts = parts.into_iter().filter(move |part| whole.is_none() && part.area() > 0);
        whole.into_iter().chain(parts)
    }

    /// Grows the rectangle to even edges, because 4:2:0 pictures change in units of two by two pixels. The
    /// result lies inside a picture whose size was rounded up to even numbers.
    #[must_use]
    pub fn even(self) -> Self {
        let (x, y) = (self.x & !1, self.y & !1);
        let up = |end: u32| end.saturating_add(end & 1);
        Self { x, y, width: up(self.right()) - x, height: up(self.bottom()) - y }
    }
}

/// A part of a picture, as a few rectangles that may overlap a little.
///
/// INVARIANT: it covers every rectangle added, nothing outside their bounding box, and has at most 16 rectangles.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Region {
    rects: Vec<Rect>,
}

impl Region {
    /// Makes an empty region.
    #[must_use]
    pub const fn new() -> Self {
        Self { rects: Vec::new() }
    }

    /// Returns whether the region covers nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rects.is_empty()
    }

    /// Returns the rectangles.
    #[must_use]
    pub fn rects(&self) -> &[Rect] {
        &self.rects
    }

    /// Adds a rectangle and joins it with others nearby.
    pub fn add(&mut self, rect: Rect) {
        if rect.area() == 0 || self.rects.iter().any(|r| r.contains(rect)) {
            return;
        }
        let mut rect = rect;
        while let Some(near) = self.rects.iter().position(|&r| waste(r, rect) <= JOIN_SLACK) {
            rect = self.rects.swap_remove(near).union(rect);
        }
        self.rects.push(rect);
        if self.rects.len() > MAX_RECTS {
            self.join_nearest();
        }
    }

    /// Adds all rectangles of `other`.
    pub fn add_region(&mut self, other: &Self) {
        for &rect in &other.rects {
            self.add(rect);
        }
    }

    /// Covers what is inside `picture` of all it covered.
    pub fn clip(&mut self, picture: Size) {
        self.rects.retain_mut(|r| match r.intersection(picture.rect()) {
            Some(inside) => {
                *r = inside;
                true
            }
            None => false,
        });
    }

    /// Returns the part of the region that is inside `rect`.
    #[must_use]
    pub fn within(&self, rect: Rect) -> Self {
        Self { rects: self.rects.iter().filter_map(|r| r.intersection(rect)).collect() }
    }

    /// Returns the part of the region that is in none of `others`, or more where that is many rectangles.
    #[must_use]
    pub fn without(&self, others: impl Iterator<Item = Rect>) -> Self {
        let mut left = self.rects.clone();
        for other in others {
            left = left.into_iter().flat_map(|rect| rect.minus(other)).collect();
        }
        if left.len() <= MAX_RECTS {
            return Self { rects: left };
        }
        let mut region = Self::new();
        left.into_iter().for_each(|rect| region.add(rect));
        region
    }

    /// Takes the region, leaving an empty one.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Returns the pixels of all rectangles; those of an overlap count twice.
    #[must_use]
    pub fn area(&self) -> u64 {
        self.rects.iter().map(|r| r.area()).sum()
    }

    /// Joins the two rectangles whose union wastes the fewest pixels.
    fn join_nearest(&mut self) {
        let pairs = self.rects.iter().enumerate().flat_map(|(i, &a)| {
            self.rects.iter().enumerate().skip(i + 1).map(move |(j, &b)| (waste(a, b), i, j))
        });
        if let Some((_, i, j)) = pairs.min() {
            let b = self.rects.swap_remove(j); // j > i, so i keeps its place
            let a = self.rects.swap_remove(i);
            self.add(a.union(b));
        }
    }
}

impl From<Rect> for Region {
    fn from(rect: Rect) -> Self {
        let mut region = Self::new();
        region.add(rect);
        region
    }
}

/// Returns how many pixels the union of `a` and `b` covers in vain; an overlap counts against it.
fn waste(a: Rect, b: Rect) -> u64 {
    a.union(b).area().saturating_sub(a.area() + b.area())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rects() -> impl Strategy<Value = Vec<Rect>> {
        let rect = (0u32..60, 0u32..60, 1u32..20, 1u32..20)
            .prop_map(|(x, y, w, h)| Rect::new(x * 16, y * 16, w * 8, h * 8));
        proptest::collection::vec(rect, 0..60)
    }

    proptest! {
        #[test]
        fn a_region_covers_what_was_added_and_stays_small(rects in rects(), probe in (0u32..1200, 0u32..1200)) {
            let mut region = Region::new();
            for &r in &rects {
                region.add(r);
            }
            prop_assert!(region.rects().len() <= MAX_RECTS);
            let inside = |set: &[Rect]| set.iter().any(|r| r.contains(Rect::new(probe.0, probe.1, 1, 1)));
            if inside(&rects) {
                prop_assert!(inside(region.rects()), "a changed pixel is lost");
            }
            if let Some(bounds) = rects.iter().copied().reduce(Rect::union) {
                prop_assert!(region.rects().iter().all(|&r| bounds.contains(r)));
            }
        }

        #[test]
        fn what_is_without_others_is_all_that_is_not_in_them(
            rects in rects(), others in rects(), probe in (0u32..1200, 0u32..1200),
        ) {
            let probe = Rect::new(probe.0, probe.1, 1, 1);
            let covers = |rects: &[Rect]| rects.iter().any(|rect| rect.contains(probe));
            let mut region = Region::new();
            rects.iter().for_each(|&rect| region.add(rect));
            let few = &others[..others.len().min(2)];
            let left = region.without(few.iter().copied());
            prop_assert!(left.rects().len() <= MAX_RECTS);
            if covers(region.rects()) && !covers(few) {
                prop_assert!(covers(left.rects()), "a pixel is lost");
            }
            if region.rects().len() == 1 && covers(left.rects()) {
                prop_assert!(covers(region.rects()) && !covers(few), "a pixel too many");
            }
            let within = region.within(Rect::new(0, 0, 300, 300));
            prop_assert_eq!(covers(within.rects()), covers(region.rects()) && probe.x < 300 && probe.y < 300);
        }

        #[test]
        fn clipping_never_leaves_the_picture(
            x: i32, y: i32, w: i32, h: i32, width in 1u32..5000, height in 1u32..5000,
        ) {
            let size = Size::new(width, height);
            if let Some(r) = Rect::clipped(x, y, w, h, size) {
                prop_assert!(size.rect().contains(r) && r.area() > 0);
            }
        }
    }

    #[test]
    fn far_apart_changes_stay_apart() {
        let mut region = Region::new();
        region.add(Rect::new(0, 0, 10, 10));
        region.add(Rect::new(1000, 700, 10, 10));
        assert_eq!(region.area(), 200);
    }

    #[test]
    fn the_lines_of_a_scrolled_text_become_one() {
        let mut region = Region::new();
        for line in 0..40 {
            region.add(Rect::new(0, line * 16, 1280, 16));
        }
        assert_eq!(region.rects(), [Rect::new(0, 0, 1280, 640)]);
    }

    #[test]
    fn even_rectangles_hold_the_whole_chroma_sample() {
        assert_eq!(Rect::new(3, 5, 4, 1).even(), Rect::new(2, 4, 6, 2));
    }
}
