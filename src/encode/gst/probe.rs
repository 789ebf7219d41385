use gstreamer as gst;

use super::{Element, Pipeline};
use crate::encode::EncodeError;
use crate::encode::picture::Layout;
use crate::frame::Size;

/// The picture that is encoded to see whether an encoder works.
const TRIAL: Size = Size::new(64, 64);

/// Starts GStreamer and gives those of the wanted elements that work, in the same order.
///
/// # Errors
/// If none does.
pub(crate) fn probe(wanted: &[Element]) -> Result<Vec<Element>, EncodeError> {
    gst::init().map_err(|error| EncodeError::Init(error.to_string()))?;
    let (mut working, mut reasons) = (Vec::new(), Vec::new());
    for &element in wanted {
        match try_out(element) {
            Ok(()) => working.push(element),
            Err(reason) => reasons.push(reason),
        }
    }
    if working.is_empty() { Err(EncodeError::NoEncoder(reasons.join("; "))) } else { Ok(working) }
}

fn try_out(element: Element) -> Result<(), String> {
    if !element.is_installed() {
        return Err(format!("{} is not installed", element.name()));
    }
    let mut pipeline = Pipeline::new(element, Layout::of(TRIAL)).map_err(|error| error.to_string())?;
    pipeline.encode(true, |planes| planes.fill(128)).map_err(|error| error.to_string())?;
    Ok(())
}
