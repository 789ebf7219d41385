use std::time::{Duration, Instant};

use crate::frame::{CHANGE_PIXELS, PIXELS_PER_SECOND, PixelBudget, Rect, Region, Size};

/// After this long without motion, a video's picture is replaced by the exact one. Longer than a viewer's
/// decoder usually lags behind: a frame that is decoded late covers exact pixels.
const REST: Duration = Duration::from_millis(300);

/// As long as that takes after the first frame, for which the viewer starts its decoder.
const FIRST_REST: Duration = Duration::from_millis(1000);

/// After this long the exact picture is sent once more. No client tells when it has shown a frame; one whose
/// decoder lagged further behind than it should have sees exact pixels now.
const SECOND_REFRESH: Duration = Duration::from_secs(3);

/// The most pixels of one image when a picture is made exact: what it takes to send must not delay the next
/// change.
const BAND_PIXELS: u32 = 128 * 1024;

/// What a pixel of an image is taken to need before any was sent: thousandths of a byte. Text has a quarter.
const FIRST_COST: u64 = 1000;

/// The time one image may take the network while a picture is made exact: the next change waits for it.
const BAND_TIME_MS: u64 = 50;

/// The time that changes which came together may take it as images. Those that take longer go as video.
const CHANGE_TIME_MS: u64 = 100;

/// The fewest pixels of an image when a picture is made exact: below that, messages cost more than pixels.
const BAND_PIXELS_MIN: u64 = 4096;

/// Decides for a viewer of video when it gets exact images instead: once the picture rests, and for small
/// changes from then on, until something moves.
///
/// Pure: it is told what happens and what time it is.
#[derive(Debug, Default)]
pub(crate) struct Sharpen {
    state: Sharpness,
    /// The size of the last frame.
    size: Option<Size>,
    budget: PixelBudget,
    /// What the network carries, in bits a second.
    rate: Option<u64>,
    /// What a pixel of an image needs, in thousandths of a byte.
    cost: Option<u64>,
}

#[derive(Debug, Default)]
enum Sharpness {
    /// Nothing was shown yet.
    #[default]
    New,
    /// Video of all of the picture is shown.
    Moving {
        /// From this time on it counts as resting: what the viewer sees is nearly the picture.
        rest: Instant,
        /// From this time on, areas that move may be video by themselves.
        part: Instant,
    },
    /// The viewer sees the exact picture, with areas that may be video.
    Resting {
        /// But for these parts.
        left: Vec<Rect>,
        /// When all of it is sent once more.
        again: Option<Instant>,
    },
}

impl Sharpen {
    /// Limits images to `rate` bits a second from now on.
    pub(crate) fn limit(&mut self, rate: Option<u64>) {
        self.rate = rate;
        let (change, second) = self.small();
        self.budget.limit(change, second);
    }

    /// Returns whether the network carries as many exact images as any viewer gets.
    #[must_use]
    pub(crate) fn is_unlimited(&self) -> bool {
        self.small() == (CHANGE_PIXELS, PIXELS_PER_SECOND)
    }

    /// Returns how many pixels may go as images together, and in a second.
    fn small(&self) -> (u64, u64) {
        let most = |ms, most| self.pixels_in(ms).map_or(most, |pixels| pixels.min(most));
        (most(CHANGE_TIME_MS, CHANGE_PIXELS), most(1000, PIXELS_PER_SECOND))
    }

    /// Records that `pixels` pixels were sent as `bytes` bytes of images.
    pub(crate) fn cost(&mut self, pixels: u64, bytes: u64) {
        if let Some(cost) = bytes.saturating_mul(1000).checked_div(pixels) {
            self.cost = Some(self.cost.map_or(cost, |before| before.midpoint(cost)).max(1));
            self.limit(self.rate);
        }
    }

    /// Records that a frame of video of this `size` was shown, with this `damage`.
    pub(crate) fn shown(&mut self, size: Size, damage: &Region, now: Instant) {
        self.size = Some(size);
        let is_small = self.budget.takes(damage.area(), now);
        match self.state {
            Sharpness::New => {
                self.state = Sharpness::Moving { rest: now + FIRST_REST, part: now + FIRST_REST };
            }
            Sharpness::Moving { .. } if is_small => {}
            Sharpness::Moving { rest, part } => {
                self.state = Sharpness::Moving { rest: rest.max(now + REST), part };
            }
            Sharpness::Resting { .. } => self.stir(now),
        }
    }

    /// Returns when to call [`Sharpen::settle`] or [`Sharpen::rest`], if nothing moves until then.
    #[must_use]
    pub(crate) fn rest_at(&self) -> Option<Instant> {
        match self.state {
            Sharpness::Moving { rest, .. } => Some(rest),
            Sharpness::New => None,
            Sharpness::Resting { again, .. } => again,
        }
    }

    /// Goes to rest after a while without motion, if `picture` is the size that was shown. If it is another
    /// or none, the video has to show that first.
    pub(crate) fn settle(&mut self, picture: Option<Size>, now: Instant) {
        match picture {
            Some(size) if self.is_of(picture) => self.rest(size, std::iter::empty(), now),
            _ => self.stir(now),
        }
    }

    /// Goes to rest: all of `picture` is to be made exact, but for the `areas` that are video.
    pub(crate) fn rest(&mut self, picture: Size, areas: impl Iterator<Item = Rect>, now: Instant) {
        let mut areas = areas.peekable();
        // Where areas are video, that of all of the picture has ended: none of its frames can come late.
        let again = (!self.is_resting() && areas.peek().is_none()).then(|| now + SECOND_REFRESH);
        let still = Region::from(picture.rect()).without(areas);
        let left = still.rects().iter().rev().flat_map(|&rect| bands(rect)).collect();
        self.state = Sharpness::Resting { left, again };
    }

    /// Returns whether what the viewer was shown last is a `picture` of this size.
    #[must_use]
    pub(crate) fn is_of(&self, picture: Option<Size>) -> bool {
        picture.is_some() && self.size == picture
    }

    /// Returns whether areas of a `picture` that moves may be video by themselves from now on, and the rest exact.
    #[must_use]
    pub(crate) fn may_part(&self, picture: Size, now: Instant) -> bool {
        self.is_of(Some(picture)) && matches!(self.state, Sharpness::Moving { part, .. } if part <= now)
    }

    /// Takes notice of a part that was video, or could not be sent, and is to be made exact.
    pub(crate) fn owe(&mut self, part: Rect) {
        if let Sharpness::Resting { left, .. } = &mut self.state {
            left.extend(bands(part));
        }
    }

    /// Returns the parts that are still to be made exact.
    pub(crate) fn owed(&self) -> &[Rect] {
        match &self.state {
            Sharpness::Resting { left, .. } => left,
            _ => &[],
        }
    }

    /// Returns how many pixels may change now and go as images.
    pub(crate) fn most(&mut self, now: Instant) -> u64 {
        self.budget.credit(now)
    }

    /// Returns whether the picture is at rest, so that the viewer gets images.
    #[must_use]
    pub(crate) fn is_resting(&self) -> bool {
        matches!(self.state, Sharpness::Resting { .. })
    }

    /// Returns the next part of a picture at rest that is to be made exact, from the top.
    pub(crate) fn next_band(&mut self, now: Instant) -> Option<Rect> {
        let most = self.pixels_in(BAND_TIME_MS);
        let Sharpness::Resting { left, again } = &mut self.state else { return None };
        let mut band = left.pop()?;
        let rows = most.map_or(u64::MAX, |pixels| pixels.max(BAND_PIXELS_MIN) / u64::from(band.width.max(1)));
        let rows = u32::try_from(rows).unwrap_or(u32::MAX).max(1);
        if rows < band.height {
            left.push(Rect::new(band.x, band.y + rows, band.width, band.height - rows));
            band.height = rows;
        }
        if left.is_empty() && again.is_some() {
            *again = Some(now + SECOND_REFRESH);
        }
        Some(band)
    }

    /// Returns whether so many changed `pixels` of a picture at rest may go as images. If not, the picture moves from
    /// now on.
    pub(crate) fn is_small(&mut self, pixels: u64, now: Instant) -> bool {
        let small = self.is_resting() && self.budget.takes(pixels, now);
        if !small {
            self.stir(now);
        }
        small
    }

    /// Ends the rest: the picture moves, whatever changed.
    pub(crate) fn stir(&mut self, now: Instant) {
        self.state = Sharpness::Moving { rest: now + REST, part: now + REST };
    }

    /// Returns how many pixels of images the network carries in `ms` milliseconds; `None` if it has no limit.
    fn pixels_in(&self, ms: u64) -> Option<u64> {
        let bytes = self.rate?.saturating_mul(ms) / 8000;
        bytes.saturating_mul(1000).checked_div(self.cost.unwrap_or(FIRST_COST))
    }
}

/// Cuts a part of a picture into bands of its whole rows, the first one last.
fn bands(part: Rect) -> impl Iterator<Item = Rect> {
    let rows = BAND_PIXELS.checked_div(part.width).unwrap_or(1).max(1);
    let count = part.height.div_ceil(rows);
    let band = move |n: u32| Rect { y: part.y + n * rows, height: rows.min(part.height - n * rows), ..part };
    (0..count).rev().map(band)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: Size = Size::new(1280, 720);

    fn resting(now: Instant) -> Sharpen {
        let mut sharpen = Sharpen::default();
        sharpen.shown(HD, &HD.rect().into(), now);
        sharpen.rest(HD, std::iter::empty(), now);
        sharpen
    }

    #[test]
    fn a_picture_that_rests_becomes_exact_from_the_top_and_once_more() {
        let now = Instant::now();
        let mut sharpen = Sharpen::default();
        assert_eq!(sharpen.rest_at(), None, "nothing to sharpen before the first frame");
        sharpen.shown(HD, &HD.rect().into(), now);
        for refresh in [Some(now + FIRST_REST), Some(now + FIRST_REST + SECOND_REFRESH)] {
            assert_eq!(sharpen.rest_at(), refresh);
            sharpen.rest(HD, std::iter::empty(), now + FIRST_REST);
            let mut y = 0;
            while let Some(band) = sharpen.next_band(now + FIRST_REST) {
                assert_eq!((band.x, band.y, band.width), (0, y, 1280));
                assert!(band.area() <= u64::from(BAND_PIXELS));
                y = band.bottom();
            }
            assert_eq!(y, 720);
        }
        assert_eq!(sharpen.rest_at(), None, "an idle picture costs nothing");
    }

    #[test]
    fn a_size_that_was_not_shown_yet_is_no_rest() {
        let now = Instant::now();
        for picture in [Some(Size::new(800, 600)), None] {
            let mut sharpen = Sharpen::default();
            sharpen.shown(HD, &HD.rect().into(), now);
            sharpen.settle(picture, now + FIRST_REST);
            assert!(!sharpen.is_resting(), "{picture:?} would never be shown");
            sharpen.shown(HD, &HD.rect().into(), now + FIRST_REST);
            sharpen.settle(Some(HD), now + FIRST_REST * 2);
            assert!(sharpen.is_resting());
        }
    }

    #[test]
    fn a_blinking_caret_does_not_keep_a_picture_from_resting() {
        let start = Instant::now();
        let mut sharpen = Sharpen::default();
        sharpen.shown(HD, &HD.rect().into(), start);
        for blink in 1..10 {
            let now = start + Duration::from_millis(30 * blink);
            sharpen.shown(HD, &Rect::new(64, 64, 8, 16).into(), now);
        }
        assert_eq!(sharpen.rest_at(), Some(start + FIRST_REST));
        sharpen.shown(HD, &HD.rect().into(), start + FIRST_REST);
        assert_eq!(sharpen.rest_at(), Some(start + FIRST_REST + REST), "a page that turns does");
    }

    #[test]
    fn typing_stays_exact() {
        let mut now = Instant::now();
        let mut sharpen = resting(now);
        for _ in 0..600 {
            now += Duration::from_millis(50); // 20 keys a second, each a line of an editor drawn again
            assert!(sharpen.is_small(1280 * 20, now));
        }
        assert!(sharpen.is_resting());
    }

    #[test]
    fn a_slow_network_gets_small_images_and_soon_video_again() {
        let now = Instant::now();
        let mut sharpen = resting(now);
        sharpen.limit(Some(2_000_000));
        let mut bands = Vec::new();
        while let Some(band) = sharpen.next_band(now) {
            sharpen.cost(band.area(), band.area() / 2);
            bands.push(band);
        }
        assert_eq!(bands.iter().map(|band| band.area()).sum::<u64>(), HD.rect().area(), "all of it, once");
        assert!(bands.windows(2).all(|two| two[1].y == two[0].bottom()), "from the top");
        let most = bands[1..].iter().map(|band| band.area() / 2).max().unwrap();
        assert!(most <= 12_500, "{most} bytes take over 50 ms");
        assert!(sharpen.is_small(1280 * 20, now + SECOND_REFRESH), "a typed line goes exactly");
        assert!(!sharpen.is_small(300 * 400, now + SECOND_REFRESH * 2), "60 kB go as video");
    }

    #[test]
    fn a_film_in_a_window_and_a_scrolled_page_are_video() {
        let start = Instant::now();
        let mut sharpen = resting(start);
        let shown =
            (0..30).filter(|n| sharpen.is_small(320 * 240, start + Duration::from_millis(33 * n))).count();
        assert!((1..5).contains(&shown), "{shown} frames of a film went as images");
        assert!(!sharpen.is_resting());
        assert!(!resting(start).is_small(HD.area(), start), "a whole page moves");
    }
}
