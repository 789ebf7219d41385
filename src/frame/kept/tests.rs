use proptest::prelude::*;

use super::*;

const SIZE: Size = Size::new(400, 300);

/// What a screen shows, drawn with simple means.
#[derive(Clone)]
struct Screen(Vec<u8>);

impl Screen {
    fn plain() -> Self {
        Self(vec![240; SIZE.area() as usize * 4])
    }

    /// Lines of letters that come from a number.
    fn text(seed: u32) -> Self {
        let mut screen = Self::plain();
        screen.write(SIZE.rect(), seed);
        screen
    }

    /// Lines of a log: each has a number of its own, and then words that others have, too.
    fn log(first: u32) -> Self {
        let mut screen = Self::plain();
        for line in 0..SIZE.height.div_ceil(16) {
            let (y, height) = (line * 16, 16.min(SIZE.height - line * 16));
            screen.write(Rect::new(0, y, 80, height), 1000 + first + line);
            screen.write(Rect::new(80, y, 160, height), (first + line) % 7);
            screen.write(Rect::new(240, y, 160, height), noise(first + line, 1) % 7);
        }
        screen
    }

    /// Writes over `rect`, the first line of it numbered `first`.
    fn write(&mut self, rect: Rect, first: u32) {
        for (y, x) in (rect.y..rect.bottom()).flat_map(|y| (rect.x..rect.right()).map(move |x| (y, x))) {
            let (u, v) = (x - rect.x, y - rect.y);
            let letter = noise(u / 8, v / 16 + first);
            let ink = v % 16 < 12
                && !letter.is_multiple_of(5)
                && noise(letter * 64 + u % 8 / 2, v % 16 / 2).is_multiple_of(3);
            self.set(x, y, if ink { 20 } else { 240 });
        }
    }

    fn set(&mut self, x: u32, y: u32, grey: u8) {
        self.0[(y * SIZE.width + x) as usize * 4..][..4].fill(grey);
    }

    fn noise(&mut self, rect: Rect, seed: u32) {
        for (y, x) in (rect.y..rect.bottom()).flat_map(|y| (rect.x..rect.right()).map(move |x| (y, x))) {
            self.set(x, y, noise(x + seed, y) as u8);
        }
    }

    fn part(&self, part: Rect) -> Vec<u8> {
        let mut out = vec![0; part.area() as usize * 4];
        Kept::of(SIZE, self.0.clone()).read(part, &mut out).unwrap();
        out
    }
}

fn noise(x: u32, y: u32) -> u32 {
    let n = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77);
    (n ^ n >> 15).wrapping_mul(0x2c1b_3c6d) >> 13
}

/// Takes `after` in where `before` was kept. What a client is told makes the one the other, which is checked.
fn taken(before: &Screen, after: &Screen, part: Rect) -> TakenIn {
    let mut kept = Kept::of(SIZE, before.0.clone());
    let taken = kept.take_in(part, &after.part(part), true);
    let mut client = Kept::of(SIZE, before.0.clone());
    for &moved in &taken.moved {
        assert!(part.contains(moved.to) && part.contains(moved.from()), "{moved:?} reaches out of {part:?}");
        client.copy(moved);
    }
    for &rect in taken.rest.rects() {
        assert!(part.contains(rect), "{rect:?} reaches out of {part:?}");
        client.overwrite(View::new(&after.part(rect), rect), &rect.into());
    }
    assert!(client.bytes == kept.bytes, "what is told is not what is kept");
    assert!(client.part(part) == after.part(part), "what is told makes another picture");
    taken
}

impl Kept {
    fn part(&self, part: Rect) -> Vec<u8> {
        Screen(self.bytes.clone()).part(part)
    }
}

#[test]
fn text_that_scrolls_by_lines_is_a_copy_and_the_lines_that_came() {
    for lines in [1, 3, 8] {
        let taken = taken(&Screen::text(0), &Screen::text(lines), SIZE.rect());
        let [moved] = taken.moved[..] else { panic!("{taken:?}") };
        assert_eq!((moved.x, moved.y), (0, lines * 16));
        assert_eq!(moved.to, Rect::new(0, 0, 400, 300 - lines * 16));
        assert!(taken.rest.area() <= 400 * u64::from(lines * 16 + 16), "{taken:?}");
        assert!(taken.motion.is_empty(), "{lines}: {taken:?}");
    }
}

#[test]
fn a_log_of_few_words_is_one_copy_however_far_it_scrolls() {
    for (first, lines) in (0..16).flat_map(|first| (1..=10).map(move |lines| (first, lines))) {
        let taken = taken(&Screen::log(first), &Screen::log(first + lines), SIZE.rect());
        let kept = taken.moved.first().map_or(0, |moved| moved.to.area());
        assert!(kept >= 400 * u64::from(300 - lines * 16 - 16), "{first} {lines}: {taken:?}");
    }
}

#[test]
fn a_window_that_is_dragged_over_text_is_a_copy_and_what_was_under_it() {
    let window = |x, y| {
        let mut screen = Screen::text(0);
        screen.write(Rect::new(x, y, 240, 160), 100);
        screen
    };
    for (x, y) in [(53, 40), (47, 35), (50, 61), (22, 40)] {
        let damage = Rect::new(50, 40, 240, 160).union(Rect::new(x, y, 240, 160));
        let taken = taken(&window(50, 40), &window(x, y), damage);
        let [moved] = taken.moved[..] else { panic!("{taken:?}") };
        let way = (moved.to.x as i32 - moved.x as i32, moved.to.y as i32 - moved.y as i32);
        assert_eq!(way, (x as i32 - 50, y as i32 - 40));
        assert!(moved.to.area() >= 200 * 130, "{moved:?}");
        assert!(taken.rest.area() < damage.area() / 3, "{taken:?}");
    }
}

#[test]
fn what_does_not_move_is_no_copy() {
    let mut noisy = Screen::text(0);
    noisy.noise(SIZE.rect(), 7);
    let mut other = noisy.clone();
    other.noise(SIZE.rect(), 7000);
    let mut typed = Screen::text(0);
    typed.write(Rect::new(80, 160, 8, 16), 77);
    let plain = Screen(vec![99; SIZE.area() as usize * 4]);
    for (before, after) in
        [(&noisy, &other), (&Screen::text(0), &plain), (&plain, &Screen::plain()), (&Screen::text(0), &typed)]
    {
        let taken = taken(before, after, SIZE.rect());
        assert!(taken.moved.is_empty() && taken.motion == taken.rest, "{taken:?}");
    }
    assert!(taken(&noisy, &noisy.clone(), SIZE.rect()).rest.is_empty());
}

#[test]
fn a_caret_and_a_clock_are_two_small_changes() {
    let mut after = Screen::text(0);
    after.noise(Rect::new(360, 3, 33, 12), 1);
    after.noise(Rect::new(13, 280, 8, 16), 2);
    let rest = taken(&Screen::text(0), &after, SIZE.rect()).rest;
    assert!(rest.rects().len() == 2 && rest.area() < 3000, "{rest:?}");
}

#[test]
fn a_picture_that_is_too_large_is_not_kept() {
    assert!(Kept::new(Size::new(4096, 4096)).is_some());
    assert!(Kept::new(Size::new(4096, 4097)).is_none());
}

/// Something that happens on a screen.
#[derive(Clone, Debug)]
enum Event {
    Scroll { rect: Rect, lines: u32, seed: u32 },
    Window { rect: Rect, seed: u32 },
    Noise { rect: Rect, seed: u32 },
    Drag { from: Rect, x: u32, y: u32 },
}

fn rects() -> impl Strategy<Value = Rect> {
    (0u32..300, 0u32..200).prop_flat_map(|(x, y)| {
        (1..=SIZE.width - x, 1..=SIZE.height - y).prop_map(move |(w, h)| Rect::new(x, y, w, h))
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (rects(), 0u32..60, any::<u16>()).prop_map(|(rect, lines, seed)| Event::Scroll {
            rect,
            lines,
            seed: seed.into()
        }),
        (rects(), any::<u16>()).prop_map(|(rect, seed)| Event::Window { rect, seed: seed.into() }),
        (rects(), any::<u16>()).prop_map(|(rect, seed)| Event::Noise { rect, seed: seed.into() }),
        (rects(), 0u32..400, 0u32..300).prop_map(|(from, x, y)| Event::Drag {
            from,
            x: x % (SIZE.width - from.width + 1),
            y: y % (SIZE.height - from.height + 1)
        }),
    ];
    proptest::collection::vec(event, 0..4)
}

fn happens(screen: &mut Screen, event: &Event) {
    match *event {
        Event::Scroll { rect, lines, seed } => {
            let height = rect.height.saturating_sub(lines).max(1);
            let to = Rect { height, ..rect };
            let mut kept = Kept::of(SIZE, screen.0.clone());
            kept.copy(Moved { x: rect.x, y: rect.bottom() - height, to });
            screen.0 = kept.bytes;
            screen.write(Rect { y: rect.y + height, height: rect.height - height, ..rect }, seed);
        }
        Event::Window { rect, seed } => screen.write(rect, seed),
        Event::Noise { rect, seed } => screen.noise(rect, seed),
        Event::Drag { from, x, y } => {
            let mut kept = Kept::of(SIZE, screen.0.clone());
            kept.copy(Moved { x: from.x, y: from.y, to: Rect { x, y, ..from } });
            screen.0 = kept.bytes;
        }
    }
}

proptest! {
    #[test]
    fn what_is_told_makes_the_new_picture_of_the_old(seed in any::<u16>(), events in events(), part in rects()) {
        let before = Screen::text(seed.into());
        let mut after = before.clone();
        events.iter().for_each(|event| happens(&mut after, event));
        for part in [SIZE.rect(), part] {
            taken(&before, &after, part);
        }
    }
}
