use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use gstreamer_video::{UpstreamForceKeyUnitEvent, VideoFormat, VideoInfo};

use super::Element;
use crate::encode::picture::Layout;

/// How long one frame may take to encode before the encoder counts as broken.
const DEADLINE: Duration = Duration::from_secs(2);

/// How often to look for an error while a frame is late.
const LOOK_INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// The rate the encoder is told. It bounds the bytes of a frame by the bytes of a second; pictures come as they come.
const NOMINAL_RATE: i32 = 30;

/// One encoder at work on pictures of one size. Ends when dropped.
///
/// `appsrc ! encoder ! appsink`: its threads are GStreamer's, what goes in and out is ours.
#[derive(Debug)]
pub struct Pipeline {
    element: Element,
    pipeline: gst::Pipeline,
    encoder: gst::Element,
    source: AppSrc,
    sink: AppSink,
    pool: gst::BufferPool,
    frames: u64,
}

/// What GStreamer could not do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{element}: {reason}")]
pub struct PipelineError {
    /// GStreamer's name for the encoder.
    pub element: &'static str,
    /// What it says.
    pub reason: String,
}

impl Pipeline {
    /// Starts an encoder for pictures of this layout.
    ///
    /// # Errors
    /// If GStreamer lacks a part, or the encoder does not take such pictures.
    pub(crate) fn new(element: Element, layout: Layout) -> Result<Self, PipelineError> {
        let failed = |reason: String| PipelineError { element: element.name(), reason };
        let told = |error: gst::glib::BoolError| failed(error.to_string());
        let info = video_info(layout).map_err(|reason| failed(reason.to_owned()))?;
        let caps = info.to_caps().map_err(told)?;
        let size = u32::try_from(layout.len()).map_err(|_| failed("picture too large".into()))?;

        let source = AppSrc::builder().caps(&caps).format(gst::Format::Time).max_buffers(1).build();
        let encoder = element.make()?;
        let out = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        let sink = AppSink::builder().caps(&out).sync(false).async_(false).enable_last_sample(false).build();
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([source.upcast_ref(), &encoder, sink.upcast_ref()]).map_err(told)?;
        gst::Element::link_many([source.upcast_ref(), &encoder, sink.upcast_ref()]).map_err(told)?;

        let pool = gst::BufferPool::new();
        let mut config = pool.config();
        config.set_params(Some(&caps), size, 2, 0);
        pool.set_config(config).map_err(told)?;
        pool.set_active(true).map_err(told)?;

        let this = Self { element, pipeline, encoder, source, sink, pool, frames: 0 };
        this.pipeline.set_state(gst::State::Playing).map_err(|error| this.failed(&error.to_string()))?;
        Ok(this)
    }

    /// Encodes one picture: `fill` writes it, planes one after the other. Gives what the encoder made of it.
    ///
    /// # Errors
    /// If the encoder fails, or takes too long. It is of no use afterwards.
    pub(crate) fn encode(
        &mut self,
        key: bool,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Vec<u8>, PipelineError> {
        let mut buffer = self.pool.acquire_buffer(None).map_err(|error| self.failed(&error.to_string()))?;
        let frame = gst::ClockTime::SECOND / u64::from(NOMINAL_RATE.unsigned_abs());
        let writable = buffer.get_mut().ok_or_else(|| self.failed("its buffer is not ours"))?;
        writable.set_pts(frame * self.frames);
        writable.set_duration(frame);
        self.frames += 1;
        fill(&mut writable.map_writable().map_err(|error| self.failed(&error.to_string()))?);
        if key {
            let event = UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if !self.encoder.send_event(event) {
                return Err(self.failed("takes no request for a key frame"));
            }
        }
        self.source.push_buffer(buffer).map_err(|error| self.failed(&error.to_string()))?;
        let sample = self.pull()?;
        let encoded = sample.buffer().ok_or_else(|| self.failed("gives a frame without data"))?;
        let encoded = encoded.map_readable().map_err(|error| self.failed(&error.to_string()))?;
        Ok(encoded.to_vec())
    }

    /// Stops it in the middle of its work.
    #[cfg(test)]
    pub(crate) fn stop(&self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }

    /// Waits for the frame. An encoder that fails says so on the bus, not here: so this looks there, too.
    fn pull(&self) -> Result<gst::Sample, PipelineError> {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            if let Some(sample) = self.sink.try_pull_sample(LOOK_INTERVAL) {
                return Ok(sample);
            }
            if let Some(error) = self.error_on_bus() {
                return Err(self.failed_by("fails", Some(error)));
            }
        }
        Err(self.failed("gives no frame"))
    }

    /// An error, with what GStreamer itself has to say where it says something.
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

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Both can only fail by being stopped already.
        let _ = self.pipeline.set_state(gst::State::Null);
        let _ = self.pool.set_active(false);
    }
}

/// GStreamer's description of the pictures, checked to lie as ours do.
fn video_info(layout: Layout) -> Result<VideoInfo, &'static str> {
    let info = VideoInfo::builder(VideoFormat::I420, layout.coded.width, layout.coded.height)
        .fps(gst::Fraction::new(NOMINAL_RATE, 1))
        .build()
        .map_err(|_| "no such picture")?;
    let y_stride = i32::try_from(layout.y_stride).unwrap_or(-1);
    let c_stride = i32::try_from(layout.c_stride).unwrap_or(-1);
    let same = info.size() == layout.len()
        && info.offset() == [0, layout.y_len, layout.y_len + layout.c_len]
        && info.stride() == [y_stride, c_stride, c_stride];
    same.then_some(info).ok_or("lays pictures out in another way")
}
