//! The state machine of a display channel.

use std::collections::VecDeque;
use std::time::Instant;

use super::caps;
use super::messages::{
    CopyBits, DrawCopy, FromClient, FromServer, GlDraw, GlScanout, GlScanout2, Head, Image, MonitorsConfig,
    StreamCreate, StreamData, SurfaceCreate, SurfaceFormat, VideoCodec,
};
use super::picture::{Moved, Scanout, Tile, Video};
use crate::channels::base::{self, Flow};
use crate::channels::{ChannelError, Machine};
use crate::wire::{Caps, Frame, HeaderForm, Message, Payload, Rect, Size, WireError};

/// The longest body of a client's message, in bytes: a list of 255 codecs has 256.
pub const DISPLAY_BODY_MAX: u32 = 1024;

/// Messages for each acknowledgement, as libspice-server asks for on a fast network.
const ACK_WINDOW: u32 = 20;

/// How often a client may prefer other codecs. Each time its owner may start another encoder: a client that never stops
/// changing its mind would have as many as it can write messages.
const MAX_PREFERENCES: u32 = 16;

/// The surface that is the screen.
const PRIMARY: u32 = 0;

/// Stream ids are used in turn, so that a report about an old stream is not taken for one about the new.
const STREAM_IDS: u32 = 32;

/// The most streams at a time; another one takes the place of the oldest.
const MAX_STREAMS: usize = 24;

/// The state machine of one display channel.
#[derive(Debug)]
pub struct DisplayChannel {
    flow: Flow,
    caps: Caps,
    ready: bool,
    /// Pixels that it keeps for images in GLZ.
    glz_window: u32,
    /// Codecs that it announced and reported that it cannot decode.
    failed: Vec<VideoCodec>,
    /// Codecs in the client's own order, if it has said one.
    preferred: Vec<VideoCodec>,
    /// How often it may still say another.
    preferences_left: u32,
    surface: Option<Surface>,
    /// One of each area.
    streams: Vec<Stream>,
    next_stream: u32,
    /// A buffer of the guest is on screen, of this size.
    scanout: Option<Size>,
    /// The client has not answered the last `GL_DRAW` yet.
    drawing: bool,
    pub(super) out: VecDeque<Message>,
}

/// What the client did that its owner must know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DisplayEvent {
    /// Drawing may begin.
    Ready,
    /// It cannot decode the stream it was sent.
    DecoderFailed,
    /// It has said which codecs it likes best: [`DisplayChannel::preferred`].
    Preferred,
    /// It has drawn what it was told to draw of the guest's buffer.
    Drawn,
    /// It has read all up to the question with this number.
    Answered(u32),
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
    area: Rect,
    codec: VideoCodec,
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
            glz_window: 0,
            failed: Vec::new(),
            preferred: Vec::new(),
            preferences_left: MAX_PREFERENCES,
            surface: None,
            streams: Vec::new(),
            next_stream: 0,
            scanout: None,
            drawing: false,
            out: VecDeque::new(),
        }
    }

    /// The display capabilities of this server.
    #[must_use]
    pub fn server_caps() -> Caps {
        Caps::of(&[caps::MONITORS_CONFIG, caps::STREAM_REPORT, caps::PREF_VIDEO_CODEC_TYPE])
    }

    /// Whether the client announced that it decodes `codec` onto its surface, and has not reported that it cannot.
    ///
    /// spice-html5 shows VP8 in an element above its surface, where nothing that is drawn later can be seen. What tells
    /// it from others is that it has no surfaces of 8 bit alpha.
    #[must_use]
    pub fn decodes(&self, codec: VideoCodec) -> bool {
        let announced = self.caps.has(caps::MULTI_CODEC) && self.caps.has(codec.cap());
        let on_surface = codec != VideoCodec::Vp8 || self.caps.has(caps::A8_SURFACE);
        announced && on_surface && !self.failed.contains(&codec)
    }

    /// Whether the client announced that its decoder of H.264 knows 4:4:4.
    #[must_use]
    pub fn decodes_full_colour(&self) -> bool {
        self.caps.has(caps::CODEC_H264_444)
    }

    /// Whether the client reported that it cannot decode a stream it was sent.
    #[must_use]
    pub fn decoder_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The codecs that the client likes best, in its order; none if it has not said.
    #[must_use]
    pub fn preferred(&self) -> &[VideoCodec] {
        &self.preferred
    }

    /// Whether the client announced that it imports GPU buffers. spice-gtk does so over any connection.
    #[must_use]
    pub fn imports(&self) -> bool {
        self.caps.has(caps::GL_SCANOUT)
    }

    /// Whether the client announced that it can be told planes, offsets and a modifier of a GPU buffer, too.
    #[must_use]
    pub fn imports_planes(&self) -> bool {
        self.caps.has(caps::GL_SCANOUT2)
    }

    /// Whether images may come as LZ4.
    #[must_use]
    pub fn takes_lz4(&self) -> bool {
        self.caps.has(caps::LZ4_COMPRESSION)
    }

    /// The most pixels of an image that may come as GLZ inside zlib
    /// ([`ImageData::ZlibGlz`](super::ImageData::ZlibGlz)); 0 if none may.
    ///
    /// There is no capability for it. spice-gtk decodes it always, and says in its first message how many pixels it
    /// keeps for it; spice-html5 and others that do not know it say none. Those that announce no LZ4 may say anything.
    #[must_use]
    pub fn glz_pixels(&self) -> u32 {
        if self.takes_lz4() { self.glz_window.saturating_sub(1) } else { 0 }
    }

    /// Whether the client takes copies within a surface ([`Moved`]). All do that announce either of
    /// these; PureSpice, which announces neither, draws images alone.
    #[must_use]
    pub fn takes_copies(&self) -> bool {
        self.caps.has(caps::MONITORS_CONFIG) || self.caps.has(caps::MULTI_CODEC)
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

    /// Bytes of messages that wait to be written.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        let bytes: usize = self.out.iter().map(Message::body_len).sum();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Asks the client to send this number back when it has read all that it was sent before:
    /// [`DisplayEvent::Answered`].
    pub fn ask(&mut self, id: u32) {
        self.out.push_back(base::FromServer::Ping(base::Ping { id, timestamp: 0 }).encode());
    }

    /// Shows an encoded picture. `time` is the server's clock in milliseconds at which to show it.
    pub fn show_video(&mut self, video: Video, time: u32) {
        let wanted = (video.area, video.codec, video.generation);
        let same = |stream: &&Stream| (stream.area, stream.codec, stream.generation) == wanted;
        let known = self.streams.iter().find(same).copied();
        let stream = known.unwrap_or_else(|| self.start_stream(&video));
        let mut data = |data: Payload| {
            let multi_media_time = time.max(1);
            self.send(&FromServer::StreamData(StreamData { stream_id: stream.id, multi_media_time, data }));
        };
        data(video.data);
        if let Some(next_unit) = video.codec.next_unit() {
            data(Payload::new(next_unit));
        }
    }

    /// Ends the video of `area`. What the client has of it and has not shown yet is lost.
    pub fn end_video(&mut self, area: Rect) {
        if let Some(ended) = self.streams.iter().position(|stream| stream.area == area) {
            let stream = self.streams.remove(ended);
            self.send(&FromServer::StreamDestroy { stream_id: stream.id });
        }
    }

    /// Copies what has moved, one after the other, and draws images on a picture of this size: after any video, never
    /// under one.
    pub fn show_images(&mut self, picture: Size, moved: &[Moved], images: Vec<Tile>) {
        self.stop_scanout();
        self.stop_streams();
        let new = self.start_surface(Surface { size: picture, shown: picture });
        self.copy(moved);
        self.draw_images(images);
        if new {
            self.reveal(picture);
        }
    }

    /// Copies what has moved, and draws images: beside videos, or over one that rests and whose next frame covers them.
    pub fn touch_up(&mut self, moved: &[Moved], images: Vec<Tile>) {
        if self.surface.is_some() {
            self.copy(moved);
            self.draw_images(images);
        }
    }

    /// Has the client show the guest's own buffer. What changes in it is told by [`DisplayChannel::draw`].
    pub fn show_scanout(&mut self, scanout: Scanout) {
        self.stop_streams();
        if self.surface.take().is_some() {
            self.send(&FromServer::SurfaceDestroy { surface_id: PRIMARY });
        }
        let message = if self.imports_planes() { gl_scanout2(&scanout) } else { gl_scanout(&scanout) };
        let size = scanout.size;
        let fds = scanout.planes.into_iter().map(|plane| plane.fd);
        self.out.push_back(message.encode().with_fds(fds.collect()));
        if self.scanout.replace(size) != Some(size) {
            self.configure(size);
        }
    }

    /// Has the client draw a part of the guest's buffer. There is no room for more until it has.
    pub fn draw(&mut self, part: GlDraw) {
        if self.scanout.is_some() {
            self.drawing = true;
            self.send(&FromServer::GlDraw(part));
        }
    }

    /// Shows nothing: the console is off.
    pub fn blank(&mut self) {
        self.stop_scanout();
        self.stop_streams();
        if self.surface.take().is_some() {
            self.send(&FromServer::SurfaceDestroy { surface_id: PRIMARY });
        }
    }

    pub(super) fn handle(&mut self, id: u16, body: &[u8]) -> Result<Option<DisplayEvent>, WireError> {
        Ok(match FromClient::decode(id, body)? {
            FromClient::Init(init) if !self.ready => {
                self.ready = true;
                self.glz_window = u32::try_from(init.glz_dictionary_window).unwrap_or(0);
                self.send(&FromServer::InvalAllPalettes);
                Some(DisplayEvent::Ready)
            }
            FromClient::StreamReport(report) if report.is_unsupported() => {
                self.decoder_fails(report.stream_id)
            }
            FromClient::PreferredVideoCodec(codecs)
                if codecs != self.preferred && self.preferences_left > 0 =>
            {
                self.preferences_left -= 1;
                self.preferred = codecs;
                self.ready.then_some(DisplayEvent::Preferred)
            }
            FromClient::GlDrawDone if self.drawing => {
                self.drawing = false;
                Some(DisplayEvent::Drawn)
            }
            _ => None,
        })
    }

    /// Takes notice that the client cannot decode a stream, which it has destroyed itself.
    fn decoder_fails(&mut self, stream_id: u32) -> Option<DisplayEvent> {
        let failed = self.streams.iter().position(|stream| stream.id == stream_id)?;
        let Stream { codec, .. } = self.streams.remove(failed);
        if !self.failed.contains(&codec) {
            self.failed.push(codec);
        }
        Some(DisplayEvent::DecoderFailed)
    }

    fn copy(&mut self, moved: &[Moved]) {
        for &Moved { from, to } in moved {
            self.send(&FromServer::CopyBits(CopyBits { surface_id: PRIMARY, dest: to, src: from }));
        }
    }

    fn draw_images(&mut self, images: Vec<Tile>) {
        for Tile { x, y, width, height, data } in images {
            let dest = Rect::at(x, y, width, height);
            let src = Rect::at(0, 0, width, height);
            let image = Image { id: 0, width, height, data };
            self.send(&FromServer::DrawCopy(DrawCopy { surface_id: PRIMARY, dest, src, image }));
        }
    }

    fn start_stream(&mut self, video: &Video) -> Stream {
        self.stop_scanout();
        self.end_video(video.area);
        let Size { width, height } = video.picture;
        let size = Size::new(width.next_multiple_of(2), height.next_multiple_of(2));
        let surface = Surface { size, shown: video.picture };
        if self.surface != Some(surface) {
            self.stop_streams();
        }
        if self.start_surface(surface) {
            self.reveal(video.picture);
        }
        if let Some(oldest) = self.streams.first().filter(|_| self.streams.len() >= MAX_STREAMS) {
            self.end_video(oldest.area);
        }
        let Video { area, codec, generation, .. } = *video;
        let stream = Stream { id: self.free_stream_id(), area, codec, generation };
        self.streams.push(stream);
        self.send(&FromServer::StreamCreate(StreamCreate {
            surface_id: PRIMARY,
            stream_id: stream.id,
            codec: video.codec,
            width: video.coded.width,
            height: video.coded.height,
            dest: even(area),
        }));
        stream
    }

    /// Returns the next stream id in turn that no stream has. INVARIANT: there are fewer streams than ids.
    fn free_stream_id(&mut self) -> u32 {
        while self.streams.iter().any(|stream| stream.id == self.next_stream) {
            self.next_stream = (self.next_stream + 1) % STREAM_IDS;
        }
        let id = self.next_stream;
        self.next_stream = (id + 1) % STREAM_IDS;
        id
    }

    fn stop_streams(&mut self) {
        for stream in std::mem::take(&mut self.streams) {
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
        if self.caps.has(caps::MONITORS_CONFIG) {
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

/// Rounds the right and bottom edges up to even numbers.
fn even(area: Rect) -> Rect {
    let up = |edge: i32| edge.saturating_add(edge & 1);
    Rect { right: up(area.right), bottom: up(area.bottom), ..area }
}

/// For clients that take one plane and no modifier; nothing else is passed on to them.
fn gl_scanout(scanout: &Scanout) -> FromServer {
    FromServer::GlScanout(GlScanout {
        width: scanout.size.width,
        height: scanout.size.height,
        stride: scanout.planes.first().map_or(0, |plane| plane.stride),
        fourcc: scanout.fourcc,
        bottom_up: scanout.bottom_up,
    })
}

fn gl_scanout2(scanout: &Scanout) -> FromServer {
    FromServer::GlScanout2(GlScanout2 {
        width: scanout.size.width,
        height: scanout.size.height,
        fourcc: scanout.fourcc,
        bottom_up: scanout.bottom_up,
        modifier: scanout.modifier,
        planes: scanout.planes.iter().map(|plane| (plane.offset, plane.stride)).collect(),
    })
}

impl Machine for DisplayChannel {
    type Event = DisplayEvent;

    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<DisplayEvent>, ChannelError> {
        while let Some(message) = self.flow.recv(input, now)? {
            if let Some(event) = self.handle(message.id, &message.body)? {
                return Ok(Some(event));
            }
        }
        Ok(self.flow.next_answer().map(DisplayEvent::Answered))
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
