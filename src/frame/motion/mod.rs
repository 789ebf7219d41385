//! Which areas of a picture keep changing.

use std::time::{Duration, Instant};

use super::pixel_budget::{CHANGE_PIXELS, PIXELS_PER_SECOND, PixelBudget};
use super::{Rect, Region, Size};

/// Width and height of a tile in pixels. What changes is remembered for each tile.
const TILE: u32 = 64;

/// How long changes of a tile are added up. An area shrinks after so many windows that are alike.
const WINDOW: Duration = Duration::from_millis(300);

/// How many windows are remembered.
const WINDOWS: usize = 3;

/// How long an area stays one after it has moved last.
pub(crate) const REST: Duration = Duration::from_millis(300);

/// How long after an area began it is first looked at for whether copies would do in place of a video. Each time that
/// they would not, the next look is after twice as long, up to the second number.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1600));

/// How long nothing is motion after copies would do: as long as viewers take to have the exact picture compared.
const COPIES: Duration = Duration::from_secs(2);

/// How long no area is looked at again after copies would do: each time that was so before long, and was wrong, for
/// twice as long, up to the second number.
const LOOKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// The most areas at a time: each has an encoder of its own.
const MAX_AREAS: usize = 3;

/// Motion that is no further than this from an area belongs to it.
const NEAR: u32 = 32;

/// The shortest side of an area: some encoders take nothing smaller.
const MIN_SIDE: u32 = 32;

/// From this part of the picture on, all of it is one area: one encoder costs less than the edges of several.
const WHOLE_PERCENT: u64 = 60;

/// An area shrinks to what moves in it if that is at most this part of it.
const SHRINK_PERCENT: u64 = 60;

/// Motion stays where it is if tiles that changed in each window have at least this part of all changed pixels.
const STEADY_PERCENT: u64 = 90;

/// An area that grows more often than this is a window that is dragged, or a page that moves: all of the picture is
/// one area then, until motion stays where it is.
const MAX_GROWTHS: u32 = 1;

/// A tile of which as many pixels changed in a window belongs to motion beside it.
const BUSY_PIXELS: u64 = 64 * 64 / 8;

/// How often what is beside an area that begins is looked for. Each time is a walk over all tiles.
const PASSES: usize = 8;

/// The most parts of an area that are told apart. A guest that changes pixels all over the place cannot make each tile
/// be compared with each other.
const MAX_PARTS: usize = 16;

/// Fewer pixels than this, in all windows that are remembered, are no motion of their own: a clock, a caret.
const MOTION_PIXELS: u64 = PIXELS_PER_SECOND / 3;

/// Tells the areas of one picture that keep changing, from its damage: films, dragged windows. What changes outside
/// of them is few pixels, and cheap to send exactly.
///
/// Pure: it is told what happens and what time it is.
#[derive(Debug, Default)]
pub(crate) struct Motion {
    size: Size,
    areas: Vec<Area>,
    /// For what changes outside of the areas.
    budget: PixelBudget,
    /// When it was last found that copies would do in place of an area, and how long no area is looked at after that.
    copies: Option<(Instant, Duration)>,
    /// In rows.
    tiles: Vec<Tile>,
    /// When the newest window of the tiles began.
    window: Option<Instant>,
}

/// What moves, and until when.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Moving {
    /// The areas that keep changing, before the places of others. They do not overlap; at their left and top edges are
    /// even numbers.
    pub areas: [Option<Rect>; MAX_AREAS],
    /// What moves is to be told as copies, by those who have the exact picture.
    pub copies: bool,
    /// When to ask again, if nothing changes before.
    pub until: Option<Instant>,
}

#[derive(Debug)]
struct Area {
    rect: Rect,
    /// When it moved last.
    moved: Instant,
    /// Since when it has this size.
    since: Instant,
    growths: u32,
    /// For what changes in it without being motion.
    budget: PixelBudget,
    /// When it is to be looked at for whether copies would do, and how long after the look before.
    look: (Instant, Duration),
}

/// What changed of a tile in each window, the newest first.
#[derive(Clone, Copy, Debug, Default)]
struct Tile([Seen; WINDOWS]);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    pixels: u64,
    bounds: Option<Rect>,
}

impl Motion {
    /// Begins with a picture of `size` that does not move; `None` if there is none.
    pub(crate) fn of(size: Option<Size>) -> Self {
        Self { size: size.unwrap_or_default(), ..Self::default() }
    }

    /// Takes notice of another picture of `size`, all of which may be new; `None` if there is none. `compares` is as
    /// for [`Motion::damage`].
    pub(crate) fn replace(&mut self, size: Option<Size>, compares: bool, now: Instant) {
        let is_other = self.size != size.unwrap_or_default();
        if is_other {
            *self = Self::of(size);
        }
        self.damage(&self.size.rect().into(), compares && !is_other, now);
    }

    /// Takes notice of `damage`, which is inside the picture. If somebody `compares` the pixels outside of the areas,
    /// what changed there is left to [`Motion::changed`].
    pub(crate) fn damage(&mut self, damage: &Region, compares: bool, now: Instant) {
        self.pass(now);
        let compares = compares || self.are_copies(now);
        let seen = if compares { self.rects() } else { [Some(self.size.rect()), None, None] };
        for part in seen.into_iter().flatten() {
            damage.rects().iter().filter_map(|rect| rect.intersection(part)).for_each(|part| self.mark(part));
        }
        for area in &mut self.areas {
            let inside = damage.rects().iter().filter_map(|rect| rect.intersection(area.rect));
            let inside = inside.map(Rect::area).sum();
            if inside > 0 && !area.budget.takes(inside, now) {
                area.moved = now;
            }
        }
        if damage.rects().iter().all(|&rect| self.areas.iter().any(|area| area.rect.contains(rect))) {
            return;
        }
        let outside = damage.without(self.areas.iter().map(|area| area.rect));
        let is_motion = self.moves_out(damage) || (!compares && !self.budget.takes(outside.area(), now));
        if !outside.is_empty() && is_motion {
            self.extend(&outside, now);
        }
    }

    /// Takes notice of what changed outside of the areas. `pixels` are those of it that copies do not make: what has to
    /// be sent, whatever the size of what changed.
    pub(crate) fn changed(&mut self, region: &Region, pixels: u64, now: Instant) {
        self.pass(now);
        region.rects().iter().for_each(|&rect| self.mark(rect));
        let outside = region.without(self.areas.iter().map(|area| area.rect));
        if !outside.is_empty() && !self.budget.takes(outside.area().min(pixels), now) {
            self.extend(&outside, now);
        }
    }

    /// Returns what moves now.
    pub(crate) fn moving(&mut self, now: Instant) -> Moving {
        self.pass(now);
        let window = self.window.filter(|_| !self.areas.is_empty()).map(|began| began + WINDOW);
        let until = self.areas.iter().map(|area| area.moved + REST).chain(window).min();
        Moving { areas: self.rects(), copies: self.are_copies(now), until }
    }

    /// Returns an area that is to be looked at now: whether copies would do in place of its video. Each is returned
    /// once, and later again.
    pub(crate) fn due_look(&mut self, now: Instant) -> Option<Rect> {
        if self.copies.is_some_and(|(then, wait)| now < then + wait) {
            return None;
        }
        let area = self.areas.iter_mut().find(|area| area.look.0 <= now)?;
        let wait = (area.look.1 * 2).min(LOOKS.1);
        area.look = (now + wait, wait);
        Some(area.rect)
    }

    /// Ends an area in whose place copies, and little else, would do.
    pub(crate) fn copies_do(&mut self, area: Rect, now: Instant) {
        let count = self.areas.len();
        self.areas.retain(|other| other.rect != area);
        if self.areas.len() < count {
            let wait = match self.copies {
                Some((then, wait)) if now < then + LOOKED.1 * 2 => (wait * 2).min(LOOKED.1),
                _ => LOOKED.0,
            };
            self.copies = Some((now, wait));
        }
    }

    fn are_copies(&self, now: Instant) -> bool {
        self.copies.is_some_and(|(then, _)| now < then + COPIES)
    }

    fn rects(&self) -> [Option<Rect>; MAX_AREAS] {
        let mut areas = self.areas.iter().map(|area| area.rect);
        std::array::from_fn(|_| areas.next())
    }

    /// Lets time pass.
    fn pass(&mut self, now: Instant) {
        let began = *self.window.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= WINDOW {
            self.window = Some(now);
            // After a long time nothing of what is remembered is true.
            let windows = if elapsed >= WINDOW * 2 { WINDOWS } else { 1 };
            for _ in 0..windows {
                self.shrink(now);
                self.tiles.iter_mut().for_each(Tile::shift);
            }
        }
        self.areas.retain(|area| now < area.moved + REST);
    }

    /// Makes areas of motion where there were none.
    fn extend(&mut self, outside: &Region, now: Instant) {
        for &rect in outside.rects() {
            let mut rect = self.fitted(self.with_recent(rect));
            let mut growths = 0;
            while let Some(near) = self.areas.iter().position(|area| is_near(area.rect, rect)) {
                let area = self.areas.swap_remove(near);
                rect = area.rect.union(rect);
                // What grows in several directions at once grows once.
                growths = growths.max(area.growths + u32::from(area.since < now));
            }
            self.areas.push(Area::new(rect, growths, now));
        }
        let pixels: u64 = self.areas.iter().map(|area| area.rect.area()).sum();
        let is_most = pixels * 100 >= self.size.area() * WHOLE_PERCENT;
        let wanders = self.areas.iter().any(|area| area.growths > MAX_GROWTHS);
        if is_most || wanders || self.areas.len() > MAX_AREAS {
            self.areas = vec![Area::new(self.size.rect(), 0, now)];
        }
    }

    /// Returns whether something of an area moves out of it: a window that is dragged. A line of text across it does
    /// not.
    fn moves_out(&self, damage: &Region) -> bool {
        let inside = |rect: Rect, area: &Area| rect.intersection(area.rect).map_or(0, Rect::area);
        damage.rects().iter().any(|&rect| {
            let most = self.areas.iter().map(|area| inside(rect, area)).max().unwrap_or(0);
            most * 2 > rect.area() && most < rect.area()
        })
    }

    /// Grows `rect` by what changed most beside it in the newest window: films are drawn in pieces, too. What is
    /// too far to be reached is motion of its own.
    fn with_recent(&self, rect: Rect) -> Rect {
        let busy = |Tile([newest, ..]): &Tile| newest.bounds.filter(|_| newest.pixels >= BUSY_PIXELS);
        let grown = |rect: Rect| {
            let near = self.tiles.iter().filter_map(busy).filter(|&part| is_near(rect, part));
            near.fold(rect, Rect::union)
        };
        (0..PASSES).fold(rect, |rect, _| grown(rect))
    }

    /// Shrinks areas to what moves in them, where that has stayed the same for all windows.
    fn shrink(&mut self, now: Instant) {
        let mut areas = Vec::new();
        for area in std::mem::take(&mut self.areas) {
            let parts = if now.saturating_duration_since(area.since) < WINDOW * 3 {
                Vec::new()
            } else {
                self.steady_parts(area.rect)
            };
            let pixels: u64 = parts.iter().map(|part| part.area()).sum();
            if parts.is_empty() || pixels * 100 > area.rect.area() * SHRINK_PERCENT {
                areas.push(area);
            } else {
                areas.extend(
                    parts.into_iter().map(|part| Area { moved: area.moved, ..Area::new(part, 0, now) }),
                );
            }
        }
        if areas.len() > MAX_AREAS {
            areas = vec![Area::new(self.size.rect(), 0, now)];
        }
        self.areas = areas;
    }

    /// Returns the parts of `area` that move, each far from the others. None if they do not stay where they are, or are
    /// too many.
    fn steady_parts(&self, area: Rect) -> Vec<Rect> {
        let inside =
            self.tiles.iter().filter(|tile| tile.bounds().is_some_and(|b| b.intersection(area).is_some()));
        let (mut all, mut steady) = (0, 0);
        for tile in inside.clone() {
            let pixels = tile.pixels();
            all += pixels;
            steady += if tile.0.iter().all(|seen| seen.pixels > 0) { pixels } else { 0 };
        }
        if all == 0 || steady * 100 < all * STEADY_PERCENT {
            return Vec::new();
        }
        let mut parts: Vec<(Rect, u64)> = Vec::new();
        for tile in inside {
            let Some(mut rect) = tile.bounds().and_then(|bounds| bounds.intersection(area)) else { continue };
            let mut pixels = tile.pixels();
            while let Some(near) = parts.iter().position(|part| is_near(part.0, rect)) {
                let part = parts.swap_remove(near);
                (rect, pixels) = (rect.union(part.0), pixels + part.1);
            }
            parts.push((rect, pixels));
            if parts.len() > MAX_PARTS {
                return Vec::new();
            }
        }
        parts.retain(|part| part.1 >= MOTION_PIXELS);
        parts.into_iter().map(|(rect, _)| self.fitted(rect)).collect()
    }

    /// Remembers that `rect` changed.
    fn mark(&mut self, rect: Rect) {
        let columns = self.size.width.div_ceil(TILE);
        let wanted = u64::from(columns) * u64::from(self.size.height.div_ceil(TILE));
        let wanted = usize::try_from(wanted).unwrap_or(0);
        if self.tiles.len() != wanted {
            self.tiles = vec![Tile::default(); wanted];
        }
        let rows = rect.y / TILE..rect.bottom().div_ceil(TILE);
        for (row, column) in
            rows.flat_map(|row| (rect.x / TILE..rect.right().div_ceil(TILE)).map(move |c| (row, c)))
        {
            let all = Rect::new(column * TILE, row * TILE, TILE, TILE);
            let index = usize::try_from(u64::from(row) * u64::from(columns) + u64::from(column));
            let tile = index.ok().and_then(|index| self.tiles.get_mut(index));
            let (Some(Tile([newest, ..])), Some(part)) = (tile, all.intersection(rect)) else { continue };
            newest.pixels = newest.pixels.saturating_add(part.area());
            newest.bounds = Some(newest.bounds.map_or(part, |bounds| bounds.union(part)));
        }
    }

    /// Grows `rect` to even edges and the shortest side, inside the picture.
    fn fitted(&self, rect: Rect) -> Rect {
        let (width, height) = (rect.width.max(MIN_SIDE), rect.height.max(MIN_SIDE));
        let (x, y) = (
            rect.x.min(self.size.width.saturating_sub(width)),
            rect.y.min(self.size.height.saturating_sub(height)),
        );
        let grown = Rect::new(x, y, width, height).union(rect).even();
        grown.intersection(self.size.rect()).unwrap_or(rect)
    }
}

impl Area {
    fn new(rect: Rect, growths: u32, now: Instant) -> Self {
        // Half of what makes an area keeps it: what is at the limit does not come and go.
        let budget = PixelBudget::new(CHANGE_PIXELS / 2, PIXELS_PER_SECOND / 2);
        Self { rect, moved: now, since: now, growths, budget, look: (now + LOOKS.0, LOOKS.0) }
    }
}

impl Tile {
    fn bounds(&self) -> Option<Rect> {
        self.0.iter().filter_map(|seen| seen.bounds).reduce(Rect::union)
    }

    fn pixels(&self) -> u64 {
        self.0.iter().map(|seen| seen.pixels).sum()
    }

    /// Begins another window.
    fn shift(&mut self) {
        self.0.rotate_right(1);
        let [newest, ..] = &mut self.0;
        *newest = Seen::default();
    }
}

/// Returns whether two rectangles are close enough to be one area.
fn is_near(a: Rect, b: Rect) -> bool {
    let (x, y) = (a.x.saturating_sub(NEAR), a.y.saturating_sub(NEAR));
    let (right, bottom) = (a.right().saturating_add(NEAR), a.bottom().saturating_add(NEAR));
    Rect::new(x, y, right - x, bottom - y).intersection(b).is_some()
}

#[cfg(test)]
mod tests;
