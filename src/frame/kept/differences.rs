use super::view::View;
use crate::frame::{Rect, Region};

/// Rows that share the columns of their differences: about a line of text.
const BAND: u32 = 16;

/// Columns that are compared at a time: a cache line.
const STEP: u32 = 16;
const STEP_BYTES: usize = 64;

/// So many steps without a difference part two differences.
const GAP: usize = 4;

/// Returns where in `part` `now` is not as `before`, in steps of 16 columns and 16 rows.
pub(super) fn differences(before: View<'_>, now: View<'_>, part: Rect) -> Region {
    let mut region = Region::new();
    let mut steps = Vec::new();
    let mut top = part.y;
    while top < part.bottom() {
        let bottom = top.saturating_add(BAND).min(part.bottom());
        steps.clear();
        let mut rows: Option<(u32, u32)> = None;
        for y in top..bottom {
            let (before, now) = (before.row(part.x, y, part.width), now.row(part.x, y, part.width));
            if before != now {
                mark(&mut steps, before, now);
                rows = Some(rows.map_or((y, y), |(first, _)| (first, y)));
            }
        }
        if let Some((first, last)) = rows {
            for (left, right) in runs(&steps) {
                let x = part.x.saturating_add(left * STEP);
                let width = (right * STEP).min(part.width).saturating_sub(left * STEP);
                region.add(Rect::new(x, first, width, last - first + 1));
            }
        }
        top = bottom;
    }
    region
}

/// Marks the steps in which two rows differ.
fn mark(steps: &mut Vec<bool>, before: &[u8], now: &[u8]) {
    steps.resize(now.len().div_ceil(STEP_BYTES), false);
    let (whole, rest) = now.as_chunks::<STEP_BYTES>();
    let (whole_before, rest_before) = before.as_chunks::<STEP_BYTES>();
    for ((step, now), before) in steps.iter_mut().zip(whole).zip(whole_before) {
        *step |= now != before;
    }
    if let Some(last) = steps.last_mut().filter(|_| !rest.is_empty()) {
        *last |= rest != rest_before;
    }
}

/// Returns the runs of marked steps, each with its first step and the one behind its last.
fn runs(steps: &[bool]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (step, _) in steps.iter().enumerate().filter(|(_, marked)| **marked) {
        match runs.last_mut() {
            Some(run) if step - run.1 < GAP => run.1 = step + 1,
            _ => runs.push((step, step + 1)),
        }
    }
    let column = |step: usize| u32::try_from(step).unwrap_or(u32::MAX / STEP);
    runs.into_iter().map(|(first, end)| (column(first), column(end))).collect()
}
