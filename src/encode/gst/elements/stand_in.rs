use super::{ElementRow, Import, x264};

const MAPPING: Import = Import {
    chain: &["videoconvert", "videoflip"],
    feature: "",
    output: "video/x-raw,format=I420,colorimetry=bt709",
    crops: false,
};

/// Makes `x264enc` look like a device that reads the guest's buffer directly, or one that does not.
pub(super) fn row(imports: bool) -> ElementRow {
    ElementRow { import: imports.then_some(MAPPING), max_free_area: u64::MAX, ..x264::H264 }
}
