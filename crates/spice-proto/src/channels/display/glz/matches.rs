//! What of an image's pixels stood earlier in it.

/// The most bits of a hash.
const HASH_BITS: u32 = 15;

/// Pixels that a hash is of.
const HASHED: usize = 3;

/// The fewest pixels of a match with the pixel before, or with the row above, and of any other: a match takes the
/// bytes of one pixel to one and a half, but bytes that are seldom said cost more of what is packed again.
const LEAST_NEAR: usize = 2;
const LEAST: usize = 3;

/// A match of so many pixels is not worth looking for a longer one.
const ENOUGH: usize = 64;

/// In a long match, one in so many pixels is remembered.
const STRIDE: usize = 8;

/// Pixels that are as those so far back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Match {
    /// How far, in pixels: not 0.
    pub(super) distance: usize,
    /// How many: more than the distance if they repeat.
    pub(super) length: usize,
}

/// Goes through pixels.
pub(super) struct Matches<'p> {
    pixels: &'p [u32],
    row: usize,
    /// Where pixels with each hash were last.
    places: Vec<u32>,
    hash_bits: u32,
    at: usize,
}

impl<'p> Matches<'p> {
    /// Begins with the first of `pixels`, of which `row` make a row.
    pub(super) fn new(pixels: &'p [u32], row: usize) -> Self {
        let hash_bits = pixels.len().checked_ilog2().unwrap_or(0).clamp(1, HASH_BITS);
        Self { pixels, row, places: vec![u32::MAX; 1 << hash_bits], hash_bits, at: 0 }
    }

    /// Returns the pixels up to the next match, and that, if there is one; `None` at the end.
    pub(super) fn next(&mut self) -> Option<(&'p [u32], Option<Match>)> {
        let begin = self.at;
        while self.at < self.pixels.len() {
            let found = self.find();
            self.remember(self.at);
            if let Some(found) = found {
                let literals = self.pixels.get(begin..self.at)?;
                let end = self.at.saturating_add(found.length);
                let step = if found.length > ENOUGH { STRIDE } else { 1 };
                (self.at + 1..end).step_by(step).for_each(|at| self.remember(at));
                self.at = end;
                return Some((literals, Some(found)));
            }
            self.at += 1;
        }
        self.pixels.get(begin..).filter(|rest| !rest.is_empty()).map(|rest| (rest, None))
    }

    /// Returns the longest match here that is worth its bytes.
    fn find(&self) -> Option<Match> {
        let near = [1, self.row].map(|distance| self.matched(distance));
        let near = near.into_iter().flatten().max_by_key(|found| found.length);
        if near.is_some_and(|near| near.length >= ENOUGH) {
            return near;
        }
        let far = self.hash(self.at).and_then(|hash| self.places.get(hash)).and_then(|&place| {
            let place = usize::try_from(place).ok().filter(|&place| place < self.at)?;
            self.matched(self.at - place)
        });
        let near = near.filter(|near| near.length >= LEAST_NEAR);
        let far = far.filter(|far| far.length >= LEAST);
        [far, near].into_iter().flatten().max_by_key(|found| found.length)
    }

    fn matched(&self, distance: usize) -> Option<Match> {
        let before = self.pixels.get(self.at.checked_sub(distance)?..)?;
        let length = before.iter().zip(self.pixels.get(self.at..)?).take_while(|(a, b)| a == b).count();
        (length > 0).then_some(Match { distance, length })
    }

    fn remember(&mut self, at: usize) {
        let place = self.hash(at).and_then(|hash| self.places.get_mut(hash));
        if let (Some(place), Ok(at)) = (place, u32::try_from(at)) {
            *place = at;
        }
    }

    /// Returns the hash of the pixels there; `None` if there are too few.
    fn hash(&self, at: usize) -> Option<usize> {
        let (&[a, b, c], _) =
            self.pixels.get(at..at.checked_add(HASHED)?)?.as_chunks::<HASHED>().0.split_first()?;
        let mixed = a.wrapping_mul(0x9e37_79b1)
            ^ b.wrapping_mul(0x85eb_ca6b).rotate_left(11)
            ^ c.wrapping_mul(0xc2b2_ae35).rotate_left(19);
        usize::try_from(mixed.wrapping_mul(0x9e37_79b1) >> (u32::BITS - self.hash_bits)).ok()
    }
}
