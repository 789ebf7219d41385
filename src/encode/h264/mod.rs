//! What leaves an encoder, looked at before any viewer gets it.
//!
//! Encoders differ in what they put around their slices. Here an access unit becomes one defined thing, whichever
//! encoder made it: Annex B, a key frame starts with its parameter sets, then slices, nothing else. No access unit
//! delimiter: where those are needed, the protocol's side puts them. No SEI.

mod bits;
mod sps;

pub(crate) use sps::Sps;

use sps::{CHROMA_420, CHROMA_444};

use super::picture::Pixels;
use crate::frame::Size;
use bits::BitReader;

/// The most picture parameter sets kept of one encoder; ours have one.
const MAX_PPS: usize = 8;

/// NAL unit types (ITU-T H.264, table 7-1).
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;

/// One frame as every viewer may get it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessUnit {
    /// Annex B bytes.
    pub data: Vec<u8>,
    /// It can be decoded alone, and what follows it without what came before.
    pub key: bool,
}

/// Why an encoder's output is not passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StreamError {
    /// There is no picture in it.
    #[error("access unit without a slice")]
    NoSlice,
    /// A slice, and no parameter sets so far.
    #[error("key frame without parameter sets")]
    NoParameterSets,
    /// A parameter set that cannot be read.
    #[error("parameter set makes no sense")]
    BadParameterSet,
    /// A parameter set for another size than was asked for.
    #[error("stream is {found}, not {expected}")]
    Size {
        /// What the parameter set says.
        found: Size,
        /// What was asked for.
        expected: Size,
    },
    /// Not 8 bits, progressive, with the colours that were asked for.
    #[error("stream is not 8 bits, progressive, and of the colours that were asked for")]
    NotPlain,
    /// Frames that overtake others cost a viewer their delay.
    #[error("stream has frames out of order")]
    Reorders,
}

/// Checks one encoder's output, frame by frame.
#[derive(Debug)]
pub struct StreamCheck {
    size: Size,
    chroma_format: u32,
    sps: Vec<u8>,
    pps: Vec<Vec<u8>>,
}

impl StreamCheck {
    /// For a stream whose pictures have this size, after cropping, and were laid out in this way.
    #[must_use]
    pub fn new(size: Size, pixels: Pixels) -> Self {
        let chroma_format = if pixels == Pixels::I444 { CHROMA_444 } else { CHROMA_420 };
        Self { size, chroma_format, sps: Vec::new(), pps: Vec::new() }
    }

    /// Makes the defined access unit out of what the encoder gave for one frame.
    ///
    /// # Errors
    /// If it is not one frame that a viewer can show at once.
    pub fn access_unit(&mut self, encoded: &[u8]) -> Result<AccessUnit, StreamError> {
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
                PPS => return Err(StreamError::BadParameterSet),
                _ => {}
            }
        }
        if !new_pps.is_empty() {
            self.pps = new_pps;
        }
        if slices.is_empty() {
            return Err(StreamError::NoSlice);
        }
        if !key {
            return Ok(AccessUnit { data: slices, key });
        }
        if self.sps.is_empty() || self.pps.is_empty() {
            return Err(StreamError::NoParameterSets);
        }
        let mut data = Vec::with_capacity(slices.len() + 128);
        push_nal(&mut data, &self.sps);
        for pps in &self.pps {
            push_nal(&mut data, pps);
        }
        data.extend_from_slice(&slices);
        Ok(AccessUnit { data, key })
    }

    fn checked_sps(&self, header: u8, payload: &[u8]) -> Result<Vec<u8>, StreamError> {
        let sps = Sps::parse(payload).ok_or(StreamError::BadParameterSet)?;
        if sps.size != self.size {
            return Err(StreamError::Size { found: sps.size, expected: self.size });
        }
        if !sps.plain || sps.chroma_format != self.chroma_format {
            return Err(StreamError::NotPlain);
        }
        if sps.reorder_frames.is_some_and(|frames| frames > 0) {
            return Err(StreamError::Reorders);
        }
        let mut nal = vec![header];
        nal.extend(sps.with_our_vui(payload).ok_or(StreamError::BadParameterSet)?);
        Ok(nal)
    }
}

/// The NAL units of an Annex B byte stream, without start codes and the zeros between them.
pub(crate) fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let from = rest?;
        let end = start_code(from).unwrap_or(from.len());
        let (nal, tail) = from.split_at_checked(end)?;
        rest = after_start_code(tail);
        let used = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        nal.get(..used)
    })
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    stream.get(start_code(stream)? + 3..)
}

/// Where the next 0, 0, 1 starts.
fn start_code(stream: &[u8]) -> Option<usize> {
    memchr::memmem::find(stream, &[0, 0, 1])
}

fn push_nal(out: &mut Vec<u8>, nal: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    out.extend_from_slice(nal);
}

/// Whether a slice's header (7.3.3) says that it is predicted from both sides.
fn is_bidirectional(payload: &[u8]) -> bool {
    let mut reader = BitReader::new(payload);
    let kind = reader.ue(u32::MAX).and_then(|_first_macroblock| reader.ue(9));
    matches!(kind, Some(1 | 6))
}

#[cfg(test)]
mod tests;
