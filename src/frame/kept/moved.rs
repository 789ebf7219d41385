use super::anchors::Way;
use super::view::{PIXEL, View, count};
use crate::frame::Rect;

/// The most cells on a side of the grid that a part is divided into, so that the time it takes is bounded.
const CELLS: u32 = 64;

/// The least width and height of a cell.
const CELL: (u32, u32) = (32, 8);

/// A copy must bring at least so many pixels into place.
const LEAST_GAIN: i64 = 64 * 64;

/// A part of a picture that is now in another place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moved {
    /// The column where it began.
    pub x: u32,
    /// The row where it began.
    pub y: u32,
    /// Where it is now.
    pub to: Rect,
}

impl Moved {
    /// Returns where it was.
    #[must_use]
    pub fn from(self) -> Rect {
        Rect { x: self.x, y: self.y, ..self.to }
    }
}

/// Returns what of `part` is best copied this way, from `before` to `now`: where most pixels are right then that were
/// not without. None if that is not worth a copy.
///
/// What it copies wrongly is found by comparing afterwards.
pub(super) fn moved(before: View<'_>, now: View<'_>, part: Rect, way: Way) -> Option<Moved> {
    let grid = Grid::of(part);
    let cells: Vec<i64> = (0..grid.rows).flat_map(|row| grid.gains(before, now, way, row)).collect();
    if cells.iter().filter(|gain| **gain > 0).sum::<i64>() < LEAST_GAIN {
        return None;
    }
    let (gain, best) = grid.best(&cells)?;
    if gain < LEAST_GAIN {
        return None;
    }
    let to = grown(before, now, part, way, best, grid.cell);
    let (x, y) = from(to, way, now.part)?;
    Some(Moved { x, y, to })
}

/// Returns where `rect` was before it went this way, if it was inside `part` then.
fn from(rect: Rect, (right, down): Way, part: Rect) -> Option<(u32, u32)> {
    let (x, y) =
        (rect.x.checked_add_signed(right.checked_neg()?)?, rect.y.checked_add_signed(down.checked_neg()?)?);
    part.contains(Rect { x, y, ..rect }).then_some((x, y))
}

/// Moves the edges of `rect` outwards, by at most a cell each, as long as each line beside it went the same way.
fn grown(before: View<'_>, now: View<'_>, part: Rect, way: Way, mut rect: Rect, cell: (u32, u32)) -> Rect {
    let went = |line: Rect| {
        part.contains(line) && from(line, way, now.part).is_some_and(|at| now.is_same(line, before, at))
    };
    for _ in 0..cell.1 {
        if let Some(y) = rect.y.checked_sub(1).filter(|&y| went(Rect { y, height: 1, ..rect })) {
            (rect.y, rect.height) = (y, rect.height + 1);
        }
        if went(Rect { y: rect.bottom(), height: 1, ..rect }) {
            rect.height += 1;
        }
    }
    for _ in 0..cell.0 {
        if let Some(x) = rect.x.checked_sub(1).filter(|&x| went(Rect { x, width: 1, ..rect })) {
            (rect.x, rect.width) = (x, rect.width + 1);
        }
        if went(Rect { x: rect.right(), width: 1, ..rect }) {
            rect.width += 1;
        }
    }
    rect
}

/// A part of a picture in cells.
struct Grid {
    part: Rect,
    cell: (u32, u32),
    columns: u32,
    rows: u32,
}

impl Grid {
    fn of(part: Rect) -> Self {
        let cell = (part.width.div_ceil(CELLS).max(CELL.0), part.height.div_ceil(CELLS).max(CELL.1));
        Self { part, cell, columns: part.width.div_ceil(cell.0), rows: part.height.div_ceil(cell.1) }
    }

    /// Returns how many more pixels of each cell of a row are right if the part goes this way.
    fn gains(&self, before: View<'_>, now: View<'_>, way: Way, row: u32) -> Vec<i64> {
        let cells = || (0..self.columns).map(|column| self.rect(column, row, column, row));
        let all = self.rect(0, row, self.columns.saturating_sub(1), row);
        let mut was_wrong = vec![false; count(self.columns)];
        self.mark(&mut was_wrong, all, now, before, (all.x, all.y));
        let mut is_wrong = vec![true; count(self.columns)];
        // Those that have come from where both pictures are known are beside each other.
        let inside = cells().zip(&mut is_wrong).filter(|(cell, _)| from(*cell, way, now.part).is_some());
        let mut strip: Option<Rect> = None;
        for (cell, is_wrong) in inside {
            *is_wrong = false;
            strip = Some(strip.map_or(cell, |strip| strip.union(cell)));
        }
        if let Some((strip, at)) = strip.and_then(|strip| Some((strip, from(strip, way, now.part)?))) {
            let first = count((strip.x - all.x) / self.cell.0);
            self.mark(is_wrong.get_mut(first..).unwrap_or_default(), strip, now, before, at);
        }
        let gain = |cell: Rect, was_wrong: bool, is_wrong: bool| {
            let pixels = i64::try_from(cell.area()).unwrap_or(0);
            // Cells that gain nothing are left out: what is beyond them may have come from outside.
            pixels * (i64::from(was_wrong) - i64::from(is_wrong)) - 1
        };
        cells().zip(was_wrong).zip(is_wrong).map(|((cell, was), is)| gain(cell, was, is)).collect()
    }

    /// Marks the cells of a strip that are not `now` as they are `before` in the strip that begins `at` there.
    fn mark(&self, wrong: &mut [bool], strip: Rect, now: View<'_>, before: View<'_>, at: (u32, u32)) {
        let cell = count(self.cell.0) * PIXEL;
        for n in 0..strip.height {
            let here = now.row(strip.x, strip.y + n, strip.width).chunks(cell);
            let there = before.row(at.0, at.1 + n, strip.width).chunks(cell);
            for ((wrong, here), there) in wrong.iter_mut().zip(here).zip(there) {
                *wrong = *wrong || here != there;
            }
        }
    }

    /// Returns the part from one cell to another.
    fn rect(&self, left: u32, top: u32, right: u32, bottom: u32) -> Rect {
        let (x, y) = (left * self.cell.0, top * self.cell.1);
        let width = ((right + 1) * self.cell.0).min(self.part.width).saturating_sub(x);
        let height = ((bottom + 1) * self.cell.1).min(self.part.height).saturating_sub(y);
        Rect::new(self.part.x.saturating_add(x), self.part.y.saturating_add(y), width, height)
    }

    /// Returns the rectangle of cells whose values, a value for each cell, have the largest sum, and that sum.
    fn best(&self, values: &[i64]) -> Option<(i64, Rect)> {
        let width = usize::try_from(self.columns).ok().filter(|&width| width > 0)?;
        let mut best: Option<(i64, Rect)> = None;
        for top in 0..self.rows {
            let mut sums = vec![0_i64; width];
            let below = values.chunks_exact(width).skip(usize::try_from(top).ok()?);
            for (bottom, row) in (top..).zip(below) {
                let (mut sum, mut left) = (0, 0);
                for ((right, column), value) in (0..).zip(&mut sums).zip(row) {
                    *column += value;
                    if sum <= 0 {
                        (sum, left) = (0, right);
                    }
                    sum += *column;
                    if best.is_none_or(|(most, _)| sum > most) {
                        best = Some((sum, self.rect(left, top, right, bottom)));
                    }
                }
            }
        }
        best
    }
}
