//! H.264: what leaves an encoder, looked at before any viewer gets it.
//!
//! Encoders differ in what they put around their slices. Here an access unit becomes one defined thing, whichever
//! encoder made it: Annex B, a key frame starts with its parameter sets, then slices, nothing else. No access unit
//! delimiter: where those are needed, the protocol's side puts them. No SEI.

mod sps;

use super::bits::BitReader;
use super::nal::{nal_units, push_nal};
use super::{AccessUnit, CodecRow, StreamCheck, StreamError, USUAL_SIDES, check_size};
use crate::frame::Size;
use sps::{CHROMA_420, CHROMA_444, Sps};

/// What every viewer that announces H.264 shows.
pub(super) const ROW: CodecRow = CodecRow {
    name: "h264",
    title: "H.264",
    help: "H.264; an error if there is no encoder for it",
    decoder_package: "gstreamer1.0-libav",
    caps: "video/x-h264,stream-format=byte-stream,alignment=au",
    sides: USUAL_SIDES,
    check: |size| Box::new(Check::new(size, CHROMA_420)),
};

/// What software decoders show.
pub(super) const FULL_COLOUR: CodecRow = CodecRow {
    name: "h264-444",
    title: "H.264 4:4:4",
    help: "H.264 by x264enc with a colour for each pixel (4:4:4): coloured text stays sharp while it moves, for a \
           third more work and half as many bytes again. Only for viewers known to decode it, as FFmpeg does \
           (remote-viewer with gstreamer1.0-libav) and Chromium; to others, such as most GPUs, the screen stays black",
    check: |size| Box::new(Check::new(size, CHROMA_444)),
    ..ROW
};

/// The most picture parameter sets kept of one encoder; ours have one.
const MAX_PPS: usize = 8;

/// NAL unit types (ITU-T H.264, table 7-1).
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;

/// The check of one stream.
#[derive(Debug)]
struct Check {
    size: Size,
    chroma_format: u32,
    sps: Vec<u8>,
    pps: Vec<Vec<u8>>,
}

impl StreamCheck for Check {
    fn access_unit(&mut self, encoded: &[u8]) -> Result<AccessUnit, StreamError> {
        let (mut slices, mut key) = (Vec::with_capacity(encoded.len() + 16), false);
        let mut new_pps = Vec::new();
        for nal in nal_units(encoded) {
            let Some((&header, payload)) = nal.split_first() else { continue };
            match header & 0x1f {
                kind @ (SLICE | IDR_SLICE) => {
                    if is_bidirectional(payload) {
                        return Err(StreamError::Reorders);
                    }
                    key |= kind == IDR_SLICE;
                    push_nal(&mut slices, nal);
                }
                SPS => self.sps = self.checked_sps(header, payload)?,
                PPS if new_pps.len() < MAX_PPS => new_pps.push(nal.to_vec()),
                PPS => return Err(StreamError::BadParameters),
                _ => {}
            }
        }
        if !new_pps.is_empty() {
            self.pps = new_pps;
        }
        if slices.is_empty() {
            return Err(StreamError::NoPicture);
        }
        if !key {
            return Ok(AccessUnit { data: slices, key });
        }
        if self.sps.is_empty() || self.pps.is_empty() {
            return Err(StreamError::NoParameters);
        }
        let mut data = Vec::with_capacity(slices.len() + 128);
        push_nal(&mut data, &self.sps);
        for pps in &self.pps {
            push_nal(&mut data, pps);
        }
        data.extend_from_slice(&slices);
        Ok(AccessUnit { data, key })
    }
}

impl Check {
    /// Starts a check of a stream whose pictures have this size, after cropping, and this `chroma_format_idc`.
    fn new(size: Size, chroma_format: u32) -> Self {
        Self { size, chroma_format, sps: Vec::new(), pps: Vec::new() }
    }

    fn checked_sps(&self, header: u8, payload: &[u8]) -> Result<Vec<u8>, StreamError> {
        let sps = Sps::parse(payload).ok_or(StreamError::BadParameters)?;
        check_size(sps.size, self.size)?;
        if !sps.plain || sps.chroma_format != self.chroma_format {
            return Err(StreamError::NotPlain);
        }
        if sps.reorder_frames.is_some_and(|frames| frames > 0) {
            return Err(StreamError::Reorders);
        }
        let mut nal = vec![header];
        nal.extend(sps.with_our_vui(payload).ok_or(StreamError::BadParameters)?);
        Ok(nal)
    }
}

/// Returns whether the slice header (7.3.3) in `payload` says that the slice is predicted from both sides.
fn is_bidirectional(payload: &[u8]) -> bool {
    let mut reader = BitReader::new(payload);
    let kind = reader.ue(u32::MAX).and_then(|_first_macroblock| reader.ue(9));
    matches!(kind, Some(1 | 6))
}

#[cfg(test)]
mod tests;
