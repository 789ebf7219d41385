use proptest::prelude::*;

use super::*;
use crate::wire::{HeaderForm, Payload, Point, Rect};

const SCREEN: Rect = Rect { top: 0, left: 0, bottom: 2, right: 3 };

fn bitmap() -> DrawCopy {
    DrawCopy {
        surface_id: 0,
        dest: SCREEN,
        src: SCREEN,
        image: Image {
            id: 9,
            width: 3,
            height: 2,
            data: ImageData::Bitmap {
                format: BitmapFormat::Xrgb,
                stride: 12,
                pixels: Payload::from(vec![0xaa; 24]),
            },
        },
    }
}

/// Bytes of fields given as little-endian words.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn the_bytes_of_an_uncompressed_copy() {
    let wire = FromServer::DrawCopy(bitmap()).encode();
    let body = [
        words(&[0, 0, 0, 2, 3]), // surface, dest
        vec![0],                 // clip
        words(&[57, 0, 0, 2, 3]),
        vec![8, 0, 0],                // rop, scale
        vec![0],                      // mask flags
        words(&[0, 0, 0]),            // mask
        vec![9, 0, 0, 0, 0, 0, 0, 0], // image id
        vec![0, 0],                   // type, flags
        words(&[3, 2]),
        vec![8, 4], // format, top down
        words(&[3, 2, 12, 0]),
        vec![0xaa; 24],
    ]
    .concat();
    assert_eq!((wire.id(), wire.body()), (304, body));
}

#[test]
fn the_image_starts_where_the_copy_says() {
    let mut copy = bitmap();
    copy.image.id = 0x7766_5544_3322_1100;
    let body = FromServer::DrawCopy(copy).encode().body();
    assert_eq!(body[21..25], 57u32.to_le_bytes());
    assert_eq!(body[57..65], 0x7766_5544_3322_1100u64.to_le_bytes());
}

#[test]
fn the_bytes_of_an_lz4_image() {
    let mut copy = bitmap();
    copy.image.data = ImageData::Lz4 { format: BitmapFormat::Xrgb, block: Payload::from(vec![1, 2, 3]) };
    let body = FromServer::DrawCopy(copy).encode().body();
    assert_eq!(body[65..], [&[109, 0][..], &words(&[3, 2, 9]), &[1, 8, 0, 0, 0, 3, 1, 2, 3]].concat());
}

#[test]
fn the_bytes_of_a_glz_image_inside_zlib() {
    let mut copy = bitmap();
    copy.image.data = ImageData::ZlibGlz { glz_len: 99, data: Payload::from(vec![1, 2, 3]) };
    let body = FromServer::DrawCopy(copy).encode().body();
    assert_eq!(body[65..], [&[107, 0][..], &words(&[3, 2, 99, 3]), &[1, 2, 3]].concat());
}

#[test]
fn the_bytes_of_a_copy_within_a_surface() {
    let copy = CopyBits { surface_id: 0, dest: SCREEN, src: Point { x: 5, y: 7 } };
    let wire = FromServer::CopyBits(copy).encode();
    let body = [words(&[0, 0, 0, 2, 3]), vec![0], words(&[5, 7])].concat();
    assert_eq!((wire.id(), wire.body()), (104, body));
}

#[test]
fn the_bytes_of_stream_create() {
    let create = StreamCreate {
        surface_id: 0,
        stream_id: 5,
        codec: VideoCodec::H264,
        width: 1280,
        height: 720,
        dest: Rect::at(0, 0, 1280, 720),
    };
    let wire = FromServer::StreamCreate(create).encode();
    let body = [
        words(&[0, 5]),
        vec![1, 3],
        words(&[0, 0, 1280, 720, 1280, 720]),
        words(&[0, 0, 720, 1280]),
        vec![0],
    ]
    .concat();
    assert_eq!((wire.id(), wire.body()), (122, body));
}

#[test]
fn video_is_counted_in_the_header_but_not_copied() {
    let video = Payload::from(vec![7; 1000]);
    let data = StreamData { stream_id: 5, multi_media_time: 77, data: video.clone() };
    let frame = FromServer::StreamData(data).encode().into_frame(HeaderForm::Mini, 1);
    assert_eq!(frame.head, [vec![123, 0], words(&[1012, 5, 77, 1000])].concat());
    let [_, payload] = frame.slices();
    assert!(std::ptr::eq(payload, video.bytes()));
    assert_eq!(frame.len(), 6 + 1012);
}

#[test]
fn pixels_are_not_copied() {
    let pixels = Payload::from(vec![7; 24]);
    for data in [
        ImageData::Bitmap { format: BitmapFormat::Xrgb, stride: 12, pixels: pixels.clone() },
        ImageData::Lz4 { format: BitmapFormat::Xrgb, block: pixels.clone() },
        ImageData::ZlibGlz { glz_len: 99, data: pixels.clone() },
    ] {
        let mut copy = bitmap();
        copy.image.data = data;
        let frame = FromServer::DrawCopy(copy).encode().into_frame(HeaderForm::Mini, 1);
        let [_, payload] = frame.slices();
        assert!(std::ptr::eq(payload, pixels.bytes()));
    }
}

#[test]
fn sizes_of_fixed_messages() {
    let fill = DrawFill { surface_id: 0, dest: SCREEN, color: 0 };
    assert_eq!(FromServer::DrawFill(fill).encode().body_len(), 41);
    let scanout = GlScanout { width: 1, height: 1, stride: 4, fourcc: 1, bottom_up: false };
    assert_eq!(FromServer::GlScanout(scanout).encode().body_len(), 20);
    let planes = vec![(0, 4), (4096, 4)];
    let scanout = GlScanout2 { width: 1, height: 1, fourcc: 1, bottom_up: false, modifier: 7, planes };
    assert_eq!(FromServer::GlScanout2(scanout).encode().body_len(), 16 + 1 + 8 + 16);
    let head = Head { monitor_id: 0, surface_id: 0, width: 3, height: 2, x: 0, y: 0 };
    let monitors = MonitorsConfig { max_allowed: 1, heads: vec![head] };
    assert_eq!(FromServer::MonitorsConfig(monitors).encode().body_len(), 32);
    let init =
        Init { pixmap_cache_id: 1, pixmap_cache_size: 1, glz_dictionary_id: 1, glz_dictionary_window: 1 };
    assert_eq!(FromClient::Init(init).encode().body_len(), 14);
}

#[test]
fn codecs_we_do_not_know_are_left_out() {
    let preferred = FromClient::decode(105, &[3, 200, 3, 1]);
    assert_eq!(preferred, Ok(FromClient::PreferredVideoCodec(vec![VideoCodec::H264, VideoCodec::Mjpeg])));
    assert!(FromClient::decode(105, &[3, 200, 3]).is_err());
}

fn rect() -> impl Strategy<Value = Rect> {
    any::<(i32, i32, i32, i32)>().prop_map(|(top, left, bottom, right)| Rect { top, left, bottom, right })
}

fn payload() -> impl Strategy<Value = Payload> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Payload::from)
}

fn format() -> impl Strategy<Value = BitmapFormat> {
    prop_oneof![Just(BitmapFormat::Xrgb), Just(BitmapFormat::Argb)]
}

fn image_data() -> impl Strategy<Value = ImageData> {
    prop_oneof![
        (format(), any::<u32>(), payload()).prop_map(|(format, stride, pixels)| ImageData::Bitmap {
            format,
            stride,
            pixels
        }),
        (format(), payload()).prop_map(|(format, block)| ImageData::Lz4 { format, block }),
        (any::<u32>(), payload()).prop_map(|(glz_len, data)| ImageData::ZlibGlz { glz_len, data }),
    ]
}

fn codec() -> impl Strategy<Value = VideoCodec> {
    (1u8..=5).prop_map(|code| VideoCodec::from_code(code).unwrap())
}

fn heads() -> impl Strategy<Value = Vec<Head>> {
    let head = any::<[u32; 6]>().prop_map(|[monitor_id, surface_id, width, height, x, y]| Head {
        monitor_id,
        surface_id,
        width,
        height,
        x,
        y,
    });
    proptest::collection::vec(head, 0..4)
}

fn server_message() -> impl Strategy<Value = FromServer> {
    let simple = prop_oneof![
        Just(FromServer::Mark),
        Just(FromServer::Reset),
        Just(FromServer::InvalAllPalettes),
        any::<u32>().prop_map(|surface_id| FromServer::SurfaceDestroy { surface_id }),
        any::<u32>().prop_map(|stream_id| FromServer::StreamDestroy { stream_id }),
        any::<([u32; 4], bool)>().prop_map(|([width, height, stride, fourcc], bottom_up)| {
            FromServer::GlScanout(GlScanout { width, height, stride, fourcc, bottom_up })
        }),
        (any::<([u32; 3], u64, bool)>(), proptest::collection::vec(any::<(u32, u32)>(), 1..5)).prop_map(
            |(([width, height, fourcc], modifier, bottom_up), planes)| {
                let scanout = GlScanout2 { width, height, fourcc, bottom_up, modifier, planes };
                FromServer::GlScanout2(scanout)
            }
        ),
        any::<[u32; 4]>().prop_map(|[x, y, width, height]| FromServer::GlDraw(GlDraw {
            x,
            y,
            width,
            height
        })),
        any::<[u32; 4]>().prop_map(|[stream_id, unique_id, max_window_size, timeout_ms]| {
            FromServer::StreamActivateReport(StreamActivateReport {
                stream_id,
                unique_id,
                max_window_size,
                timeout_ms,
            })
        }),
    ];
    let surface = any::<([u32; 3], bool, bool, bool)>().prop_map(
        |([surface_id, width, height], alpha, primary, streaming)| {
            let format = if alpha { SurfaceFormat::Argb } else { SurfaceFormat::Xrgb };
            FromServer::SurfaceCreate(SurfaceCreate { surface_id, width, height, format, primary, streaming })
        },
    );
    let monitors = (any::<u16>(), heads())
        .prop_map(|(max_allowed, heads)| FromServer::MonitorsConfig(MonitorsConfig { max_allowed, heads }));
    let fill = (any::<(u32, u32)>(), rect())
        .prop_map(|((surface_id, color), dest)| FromServer::DrawFill(DrawFill { surface_id, dest, color }));
    let copy = (any::<(u32, u64, u32, u32)>(), rect(), rect(), image_data()).prop_map(
        |((surface_id, id, width, height), dest, src, data)| {
            FromServer::DrawCopy(DrawCopy { surface_id, dest, src, image: Image { id, width, height, data } })
        },
    );
    let create = (any::<(u32, u32, u32)>(), 0u32..64, codec(), rect()).prop_map(
        |((surface_id, width, height), stream_id, codec, dest)| {
            FromServer::StreamCreate(StreamCreate { surface_id, stream_id, codec, width, height, dest })
        },
    );
    let data = (any::<(u32, u32)>(), payload()).prop_map(|((stream_id, multi_media_time), data)| {
        FromServer::StreamData(StreamData { stream_id, multi_media_time, data })
    });
    prop_oneof![simple, surface, monitors, fill, copy, create, data]
}

fn client_message() -> impl Strategy<Value = FromClient> {
    let init = any::<(u8, i64, u8, i32)>().prop_map(
        |(pixmap_cache_id, pixmap_cache_size, glz_dictionary_id, glz_dictionary_window)| {
            FromClient::Init(Init {
                pixmap_cache_id,
                pixmap_cache_size,
                glz_dictionary_id,
                glz_dictionary_window,
            })
        },
    );
    let report = any::<([u32; 6], i32, u32)>().prop_map(|(numbers, last_frame_delay, audio_delay)| {
        let [stream_id, unique_id, start_frame_mm_time, end_frame_mm_time, num_frames, num_drops] = numbers;
        FromClient::StreamReport(StreamReport {
            stream_id,
            unique_id,
            start_frame_mm_time,
            end_frame_mm_time,
            num_frames,
            num_drops,
            last_frame_delay,
            audio_delay,
        })
    });
    prop_oneof![
        init,
        report,
        any::<u8>().prop_map(|code| FromClient::decode(103, &[code]).unwrap()),
        Just(FromClient::GlDrawDone),
        proptest::collection::vec(codec(), 0..9).prop_map(FromClient::PreferredVideoCodec),
    ]
}

proptest! {
    #[test]
    fn server_messages_survive_the_wire(message in server_message()) {
        let wire = message.encode();
        prop_assert_eq!(FromServer::decode(wire.id(), &wire.body()), Ok(message));
    }

    #[test]
    fn client_messages_survive_the_wire(message in client_message()) {
        let wire = message.encode();
        prop_assert_eq!(FromClient::decode(wire.id(), &wire.body()), Ok(message));
    }

    #[test]
    fn random_bytes_never_panic(
        id in prop_oneof![100u16..126, 300u16..324],
        body in proptest::collection::vec(any::<u8>(), 0..128),
    ) {
        let _ = FromServer::decode(id, &body);
        let _ = FromClient::decode(id, &body);
    }

    /// Almost right messages reach deeper than random bytes do.
    #[test]
    fn damaged_messages_never_panic(
        message in server_message(),
        at in any::<proptest::sample::Index>(),
        byte: u8,
        cut in any::<proptest::sample::Index>(),
    ) {
        let wire = message.encode();
        let mut body = wire.body();
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
            body.truncate(cut.index(body.len()) + 1);
        }
        let _ = FromServer::decode(wire.id(), &body);
    }
}
