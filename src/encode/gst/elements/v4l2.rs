use super::{ElementRow, MAX_KBITS, NEVER_16_BITS, Properties};
use crate::encode::gst::Control;
use crate::encode::{Codec, Pixels};

pub(super) const H264: ElementRow = ElementRow {
    name: "v4l2h264enc",
    codec: Codec::H264,
    plugin: "video4linux2",
    package: "gstreamer1.0-plugins-good",
    device: Some("a Video4Linux encoder in /dev/video*"),
    pixels: Pixels::Nv12,
    import: None, // which formats it imports differs from one board to the next
    max_area: u64::MAX,
    max_free_area: u64::MAX,
    settings,
    limit,
};

/// Names of the kernel's controls: those that a driver lacks are passed over.
fn settings(_: Control) -> Properties {
    let controls = format!(
        "controls,video_bitrate={},video_gop_size={NEVER_16_BITS},h264_i_frame_period={NEVER_16_BITS},\
         video_b_frames=0,repeat_sequence_header=1",
        MAX_KBITS * 1000
    );
    vec![("extra-controls", controls)]
}

fn limit(kbits: Option<u32>) -> Properties {
    let bits = kbits.unwrap_or(MAX_KBITS) * 1000;
    vec![("extra-controls", format!("controls,video_bitrate={bits}"))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::gst::elements::property;
    use gstreamer as gst;
    use gstreamer::prelude::*;

    /// The source has the same property, and is there without a device.
    #[test]
    fn controls_of_the_kernel_are_written_as_gstreamer_reads_them() {
        gst::init().unwrap();
        let Ok(source) = gst::ElementFactory::make("v4l2src").build() else {
            println!("skipped: no v4l2src");
            return;
        };
        for (name, value) in settings(Control::Quality) {
            property::set(&source, name, &value).unwrap();
        }
        let controls = source.property::<gst::Structure>("extra-controls");
        assert_eq!(controls.get("video_bitrate"), Ok(20_000_000));
    }
}
