//! GStreamer's encoder and decoder of Opus, called like functions: a buffer goes into an element's pad, and what comes
//! out of the other has come before the call returns. So neither has a thread of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::encode::EncodeError;
use crate::sound::{BLOCK_TIME, Block, Frame, RATE, bytes_of, frames_of};

/// Bits a second: music in stereo without audible loss. libspice-server has 64000, of which voices alone are as good.
const BITRATE: i32 = 96_000;

/// The most bytes of a packet, as libspice-server: clients need not have room for more.
const MAX_PACKET: u32 = 480;

/// Makes packets of Opus.
pub(in crate::encode) struct OpusEncoder(Coder);

/// Reads packets of Opus.
pub(crate) struct OpusDecoder(Coder);

/// An element that is called like a function.
struct Coder {
    name: &'static str,
    element: gst::Element,
    input: gst::Pad,
    /// Kept, because the element's pad does not.
    _output: gst::Pad,
    made: Arc<Mutex<Vec<gst::Buffer>>>,
    time: Duration,
}

/// Returns whether sound can be encoded and decoded as Opus.
pub(crate) fn has_opus() -> bool {
    gst::init().is_ok() && ["opusenc", "opusdec"].iter().all(|name| gst::ElementFactory::find(name).is_some())
}

impl OpusEncoder {
    /// Makes an encoder whose packets have a block of sound each.
    ///
    /// # Errors
    /// If GStreamer has none.
    pub(in crate::encode) fn new() -> Result<Self, EncodeError> {
        start_gstreamer()?;
        let element = gst::ElementFactory::make("opusenc")
            .property("bitrate", BITRATE)
            .property_from_str("bitrate-type", "constrained-vbr")
            .property_from_str("audio-type", "generic")
            .property_from_str("frame-size", "10")
            .property("max-payload-size", MAX_PACKET);
        Coder::new("opusenc", element, &raw_caps()).map(Self)
    }

    /// Encodes `block`; gives one packet.
    ///
    /// # Errors
    /// If the encoder fails, or gives another number of packets.
    pub(in crate::encode) fn encode(&mut self, block: &Block) -> Result<Bytes, EncodeError> {
        let made = self.0.run(bytes_of(&block.frames), BLOCK_TIME)?;
        match made.as_slice() {
            [packet] => Ok(Bytes::from(self.0.read(packet)?)),
            packets => Err(self.0.error(format!("gave {} packets for one", packets.len()))),
        }
    }
}

impl OpusDecoder {
    /// Makes a decoder.
    ///
    /// # Errors
    /// If GStreamer has none.
    pub(crate) fn new() -> Result<Self, EncodeError> {
        start_gstreamer()?;
        let element = gst::ElementFactory::make("opusdec").property("max-errors", -1);
        let caps = gst::Caps::builder("audio/x-opus")
            .field("channel-mapping-family", 0)
            .field("channels", 2)
            .field("rate", i32::try_from(RATE).unwrap_or(0));
        Coder::new("opusdec", element, &caps.build()).map(Self)
    }

    /// Decodes a packet, which lasts for `time`. A broken one gives what can be read of it, or nothing.
    ///
    /// # Errors
    /// If the decoder cannot go on.
    pub(crate) fn decode(&mut self, packet: Vec<u8>, time: Duration) -> Result<Vec<Frame>, EncodeError> {
        let mut frames = Vec::new();
        for buffer in self.0.run(packet, time)? {
            frames.extend(frames_of(&self.0.read(&buffer)?));
        }
        Ok(frames)
    }
}

fn start_gstreamer() -> Result<(), EncodeError> {
    gst::init().map_err(|error| EncodeError::Init(error.to_string()))
}

fn raw_caps() -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", i32::try_from(RATE).unwrap_or(0))
        .field("channels", 2)
        .build()
}

impl Coder {
    fn new(
        name: &'static str,
        element: gst::element_factory::ElementBuilder<'_>,
        caps: &gst::Caps,
    ) -> Result<Self, EncodeError> {
        let failed = |reason: String| EncodeError::Sound { element: name, reason };
        let element = element.build().map_err(|error| failed(error.to_string()))?;
        let made = Arc::new(Mutex::new(Vec::new()));
        let keep = made.clone();
        let output = gst::Pad::builder(gst::PadDirection::Sink)
            .chain_function(move |_, _, buffer| {
                keep.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
                Ok(gst::FlowSuccess::Ok)
            })
            .event_function(|_, _, _| true)
            .build();
        let input = gst::Pad::builder(gst::PadDirection::Src).build();
        let (sink, source) = (element.static_pad("sink"), element.static_pad("src"));
        let (Some(sink), Some(source)) = (sink, source) else {
            return Err(failed("has other pads than an encoder".to_owned()));
        };
        let linked = input.link(&sink).and(source.link(&output));
        linked.map_err(|error| failed(error.to_string()))?;
        let ready = output.set_active(true).and(input.set_active(true));
        ready.map_err(|error| failed(error.to_string()))?;
        element.set_state(gst::State::Playing).map_err(|error| failed(error.to_string()))?;
        input.push_event(gst::event::StreamStart::new("sound"));
        input.push_event(gst::event::Caps::new(caps));
        input.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        Ok(Self { name, element, input, _output: output, made, time: Duration::ZERO })
    }

    /// Passes `bytes`, which last for `time`, through the element.
    fn run(&mut self, bytes: Vec<u8>, time: Duration) -> Result<Vec<gst::Buffer>, EncodeError> {
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::try_from(self.time).ok());
            buffer.set_duration(gst::ClockTime::try_from(time).ok());
        }
        self.time = self.time.saturating_add(time);
        let pushed = self.input.push(buffer);
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        pushed.map_err(|error| self.error(error.to_string()))?;
        Ok(made.into_iter().filter(|buffer| !buffer.flags().contains(gst::BufferFlags::HEADER)).collect())
    }

    fn read(&self, buffer: &gst::Buffer) -> Result<Vec<u8>, EncodeError> {
        let map = buffer.map_readable().map_err(|error| self.error(error.to_string()))?;
        Ok(map.as_slice().to_vec())
    }

    fn error(&self, reason: String) -> EncodeError {
        EncodeError::Sound { element: self.name, reason }
    }
}

impl Drop for Coder {
    fn drop(&mut self) {
        let _ = self.element.set_state(gst::State::Null);
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;
    use std::time::Instant;

    use super::*;
    use crate::sound::{BLOCK, packet_time};

    fn block(number: usize) -> Block {
        let sample = |at: usize| ((at as f64 * 440.0 * TAU / f64::from(RATE)).sin() * 16_000.0) as i16;
        let frames = (number * BLOCK..(number + 1) * BLOCK).map(|at| [sample(at), -sample(at)]).collect();
        Block { at: Instant::now(), frames }
    }

    #[test]
    fn each_block_is_a_packet_that_decodes_to_a_block() {
        let (mut encoder, mut decoder) = (OpusEncoder::new().unwrap(), OpusDecoder::new().unwrap());
        let mut heard = Vec::new();
        for number in 0..100 {
            let packet = encoder.encode(&block(number)).unwrap();
            assert!(!packet.is_empty() && packet.len() <= MAX_PACKET as usize, "{} bytes", packet.len());
            assert_eq!(packet_time(&packet), Some(BLOCK_TIME));
            let frames = decoder.decode(packet.to_vec(), BLOCK_TIME).unwrap();
            assert_eq!(frames.len(), BLOCK, "packet {number}");
            heard.extend(frames);
        }
        let settled = &heard[4800..];
        let rises = settled.windows(2).filter(|pair| pair[0][0] < 0 && pair[1][0] >= 0).count();
        let wanted = 440 * settled.len() / RATE as usize;
        assert!(rises.abs_diff(wanted) <= 1, "{rises}, not {wanted}");
    }

    #[test]
    fn broken_packets_cost_their_own_sound_alone() {
        let (mut encoder, mut decoder) = (OpusEncoder::new().unwrap(), OpusDecoder::new().unwrap());
        for broken in [vec![0xff; 40], vec![3], vec![0; 4000], vec![0xfb, 0x3f, 1, 2]] {
            let _ = decoder.decode(broken, BLOCK_TIME);
            let packet = encoder.encode(&block(0)).unwrap();
            let frames = decoder.decode(packet.to_vec(), BLOCK_TIME).map(|frames| frames.len());
            assert_eq!(frames.unwrap(), BLOCK);
        }
    }
}
