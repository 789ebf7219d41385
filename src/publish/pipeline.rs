use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use gstreamer as gst;
use gstreamer::bus::BusStream;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_video::UpstreamForceKeyUnitEvent;
use tokio::sync::Notify;

use super::Target;

/// Frames that may wait for a target: about a second of them.
const MAX_WAITING: u64 = 30;

/// How long a target has to take the end: less than the program itself has.
const FAREWELL: Duration = Duration::from_millis(800);

/// What an access unit is, and that it is whole.
const CAPS: &str = "video/x-h264,stream-format=byte-stream,alignment=au";

/// The bytes of an RTP packet: what Ethernet carries, without what tunnels and WebRTC add.
const MTU: u32 = 1200;

/// The packets of MPEG's transport stream in one of SRT.
const TS_PACKETS: i32 = 7;

/// How often a connection is looked at whose end nobody tells, and how long there may be none: a server of SRT that
/// is gone is given up after 5 s.
const LOOK: Duration = Duration::from_secs(1);
const NO_CONNECTION: Duration = Duration::from_secs(4);

/// Why a target takes nothing more.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum PipelineError {
    /// GStreamer lacks a part.
    #[error("{0} is not installed: on Debian it is in {1}")]
    Missing(&'static str, &'static str),
    /// The target, or the way to it.
    #[error("{0}")]
    Target(String),
}

/// Takes access units to a target. Ends when dropped.
pub(super) struct Pipeline {
    pipeline: gst::Pipeline,
    source: AppSrc,
    news: BusStream,
    start: Instant,
    asked_for_key: Arc<Notify>,
    connection: Option<Connection>,
}

/// A connection whose end nobody tells: SRT's, of which GStreamer 1.22 reports some ends and waits at others for ever.
struct Connection {
    sink: gst::Element,
    /// When to look at it next.
    look: Instant,
    /// When it was last seen.
    seen: Instant,
}

impl Pipeline {
    /// Starts, on another thread: names are looked up, and some targets are connected to at once.
    ///
    /// # Errors
    /// If GStreamer lacks a part, or the target refuses at once.
    pub(super) async fn start(target: Target) -> Result<Self, PipelineError> {
        tokio::task::spawn_blocking(move || Self::build(&target)).await.map_err(failed)?
    }

    fn build(target: &Target) -> Result<Self, PipelineError> {
        gst::init().map_err(|error| PipelineError::Target(error.to_string()))?;
        let caps: gst::Caps = CAPS.parse().map_err(failed)?;
        let source = AppSrc::builder()
            .caps(&caps)
            .format(gst::Format::Time)
            .is_live(true)
            .max_buffers(MAX_WAITING)
            .build();
        let asked_for_key = asked_for_key(&source);
        let pipeline = gst::Pipeline::new();
        let parser = make("h264parse", "gstreamer1.0-plugins-bad")?;
        parser.set_property("config-interval", -1);
        let mut chain = vec![source.clone().upcast(), parser];
        match target {
            // `Recording` and `Whip` have those.
            Target::File(_) | Target::Whip(_) => return Err(failed("GStreamer has no part in it")),
            Target::Rtp { host, port } => {
                let payer = make("rtph264pay", GOOD)?;
                payer.set_property("config-interval", -1);
                payer.set_property("mtu", MTU);
                payer.set_property_from_str("aggregate-mode", "zero-latency");
                chain.push(payer.clone());
                rtp(&pipeline, &payer, host, *port)?;
            }
            Target::Rtmp(address) => {
                let muxer = make("flvmux", GOOD)?;
                muxer.set_property("streamable", true);
                let sink = make("rtmp2sink", BAD)?;
                sink.set_property("location", address.text());
                chain.extend([muxer, sink]);
            }
            Target::Rtsp(address) => {
                let sink = make("rtspclientsink", "gstreamer1.0-rtsp")?;
                sink.set_property("location", address.text());
                sink.set_property_from_str("protocols", "tcp");
                sink.set_property("latency", 0_u32);
                chain.push(sink);
            }
            Target::Srt(address) => {
                let muxer = make("mpegtsmux", BAD)?;
                muxer.set_property("alignment", TS_PACKETS);
                let sink = make("srtsink", BAD)?;
                sink.set_property("uri", address.text());
                // By itself it connects again in silence, if at all; a failure that it tells is tried again here.
                sink.set_property("auto-reconnect", false);
                chain.extend([muxer, sink]);
            }
        }
        let now = Instant::now();
        let sink = chain.last().filter(|_| matches!(target, Target::Srt(_))).cloned();
        let connection = sink.map(|sink| Connection { sink, look: now + LOOK, seen: now });
        if let Some(sink) = chain.last().filter(|sink| sink.find_property("sync").is_some()) {
            sink.set_property("sync", false);
        }
        let news = pipeline.bus().ok_or_else(|| failed("it has no bus"))?.stream();
        let in_place: Vec<_> = chain.iter().filter(|element| element.parent().is_none()).collect();
        pipeline.add_many(in_place).map_err(failed)?;
        gst::Element::link_many(&chain).map_err(failed)?;
        pipeline.set_state(gst::State::Playing).map_err(failed)?;
        Ok(Self { pipeline, source, news, start: now, asked_for_key, connection })
    }

    /// Returns whether the target takes another frame.
    pub(super) fn has_room(&self) -> bool {
        self.source.current_level_buffers() < MAX_WAITING
    }

    /// Gives an access unit to the target.
    ///
    /// # Errors
    /// If it takes no more.
    pub(super) fn push(&self, data: Bytes) -> Result<(), PipelineError> {
        let mut buffer = gst::Buffer::from_slice(data);
        if let Some(buffer) = buffer.get_mut() {
            let time = u64::try_from(self.start.elapsed().as_nanos()).ok().map(gst::ClockTime::from_nseconds);
            buffer.set_pts(time);
        }
        self.source.push_buffer(buffer).map(drop).map_err(failed)
    }

    /// Waits until the target asks for a key frame. Cancel-safe.
    ///
    /// # Errors
    /// If the target fails.
    pub(super) async fn wants_key(&mut self) -> Result<(), PipelineError> {
        loop {
            let message = tokio::select! {
                () = self.asked_for_key.notified() => return Ok(()),
                () = lost(self.connection.as_mut()) => return Err(failed("nobody answers")),
                message = self.news.next() => message.ok_or_else(|| failed("it is gone"))?,
            };
            match message.view() {
                gst::MessageView::Error(error) => return Err(failed(error.error())),
                gst::MessageView::Eos(_) => return Err(failed("it has ended")),
                _ => {}
            }
        }
    }

    /// Ends, when the target has taken all that it was given.
    ///
    /// # Errors
    /// If the target fails meanwhile.
    pub(super) async fn finish(mut self) -> Result<(), PipelineError> {
        self.source.end_of_stream().map_err(failed)?;
        let taken = async {
            while let Some(message) = self.news.next().await {
                match message.view() {
                    gst::MessageView::Error(error) => return Err(failed(error.error())),
                    gst::MessageView::Eos(_) => return Ok(()),
                    _ => {}
                }
            }
            Ok(())
        };
        tokio::time::timeout(FAREWELL, taken).await.unwrap_or(Ok(()))
    }
}

/// Waits until there has been no connection for too long. Cancel-safe.
async fn lost(connection: Option<&mut Connection>) {
    let Some(connection) = connection else { return std::future::pending().await };
    while connection.seen.elapsed() < NO_CONNECTION {
        tokio::time::sleep_until(connection.look.into()).await;
        connection.look = Instant::now() + LOOK;
        let sink = connection.sink.clone();
        // It has a lock that the sink may hold while it sends.
        let look = tokio::task::spawn_blocking(move || is_connected(&sink));
        if let Ok(Ok(true)) = tokio::time::timeout(LOOK, look).await {
            connection.seen = Instant::now();
        }
    }
}

/// Returns whether there are numbers of the connection, as there are of one that stands.
fn is_connected(sink: &gst::Element) -> bool {
    let numbers = sink.property_value("stats").get::<gst::Structure>();
    numbers.is_ok_and(|numbers| numbers.has_field("packets-sent"))
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // It may wait for its target. It can only fail by being stopped already.
        self.pipeline.call_async(|pipeline| _ = pipeline.set_state(gst::State::Null));
    }
}

/// Debian's packages of GStreamer's plugins.
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";

/// Sends what `payer` makes by RTP, and RTCP at the next port: a receiver that has lost something asks for a key frame
/// there (PLI, FIR).
fn rtp(pipeline: &gst::Pipeline, payer: &gst::Element, host: &str, port: u16) -> Result<(), PipelineError> {
    let session = make("rtpsession", GOOD)?;
    session.set_property_from_str("rtp-profile", "avpf");
    let packets = udp_sink(host, port)?;
    let reports = udp_sink(host, port.saturating_add(1))?;
    let answers = make("udpsrc", GOOD)?;
    answers.set_property("port", 0);
    // What is answered comes to the socket that the reports left by.
    answers.set_state(gst::State::Ready).map_err(failed)?;
    let socket = answers.property_value("used-socket");
    reports.set_property_from_value("socket", &socket);
    reports.set_property("close-socket", false);
    pipeline.add_many([payer, &session, &packets, &reports, &answers]).map_err(failed)?;
    payer.link_pads(Some("src"), &session, Some("send_rtp_sink")).map_err(failed)?;
    session.link_pads(Some("send_rtp_src"), &packets, Some("sink")).map_err(failed)?;
    session.link_pads(Some("send_rtcp_src"), &reports, Some("sink")).map_err(failed)?;
    answers.link_pads(Some("src"), &session, Some("recv_rtcp_sink")).map_err(failed)
}

fn udp_sink(host: &str, port: u16) -> Result<gst::Element, PipelineError> {
    let sink = make("udpsink", GOOD)?;
    sink.set_property("host", host);
    sink.set_property("port", i32::from(port));
    sink.set_property("sync", false);
    sink.set_property("async", false);
    Ok(sink)
}

/// Watches for requests for a key frame, which come against the stream.
fn asked_for_key(source: &AppSrc) -> Arc<Notify> {
    let asked = Arc::new(Notify::new());
    let (noted, pad) = (asked.clone(), source.static_pad("src"));
    if let Some(pad) = pad {
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            if info.event().is_some_and(|event| UpstreamForceKeyUnitEvent::parse(event).is_ok()) {
                noted.notify_one();
            }
            gst::PadProbeReturn::Ok
        });
    }
    asked
}

fn make(name: &'static str, package: &'static str) -> Result<gst::Element, PipelineError> {
    gst::ElementFactory::make(name).build().map_err(|_| PipelineError::Missing(name, package))
}

fn failed(error: impl ToString) -> PipelineError {
    PipelineError::Target(error.to_string())
}
