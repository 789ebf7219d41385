use proptest::prelude::*;

use super::*;

/// What clients keep of the images of a session, after spice-gtk's own rules.
#[derive(Default)]
struct Window {
    /// Its 16 places, each with the number of an image.
    places: [Option<u64>; 16],
    oldest: u64,
    /// Up to here, places were found taken.
    gap: u64,
}

impl Window {
    fn take(&mut self, id: u64, to_oldest: u32) {
        let place = |id: u64| (id % 16) as usize;
        assert_eq!(self.places[place(id)], None, "image {id} finds its place taken");
        self.places[place(id)] = Some(id);
        while self.gap <= id && self.places[place(self.gap)].is_some() {
            self.gap += 1;
        }
        let last = self.places[place(self.gap.wrapping_sub(1))]
            .expect("the client waits for an image that is missing");
        while self.oldest < last - u64::from(to_oldest) {
            self.places[place(self.oldest)] = None;
            self.oldest += 1;
        }
    }
}

struct Stream<'b>(&'b [u8]);

impl Stream<'_> {
    fn byte(&mut self) -> usize {
        let (first, rest) = self.0.split_first().expect("the stream ends too early");
        self.0 = rest;
        usize::from(*first)
    }

    fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |number, _| number << 8 | self.byte() as u64)
    }

    /// Reads pixels and matches until there are so many pixels, and no bytes more.
    fn pixels(&mut self, count: usize) -> Vec<u32> {
        let mut pixels = Vec::new();
        while pixels.len() < count {
            let control = self.byte();
            if control < 32 {
                for _ in 0..=control {
                    pixels.push((self.byte() | self.byte() << 8 | self.byte() << 16) as u32);
                }
                continue;
            }
            let (mut length, mut distance) = (control >> 5, control & 15);
            while length >= 7 {
                let more = self.byte();
                length += more;
                if more < 255 {
                    break;
                }
            }
            distance |= self.byte() << 4;
            let last = self.byte();
            assert_eq!(last >> 6, 0, "another image is meant");
            if control & 16 == 0 {
                assert_eq!(last, 0, "another image is meant");
            } else {
                distance |= (last & 31) << 12;
                distance |= if last & 32 == 0 { 0 } else { self.byte() << 17 };
            }
            (0..length).for_each(|_| pixels.push(pixels[pixels.len() - distance - 1]));
        }
        assert!(self.0.is_empty() && pixels.len() == count, "{} bytes over", self.0.len());
        pixels
    }
}

/// Reads an image. Returns its size, number, the distance to the oldest one that is needed, and its pixels.
fn read(stream: &[u8]) -> ((u64, u64), u64, u32, Vec<u32>) {
    let mut stream = Stream(stream);
    assert_eq!((stream.number(4), stream.number(4), stream.byte()), (0x2020_5a4c, 0x10001, 0x18));
    let (width, height) = (stream.number(4), stream.number(4));
    assert_eq!(stream.number(4), width * 4);
    let (id, to_oldest) = (stream.number(8), stream.number(4) as u32);
    ((width, height), id, to_oldest, stream.pixels((width * height) as usize))
}

fn noise(n: u32) -> u32 {
    let n = n.wrapping_mul(0x9e37_79b1);
    (n ^ n >> 15).wrapping_mul(0x2c1b_3c6d) >> 7
}

/// Something like a picture: runs, repetitions from anywhere, and noise.
fn image() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let part = prop_oneof![
        (any::<u32>(), 1usize..700).prop_map(|(colour, count)| vec![colour; count]),
        (any::<u32>(), 1u32..90).prop_map(|(seed, count)| (0..count).map(|n| noise(n ^ seed)).collect()),
        (0u32..4, 1u32..900).prop_map(|(seed, count)| (0..count).map(|n| noise(n / 3 + seed) % 3).collect()),
    ];
    (1u32..300, proptest::collection::vec(part, 1..12)).prop_map(|(width, parts)| {
        let mut pixels = parts.concat();
        pixels.resize(pixels.len().next_multiple_of(width as usize), 7);
        (width, pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect())
    })
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written((width, pixels) in image(), number in any::<u32>()) {
        let stream = glz(width, &pixels, number);
        let colours: Vec<u32> = pixels.as_chunks::<4>().0.iter().map(colour).collect();
        let (size, _, _, read) = read(&stream);
        prop_assert_eq!(size, (width.into(), (colours.len() / width as usize) as u64));
        prop_assert!(read == colours, "other pixels");
        prop_assert!(stream.len() <= 33 + colours.len() * 3 * 13 / 12 + 3);
    }

    #[test]
    fn a_client_keeps_no_image_and_waits_for_none(skipped in proptest::collection::vec(0u32..40, 1..60)) {
        let (mut window, mut number) = (Window::default(), 0);
        for skipped in skipped {
            number += skipped;
            let (_, id, to_oldest, _) = read(&glz(1, &[1, 2, 3, 4], number));
            window.take(id, to_oldest);
            prop_assert_eq!(window.places, [None; 16]);
            number += 1;
        }
    }
}

#[test]
fn matches_of_all_lengths_and_distances_are_written_as_they_are_read() {
    for distance in [1, 16, 17, 4096, 4097, 5000, 1 << 17, (1 << 17) + 1, 1 << 18, 1 << 22] {
        for length in [1, 6, 7, 8, 261, 262, 263, 600] {
            let mut stream = vec![0, 1, 2, 3];
            write_match(Match { distance: 1, length: distance - 1 }, &mut stream);
            if distance == 1 {
                stream.truncate(4);
            }
            stream.extend([0, 4, 5, 6]);
            write_match(Match { distance, length }, &mut stream);
            let pixels = Stream(&stream).pixels(distance + 1 + length);
            for (n, pixel) in pixels.iter().enumerate().skip(distance + 1) {
                assert_eq!(*pixel, pixels[n - distance], "{length} from {distance}");
            }
        }
    }
}

#[test]
fn a_line_of_text_that_repeats_far_above_is_a_few_bytes() {
    let line: Vec<u8> = (0..1280 * 16).flat_map(|n| noise(n).to_le_bytes()).collect();
    let plain = vec![0xee; 1280 * 4 * 100];
    let once = glz(1280, &[&line[..], &plain].concat(), 0).len();
    let twice = glz(1280, &[&line[..], &plain, &line].concat(), 0).len();
    assert!(twice - once < 500, "{once} and {twice} bytes");
}
