use crate::encode::codec::bits::{BitReader, BitWriter};
use crate::frame::Size;

/// The longest sequence parameter set we look at, in bytes. Real ones have about thirty.
const MAX_SPS: usize = 512;

/// The most macroblocks on a side: level 6.2 allows 16,888 pixels.
const MAX_MACROBLOCKS: u32 = 1056;

/// `chroma_format_idc` of 4:2:0 and 4:4:4.
pub(super) const CHROMA_420: u32 = 1;
pub(super) const CHROMA_444: u32 = 3;

/// Profiles that carry the chroma format and scaling lists (ITU-T H.264, 7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// What a sequence parameter set says that matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Sps {
    /// `profile_idc`: 66 baseline, 77 main, 100 high.
    pub(super) profile: u8,
    /// `level_idc`: ten times the level.
    pub(super) level: u8,
    /// The picture's size, after cropping.
    pub(super) size: Size,
    /// `chroma_format_idc`: 1 is 4:2:0, which every decoder shows, 3 is 4:4:4.
    pub(super) chroma_format: u32,
    /// Whether it is 8 bits, the planes together, and has no interlaced fields.
    pub(super) plain: bool,
    /// How many frames later ones may overtake; `None` if it does not say, and decoders assume the worst.
    pub(super) reorder_frames: Option<u32>,
    /// `max_num_ref_frames`.
    pub(super) ref_frames: u32,
    /// Bits before `vui_parameters_present_flag`.
    vui_at: usize,
}

impl Sps {
    /// Reads the payload of a NAL unit of type 7, after its header byte. `None` if it makes no sense.
    #[must_use]
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        if payload.len() > MAX_SPS {
            return None;
        }
        let mut counted = Counted { reader: BitReader::new(payload), used: 0 };
        let r = &mut counted;
        let profile = r.bits(8)?;
        r.bits(8)?; // constraint flags
        let level = r.bits(8)?;
        r.ue(31)?; // seq_parameter_set_id
        let mut chroma = (CHROMA_420, false);
        let mut deep = false;
        if HIGH_PROFILES.contains(&profile) {
            let format = r.ue(3)?;
            chroma = (format, format == 3 && r.flag()?);
            deep = r.ue(6)? != 0;
            deep |= r.ue(6)? != 0;
            r.flag()?; // qpprime_y_zero_transform_bypass_flag
            if r.flag()? {
                skip_scaling_lists(r, if format == 3 { 12 } else { 8 })?;
            }
        }
        r.ue(12)?; // log2_max_frame_num_minus4
        skip_picture_order(r)?;
        let ref_frames = r.ue(16)?;
        r.flag()?; // gaps_in_frame_num_value_allowed_flag
        let width = (r.ue(MAX_MACROBLOCKS)? + 1) * 16;
        let rows = r.ue(MAX_MACROBLOCKS)? + 1;
        let progressive = r.flag()?;
        if !progressive {
            r.flag()?; // mb_adaptive_frame_field_flag
        }
        let height = rows * if progressive { 16 } else { 32 };
        r.flag()?; // direct_8x8_inference_flag
        let size = cropped(r, Size::new(width, height), chroma, progressive)?;
        let vui_at = r.used;
        let reorder_frames = if r.flag()? { vui_reorder_frames(r)? } else { None };
        Some(Self {
            profile: u8::try_from(profile).ok()?,
            level: u8::try_from(level).ok()?,
            size,
            chroma_format: chroma.0,
            plain: !chroma.1 && !deep && progressive,
            reorder_frames,
            ref_frames,
            vui_at,
        })
    }

    /// Replaces the video usability information (annex E) of `payload` by our own: BT.709 in limited range,
    /// chroma in the middle of its four pixels for 4:2:0, and frames output in coding order, so that no
    /// decoder delays one. Timing and buffering are left out because a screen has no frame rate.
    #[must_use]
    pub(super) fn with_our_vui(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut from = BitReader::new(payload);
        let mut out = BitWriter::default();
        for _ in 0..self.vui_at {
            out.flag(from.flag()?);
        }
        out.flag(true); // vui_parameters_present_flag
        out.flag(false); // aspect_ratio_info_present_flag
        out.flag(false); // overscan_info_present_flag
        out.flag(true); // video_signal_type_present_flag
        out.bits(5, 3); // video_format: unspecified
        out.flag(false); // video_full_range_flag
        out.flag(true); // colour_description_present_flag
        for bt709 in [1, 1, 1] {
            out.bits(bt709, 8); // colour_primaries, transfer_characteristics, matrix_coefficients
        }
        let shared = self.chroma_format == CHROMA_420;
        out.flag(shared); // chroma_loc_info_present_flag
        if shared {
            out.ue(1); // top field: centre
            out.ue(1); // bottom field: centre
        }
        out.flag(false); // timing_info_present_flag
        out.flag(false); // nal_hrd_parameters_present_flag
        out.flag(false); // vcl_hrd_parameters_present_flag
        out.flag(false); // pic_struct_present_flag
        out.flag(true); // bitstream_restriction_flag
        out.flag(true); // motion_vectors_over_pic_boundaries_flag
        out.ue(0); // max_bytes_per_pic_denom: no limit
        out.ue(0); // max_bits_per_mb_denom: no limit
        out.ue(15); // log2_max_mv_length_horizontal
        out.ue(15); // log2_max_mv_length_vertical
        out.ue(0); // max_num_reorder_frames
        out.ue(self.ref_frames); // max_dec_frame_buffering
        Some(out.finish())
    }
}

/// A reader that knows how far it is.
struct Counted<'a> {
    reader: BitReader<'a>,
    used: usize,
}

impl Counted<'_> {
    fn flag(&mut self) -> Option<bool> {
        self.used += 1;
        self.reader.flag()
    }

    fn bits(&mut self, count: u8) -> Option<u32> {
        self.used += usize::from(count);
        self.reader.bits(count)
    }

    fn ue(&mut self, limit: u32) -> Option<u32> {
        let value = self.reader.ue(limit)?;
        self.count(value);
        Some(value)
    }

    fn se(&mut self, limit: u32) -> Option<i32> {
        let value = self.reader.se(limit)?;
        let code = value.unsigned_abs().saturating_mul(2).saturating_sub(u32::from(value > 0));
        self.count(code);
        Some(value)
    }

    /// Reads a prefix of zeros: an Exp-Golomb code has as many zeros as bits after its leading one.
    fn count(&mut self, value: u32) {
        let bits = (u64::from(value) + 1).ilog2();
        self.used += usize::try_from(2 * bits + 1).unwrap_or(0);
    }
}

/// Skips `scaling_list()`, `lists` times (7.3.2.1.1.1).
fn skip_scaling_lists(r: &mut Counted<'_>, lists: u8) -> Option<()> {
    for list in 0..lists {
        if !r.flag()? {
            continue;
        }
        let (mut last, mut next) = (8_i32, 8_i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + r.se(128)? + 256) % 256;
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Skips `pic_order_cnt_type` and the fields that depend on it.
fn skip_picture_order(r: &mut Counted<'_>) -> Option<()> {
    match r.ue(2)? {
        0 => {
            r.ue(12)?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            r.flag()?; // delta_pic_order_always_zero_flag
            for _ in 0..2 {
                r.se(u32::MAX / 2)?; // offset_for_non_ref_pic, offset_for_top_to_bottom_field
            }
            for _ in 0..r.ue(255)? {
                r.se(u32::MAX / 2)?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    Some(())
}

/// Applies the frame cropping rectangle.
fn cropped(r: &mut Counted<'_>, size: Size, chroma: (u32, bool), progressive: bool) -> Option<Size> {
    if !r.flag()? {
        return Some(size);
    }
    let (unit_x, unit_y) = match chroma {
        (1, _) => (2, 2),
        (2, _) => (2, 1),
        _ => (1, 1),
    };
    let unit_y = unit_y * if progressive { 1 } else { 2 };
    let mut crop = || r.ue(MAX_MACROBLOCKS * 32);
    let (left, right, top, bottom) = (crop()?, crop()?, crop()?, crop()?);
    let width = size.width.checked_sub((left + right) * unit_x).filter(|&n| n > 0)?;
    let height = size.height.checked_sub((top + bottom) * unit_y).filter(|&n| n > 0)?;
    Some(Size::new(width, height))
}

/// Reads `vui_parameters()` (E.1.1) for `max_num_reorder_frames`; the inner `None` is a VUI that does not say.
fn vui_reorder_frames(r: &mut Counted<'_>) -> Option<Option<u32>> {
    if r.flag()? && r.bits(8)? == 255 {
        r.bits(32)?; // sar_width, sar_height
    }
    if r.flag()? {
        r.flag()?; // overscan_appropriate_flag
    }
    if r.flag()? {
        r.bits(4)?; // video_format, video_full_range_flag
        if r.flag()? {
            r.bits(24)?; // colour description
        }
    }
    if r.flag()? {
        r.ue(5)?; // chroma_sample_loc_type_top_field
        r.ue(5)?; // chroma_sample_loc_type_bottom_field
    }
    if r.flag()? {
        r.bits(32)?; // num_units_in_tick
        r.bits(32)?; // time_scale
        r.flag()?; // fixed_frame_rate_flag
    }
    let mut hrd = false;
    for _ in ["nal", "vcl"] {
        if r.flag()? {
            hrd = true;
            skip_hrd(r)?;
        }
    }
    if hrd {
        r.flag()?; // low_delay_hrd_flag
    }
    r.flag()?; // pic_struct_present_flag
    if !r.flag()? {
        return Some(None);
    }
    r.flag()?; // motion_vectors_over_pic_boundaries_flag
    for limit in [16, 16, 16, 16] {
        r.ue(limit)?; // max_bytes_per_pic_denom to log2_max_mv_length_vertical
    }
    Some(Some(r.ue(16)?))
}

/// Skips `hrd_parameters()` (E.1.2).
fn skip_hrd(r: &mut Counted<'_>) -> Option<()> {
    let count = r.ue(31)? + 1;
    r.bits(8)?; // bit_rate_scale, cpb_size_scale
    for _ in 0..count {
        r.ue(u32::MAX - 1)?; // bit_rate_value_minus1
        r.ue(u32::MAX - 1)?; // cpb_size_value_minus1
        r.flag()?; // cbr_flag
    }
    r.bits(20)?; // four lengths of five bits
    Some(())
}
