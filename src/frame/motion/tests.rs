use proptest::prelude::*;

use super::*;

const HD: Size = Size::new(1280, 720);
const FILM: Rect = Rect::new(100, 100, 400, 200);

/// A picture of text, with time that passes.
struct Screen {
    motion: Motion,
    now: Instant,
}

impl Screen {
    fn new() -> Self {
        let mut screen = Self { motion: Motion::default(), now: Instant::now() };
        screen.motion.replace(Some(HD), false, screen.now);
        screen.pass(5000);
        assert_eq!(screen.areas(), [], "a picture that came long ago does not move");
        screen
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn damage(&mut self, rects: &[Rect]) {
        let mut damage = Region::new();
        rects.iter().for_each(|&rect| damage.add(rect));
        self.motion.damage(&damage, false, self.now);
    }

    /// Updates for so many times 50 ms.
    fn play(&mut self, updates: u64, mut rects: impl FnMut(u64) -> Vec<Rect>) {
        for update in 0..updates {
            self.pass(50);
            self.damage(&rects(update));
        }
    }

    fn areas(&mut self) -> Vec<Rect> {
        self.motion.moving(self.now).areas.into_iter().flatten().collect()
    }
}

#[test]
fn of_pixels_that_are_compared_what_really_changed_counts_and_areas_go_on() {
    let mut screen = Screen::new();
    let update = |screen: &mut Screen, damage: Rect, changed: Rect| {
        screen.pass(50);
        screen.motion.damage(&damage.into(), true, screen.now);
        screen.motion.changed(&changed.into(), changed.area(), screen.now);
    };
    for _ in 0..100 {
        update(&mut screen, FILM, Rect::new(100, 290, 400, 10));
    }
    assert_eq!(screen.areas(), [], "a page that scrolls is a few lines that came");
    for _ in 0..10 {
        update(&mut screen, FILM, FILM);
    }
    assert_eq!(screen.areas(), [FILM]);
    for _ in 0..100 {
        screen.pass(50);
        screen.motion.damage(&FILM.into(), true, screen.now);
        assert_eq!(screen.areas(), [FILM], "nobody compares its pixels");
    }
}

#[test]
fn an_area_is_looked_at_less_and_less_until_copies_do() {
    let mut screen = Screen::new();
    let mut looks = Vec::new();
    screen.play(5, |_| vec![FILM]);
    for update in 0..400 {
        screen.play(1, |_| vec![FILM]);
        if let Some(area) = screen.motion.due_look(screen.now) {
            assert_eq!(area, FILM);
            looks.push(update);
        }
    }
    assert!((12..17).contains(&looks.len()) && looks[0] < 5, "{looks:?}");
    screen.motion.copies_do(FILM, screen.now);
    screen.play(30, |_| vec![FILM]);
    assert_eq!(screen.areas(), [], "somebody will compare its pixels");
    screen.play(30, |_| vec![FILM]);
    assert_eq!(screen.areas(), [FILM], "nobody did");
    let mut waits = Vec::new();
    for _ in 0..6 {
        screen.motion.copies_do(FILM, screen.now);
        let then = screen.now;
        screen.play(45, |_| vec![FILM]);
        while screen.motion.due_look(screen.now).is_none() {
            screen.play(1, |_| vec![FILM]);
        }
        waits.push((screen.now - then).as_secs());
    }
    assert!(waits.is_sorted() && waits[0] <= 3 && waits[5] == 8, "copies did not do each time: {waits:?}");
}

#[test]
fn of_what_copies_make_but_for_a_little_that_little_counts() {
    let mut screen = Screen::new();
    for _ in 0..100 {
        screen.pass(50);
        screen.motion.damage(&HD.rect().into(), true, screen.now);
        screen.motion.changed(&HD.rect().into(), 40_000, screen.now);
    }
    assert_eq!(screen.areas(), []);
    screen.motion.changed(&HD.rect().into(), 200_000, screen.now);
    assert_eq!(screen.areas(), [HD.rect()]);
}

#[test]
fn a_film_in_a_window_is_an_area_until_it_ends() {
    let mut screen = Screen::new();
    screen.play(5, |_| vec![FILM]);
    assert_eq!(screen.areas(), [FILM]);
    screen.play(100, |_| vec![FILM]);
    assert_eq!(screen.areas(), [FILM]);
    let until = screen.motion.moving(screen.now).until.unwrap();
    assert!(until <= screen.now + REST);
    screen.pass(300);
    assert_eq!(screen.areas(), []);
    assert_eq!(screen.motion.moving(screen.now).until, None, "nobody has to wake up");
}

#[test]
fn a_film_that_is_drawn_in_strips_is_one_area_soon() {
    let mut screen = Screen::new();
    let strip = |n: u64| Rect::new(100, 100 + n as u32 * 90, 640, 90);
    let mut areas = Vec::new();
    for n in 0..40 {
        screen.pass(10);
        screen.damage(&[strip(n % 4)]);
        areas.push(screen.areas());
    }
    areas.dedup();
    assert_eq!(areas.last().unwrap(), &[Rect::new(100, 100, 640, 360)]);
    assert!(areas.len() <= 3, "{areas:?}");
}

#[test]
fn what_grows_in_two_directions_at_once_grows_once() {
    let mut screen = Screen::new();
    screen.play(5, |_| vec![FILM]);
    screen.play(1, |_| vec![Rect::new(96, 90, 412, 220)]);
    assert_eq!(screen.areas(), [Rect::new(96, 90, 412, 220)]);
}

/// A thousand films, each far from the others: what looks for neighbours must not compare each with each.
#[test]
fn parts_that_are_too_many_to_be_told_apart_are_none() {
    let size = Size::new(4096, 4096);
    let films = || (0..32).flat_map(|y| (0..32).map(move |x| Rect::new(x * 128, y * 128, 64, 64)));
    let steady = |films: &dyn Fn() -> Vec<Rect>| {
        let (mut motion, mut now) = (Motion::of(Some(size)), Instant::now());
        for _ in 0..WINDOWS {
            motion.pass(now);
            now += WINDOW;
            (0..30).for_each(|_| films().into_iter().for_each(|film| motion.mark(film)));
        }
        motion.steady_parts(size.rect())
    };
    assert_eq!(steady(&|| films().take(MAX_PARTS).collect()).len(), MAX_PARTS);
    assert_eq!(steady(&|| films().collect()), []);
}

#[test]
fn typing_beside_a_film_is_no_motion() {
    let mut screen = Screen::new();
    screen.play(200, |_| vec![FILM, Rect::new(0, 600, 1280, 20)]);
    assert_eq!(screen.areas(), [FILM]);
}

#[test]
fn two_films_are_two_areas_and_end_one_by_one() {
    let mut screen = Screen::new();
    let other = Rect::new(700, 400, 320, 240);
    screen.play(20, |_| vec![FILM]);
    screen.play(20, |_| vec![FILM, other]);
    let mut areas = screen.areas();
    areas.sort_by_key(|area| area.x);
    assert_eq!(areas, [FILM, other]);
    screen.play(20, |_| vec![other]);
    assert_eq!(screen.areas(), [other]);
}

#[test]
fn a_page_that_turns_behind_a_film_moves_once() {
    let mut screen = Screen::new();
    screen.play(20, |_| vec![FILM]);
    screen.play(1, |_| vec![HD.rect()]);
    assert_eq!(screen.areas(), [HD.rect()]);
    screen.play(60, |_| vec![FILM]);
    assert_eq!(screen.areas(), [FILM]);
}

#[test]
fn a_window_that_is_dragged_is_all_of_the_picture_and_begins_few_streams() {
    let mut screen = Screen::new();
    let mut changes = 0;
    let mut before = Vec::new();
    for step in 0..100 {
        screen.pass(33);
        let at = |step: u32| Rect::new(10 + 7 * step, 10 + 3 * step, 400, 300);
        screen.damage(&[at(step).union(at(step + 1))]);
        let areas = screen.areas();
        changes += usize::from(areas != before);
        before = areas;
    }
    assert_eq!(before, [HD.rect()]);
    assert!(changes <= 4, "{changes} times another area");
    screen.pass(300);
    assert_eq!(screen.areas(), []);
}

#[test]
fn a_caret_in_what_was_a_film_does_not_keep_the_area() {
    let mut screen = Screen::new();
    screen.play(20, |_| vec![FILM]);
    screen.play(7, |_| vec![Rect::new(120, 120, 8, 16)]);
    assert_eq!(screen.areas(), []);
}

#[test]
fn another_size_or_none_starts_anew() {
    let mut screen = Screen::new();
    screen.play(20, |_| vec![FILM]);
    screen.motion.replace(Some(Size::new(64, 64)), false, screen.now);
    assert!(screen.areas().iter().all(|&area| Size::new(64, 64).rect().contains(area)));
    screen.motion.replace(None, false, screen.now);
    assert_eq!(screen.areas(), []);
}

proptest! {
    #[test]
    fn areas_are_few_apart_and_inside_the_picture_and_outside_is_little(
        size in (1u32..3000, 1u32..2000),
        updates in proptest::collection::vec(
            (0u64..400, proptest::collection::vec((0i32..3000, 0i32..2000, 1i32..900, 1i32..900), 1..4)), 1..60),
    ) {
        let size = Size::new(size.0, size.1);
        let (mut motion, start) = (Motion::default(), Instant::now());
        motion.replace(Some(size), false, start);
        let mut now = start;
        let mut outside = 0;
        for (ms, rects) in updates {
            now += Duration::from_millis(ms);
            let mut damage = Region::new();
            for rect in rects.into_iter().filter_map(|(x, y, w, h)| Rect::clipped(x, y, w, h, size)) {
                damage.add(rect);
            }
            motion.damage(&damage, false, now);
            let areas: Vec<_> = motion.moving(now).areas.into_iter().flatten().collect();
            outside += damage.without(areas.iter().copied()).area();
            prop_assert!(motion.areas.len() <= MAX_AREAS);
            for (n, area) in areas.iter().enumerate() {
                prop_assert!(size.rect().contains(*area) && area.x % 2 == 0 && area.y % 2 == 0, "{area:?}");
                prop_assert!(areas[n + 1..].iter().all(|other| other.intersection(*area).is_none()), "{areas:?}");
            }
        }
        let most = CHANGE_PIXELS + PIXELS_PER_SECOND * (now - start).as_millis() as u64 / 1000;
        prop_assert!(outside <= most * 2, "{outside} pixels are to go as images");
    }
}
