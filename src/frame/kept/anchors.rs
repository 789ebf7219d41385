use super::view::{View, count};
use crate::frame::Rect;

/// How a part of a picture moved: columns to the right and rows down.
pub(super) type Way = (i32, i32);

/// Pixels that an anchor's hash depends on: those of its row up to it.
const WINDOW: u32 = 32;

/// Spreads the colour of a pixel over the bits of a hash. An odd number.
const SPREAD: u32 = 0x9e37_79b1;

/// Pixels that are hashed together, or passed over if all are as the one before.
const BLOCK: usize = 8;
const BLOCK_COLUMNS: u32 = 8;

/// The fewest rows of a part as high as this one that are looked at both before and after it moved.
const COMMON_ROWS: u32 = 8;

/// The most anchors of each such row, and as many of each other row that is looked at.
const ROW_ANCHORS: usize = 6;

/// The most anchors of the same hash that are told apart, and the most places that are looked at for one, or for a way.
const ALIKE: usize = 8;

/// The places for ways, a power of two.
const WAYS: usize = 1 << 10;

/// The fewest votes for a way that is asked about once more, and the most such ways: text that repeats has many.
const VOTES: u32 = 2;
const CANDIDATES: usize = 64;

/// How many anchors are asked about each of them, and how many must have gone that way.
const ASKED: usize = 64;
const WENT: usize = 4;

/// The most ways that are looked at.
const MOST_WAYS: usize = 3;

/// Returns the few ways that most of `part` may have gone from `before` to `now`, the likeliest first.
///
/// Anchors are pixels at which the hash of the pixels up to there begins with zeros: the same ones wherever those
/// pixels are. Each anchor of `now` that was elsewhere before votes for the way from there. Plain and repeated parts
/// have no edges, or vote for any way alike.
///
/// A few rows are enough, as most pictures have not moved: now one of each `n`, before `n` together of each `n * n`.
/// However far something moved up or down, one row of each `n * n` of it is among both. A way with votes is asked about
/// by some anchors: whether their pixels stood there before, in whichever row.
pub(super) fn ways(before: View<'_>, now: View<'_>, part: Rect) -> Vec<Way> {
    let n = (part.height / COMMON_ROWS).isqrt().max(2) | 1;
    let (anchors, limit) = anchors(now, part, n);
    let known = Known::of(before, part, n, limit, anchors.len());
    let mut votes = vec![(0_u32, (0, 0)); WAYS];
    for anchor in &anchors {
        for way in known.ways(anchor) {
            let mut places = votes.iter_mut().skip(place_of_way(way)).take(ALIKE);
            if let Some((count, of)) = places.find(|(count, of)| *count == 0 || *of == way) {
                (*count, *of) = (count.saturating_add(1), way);
            }
        }
    }
    votes.retain(|(count, _)| *count >= VOTES);
    votes.sort_unstable_by_key(|&(count, _)| std::cmp::Reverse(count));
    let step = anchors.len().div_ceil(ASKED).max(1);
    let went = |way| anchors.iter().step_by(step).filter(|anchor| anchor.went(way, before, now)).count();
    let mut ways: Vec<_> = votes.into_iter().take(CANDIDATES).map(|(_, way)| (went(way), way)).collect();
    ways.retain(|(went, _)| *went >= WENT);
    ways.sort_unstable_by_key(|&(went, _)| std::cmp::Reverse(went));
    ways.into_iter().take(MOST_WAYS).map(|(_, way)| way).collect()
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Anchor {
    hash: u32,
    x: u32,
    y: u32,
}

impl Anchor {
    /// Returns whether the pixels that its hash is of went this way.
    fn went(self, (right, down): Way, before: View<'_>, now: View<'_>) -> bool {
        let Some(x) = self.x.checked_sub(WINDOW - 1) else { return false };
        let back = right.checked_neg().zip(down.checked_neg());
        let from = back
            .and_then(|(right, down)| Some((x.checked_add_signed(right)?, self.y.checked_add_signed(down)?)));
        from.is_some_and(|from| now.is_same(Rect::new(x, self.y, WINDOW, 1), before, from))
    }
}

/// Returns some anchors in one of `n` rows of `part`, and the most that their hashes are.
fn anchors(now: View<'_>, part: Rect, n: u32) -> (Vec<Anchor>, u32) {
    let most = ROW_ANCHORS * count(COMMON_ROWS.saturating_mul(n));
    let mut anchors: Vec<Anchor> = Vec::with_capacity(most + 1);
    let mut limit = u32::MAX >> 2;
    each(now, part, (part.y..part.bottom()).step_by(count(n)), limit, |anchor| {
        anchors.push(anchor);
        while anchors.len() > most {
            limit >>= 1;
            anchors.retain(|anchor| anchor.hash <= limit);
        }
        limit
    });
    (anchors, limit)
}

/// Anchors by their hashes.
struct Known {
    places: Vec<Option<Anchor>>,
}

impl Known {
    /// Finds the anchors in `n` rows together of each `n * n`, of which there are about as many as `expected`.
    fn of(before: View<'_>, part: Rect, n: u32, limit: u32, expected: usize) -> Self {
        let mut known = Self { places: vec![None; expected.saturating_mul(2).next_power_of_two()] };
        // Not quite at the same distances: seven or nine times itself is one more than three or five lines of text of
        // 16 rows, and what is between the lines has no anchors.
        let together = [0, n - 1, 2 * n - 1];
        let rows = (part.y..part.bottom()).filter(|y| together.contains(&((y - part.y) / n % (3 * n))));
        each(before, part, rows, limit, |anchor| {
            let free = known.places(anchor.hash).find(|&n| known.places.get(n).is_some_and(Option::is_none));
            if let Some(place) = free.and_then(|place| known.places.get_mut(place)) {
                *place = Some(anchor);
            }
            limit
        });
        known
    }

    /// Returns the ways that an anchor may have come; none if it has not moved.
    fn ways(&self, anchor: &Anchor) -> impl Iterator<Item = Way> {
        let alike = self.places(anchor.hash).map_while(|place| self.places.get(place).copied().flatten());
        let alike = alike.filter(|other| other.hash == anchor.hash);
        let has_moved = alike.clone().all(|other| other != *anchor);
        let (x, y) = (anchor.x, anchor.y);
        let way = move |other: Anchor| {
            (x.wrapping_sub(other.x).cast_signed(), y.wrapping_sub(other.y).cast_signed())
        };
        alike.filter(move |_| has_moved).map(way)
    }

    /// Returns the places of anchors with this hash, one after the other.
    fn places(&self, hash: u32) -> impl Iterator<Item = usize> + Clone + use<> {
        let size = self.places.len();
        let first = spread(hash, size);
        (0..ALIKE).map(move |n| (first + n) % size)
    }
}

/// Calls `found` with the anchors in these rows of `part` whose hashes are not above a limit. It returns the limit from
/// then on.
fn each(
    view: View<'_>,
    part: Rect,
    rows: impl Iterator<Item = u32>,
    mut limit: u32,
    mut found: impl FnMut(Anchor) -> u32,
) {
    let first = part.x.saturating_add(WINDOW);
    for y in rows {
        let (pixels, _) = view.row(part.x, y, part.width).as_chunks::<4>();
        let (blocks, _) = pixels.as_chunks::<BLOCK>();
        let (mut hash, mut last) = (0_u32, 0);
        for (x, block) in (part.x..).step_by(BLOCK).zip(blocks) {
            let block = block.map(u32::from_le_bytes);
            if block.iter().fold(0, |others, pixel| others | (pixel ^ last)) == 0 {
                // What a step for each pixel would come to.
                hash = (hash << BLOCK_COLUMNS).wrapping_add(last.wrapping_mul(SPREAD).wrapping_mul(0xff));
                continue;
            }
            let hashes = block.map(|pixel| {
                // Each pixel is one bit further up: after 32 more it is gone.
                hash = (hash << 1).wrapping_add(pixel.wrapping_mul(SPREAD));
                hash
            });
            let [a, b, c, d, e, f, g, end] = block;
            let mut are_anchors = [false; BLOCK];
            let pixels = hashes.iter().zip(&block).zip([last, a, b, c, d, e, f, g]);
            for (is_anchor, ((hash, pixel), left)) in are_anchors.iter_mut().zip(pixels) {
                *is_anchor = (*hash <= limit) & (*pixel != left);
            }
            last = end;
            if x >= first && are_anchors.iter().fold(false, |any, is_anchor| any | is_anchor) {
                for ((x, hash), _) in (x..).zip(hashes).zip(are_anchors).filter(|(_, is_anchor)| *is_anchor) {
                    limit = found(Anchor { hash, x, y });
                }
            }
        }
    }
}

fn place_of_way((right, down): Way) -> usize {
    spread(right.cast_unsigned().wrapping_mul(SPREAD) ^ down.cast_unsigned(), WAYS)
}

/// Returns one of `places` places for a number.
fn spread(number: u32, places: usize) -> usize {
    let number = number.wrapping_mul(SPREAD);
    count(number ^ number >> 15) % places
}
