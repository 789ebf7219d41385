use super::view::{View, count};
use crate::frame::Rect;

/// How a part of a picture moved: columns to the right and rows down.
pub(super) type Way = (i32, i32);

/// Pixels that an anchor's hash depends on: those of its row up to it.
const WINDOW: usize = 32;

/// Spreads the colour of a pixel over the bits of a hash. An odd number.
const SPREAD: u32 = 0x9e37_79b1;

/// The places for anchors of the picture before, a power of two. A picture has at most about half as many.
const PLACES: usize = 1 << 13;

/// The most anchors of the same hash that are told apart, and the most places that are looked at for one.
const ALIKE: usize = 8;

/// The places for ways, a power of two.
const WAYS: usize = 1 << 12;

/// Of the picture after, one row of so many is enough.
const ROWS: usize = 4;

/// The fewest anchors that make a way worth looking at.
const VOTES: u32 = 6;

/// The most ways that are looked at.
const MOST_WAYS: usize = 3;

/// Returns the few ways that most of `part` may have gone from `before` to `now`, the likeliest first.
///
/// Anchors are pixels at which the hash of the pixels up to there begins with zeros: the same ones wherever those
/// pixels are. Each anchor of `now` that was elsewhere before votes for the way from there. Plain and repeated parts
/// have no edges, or vote for any way alike.
pub(super) fn ways(before: View<'_>, now: View<'_>, part: Rect) -> Vec<Way> {
    let zeros = part.area().checked_ilog2().unwrap_or(0).saturating_sub(12).clamp(4, 16);
    let mut known = vec![None; PLACES];
    each(before, part, zeros, 1, |anchor| {
        let free = places(anchor.hash).find(|&place| known.get(place).is_some_and(Option::is_none));
        if let Some(place) = free.and_then(|place| known.get_mut(place)) {
            *place = Some(anchor);
        }
    });
    let mut votes = vec![(0_u32, (0, 0)); WAYS];
    each(now, part, zeros, ROWS, |anchor| {
        let alike = places(anchor.hash).map_while(|place| known.get(place).copied().flatten());
        let alike = alike.filter(|other| other.hash == anchor.hash);
        if alike.clone().any(|other| other == anchor) {
            return; // it has not moved
        }
        for other in alike {
            let way =
                (anchor.x.wrapping_sub(other.x).cast_signed(), anchor.y.wrapping_sub(other.y).cast_signed());
            if let Some((count, of)) = votes.get_mut(place_of_way(way)) {
                (*count, *of) = (count.saturating_add(1), way);
            }
        }
    });
    votes.retain(|(count, _)| *count >= VOTES);
    votes.sort_unstable_by_key(|&(count, _)| std::cmp::Reverse(count));
    votes.into_iter().take(MOST_WAYS).map(|(_, way)| way).collect()
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Anchor {
    hash: u32,
    x: u32,
    y: u32,
}

/// Calls `found` with the anchors in one of `rows` rows of `part`.
fn each(view: View<'_>, part: Rect, zeros: u32, rows: usize, mut found: impl FnMut(Anchor)) {
    for y in (part.y..part.bottom()).step_by(rows) {
        let (pixels, _) = view.row(part.x, y, part.width).as_chunks::<4>();
        let (mut hash, mut last) = (0_u32, 0);
        for (x, pixel) in (part.x..).zip(pixels) {
            let pixel = u32::from_le_bytes(*pixel);
            // Each pixel is one bit further up: after 32 more it is gone.
            hash = (hash << 1).wrapping_add(pixel.wrapping_mul(SPREAD));
            if hash.leading_zeros() >= zeros && pixel != last && count(x - part.x) >= WINDOW {
                found(Anchor { hash, x, y });
            }
            last = pixel;
        }
    }
}

/// Returns the places of anchors with this hash, one after the other.
fn places(hash: u32) -> impl Iterator<Item = usize> + Clone {
    let first = spread(hash, PLACES);
    (0..ALIKE).map(move |n| (first + n) % PLACES)
}

fn place_of_way((right, down): Way) -> usize {
    spread(right.cast_unsigned().wrapping_mul(SPREAD) ^ down.cast_unsigned(), WAYS)
}

/// Returns one of `places` places for a number.
fn spread(number: u32, places: usize) -> usize {
    let number = number.wrapping_mul(SPREAD);
    count(number ^ number >> 15) % places
}
