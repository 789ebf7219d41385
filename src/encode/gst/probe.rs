use std::fmt;

use gstreamer as gst;

use super::{Control, Element, Input, Pipelines};
use crate::encode::{EncodeError, Picture};
use crate::frame::Size;

/// The picture that is encoded to see whether an encoder works: some devices take none of less than 145 pixels.
const TRIAL: Size = Size::new(256, 256);

/// What was found out about an encoder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    /// The encoder.
    pub element: Element,
    /// It reads the guest's GPU buffers itself, where they allow it.
    pub imports: bool,
    /// Whether it can be used.
    pub verdict: Verdict,
}

/// Whether an encoder can be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It has encoded a picture.
    Works,
    /// GStreamer does not have it.
    NotInstalled,
    /// GStreamer has it, this machine does not have what it runs on.
    NoDevice,
    /// It was tried.
    Failed(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = self.element;
        match &self.verdict {
            Verdict::Works => f.write_str("works"),
            Verdict::NotInstalled => write!(f, "not installed: it is in Debian's {}", element.package()),
            Verdict::NoDevice => write!(f, "no device: needs {}", element.device().unwrap_or("one")),
            Verdict::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// Starts GStreamer, which may start a program of its own that looks at plugins that are new.
///
/// # Errors
/// If it does not start.
pub(crate) fn start() -> Result<(), EncodeError> {
    gst::init().map_err(|error| EncodeError::Init(error.to_string()))
}

/// Starts GStreamer and tries these elements, in their order: where they will run.
///
/// # Errors
/// If GStreamer itself does not start.
pub(crate) fn survey(wanted: &[Element], pipelines: &Pipelines) -> Result<Vec<Finding>, EncodeError> {
    start()?;
    let find = |&element: &Element| {
        let verdict = try_out(element, pipelines);
        let imports = verdict == Verdict::Works && can_import(element);
        Finding { element, imports, verdict }
    };
    Ok(wanted.iter().map(find).collect())
}

fn try_out(element: Element, pipelines: &Pipelines) -> Verdict {
    if !element.is_installed() {
        // A device's plugin has its encoders only where it finds the device.
        let has_plugin = gst::Registry::get().find_plugin(element.plugin()).is_some();
        return if has_plugin && element.device().is_some() {
            Verdict::NoDevice
        } else {
            Verdict::NotInstalled
        };
    }
    let encoded = pipelines
        .start(element, &Input::Planes, TRIAL, Control::Quality)
        .and_then(|mut pipeline| pipeline.encode(true, Picture::new(TRIAL, element.planes()).planes()));
    match encoded {
        Ok(_) => Verdict::Works,
        Err(error) => Verdict::Failed(error.reason),
    }
}

fn can_import(element: Element) -> bool {
    let is_there = |name: &&str| gst::ElementFactory::find(name).is_some();
    element.import().is_some_and(|how| how.chain.iter().all(is_there))
}
