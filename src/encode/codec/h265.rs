//! H.265 / HEVC (ITU-T H.265), main profile: 8 bits, 4:2:0.
//!
//! An access unit becomes one defined thing, as H.264's does: annex B, a key frame starts with its parameter sets, then
//! slices, nothing else.

use super::bits::BitReader;
use super::nal::{nal_units, push_nal};
use super::{AccessUnit, CodecRow, StreamCheck, StreamError, USUAL_SIDES, check_size};
use crate::frame::Size;

pub(super) const ROW: CodecRow = CodecRow {
    name: "h265",
    title: "H.265",
    help: "H.265: fewer bytes than H.264, and much more work where no device does it",
    decoder_package: "gstreamer1.0-libav",
    caps: "video/x-h265,stream-format=byte-stream,alignment=au",
    sides: USUAL_SIDES,
    check: |size| Box::new(Check { size, parameters: [const { Vec::new() }; 3] }),
};

/// NAL unit types (table 7-1): slices, of which those from 16 on are of pictures that can be decoded alone (IRAP), and
/// the video, sequence and picture parameter sets.
const LAST_SLICE: u8 = 9;
const FIRST_IRAP: u8 = 16;
const LAST_IRAP: u8 = 21;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;

/// The longest parameter set that is kept, in bytes. Real ones have less than a hundred.
const MAX_PARAMETERS: usize = 1024;

/// The longest side of level 6.2 (A.4.1).
const MAX_SIDE: u32 = 16_888;

struct Check {
    size: Size,
    /// The video, sequence and picture parameter set.
    parameters: [Vec<u8>; 3],
}

impl StreamCheck for Check {
    fn access_unit(&mut self, encoded: &[u8]) -> Result<AccessUnit, StreamError> {
        let (mut slices, mut key) = (Vec::with_capacity(encoded.len() + 16), false);
        for nal in nal_units(encoded) {
            let Some(([header, _], payload)) = nal.split_first_chunk::<2>() else { continue };
            let kind = header >> 1 & 0x3f;
            match kind {
                0..=LAST_SLICE | FIRST_IRAP..=LAST_IRAP => {
                    key |= kind >= FIRST_IRAP;
                    push_nal(&mut slices, nal);
                }
                VPS | SPS | PPS => {
                    if nal.len() > MAX_PARAMETERS {
                        return Err(StreamError::BadParameters);
                    }
                    if kind == SPS {
                        self.check(payload)?;
                    }
                    let place = self.parameters.get_mut(usize::from(kind - VPS));
                    *place.ok_or(StreamError::BadParameters)? = nal.to_vec();
                }
                _ => {}
            }
        }
        if slices.is_empty() {
            return Err(StreamError::NoPicture);
        }
        if !key {
            return Ok(AccessUnit { data: slices, key });
        }
        if self.parameters.iter().any(Vec::is_empty) {
            return Err(StreamError::NoParameters);
        }
        let mut data = Vec::with_capacity(slices.len() + 256);
        for parameters in &self.parameters {
            push_nal(&mut data, parameters);
        }
        data.extend_from_slice(&slices);
        Ok(AccessUnit { data, key })
    }
}

impl Check {
    fn check(&self, payload: &[u8]) -> Result<(), StreamError> {
        let sps = Sps::read(payload).ok_or(StreamError::BadParameters)?;
        check_size(sps.size, self.size)?;
        match sps {
            Sps { plain: false, .. } => Err(StreamError::NotPlain),
            Sps { reorders: true, .. } => Err(StreamError::Reorders),
            Sps { .. } => Ok(()),
        }
    }
}

/// What a sequence parameter set says that matters here.
struct Sps {
    /// The picture's size, after cropping.
    size: Size,
    /// Whether it is 8 bits and 4:2:0.
    plain: bool,
    /// Whether a frame may overtake another.
    reorders: bool,
}

impl Sps {
    /// Reads the payload of the NAL unit, after its header (7.3.2.2). `None` if it makes no sense.
    fn read(payload: &[u8]) -> Option<Self> {
        let mut r = BitReader::new(payload);
        r.bits(4)?; // sps_video_parameter_set_id
        let sub_layers = r.bits(3)?;
        r.bits(1)?; // sps_temporal_id_nesting_flag
        if sub_layers != 0 {
            return None; // no encoder here makes any
        }
        for bits in [32, 32, 32] {
            r.bits(bits)?; // profile_tier_level: profile, flags, general_level_idc (7.3.3)
        }
        r.ue(15)?; // sps_seq_parameter_set_id
        let chroma_format = r.ue(3)?;
        if chroma_format == 3 {
            r.bits(1)?; // separate_colour_plane_flag
        }
        let (width, height) = (r.ue(MAX_SIDE)?, r.ue(MAX_SIDE)?);
        let [mut columns, mut rows] = [0, 0];
        if r.flag()? {
            let [left, right, top, bottom] = [(); 4].map(|()| r.ue(MAX_SIDE));
            // In units of chroma samples, which matter for 4:2:0 alone: nothing else is plain.
            (columns, rows) = (2 * (left? + right?), 2 * (top? + bottom?));
        }
        let deep = [r.ue(8)?, r.ue(8)?] != [0, 0];
        r.ue(12)?; // log2_max_pic_order_cnt_lsb_minus4
        r.flag()?; // sps_sub_layer_ordering_info_present_flag
        r.ue(15)?; // sps_max_dec_pic_buffering_minus1
        let reorders = r.ue(15)? > 0;
        let size = Size::new(width.checked_sub(columns)?, height.checked_sub(rows)?);
        Some(Self { size, plain: chroma_format == 1 && !deep, reorders })
    }
}
