use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Console, Release, lock};
use crate::frame::{Kept, Moved, Rect, Region, Scanout, ScanoutError, Size};

/// The most pixels of one part that is read: a mebibyte, which clients allocate whole and draw as soon as it is there.
const PART_PIXELS: u32 = 1 << 18;

/// The most steps that a reader may be behind. What moves beyond that counts as changed.
const MAX_STEPS: usize = 32;

/// The most of an area that is looked at for whether copies would do.
const LOOKED_AT: Size = Size::new(1024, 768);

/// The time between two looks, and how often there is another one while nothing changes: guests that draw ten frames a
/// second are seen to move.
const BETWEEN_LOOKS: Duration = Duration::from_millis(30);
const LOOKS: u32 = 4;

/// The picture of a console that its exact readers share. It is compared with what the console shows once for all of
/// them, when one asks; what it then becomes by copies is told as copies to those who have what is copied.
#[derive(Debug, Default)]
pub(super) struct ExactPicture(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    size: Option<Size>,
    /// What readers were told last. None if it is too large; what changed is then read from the scanout itself.
    kept: Option<Kept>,
    /// The part of `kept` that is not what readers were told: what nobody has read yet, and areas that are video.
    /// INVARIANT: no reader has this part exactly; each still has it to read.
    unread: Region,
    readers: BTreeMap<u64, Vec<Step>>,
    next_reader: u64,
}

/// What happened to the picture since a reader has read it.
#[derive(Debug)]
enum Step {
    Moved(Moved),
    Changed(Region),
}

/// The damage outside of areas.
enum Damage {
    /// What it is alone: the picture is too large to be kept.
    Told(Region),
    /// Its parts, with their pixels.
    Read(Vec<(Rect, Vec<u8>)>),
}

/// One reader of a console's exact picture. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct ExactReader {
    console: Arc<Console>,
    id: u64,
}

/// What a reader asks to be told.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Parts that the reader does not have exactly, and will ask for later: areas that are video are among them.
    pub owed: Vec<Rect>,
    /// Areas that are video. A reader that has no video has none, ever.
    pub areas: Option<Vec<Rect>>,
    /// A part to read in any case.
    pub part: Option<Rect>,
    /// The most pixels to read beside that.
    pub most: u64,
    /// Whether copies can be told.
    pub copies: bool,
}

/// What a reader is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// What makes its picture the exact one, but for what it is owed.
    Update(ExactUpdate),
    /// Nothing yet: there are other areas of which it does not know.
    Areas,
    /// Nothing yet: it would be more pixels than it asked for.
    TooMuch,
    /// Nothing: the console shows a picture of another size, or none.
    Gone,
}

/// First the copies, one after the other, and then the images.
#[derive(Debug, Default)]
pub(crate) struct ExactUpdate {
    /// The picture's size.
    pub size: Size,
    /// Parts that are now in another place.
    pub moved: Vec<Moved>,
    /// Parts of the picture with their pixels, packed rows of B, G, R, x, at most a mebibyte each.
    pub images: Vec<(Rect, Vec<u8>)>,
    /// The pixels of the images beside the part that was asked for.
    pub changed: u64,
}

impl Asked {
    /// Asks for all that changed.
    pub(crate) fn all() -> Self {
        Self { most: u64::MAX, ..Self::default() }
    }
}

impl ExactPicture {
    /// Adds a reader of a picture of `size`, which has nothing of it.
    pub(super) fn join(console: &Arc<Console>, size: Size) -> ExactReader {
        let mut state = lock(&console.exact_picture().0);
        if state.size != Some(size) {
            state.begin(size);
        }
        let id = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(id, vec![Step::Changed(size.rect().into())]);
        console.compare(true);
        ExactReader { console: console.clone(), id }
    }
}

impl ExactReader {
    /// Tells what makes the reader's picture the exact one. Takes milliseconds, so it is not for async tasks. The guest
    /// waits for its `release` until its pixels are read.
    ///
    /// # Errors
    /// If the scanout cannot be read.
    pub(crate) fn read(&self, asked: &Asked, release: Option<Release>) -> Result<Told, ScanoutError> {
        let mut state = lock(&self.console.exact_picture().0);
        let now = Instant::now();
        let (scanout, damage, areas) = self.console.compared(now);
        let Some(scanout) = scanout.filter(|scanout| state.size == Some(scanout.size())) else {
            return Ok(Told::Gone);
        };
        let read = state.read(&scanout, &damage, areas.iter().copied())?;
        // INVARIANT: the guest goes on as soon as its pixels are read: not after they were searched for what moved.
        let release = release.filter(|_| state.reads_more(self.id, asked));
        let (motion, pixels) = state.take_in(read);
        if !motion.is_empty() {
            self.console.changed(&motion, pixels, now);
        }
        let stale = state.stale(self.id, asked);
        if let Some(known) = &asked.areas {
            let is_other = |area: &Rect| !known.contains(area) && !stale.within(*area).is_empty();
            if self.console.moving(now).areas.into_iter().flatten().any(|area| is_other(&area)) {
                return Ok(Told::Areas);
            }
        }
        if stale.area() > asked.most {
            return Ok(Told::TooMuch);
        }
        let update = state.update(self.id, &scanout, &stale, asked);
        drop(release);
        update.map(Told::Update)
    }
}

impl Drop for ExactReader {
    fn drop(&mut self) {
        let mut state = lock(&self.console.exact_picture().0);
        state.readers.remove(&self.id);
        if state.readers.is_empty() {
            *state = State { next_reader: state.next_reader, ..State::default() };
            self.console.compare(false);
        }
    }
}

impl State {
    /// Begins with a picture of which nothing is known.
    fn begin(&mut self, size: Size) {
        (self.size, self.kept, self.unread) = (Some(size), Kept::new(size), size.rect().into());
        for steps in self.readers.values_mut() {
            *steps = vec![Step::Changed(size.rect().into())];
        }
    }

    /// Reads the damage outside of `areas`.
    fn read(
        &mut self,
        scanout: &Scanout,
        damage: &Region,
        areas: impl Iterator<Item = Rect> + Clone,
    ) -> Result<Damage, ScanoutError> {
        for area in areas.clone() {
            let inside = damage.within(area);
            self.unread.add_region(&inside);
            self.step_changed(&inside);
        }
        let outside = damage.without(areas.clone());
        if self.kept.is_none() {
            return Ok(Damage::Told(outside));
        }
        let together = together(outside, areas);
        let parts = together.rects().iter().map(|&rect| Ok((rect, pixels(scanout, rect)?)));
        match parts.collect() {
            Ok(parts) => Ok(Damage::Read(parts)),
            Err(error) => {
                self.unreadable(&together);
                Err(error)
            }
        }
    }

    /// Returns whether what a reader asks for has to be read from the scanout, besides the damage.
    fn reads_more(&self, reader: u64, asked: &Asked) -> bool {
        let stale = self.stale(reader, asked);
        self.kept.is_none() || stale.rects().iter().any(|&part| !self.unread.within(part).is_empty())
    }

    /// Takes in the damage. Returns what of it changed, unless copies, and little else, make it, and how many pixels
    /// copies do not make.
    fn take_in(&mut self, damage: Damage) -> (Region, u64) {
        let parts = match damage {
            Damage::Told(region) => {
                self.step_changed(&region);
                let pixels = region.area();
                return (region, pixels);
            }
            Damage::Read(parts) => parts,
        };
        // What was not known before is not known to have changed.
        let unread = self.unread.clone();
        let (mut motion, mut pixels) = (Region::new(), 0);
        for (rect, now) in parts {
            let (changed, new) = self.compare(rect, &now, true);
            let changed = changed.without(unread.rects().iter().copied());
            pixels += new.min(changed.area());
            motion.add_region(&changed);
        }
        (motion, pixels)
    }

    /// Takes the pixels of a part as they are `now` into the picture, for all readers. Returns what changed, unless
    /// copies, and little else, make it, and how many pixels copies do not make.
    fn compare(&mut self, rect: Rect, now: &[u8], search: bool) -> (Region, u64) {
        let Some(kept) = &mut self.kept else { return (rect.into(), rect.area()) };
        let taken = kept.take_in(rect, now, search);
        self.unread = self.unread.without(std::iter::once(rect));
        for &moved in &taken.moved {
            self.readers.values_mut().for_each(|steps| add_moved(steps, moved));
        }
        self.step_changed(&taken.rest);
        let pixels = taken.moving_pixels();
        (taken.motion, pixels)
    }

    /// Takes notice of a part that cannot be read now.
    fn unreadable(&mut self, part: &Region) {
        self.unread.add_region(part);
        self.step_changed(part);
    }

    fn step_changed(&mut self, region: &Region) {
        if !region.is_empty() {
            self.readers.values_mut().for_each(|steps| add_changed(steps, region));
        }
    }

    /// Returns what a reader does not have exactly, and is not owed either.
    fn stale(&self, reader: u64, asked: &Asked) -> Region {
        let steps = self.readers.get(&reader).map(Vec::as_slice).unwrap_or_default();
        let stale = steps.iter().fold(Region::new(), |stale, step| match step {
            Step::Moved(moved) if asked.copies => carried(&stale, &asked.owed, *moved),
            Step::Moved(moved) => with(stale, moved.to),
            Step::Changed(region) => region.rects().iter().copied().fold(stale, with),
        });
        stale.without(asked.owed.iter().chain(&asked.part).copied())
    }

    /// Makes the update of a reader, which then is up to date.
    fn update(
        &mut self,
        reader: u64,
        scanout: &Scanout,
        stale: &Region,
        asked: &Asked,
    ) -> Result<ExactUpdate, ScanoutError> {
        let parts = || stale.rects().iter().copied().chain(asked.part);
        let missing: Vec<Rect> = parts().flat_map(|part| self.unread.within(part).rects().to_vec()).collect();
        for rect in missing {
            self.compare(rect, &pixels(scanout, rect)?, false);
        }
        let mut images = Vec::new();
        for part in parts().flat_map(pieces) {
            let mut pixels = vec![0; bytes(part)];
            match &self.kept {
                Some(kept) => kept.read(part, &mut pixels)?,
                None => scanout.reader()?.read(part, &mut pixels)?,
            }
            images.push((part, pixels));
        }
        let steps = self.readers.get_mut(&reader).map(std::mem::take).unwrap_or_default();
        let moved = steps.iter().filter_map(|step| match step {
            Step::Moved(moved) => Some(*moved).filter(|_| asked.copies),
            Step::Changed(_) => None,
        });
        let (size, changed) = (scanout.size(), stale.area());
        Ok(ExactUpdate { size, moved: moved.collect(), images, changed })
    }
}

/// Returns what to read of `damage`: all that is around it if that is little more, and none of it is in an area. What
/// moves is found within one part: lines of a page that scrolls may be as they were, and part it.
fn together(damage: Region, mut areas: impl Iterator<Item = Rect>) -> Region {
    let bounds = damage.rects().iter().copied().reduce(Rect::union);
    let is_little_more = |bounds: &Rect| bounds.area().saturating_mul(2) <= damage.area().saturating_mul(3);
    match bounds.filter(is_little_more) {
        Some(bounds) if !areas.any(|area| area.intersection(bounds).is_some()) => bounds.into(),
        _ => damage,
    }
}

fn add_changed(steps: &mut Vec<Step>, region: &Region) {
    match steps.last_mut() {
        Some(Step::Changed(before)) => before.add_region(region),
        _ => steps.push(Step::Changed(region.clone())),
    }
}

fn add_moved(steps: &mut Vec<Step>, moved: Moved) {
    if steps.len() < MAX_STEPS {
        steps.push(Step::Moved(moved));
    } else {
        add_changed(steps, &moved.to.into());
    }
}

/// Returns what is stale after a copy, where `stale` was before, and what is `owed` still is: the copy makes its place
/// exact, but for what it brings along.
fn carried(stale: &Region, owed: &[Rect], moved: Moved) -> Region {
    let from = moved.from();
    let brought = stale.rects().iter().chain(owed).filter_map(|rect| rect.intersection(from));
    let brought = brought.map(|rect| Rect {
        x: moved.to.x.saturating_add(rect.x.saturating_sub(from.x)),
        y: moved.to.y.saturating_add(rect.y.saturating_sub(from.y)),
        ..rect
    });
    brought.fold(stale.without(std::iter::once(moved.to)), with)
}

fn with(mut region: Region, rect: Rect) -> Region {
    region.add(rect);
    region
}

/// Cuts `rect` into pieces of whole rows, from the top.
fn pieces(rect: Rect) -> impl Iterator<Item = Rect> {
    let rows = PART_PIXELS.checked_div(rect.width).unwrap_or(1).max(1);
    (0..rect.height.div_ceil(rows)).map(move |piece| {
        let y = piece * rows;
        Rect { y: rect.y + y, height: rows.min(rect.height - y), ..rect }
    })
}

fn bytes(rect: Rect) -> usize {
    usize::try_from(rect.area().saturating_mul(4)).unwrap_or(0)
}

fn pixels(scanout: &Scanout, rect: Rect) -> Result<Vec<u8>, ScanoutError> {
    let mut pixels = vec![0; bytes(rect)];
    scanout.reader()?.read(rect, &mut pixels)?;
    Ok(pixels)
}

/// Returns whether copies, and little else, would make the pictures of an `area` of the console, by looking at the
/// middle of it twice. Takes as long as the guest takes for a frame, so it is not for async tasks.
pub(super) fn would_copies_do(console: &Console, area: Rect) -> bool {
    let middle = middle(area);
    let look = || {
        let scanout = console.shown().filter(|scanout| scanout.size().rect().contains(middle))?;
        pixels(&scanout, middle).ok()
    };
    let Some(before) = look() else { return false };
    for _ in 0..LOOKS {
        std::thread::sleep(BETWEEN_LOOKS);
        let Some(now) = look() else { return false };
        if now != before {
            let (size, rect) = (Size::new(middle.width, middle.height), Rect { x: 0, y: 0, ..middle });
            return Kept::of(size, before).take_in(rect, &now, true).motion.is_empty();
        }
    }
    false
}

/// Returns the middle of an area, of at most [`LOOKED_AT`].
fn middle(area: Rect) -> Rect {
    let (width, height) = (area.width.min(LOOKED_AT.width), area.height.min(LOOKED_AT.height));
    Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::ConsoleId;
    use crate::hub::Hub;

    const SIZE: Size = Size::new(256, 160);
    const XRGB: u32 = 0x2002_0888;

    /// A client that draws what it is told.
    struct Client {
        reader: ExactReader,
        picture: Kept,
        /// What it has not been sent yet, and areas that it would show as video.
        owed: Vec<Rect>,
        areas: Vec<Rect>,
        copies: bool,
    }

    impl Client {
        fn of(console: &Arc<Console>, copies: bool, owed: Vec<Rect>) -> Self {
            let reader = console.read_exactly().unwrap();
            Self { reader, picture: Kept::new(SIZE).unwrap(), owed, areas: Vec::new(), copies }
        }

        /// Reads what changed, and one part of what it is owed. Returns how many copies that were.
        fn read(&mut self) -> usize {
            let part = self.owed.pop();
            loop {
                let owed = self.owed.iter().chain(&self.areas).copied().collect();
                let areas = Some(self.areas.clone());
                let asked = Asked { owed, areas, part, most: u64::MAX, copies: self.copies };
                match self.reader.read(&asked, None).unwrap() {
                    Told::Update(update) => {
                        update.moved.iter().for_each(|moved| self.picture.copy(*moved));
                        for (rect, pixels) in &update.images {
                            self.picture.take_in(*rect, pixels, false);
                        }
                        return update.moved.len();
                    }
                    Told::Areas => {
                        let moving = self.reader.console.moving(Instant::now()).areas;
                        self.areas = moving.into_iter().flatten().collect();
                    }
                    other => panic!("{other:?}"),
                }
            }
        }

        /// Checks each pixel that it should have.
        fn check(&self, console: &Console) {
            let mut seen = vec![0; bytes(SIZE.rect())];
            self.picture.read(SIZE.rect(), &mut seen).unwrap();
            let shown = pixels(&console.shown().unwrap(), SIZE.rect()).unwrap();
            for (n, (seen, shown)) in (0..).zip(seen.chunks(4).zip(shown.chunks(4))) {
                let pixel = Rect::new(n % SIZE.width, n / SIZE.width, 1, 1);
                let is_owed = self.owed.iter().chain(&self.areas).any(|owed| owed.contains(pixel));
                assert!(seen == shown || is_owed, "{pixel:?} is another");
            }
        }
    }

    /// A guest that draws lines of letters.
    struct Guest {
        console: Arc<Console>,
        bytes: Vec<u8>,
    }

    impl Guest {
        fn new() -> Self {
            let mut guest =
                Self { console: Hub::default().console(ConsoleId(0)).unwrap(), bytes: Vec::new() };
            guest.bytes = vec![200; bytes(SIZE.rect())];
            guest.write(SIZE.rect(), 0);
            let scanout =
                Scanout::owned(SIZE.width, SIZE.height, SIZE.width * 4, XRGB, &guest.bytes).unwrap();
            guest.console.show(Some(scanout));
            guest
        }

        fn write(&mut self, rect: Rect, seed: u32) {
            for (y, x) in (rect.y..rect.bottom()).flat_map(|y| (rect.x..rect.right()).map(move |x| (y, x))) {
                let letter = ((x / 8) ^ ((y / 16 + seed) * 77)).wrapping_mul(2_654_435_761) >> 9;
                let ink = letter >> ((x % 8 / 2) + y % 16 / 4 * 4) & 1 == 1;
                let at = (y * SIZE.width + x) as usize * 4;
                self.bytes[at..at + 4].fill(if ink { 20 } else { 200 });
            }
        }

        fn scroll(&mut self, rows: u32, seed: u32) {
            self.bytes.copy_within((rows * SIZE.width) as usize * 4.., 0);
            self.write(Rect { y: SIZE.height - rows, height: rows, ..SIZE.rect() }, seed);
        }

        fn shows(&self, damage: impl Into<Region>) {
            let scanout = self.console.shown().unwrap();
            scanout.write(SIZE.rect(), SIZE.width * 4, XRGB, &self.bytes).unwrap();
            self.console.damage_region(&damage.into(), None);
        }
    }

    fn bands() -> Vec<Rect> {
        (0..4).map(|band| Rect::new(0, band * 40, 256, 40)).collect()
    }

    #[test]
    fn a_viewer_that_missed_updates_is_told_each_copy_in_order() {
        let mut guest = Guest::new();
        let mut near = Client::of(&guest.console, true, Vec::new());
        let mut far = Client::of(&guest.console, true, Vec::new());
        near.read();
        far.read();
        for line in 0..4 {
            guest.scroll(16, 100 + line);
            guest.shows(SIZE.rect());
            assert_eq!(near.read(), 1);
            near.check(&guest.console);
        }
        assert_eq!(far.read(), 4);
        far.check(&guest.console);
    }

    #[test]
    fn what_scrolls_is_a_copy_where_its_damage_is_in_parts() {
        let mut guest = Guest::new();
        let mut client = Client::of(&guest.console, true, Vec::new());
        client.read();
        // Beside what scrolls something stays as it is, too large to count as damage all the same.
        let clock = Rect::new(150, 48, 106, 64);
        let mut damage = Region::from(SIZE.rect()).without(std::iter::once(clock));
        guest.write(clock, 7);
        guest.shows(SIZE.rect());
        client.read();
        guest.scroll(16, 100);
        guest.write(clock, 7);
        assert_eq!(damage.rects().len(), 3);
        guest.shows(damage.take());
        assert_eq!(client.read(), 1);
        client.check(&guest.console);
    }

    #[test]
    fn the_picture_is_kept_while_somebody_reads_it_and_no_longer() {
        let guest = Guest::new();
        let reader = guest.console.read_exactly();
        assert!(lock(&guest.console.exact_picture().0).kept.is_some() && guest.console.is_read_exactly());
        drop(reader);
        assert!(lock(&guest.console.exact_picture().0).kept.is_none() && !guest.console.is_read_exactly());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn whoever_reads_whenever_has_each_pixel_of_the_guest(
            events in proptest::collection::vec((0u32..6, 0u32..40, any::<u8>(), 0u8..16), 1..30),
        ) {
            let mut guest = Guest::new();
            let mut clients = vec![
                Client::of(&guest.console, true, bands()),
                Client::of(&guest.console, true, Vec::new()),
                Client::of(&guest.console, false, bands()),
            ];
            for (kind, rows, seed, readers) in events {
                match kind {
                    0..3 => {
                        guest.scroll(rows, seed.into());
                        guest.shows(SIZE.rect());
                    }
                    3 => {
                        let rect = Rect::new(u32::from(seed) % 100, rows, 90, 60);
                        guest.write(rect, rows);
                        guest.shows(rect);
                    }
                    4 => clients.push(Client::of(&guest.console, true, bands())),
                    _ if clients.len() > 2 => _ = clients.remove(0),
                    _ => {}
                }
                for (n, client) in clients.iter_mut().enumerate().filter(|(n, _)| readers >> (n % 4) & 1 == 1) {
                    client.read();
                    client.check(&guest.console);
                    prop_assert!(n < 40);
                }
            }
            for client in &mut clients {
                while !client.owed.is_empty() {
                    client.read();
                }
                client.read();
                client.check(&guest.console);
            }
        }
    }
}
