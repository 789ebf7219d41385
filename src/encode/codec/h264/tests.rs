use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Parameter sets as encoders write them, without start codes.
const X264_ULTRAFAST: &str = "6742c020da01581879bc05a808080a000003000200000300791e306540";
const OPENH264: &str = "6742c0208c8d402b030f3700f08846a0";
const X264_MEDIUM: &str = "67640020acd94056061e6f016a02020280000003008000001e478c18cb";
const X264_444: &str = "67f40020919b280ac0c3c5f80b50101014000003000400000300f23c60c658";
const X264_422: &str = "677a0020bcd94056061e6f016a02020280000003008000001e478c18cb";
const X264_10_BITS: &str = "676e0020a6cd94056061e6f016a0202028000003000800000301e478c18cb0";
const X264_HRD: &str = "67640028acb200f0044fcb80b501010140000003004000000f3c481f40fa8b4c01e30649";

/// The smallest there is: no usability information.
const BARE: &str = "6742000af841a2";

const PPS_NAL: &[u8] = &[0x68, 0xce, 0x0f, 0x2c, 0x80];

/// First macroblock 0, slice type 7 (I) or 5 (P), and something after.
const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x3a];
const P: &[u8] = &[0x41, 0x9a, 0x24, 0x11];

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

fn sps(hex: &str) -> Sps {
    Sps::parse(&bytes(hex)[1..]).unwrap()
}

fn stream(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 1], *nal].concat()).collect()
}

#[test]
fn parameter_sets_of_real_encoders_are_understood() {
    let size = Size::new(1366, 768);
    for (hex, profile, colours, plain, reorder, refs) in [
        (X264_ULTRAFAST, 66, 1, true, Some(0), 1),
        (OPENH264, 66, 1, true, Some(0), 1),
        (X264_MEDIUM, 100, 1, true, Some(2), 4),
        (X264_444, 244, 3, true, Some(2), 4),
        (X264_422, 122, 2, true, Some(2), 4),
        (X264_10_BITS, 110, 1, false, Some(2), 4),
    ] {
        let sps = sps(hex);
        assert_eq!((sps.profile, sps.level, sps.size), (profile, 32, size), "{hex}");
        assert_eq!(sps.chroma_format, colours, "{hex}");
        assert_eq!((sps.plain, sps.reorder_frames, sps.ref_frames), (plain, reorder, refs), "{hex}");
    }
    let bare = sps(BARE);
    assert_eq!((bare.size, bare.level, bare.reorder_frames), (Size::new(128, 96), 10, None));
    let hrd = sps(X264_HRD);
    assert_eq!((hrd.size, hrd.level, hrd.reorder_frames), (Size::new(1920, 1080), 40, Some(0)));
}

#[test]
fn a_rewritten_parameter_set_says_the_same_and_that_nothing_is_held_back() {
    for hex in [X264_ULTRAFAST, OPENH264, X264_MEDIUM, X264_444, X264_HRD, BARE] {
        let before = sps(hex);
        let rewritten = before.with_our_vui(&bytes(hex)[1..]).unwrap();
        let after = Sps::parse(&rewritten).unwrap();
        let said =
            |sps: &Sps| (sps.profile, sps.level, sps.size, sps.chroma_format, sps.plain, sps.ref_frames);
        assert_eq!((said(&after), after.reorder_frames), (said(&before), Some(0)), "{hex}");
    }
}

#[test]
fn an_access_unit_has_one_layout() {
    let (sps, delimiter, sei) = (bytes(OPENH264), [0x09, 0x10], [0x06, 0x05, 0x01, 0xff, 0x80]);
    let mut check = Check::new(Size::new(1366, 768), CHROMA_420);
    let key = check.access_unit(&stream(&[&delimiter, &sps, PPS_NAL, &sei, IDR, IDR])).unwrap();
    assert!(key.key);
    let kinds = |data: &[u8]| nal_units(data).map(|nal| nal[0] & 0x1f).collect::<Vec<_>>();
    assert_eq!(kinds(&key.data), [7, 8, 5, 5]);

    let next = check.access_unit(&stream(&[&delimiter, P])).unwrap();
    assert_eq!((next.key, next.data), (false, [&[0, 0, 0, 1], P].concat()));

    let again = check.access_unit(&stream(&[IDR])).unwrap();
    assert_eq!(kinds(&again.data), [7, 8, 5], "a key frame without its parameter sets");
}

#[test]
fn what_viewers_cannot_show_at_once_is_refused() {
    let new = || Check::new(Size::new(1366, 768), CHROMA_420);
    let with = |hex: &str, slice: &[u8]| new().access_unit(&stream(&[&bytes(hex), PPS_NAL, slice]));
    assert_eq!(with(X264_MEDIUM, IDR), Err(StreamError::Reorders));
    assert_eq!(with(OPENH264, &[0x01, 0x9f, 0x00]), Err(StreamError::Reorders), "a B slice");
    assert_eq!(with(X264_422, IDR), Err(StreamError::NotPlain));
    assert_eq!(with("6742c020", IDR), Err(StreamError::BadParameters));
    let (found, expected) = (Size::new(1920, 1080), Size::new(1366, 768));
    assert_eq!(with(X264_HRD, IDR), Err(StreamError::Size { found, expected }));
    assert_eq!(new().access_unit(&stream(&[IDR])), Err(StreamError::NoParameters));
    assert_eq!(new().access_unit(&stream(&[PPS_NAL])), Err(StreamError::NoPicture));
    assert_eq!(new().access_unit(&[]), Err(StreamError::NoPicture));
    let many = vec![PPS_NAL; 100];
    assert_eq!(new().access_unit(&stream(&many)), Err(StreamError::BadParameters));
}

proptest! {
    #[test]
    fn random_bytes_are_refused_or_keep_their_slices(
        bytes in vec(prop_oneof![Just(0u8), Just(1), Just(0x65), Just(0x67), any::<u8>()], 0..300),
    ) {
        let _ = Sps::parse(&bytes);
        if let Ok(unit) = Check::new(Size::new(16, 16), CHROMA_420).access_unit(&bytes) {
            prop_assert!(!unit.key && nal_units(&unit.data).all(|nal| nal[0] & 0x1f == 1));
        }
    }

    #[test]
    fn a_damaged_parameter_set_never_panics(at in 0usize..40, with: u8, which in 0usize..7) {
        let all = [X264_ULTRAFAST, OPENH264, X264_MEDIUM, X264_444, X264_422, X264_10_BITS, X264_HRD];
        let mut nal = bytes(all[which]);
        let at = at % nal.len();
        nal[at] = with;
        if let Some(sps) = Sps::parse(&nal[1..]) {
            let rewritten = sps.with_our_vui(&nal[1..]).unwrap();
            prop_assert_eq!(Sps::parse(&rewritten).map(|sps| sps.size), Some(sps.size));
        }
    }

    #[test]
    fn nal_units_are_found_between_any_start_codes(
        nals in proptest::collection::vec(proptest::collection::vec(1u8.., 1..20), 0..10), zeros in 0usize..4,
    ) {
        let data: Vec<u8> =
            nals.iter().flat_map(|nal| [&vec![0; zeros], [0, 0, 1].as_slice(), nal].concat()).collect();
        prop_assert_eq!(nal_units(&data).collect::<Vec<_>>(), nals);
    }
}
