use std::str::FromStr;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_allocators::DmaBufAllocator;
use gstreamer_app::{AppSink, AppSrc};
use gstreamer_video::{
    UpstreamForceKeyUnitEvent, VideoColorimetry, VideoFormat, VideoFrameFlags, VideoInfo, VideoMeta,
};

use super::control::NOMINAL_RATE;
use super::elements::Import;
use super::import::{Lease, import};
use super::{Control, Element, EncoderKind, Input};
use crate::encode::picture::{Layout, Pixels, Planes};
use crate::frame::{Dmabuf, Size};
use crate::sys::is_dmabuf;

/// How long one frame may take a device to encode before it counts as broken.
const HARDWARE_DEADLINE: Duration = Duration::from_secs(2);

/// How long it may take the processor, which may be busy with something else.
const SOFTWARE_DEADLINE: Duration = Duration::from_secs(10);

/// How often to look for an error while a frame is late.
const LOOK_INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// The value of `video-direction` that turns a picture over.
const UPSIDE_DOWN: &str = "vert";

/// One encoder at work on pictures of one size. Ends when dropped.
///
/// `source ! encoder ! appsink`: what goes in and out is ours. Where the encoder reads the guest's buffer, what imports
/// and converts it stands before it.
#[derive(Debug)]
pub(crate) struct Pipeline {
    element: Element,
    pipeline: gst::Pipeline,
    encoder: gst::Element,
    source: Inlet,
    sink: AppSink,
    feed: InputMemory,
    frames: u64,
    /// Limits the bytes of each frame from the next one on. An encoder that cannot change its limit goes on
    /// unchanged.
    limit: Option<u64>,
}

/// What an encoder made of a picture, where it left it.
pub(super) type EncodedBuffer = gst::MappedBuffer<gst::buffer::Readable>;

/// Where it goes in.
#[derive(Debug)]
enum Inlet {
    /// The thread that brings a picture encodes it: no other has to wake up for it, and none again for what comes out.
    Pad(gst::Pad),
    /// A thread of GStreamer's does: a device that hangs does not hold ours.
    App(AppSrc),
}

/// What goes in.
#[derive(Debug)]
enum InputMemory {
    /// Planes of the picture, where they are.
    Shared,
    /// Planes that are written in another order.
    Copied(gst::BufferPool),
    Dmabuf {
        allocator: DmaBufAllocator,
        /// Turns the picture over.
        turner: Option<gst::Element>,
    },
}

/// What GStreamer could not do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{element}: {reason}")]
pub(crate) struct PipelineError {
    /// GStreamer's name for the encoder.
    pub element: &'static str,
    /// What it says.
    pub reason: String,
}

impl Pipeline {
    /// Starts an encoder for pictures of this size that come in this way.
    ///
    /// # Errors
    /// If GStreamer lacks a part, or the encoder does not take such pictures.
    pub(crate) fn new(
        element: Element,
        input: &Input,
        size: Size,
        control: Control,
    ) -> Result<Self, PipelineError> {
        Self::build(element, input, size, control)
            .map_err(|reason| PipelineError { element: element.name(), reason })
    }

    fn build(element: Element, input: &Input, size: Size, control: Control) -> Result<Self, String> {
        let encoder = element.make(control).map_err(|error| error.reason)?;
        let mut chain = Vec::new();
        let (caps, feed) = match input {
            Input::Planes => planes(element, size)?,
            Input::Dmabuf { caps, bottom_up } => {
                let how = element.import().ok_or("does not import")?;
                chain = converters(how)?;
                let turner = chain.last().filter(|_| *bottom_up).cloned();
                if let Some(turner) = &turner {
                    let name = "video-direction";
                    let known = turner.find_property(name).is_some();
                    known
                        .then_some(())
                        .ok_or_else(|| format!("{} cannot turn a picture over", turner.name()))?;
                    turner.set_property_from_str(name, UPSIDE_DOWN);
                }
                chain.push(filter(how.output)?);
                let sized =
                    format!("{caps},width={},height={},framerate={NOMINAL_RATE}/1", size.width, size.height);
                (parse_caps(&sized)?, InputMemory::Dmabuf { allocator: DmaBufAllocator::new(), turner })
            }
        };
        #[cfg(test)]
        if let Element::StandIn { breaks_after: Some(frames), .. } = element {
            let breaker = gst::ElementFactory::make("identity").property("error-after", frames).build();
            chain.push(breaker.map_err(|error| error.to_string())?);
        }
        chain.push(encoder.clone());

        let out = parse_caps(element.codec().caps())?;
        let sink = AppSink::builder().caps(&out).sync(false).async_(false).enable_last_sample(false).build();
        chain.push(sink.clone().upcast());
        let source = if *input == Input::Planes && element.kind() == EncoderKind::Software {
            Inlet::Pad(gst::Pad::new(gst::PadDirection::Src))
        } else {
            let source = AppSrc::builder().caps(&caps).format(gst::Format::Time).max_buffers(1).build();
            chain.insert(0, source.clone().upcast());
            Inlet::App(source)
        };
        let pipeline = gst::Pipeline::new();
        pipeline.add_many(&chain).map_err(told)?;
        gst::Element::link_many(&chain).map_err(told)?;

        let this = Self { element, pipeline, encoder, source, sink, feed, frames: 0, limit: None };
        let first = chain.first().and_then(|first| first.static_pad("sink"));
        this.start(&caps, first).map_err(|reason| this.failed(&reason).reason)?;
        Ok(this)
    }

    /// Has it run. `first` is where a pad leads.
    fn start(&self, caps: &gst::Caps, first: Option<gst::Pad>) -> Result<(), String> {
        if let Inlet::Pad(pad) = &self.source {
            pad.link(&first.ok_or("has no way in")?).map_err(|error| error.to_string())?;
        }
        self.pipeline.set_state(gst::State::Playing).map_err(|error| error.to_string())?;
        if let Inlet::Pad(pad) = &self.source {
            pad.set_active(true).map_err(told)?;
            let segment = gst::FormattedSegment::<gst::ClockTime>::new();
            let begins: [gst::Event; 3] = [
                gst::event::StreamStart::new("picture"),
                gst::event::Caps::new(caps),
                gst::event::Segment::new(&segment),
            ];
            begins
                .into_iter()
                .all(|event| pad.push_event(event))
                .then_some(())
                .ok_or("takes no such pictures")?;
        }
        Ok(())
    }

    /// From the next one on, no frame should have more bytes than this. An encoder that cannot be told goes on as it
    /// is.
    pub(crate) fn limit(&mut self, frame_bytes: Option<u64>) {
        if self.limit != frame_bytes {
            self.limit = frame_bytes;
            if let Err(error) = self.element.limit(&self.encoder, frame_bytes) {
                tracing::debug!(error = %error, "frames cannot be limited");
            }
        }
    }

    /// Encodes one picture. Gives what the encoder made of it.
    ///
    /// # Errors
    /// If the encoder fails, or takes too long. It is of no use afterwards.
    pub(crate) fn encode(&mut self, key: bool, planes: Planes) -> Result<EncodedBuffer, PipelineError> {
        let buffer = match &self.feed {
            InputMemory::Shared if planes.layout().pixels == self.element.pixels() => share(planes),
            InputMemory::Shared => Err("takes other planes".to_owned()),
            InputMemory::Copied(pool) => copied(pool, self.element.pixels(), &planes),
            InputMemory::Dmabuf { .. } => Err("takes no planes".to_owned()),
        };
        self.encode_buffer(key, buffer.map_err(|reason| self.failed(&reason))?)
    }

    /// Encodes one picture whose planes lie as the encoder takes them best, one after the other in `buffer`.
    ///
    /// # Errors
    /// As for [`Pipeline::encode`].
    pub(super) fn encode_laid_out(
        &mut self,
        key: bool,
        buffer: gst::Buffer,
    ) -> Result<EncodedBuffer, PipelineError> {
        match &self.feed {
            InputMemory::Dmabuf { .. } => Err(self.failed("takes no planes")),
            InputMemory::Shared | InputMemory::Copied(_) => self.encode_buffer(key, buffer),
        }
    }

    /// Encodes one picture out of the guest's own buffer, which is read until the lease ends.
    ///
    /// # Errors
    /// If the encoder cannot read it, fails, or takes too long. It is of no use afterwards.
    pub(crate) fn encode_dmabuf(
        &mut self,
        key: bool,
        buffer: gst::Buffer,
    ) -> Result<EncodedBuffer, PipelineError> {
        let encoded = self.encode_buffer(key, buffer)?;
        // A driver that cannot turn a picture over says so by undoing the setting when the first picture comes.
        match &self.feed {
            InputMemory::Dmabuf { turner: Some(turner), .. } if !turns_over(turner) => {
                Err(self.failed("the driver cannot turn a picture over"))
            }
            _ => Ok(encoded),
        }
    }

    /// Makes a GStreamer buffer of the guest's buffer.
    ///
    /// # Errors
    /// If it cannot be given to GStreamer.
    pub(crate) fn import(&self, dmabuf: &Dmabuf, lease: &Lease) -> Result<gst::Buffer, PipelineError> {
        let InputMemory::Dmabuf { allocator, .. } = &self.feed else {
            return Err(self.failed("takes no dmabuf"));
        };
        check_planes(self.element, dmabuf)
            .and_then(|()| import(allocator, dmabuf, lease))
            .map_err(|reason| self.failed(&reason))
    }

    fn encode_buffer(&mut self, key: bool, mut buffer: gst::Buffer) -> Result<EncodedBuffer, PipelineError> {
        let frame = gst::ClockTime::SECOND / u64::from(NOMINAL_RATE.unsigned_abs());
        let writable = buffer.get_mut().ok_or_else(|| self.failed("its buffer is not ours"))?;
        writable.set_pts(frame * self.frames);
        writable.set_duration(frame);
        self.frames += 1;
        if key {
            let event = UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if !self.encoder.send_event(event) {
                return Err(self.failed("takes no request for a key frame"));
            }
        }
        self.source.push(buffer).map_err(|error| self.failed(&error.to_string()))?;
        let sample = self.pull()?;
        let encoded = sample.buffer_owned().ok_or_else(|| self.failed("gives a frame without data"))?;
        encoded.into_mapped_buffer_readable().map_err(|_| self.failed("gives a frame that cannot be read"))
    }

    /// Stops it in the middle of its work.
    #[cfg(test)]
    pub(crate) fn stop(&self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }

    /// Waits for the frame. An encoder that fails says so on the bus, not here: so this looks there, too.
    fn pull(&self) -> Result<gst::Sample, PipelineError> {
        let start = Instant::now();
        let deadline = deadline(self.element);
        while start.elapsed() < deadline {
            if let Some(sample) = self.sink.try_pull_sample(LOOK_INTERVAL) {
                return Ok(sample);
            }
            if let Some(error) = self.error_on_bus() {
                return Err(self.failed_by("fails", Some(error)));
            }
        }
        Err(self.failed("gives no frame"))
    }

    /// Makes an error, with GStreamer's own message if there is one.
    fn failed(&self, what: &str) -> PipelineError {
        self.failed_by(what, self.error_on_bus())
    }

    fn failed_by(&self, what: &str, said: Option<String>) -> PipelineError {
        let reason = said.map_or_else(|| what.to_owned(), |said| format!("{what}: {said}"));
        PipelineError { element: self.element.name(), reason }
    }

    /// Takes the first error from the bus, and everything before it.
    fn error_on_bus(&self) -> Option<String> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        let gst::MessageView::Error(error) = message.view() else { return None };
        Some(match error.debug() {
            Some(debug) => format!("{} ({debug})", error.error()),
            None => error.error().to_string(),
        })
    }
}

impl Inlet {
    fn push(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        match self {
            Self::Pad(pad) => pad.push(buffer),
            Self::App(source) => source.push_buffer(buffer),
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // All of these can only fail by being stopped already.
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Inlet::Pad(pad) = &self.source {
            let _ = pad.set_active(false);
        }
        if let InputMemory::Copied(pool) = &self.feed {
            let _ = pool.set_active(false);
        }
    }
}

/// Returns how long one frame may take before the encoder counts as broken.
pub(super) fn deadline(element: Element) -> Duration {
    match element.kind() {
        EncoderKind::Hardware => HARDWARE_DEADLINE,
        EncoderKind::Software => SOFTWARE_DEADLINE,
    }
}

/// Checks that the guest's buffer is what GStreamer may map.
pub(super) fn check_planes(element: Element, dmabuf: &Dmabuf) -> Result<(), String> {
    let how = element.import().ok_or("takes no dmabuf")?;
    for plane in &dmabuf.planes {
        let is_dmabuf = is_dmabuf(plane.buffer.fd()).map_err(|error| error.to_string())?;
        if !is_dmabuf && !how.feature.is_empty() {
            return Err("the guest's buffer is no dmabuf".to_owned());
        }
    }
    Ok(())
}

/// Returns how planes are fed to the encoder, and their caps.
fn planes(element: Element, size: Size) -> Result<(gst::Caps, InputMemory), String> {
    let layout = Layout::of(size, element.pixels());
    let caps = video_info(&layout)?.to_caps().map_err(told)?;
    if layout.pixels == element.planes() {
        return Ok((caps, InputMemory::Shared));
    }
    let bytes = u32::try_from(layout.len()).map_err(|_| "picture too large")?;
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(Some(&caps), bytes, 1, 0);
    pool.set_config(config).map_err(told)?;
    Ok((caps, InputMemory::Copied(pool)))
}

/// Wraps the planes in a buffer without a copy.
fn share(planes: Planes) -> Result<gst::Buffer, String> {
    let Layout { pixels, coded, y_stride, c_stride, .. } = *planes.layout();
    let offsets = planes.offsets();
    let strides = [y_stride, c_stride, c_stride].map(|stride| i32::try_from(stride).unwrap_or(-1));
    let mut buffer = gst::Buffer::from_slice(HeldPlanes(planes));
    let writable = buffer.get_mut().ok_or("its buffer is not ours")?;
    let (flags, format) = (VideoFrameFlags::empty(), video_format(pixels));
    VideoMeta::add_full(writable, flags, format, coded.width, coded.height, &offsets, &strides)
        .map_err(told)?;
    Ok(buffer)
}

struct HeldPlanes(Planes);

impl AsRef<[u8]> for HeldPlanes {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

fn copied(pool: &gst::BufferPool, pixels: Pixels, planes: &Planes) -> Result<gst::Buffer, String> {
    pool.set_active(true).map_err(told)?; // the first time it takes memory, and then it is
    let mut buffer = pool.acquire_buffer(None).map_err(|error| error.to_string())?;
    let writable = buffer.get_mut().ok_or("its buffer is not ours")?;
    planes.write(pixels, &mut writable.map_writable().map_err(told)?);
    Ok(buffer)
}

/// Describes the picture to GStreamer, and checks that its layout equals ours.
fn video_info(layout: &Layout) -> Result<VideoInfo, &'static str> {
    let bt709 = VideoColorimetry::from_str("bt709").map_err(|_| "no such colours")?;
    let mut builder =
        VideoInfo::builder(video_format(layout.pixels), layout.coded.width, layout.coded.height)
            .fps(gst::Fraction::new(NOMINAL_RATE, 1));
    if !matches!(layout.pixels, Pixels::Unmarked | Pixels::Jpeg) {
        builder = builder.colorimetry(&bt709);
    }
    let info = builder.build().map_err(|_| "no such picture")?;
    let y_stride = i32::try_from(layout.y_stride).unwrap_or(-1);
    let c_stride = i32::try_from(layout.c_stride).unwrap_or(-1);
    let (u, v) = (layout.y_len, layout.y_len + layout.c_len);
    let same = match layout.pixels {
        Pixels::Nv12 => info.offset() == [0, u] && info.stride() == [y_stride, c_stride],
        _ => info.offset() == [0, u, v] && info.stride() == [y_stride, c_stride, c_stride],
    };
    (same && info.size() == layout.len()).then_some(info).ok_or("lays pictures out in another way")
}

fn video_format(pixels: Pixels) -> VideoFormat {
    match pixels {
        Pixels::I420 | Pixels::Unmarked | Pixels::Jpeg => VideoFormat::I420,
        Pixels::I444 => VideoFormat::Y444,
        Pixels::Nv12 => VideoFormat::Nv12,
    }
}

fn converters(how: Import) -> Result<Vec<gst::Element>, String> {
    let make = |name: &&str| gst::ElementFactory::make(name).build().map_err(|error| error.to_string());
    how.chain.iter().map(make).collect()
}

fn filter(caps: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make("capsfilter").property("caps", parse_caps(caps)?).build().map_err(told)
}

fn parse_caps(caps: &str) -> Result<gst::Caps, String> {
    gst::Caps::from_str(caps).map_err(|_| format!("no caps: {caps}"))
}

/// Returns whether the element still flips the picture.
fn turns_over(turner: &gst::Element) -> bool {
    let value = turner.property_value("video-direction");
    glib::EnumValue::from_value(&value).is_some_and(|(_, value)| value.nick() == UPSIDE_DOWN)
}

fn told(error: glib::BoolError) -> String {
    error.to_string()
}
