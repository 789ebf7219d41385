//! Real encoders, and a real decoder to see what a viewer sees.

mod codecs;
mod device;
mod limits;
mod measure;
mod process;
mod screen;
mod sharing;
mod showing;

use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use gstreamer_video::prelude::*;
use gstreamer_video::{VideoFormat, VideoFrameRef, VideoInfo};

use super::*;
use crate::frame::{ConsoleId, Rect, Scanout};
use crate::hub::Hub;
use screen::Screen;

const H264: Profile = Profile { codec: Codec::H264, tier: Tier::Full, area: None };

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// These tests need encoders; a machine without them is told so, once per test.
fn encoders(wanted: &[Element]) -> Option<Encoders> {
    Encoders::probe(wanted, Pipelines::default()).inspect_err(|error| println!("skipped: {error}")).ok()
}

/// Every encoder of what all viewers of H.264 show.
fn all() -> Vec<Element> {
    Element::of(&[Codec::H264])
}

/// Those that work here, also devices.
fn working() -> Vec<Element> {
    let findings = Encoders::survey(&all(), &Pipelines::default()).unwrap().into_iter();
    findings.filter(|found| found.verdict == Verdict::Works).map(|found| found.element).collect()
}

fn console() -> Arc<Console> {
    Hub::default().console(ConsoleId(0)).unwrap()
}

/// Shows a picture on a console, as pixels that came by value.
fn show(console: &Console, screen: &Screen) {
    let (width, height) = (screen.size.width, screen.size.height);
    console.show(Some(Scanout::owned(width, height, width * 4, 0x2002_0888, &screen.bgrx).unwrap()));
}

/// Changes a part of it, as the guest does.
fn update(console: &Console, screen: &Screen, rect: Rect) {
    let pixels = screen.part(rect);
    console.shown().unwrap().write(rect, rect.width * 4, 0x2002_0888, &pixels).unwrap();
    let at = |n: u32| i32::try_from(n).unwrap();
    console.damage((at(rect.x), at(rect.y), at(rect.width), at(rect.height)), None);
}

async fn item(stream: &VideoStream) -> Item {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("a viewer is left waiting")
}

async fn frame(stream: &VideoStream) -> EncodedFrame {
    match item(stream).await {
        Item::Frame(frame) => frame,
        other => panic!("no frame but {other:?}"),
    }
}

/// Whether two viewers got the very same bytes.
fn are_one(one: &EncodedFrame, other: &EncodedFrame) -> bool {
    one.data.as_ptr() == other.data.as_ptr()
}

/// What a viewer's decoder does, frame by frame, set up as in spice-gtk: one that comes out late is a failure here.
struct Decoder {
    pipeline: gst::Pipeline,
    source: AppSrc,
    sink: AppSink,
}

impl Decoder {
    fn new() -> Option<Self> {
        gst::init().unwrap();
        if gst::ElementFactory::find("avdec_h264").is_none() {
            println!("skipped: no avdec_h264 (gstreamer1.0-libav)");
            return None;
        }
        let pipeline = gst::parse::launch(
            "appsrc name=source is-live=true format=time caps=video/x-h264,stream-format=byte-stream,alignment=au \
             ! h264parse ! avdec_h264 ! appsink name=sink sync=false",
        )
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
        let named = |name| pipeline.by_name(name).unwrap();
        let (source, sink) = (named("source").downcast().unwrap(), named("sink").downcast().unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        Some(Self { pipeline, source, sink })
    }

    /// The picture that a viewer sees after this frame.
    fn show(&self, data: &[u8]) -> Screen {
        self.source.push_buffer(gst::Buffer::from_slice(data.to_vec())).unwrap();
        let sample =
            self.sink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a frame is held back");
        let info = VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let whole = info.format() == VideoFormat::Y444;
        assert!(whole || info.format() == VideoFormat::I420, "{info:?}");
        assert_eq!(info.colorimetry().to_string(), "bt709", "a viewer is told other colours");
        let frame = VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info).unwrap();
        let planes =
            [0, 1, 2].map(|n| (frame.plane_data(n).unwrap(), frame.plane_stride()[n as usize] as usize));
        Screen::decoded(Size::new(info.width(), info.height()), planes, if whole { 1 } else { 2 })
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}
