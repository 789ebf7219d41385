use super::{Import, Row, x264};

const MAPPING: Import = Import {
    chain: &["videoconvert", "videoflip"],
    feature: "",
    output: "video/x-raw,format=I420,colorimetry=bt709",
    crops: false,
};

/// `x264enc`, as if it were a device that reads the guest's buffer itself, or does not.
pub(super) fn row(imports: bool) -> Row {
    Row { import: imports.then_some(MAPPING), max_free_area: u64::MAX, ..x264::H264 }
}
