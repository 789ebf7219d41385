//! Each codec as a client of GStreamer shows it, which decides by the stream what its colours are.

use super::*;

/// One of each side of the height from which on GStreamer takes unnamed colours for others.
const SIZES: [Size; 2] = [Size::new(320, 600), Size::new(400, 200)];

/// What of a desktop is left by an encoder that is to be good enough for motion, in dB.
const GOOD: f64 = 30.0;

/// Decodes and converts as spice-gtk does.
struct Client {
    pipeline: gst::Pipeline,
    source: AppSrc,
    sink: AppSink,
}

impl Client {
    fn new(codec: Codec) -> Option<Self> {
        gst::init().unwrap();
        let decoder = match codec {
            Codec::H264 | Codec::H264_444 => "h264parse ! avdec_h264",
            Codec::H265 => "h265parse ! avdec_h265",
            Codec::Vp8 => "vp8dec",
            Codec::Vp9 => "vp9dec",
            Codec::Mjpeg => "jpegdec",
        };
        let pipeline = gst::parse::launch(&format!(
            "appsrc name=source is-live=true format=time caps={} ! {decoder} ! videoconvert ! \
             video/x-raw,format=BGRx ! appsink name=sink sync=false",
            codec.caps()
        ));
        let Ok(pipeline) = pipeline else {
            println!("skipped: no decoder of {} ({})", codec.title(), codec.decoder_package());
            return None;
        };
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let named = |name| pipeline.by_name(name).unwrap();
        let (source, sink) = (named("source").downcast().unwrap(), named("sink").downcast().unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        Some(Self { pipeline, source, sink })
    }

    /// The picture that a viewer sees after this frame. MJPEG's and VP8's need a time, which spice-gtk gives.
    fn show(&self, data: &[u8], time: u64) -> Screen {
        let mut buffer = gst::Buffer::from_slice(data.to_vec());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(time));
        self.source.push_buffer(buffer).unwrap();
        let sample =
            self.sink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a frame is held back");
        let info = VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let frame = VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info).unwrap();
        let size = Size::new(info.width(), info.height());
        let row = size.width as usize * 4;
        let rows = frame.plane_data(0).unwrap().chunks(frame.plane_stride()[0] as usize);
        Screen { size, bgrx: rows.flat_map(|bytes| &bytes[..row]).copied().collect() }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[tokio::test]
async fn a_client_of_each_codec_sees_what_the_guest_shows_and_what_changes() {
    for (codec, size) in Codec::ALL.into_iter().flat_map(|codec| SIZES.map(|size| (codec, size))) {
        let (Some(encoders), Some(client)) = (encoders(&Element::of(&[codec])), Client::new(codec)) else {
            continue;
        };
        let (console, mut screen) = (console(), Screen::desktop(size, 0));
        show(&console, &screen);
        let stream = encoders.join(&console, Profile { codec, tier: Tier::Full, area: None });
        let seen = |frame: &EncodedFrame, time, screen: &Screen| {
            let seen = client.show(&frame.data, time);
            assert_eq!(seen.size, size, "{codec:?}");
            let psnr = seen.psnr(screen, size.rect());
            assert!(psnr >= GOOD, "{codec:?} {size}, after {time} ms: {psnr:.1} dB");
        };
        let first = frame(&stream).await;
        assert!(first.key, "{codec:?}: a viewer starts with a frame that it cannot decode");
        seen(&first, 0, &screen);
        refuses_others(codec, size, &first.data);
        for step in 1..4 {
            let changed = Rect::new(size.width / 4, size.height / 4, size.width / 2, size.height / 2);
            let next = Screen::desktop(size, step * 7);
            screen.each(changed, |x, y| next.pixel(x, y));
            update(&console, &screen, changed);
            let frame = frame(&stream).await;
            assert_eq!(frame.key, codec == Codec::Mjpeg, "{codec:?}: a key frame that nobody asked for");
            seen(&frame, u64::from(step) * 33, &screen);
        }
    }
}

/// A key frame is checked for what viewers rely on, wherever it breaks off.
fn refuses_others(codec: Codec, size: Size, key_frame: &[u8]) {
    let larger = Size::new(size.width + 2, size.height);
    let wrong = codec.check(larger).access_unit(key_frame);
    assert_eq!(wrong, Err(StreamError::Size { found: size, expected: larger }), "{codec:?}");
    assert_eq!(codec.check(size).access_unit(key_frame).map(|unit| unit.data.len()), Ok(key_frame.len()));
    for end in 0..key_frame.len().min(1000) {
        let _ = codec.check(size).access_unit(&key_frame[..end]);
    }
    let header = codec.check(size).access_unit(&key_frame[..8]);
    assert!(header.is_err(), "{codec:?}: eight bytes are a frame");
}

#[tokio::test]
async fn a_limit_of_bytes_is_kept_by_each_codec_that_can_and_stops_none() {
    let size = Size::new(640, 360);
    for codec in Codec::ALL {
        let Some(encoders) = encoders(&Element::of(&[codec])) else { continue };
        let console = console();
        show(&console, &Screen::desktop(size, 0));
        let stream = encoders.join(&console, Profile { codec, tier: Tier::Middle, area: None });
        let mut bytes = Vec::new();
        for limit in [None, Some(5_000)] {
            stream.limit(limit);
            let mut sum = 0;
            for step in 0..8 {
                let screen = Screen::desktop(size, step * 37);
                update(&console, &screen, size.rect());
                let frame = frame(&stream).await;
                sum += if step >= 4 { frame.data.len() } else { 0 };
            }
            bytes.push(sum);
        }
        assert!(
            bytes[1] < bytes[0],
            "{codec:?}: {bytes:?} bytes of four frames, without a limit and with one"
        );
    }
}
