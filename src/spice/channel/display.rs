//! A display channel: one console's picture, as a video stream or as images on the primary surface.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::{ChannelError, Flow, Machine};
use crate::frame::{Rect, Size};
use crate::spice::wire::msg::display::{
    DrawCopy, FromClient, FromServer, GlDraw, GlScanout, Head, Image, ImageData, MonitorsConfig,
    StreamCreate, StreamData, SurfaceCreate, SurfaceFormat, VideoCodec,
};
use crate::spice::wire::{self, Caps, Frame, HeaderForm, Message, Payload, WireError};
use crate::viewer::Abilities;

/// The longest body of a client's message, in bytes: a list of 255 codecs has 256.
pub const DISPLAY_BODY_MAX: u32 = 1024;

/// Messages for each acknowledgement, as libspice-server asks for on a fast network.
const ACK_WINDOW: u32 = 20;

/// The surface that is the screen.
const PRIMARY: u32 = 0;

/// Stream ids are used in turn, so that a report about an old stream is not taken for one about the new.
const STREAM_IDS: u32 = 32;

/// Sent after each H.264 frame: an access unit delimiter and an empty filler SEI (H.264 7.3.2.4 and D.1.3), the
/// beginning of the next frame's access unit. Without it the parser of spice-gtk cannot know that the frame before has
/// ended, and holds it back until the next one comes, which on a resting screen is never.
const H264_NEXT_UNIT: &[u8] = &[0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x06, 0x03, 0x00, 0x80];

/// The state machine of one display channel.
#[derive(Debug)]
pub struct DisplayChannel {
    flow: Flow,
    caps: Caps,
    ready: bool,
    decoder_failed: bool,
    surface: Option<Surface>,
    stream: Option<Stream>,
    next_stream: u32,
    /// A buffer of the guest is on screen, of this size.
    scanout: Option<Size>,
    /// The client has not answered the last `GL_DRAW` yet.
    drawing: bool,
    out: VecDeque<Message>,
}

/// What the client did that its owner must know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DisplayEvent {
    /// Drawing may begin.
    Ready,
    /// It cannot decode the stream it was sent.
    DecoderFailed,
    /// It has drawn what it was told to draw of the guest's buffer.
    Drawn,
}

/// One encoded picture of a console.
#[derive(Clone, Debug)]
pub struct Video {
    /// Another number means that the encoder started anew: another stream.
    pub generation: u64,
    /// Size of the encoded picture: even.
    pub coded: Size,
    /// The part of it, from the top left, that is the console's picture.
    pub picture: Size,
    /// An H.264 access unit, Annex-B, without a delimiter in front.
    pub data: Payload,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Surface {
    /// Size of its memory.
    size: Size,
    /// The part that the monitor shows.
    shown: Size,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stream {
    id: u32,
    generation: u64,
}

impl DisplayChannel {
    /// A channel to a client with these display capabilities.
    #[must_use]
    pub fn new(form: HeaderForm, caps: Caps, now: Instant) -> Self {
        let mut flow = Flow::new(form, DISPLAY_BODY_MAX, now);
        flow.ask_for_acks(ACK_WINDOW, now);
        Self {
            flow,
            caps,
            ready: false,
            decoder_failed: false,
            surface: None,
            stream: None,
            next_stream: 0,
            scanout: None,
            drawing: false,
            out: VecDeque::new(),
        }
    }

    /// The display capabilities of this server.
    #[must_use]
    pub fn server_caps() -> Caps {
        use wire::display::{MONITORS_CONFIG, STREAM_REPORT};
        Caps::of(&[MONITORS_CONFIG, STREAM_REPORT])
    }

    /// What the client can show, over a connection that passes file descriptors or not.
    #[must_use]
    pub fn abilities(&self, passes_fds: bool) -> Abilities {
        use wire::display::{CODEC_H264, GL_SCANOUT, MULTI_CODEC};
        Abilities {
            h264: self.caps.has(MULTI_CODEC) && self.caps.has(CODEC_H264),
            decoder_failed: self.decoder_failed,
            imports: self.caps.has(GL_SCANOUT),
            passes_fds,
        }
    }

    /// Whether images may come as LZ4.
    #[must_use]
    pub fn takes_lz4(&self) -> bool {
        self.caps.has(wire::display::LZ4_COMPRESSION)
    }

    /// Whether the client is ready to be drawn to.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether all that was to be said is on its way and the client keeps up: it may get another picture.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.drawing && self.out.is_empty() && self.flow.queued() == 0 && self.flow.may_send()
    }

    /// Shows an encoded picture. `time` is the server's clock in milliseconds at which to show it.
    pub fn show_video(&mut self, video: Video, time: u32) {
        let known = self.stream.filter(|stream| stream.generation == video.generation);
        let stream = known.unwrap_or_else(|| self.start_stream(&video));
        let mut data = |data: Payload| {
            let multi_media_time = time.max(1);
            self.send(&FromServer::StreamData(StreamData { stream_id: stream.id, multi_media_time, data }));
        };
        data(video.data);
        data(Payload::new(H264_NEXT_UNIT));
    }

    /// Draws images on a picture of this size: after any video, never under one.
    pub fn show_images(&mut self, picture: Size, images: Vec<(Rect, ImageData)>) {
        self.stop_scanout();
        self.stop_stream();
        let new = self.start_surface(Surface { size: picture, shown: picture });
        for (at, data) in images {
            let dest = wire::Rect::at(at.x, at.y, at.width, at.height);
            let src = wire::Rect::at(0, 0, at.width, at.height);
            let image = Image { id: 0, width: at.width, height: at.height, data };
            self.send(&FromServer::DrawCopy(DrawCopy { surface_id: PRIMARY, dest, src, image }));
        }
        if new {
            self.reveal(picture);
        }
    }

    /// Has the client show the guest's own buffer. What changes in it is told by [`DisplayChannel::draw`].
    pub fn show_scanout(&mut self, scanout: GlScanout, fd: Arc<OwnedFd>) {
        self.stop_stream();
        if self.surface.take().is_some() {
            self.send(&FromServer::SurfaceDestroy { surface_id: PRIMARY });
        }
        self.out.push_back(FromServer::GlScanout(scanout).encode().with_fd(fd));
        let size = Size::new(scanout.width, scanout.height);
        if self.scanout.replace(size) != Some(size) {
            self.configure(size);
        }
    }

    /// Has the client draw a part of the guest's buffer. There is no room for more until it has.
    pub fn draw(&mut self, at: Rect) {
        if self.scanout.is_some() {
            let Rect { x, y, width, height } = at;
            self.drawing = true;
            self.send(&FromServer::GlDraw(GlDraw { x, y, width, height }));
        }
    }

    /// Shows nothing: the console is off.
    pub fn blank(&mut self) {
        self.stop_scanout();
        self.stop_stream();
        if self.surface.take().is_some() {
            self.send(&FromServer::SurfaceDestroy { surface_id: PRIMARY });
        }
    }

    fn handle(&mut self, id: u16, body: &[u8]) -> Result<Option<DisplayEvent>, WireError> {
        Ok(match FromClient::decode(id, body)? {
            FromClient::Init(_) if !self.ready => {
                self.ready = true;
                self.send(&FromServer::InvalAllPalettes);
                Some(DisplayEvent::Ready)
            }
            FromClient::StreamReport(report)
                if report.is_unsupported()
                    && self.stream.is_some_and(|stream| stream.id == report.stream_id) =>
            {
                // The client has destroyed it already.
                self.decoder_failed = true;
                self.stream = None;
                Some(DisplayEvent::DecoderFailed)
            }
            FromClient::GlDrawDone if self.drawing => {
                self.drawing = false;
                Some(DisplayEvent::Drawn)
            }
            _ => None,
        })
    }

    fn start_stream(&mut self, video: &Video) -> Stream {
        self.stop_scanout();
        self.stop_stream();
        if self.start_surface(Surface { size: video.coded, shown: video.picture }) {
            self.reveal(video.picture);
        }
        let stream = Stream { id: self.next_stream, generation: video.generation };
        self.next_stream = (self.next_stream + 1) % STREAM_IDS;
        self.stream = Some(stream);
        self.send(&FromServer::StreamCreate(StreamCreate {
            surface_id: PRIMARY,
            stream_id: stream.id,
            codec: VideoCodec::H264,
            width: video.coded.width,
            height: video.coded.height,
            dest: wire::Rect::at(0, 0, video.coded.width, video.coded.height),
        }));
        stream
    }

    fn stop_stream(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.send(&FromServer::StreamDestroy { stream_id: stream.id });
        }
    }

    fn stop_scanout(&mut self) {
        if self.scanout.take().is_some() {
            let none = GlScanout { width: 0, height: 0, stride: 0, fourcc: 0, bottom_up: false };
            self.send(&FromServer::GlScanout(none));
        }
    }

    /// Makes the primary surface this one. Tells whether it is a new one, which is not shown before it is revealed.
    fn start_surface(&mut self, surface: Surface) -> bool {
        if self.surface == Some(surface) {
            return false;
        }
        if self.surface.replace(surface).is_some() {
            self.send(&FromServer::SurfaceDestroy { surface_id: PRIMARY });
        }
        self.send(&FromServer::SurfaceCreate(SurfaceCreate {
            surface_id: PRIMARY,
            width: surface.size.width,
            height: surface.size.height,
            format: SurfaceFormat::Xrgb,
            primary: true,
            // A surface in streaming mode lets spice-gtk hand the video to an overlay, over which no image shows.
            streaming: false,
        }));
        true
    }

    /// Tells the client to show the primary surface.
    fn reveal(&mut self, shown: Size) {
        self.configure(shown);
        self.send(&FromServer::Mark);
    }

    /// Tells the client that the monitor shows this much.
    fn configure(&mut self, shown: Size) {
        if self.caps.has(wire::display::MONITORS_CONFIG) {
            let head = Head {
                monitor_id: 0,
                surface_id: PRIMARY,
                width: shown.width,
                height: shown.height,
                x: 0,
                y: 0,
            };
            self.send(&FromServer::MonitorsConfig(MonitorsConfig { max_allowed: 1, heads: vec![head] }));
        }
    }

    fn send(&mut self, message: &FromServer) {
        self.out.push_back(message.encode());
    }
}

impl Machine for DisplayChannel {
    type Event = DisplayEvent;

    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<DisplayEvent>, ChannelError> {
        while let Some(message) = self.flow.recv(input, now)? {
            if let Some(event) = self.handle(message.id, &message.body)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn poll_frame(&mut self, now: Instant) -> Option<Frame> {
        // A picture is many messages; those that the client has no room for yet wait here.
        if self.flow.queued() == 0
            && self.flow.may_send()
            && let Some(message) = self.out.pop_front()
        {
            self.flow.queue(message, now);
        }
        self.flow.poll_frame()
    }

    fn deadline(&self) -> Option<Instant> {
        self.flow.deadline()
    }

    fn handle_timeout(&self, now: Instant) -> Result<(), ChannelError> {
        self.flow.handle_timeout(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spice::wire::msg::display::{Init, StreamReport};
    use proptest::prelude::*;

    fn channel(caps: Caps) -> DisplayChannel {
        DisplayChannel::new(HeaderForm::Mini, caps, Instant::now())
    }

    fn ready(caps: &[wire::Cap]) -> DisplayChannel {
        let mut display = channel(Caps::of(caps));
        let init = FromClient::Init(Init {
            pixmap_cache_id: 1,
            pixmap_cache_size: 1 << 20,
            glz_dictionary_id: 1,
            glz_dictionary_window: 1 << 20,
        });
        let message = init.encode();
        assert_eq!(display.handle(message.id(), &message.body()), Ok(Some(DisplayEvent::Ready)));
        display
    }

    /// What the client is told, in order, by name.
    fn told(display: &mut DisplayChannel) -> Vec<String> {
        std::iter::from_fn(|| display.out.pop_front())
            .map(|message| {
                let text = format!("{:?}", FromServer::decode(message.id(), &message.body()).unwrap());
                text.split(['(', ' ']).next().unwrap_or_default().to_owned()
            })
            .collect()
    }

    fn video(generation: u64, width: u32, height: u32) -> Video {
        let picture = Size::new(width, height);
        Video {
            generation,
            coded: Size::new(width + width % 2, height + height % 2),
            picture,
            data: vec![0; 9].into(),
        }
    }

    fn tile() -> Vec<(Rect, ImageData)> {
        use crate::spice::wire::msg::display::BitmapFormat;
        vec![(
            Rect::new(0, 0, 1, 1),
            ImageData::Bitmap { format: BitmapFormat::Xrgb, stride: 4, pixels: vec![0; 4].into() },
        )]
    }

    const GTK: &[wire::Cap] =
        &[wire::display::MONITORS_CONFIG, wire::display::MULTI_CODEC, wire::display::CODEC_H264];

    #[test]
    fn a_stream_starts_on_a_surface_that_is_shown_and_each_frame_is_flushed() {
        let mut display = ready(GTK);
        display.show_video(video(1, 1280, 720), 5);
        display.show_video(video(1, 1280, 720), 6);
        assert_eq!(
            told(&mut display),
            [
                "InvalAllPalettes",
                "SurfaceCreate",
                "MonitorsConfig",
                "Mark",
                "StreamCreate",
                "StreamData",
                "StreamData",
                "StreamData",
                "StreamData"
            ]
        );
    }

    #[test]
    fn another_size_makes_another_surface_and_stream_on_the_same_channel() {
        let mut display = ready(GTK);
        display.show_video(video(1, 1280, 720), 5);
        told(&mut display);
        display.show_video(video(2, 1367, 769), 6);
        let messages: Vec<_> = std::iter::from_fn(|| display.out.pop_front())
            .map(|message| FromServer::decode(message.id(), &message.body()).unwrap())
            .collect();
        assert!(matches!(messages[0], FromServer::StreamDestroy { stream_id: 0 }), "{messages:?}");
        assert!(matches!(messages[1], FromServer::SurfaceDestroy { surface_id: 0 }));
        assert!(matches!(
            messages[2],
            FromServer::SurfaceCreate(SurfaceCreate { width: 1368, height: 770, .. })
        ));
        let FromServer::MonitorsConfig(config) = &messages[3] else { panic!("{messages:?}") };
        assert_eq!((config.heads[0].width, config.heads[0].height), (1367, 769));
        assert!(matches!(messages[5], FromServer::StreamCreate(StreamCreate { stream_id: 1, .. })));
    }

    #[test]
    fn images_are_drawn_before_the_surface_is_shown() {
        let mut display = ready(&[wire::display::MONITORS_CONFIG]);
        display.show_images(Size::new(640, 480), tile());
        display.show_images(Size::new(640, 480), tile());
        assert_eq!(
            told(&mut display),
            ["InvalAllPalettes", "SurfaceCreate", "DrawCopy", "MonitorsConfig", "Mark", "DrawCopy"]
        );
        display.blank();
        display.blank();
        assert_eq!(told(&mut display), ["SurfaceDestroy"]);
    }

    #[test]
    fn a_client_that_cannot_decode_gets_images_on_the_same_surface() {
        let mut display = ready(GTK);
        display.show_video(video(1, 640, 480), 5);
        told(&mut display);
        let report = FromClient::StreamReport(StreamReport {
            stream_id: 0,
            unique_id: 0,
            start_frame_mm_time: 0,
            end_frame_mm_time: 0,
            num_frames: 0,
            num_drops: u32::MAX,
            last_frame_delay: 0,
            audio_delay: 0,
        });
        let message = report.encode();
        assert_eq!(display.handle(message.id(), &message.body()), Ok(Some(DisplayEvent::DecoderFailed)));
        assert!(display.abilities(false).decoder_failed);
        display.show_images(Size::new(640, 480), tile());
        assert_eq!(told(&mut display), ["DrawCopy"]);
    }

    #[test]
    fn a_buffer_is_passed_on_and_drawn_one_at_a_time() {
        let mut display = ready(&[wire::display::MONITORS_CONFIG, wire::display::GL_SCANOUT]);
        display.show_images(Size::new(640, 480), tile());
        while display.poll_frame(Instant::now()).is_some() {}
        let fd = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let scanout = GlScanout { width: 64, height: 32, stride: 256, fourcc: 1, bottom_up: false };
        display.show_scanout(scanout, fd.clone());
        display.draw(Rect::new(0, 0, 64, 32));
        let frames: Vec<_> = std::iter::from_fn(|| display.poll_frame(Instant::now())).collect();
        assert_eq!(frames.len(), 4, "surface destroyed, scanout, monitors, draw");
        assert!(frames[1].fd.is_some() && frames[2].fd.is_none());
        assert!(!display.has_room(), "one draw at a time");
        let done = FromClient::GlDrawDone.encode();
        assert_eq!(display.handle(done.id(), &done.body()), Ok(Some(DisplayEvent::Drawn)));
        assert_eq!(display.handle(done.id(), &done.body()), Ok(None), "nobody asked");
        assert!(display.has_room());
        display.show_scanout(scanout, fd);
        assert_eq!(told(&mut display), ["GlScanout"], "a flip of the same size is one message");
        display.show_images(Size::new(640, 480), tile());
        assert_eq!(told(&mut display), ["GlScanout", "SurfaceCreate", "DrawCopy", "MonitorsConfig", "Mark"]);
    }

    #[test]
    fn h264_needs_both_capabilities() {
        assert!(!channel(Caps::of(&[wire::display::CODEC_H264])).abilities(false).h264);
        assert!(channel(Caps::of(GTK)).abilities(false).h264);
    }

    proptest! {
        #[test]
        fn strange_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = channel(Caps::from(u32::MAX)).recv(&mut bytes.as_slice(), Instant::now());
        }
    }
}
