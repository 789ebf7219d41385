use std::sync::Mutex;

use super::gst::{Element, Pipeline};
use super::h264::{AccessUnit, StreamCheck};
use super::picture::{Layout, Picture};
use super::{EncodeError, lock};
use crate::frame::Size;

/// The smallest side of a picture that is worth a video stream: one macroblock.
const MIN_SIDE: u32 = 16;

/// Turns the picture as it is now into frames, with the first element that manages to.
pub(super) struct Encoder {
    elements: Vec<Element>,
    running: Option<Running>,
    generation: u64,
}

struct Running {
    size: Size,
    pipeline: Pipeline,
    check: StreamCheck,
}

/// What became of a picture.
pub(super) struct Encoded {
    /// The bytes.
    pub(super) unit: AccessUnit,
    /// The picture's size.
    pub(super) size: Size,
    /// The size in the stream, rounded up to even numbers.
    pub(super) coded: Size,
    /// Another number for each stream with its own parameter sets.
    pub(super) generation: u64,
}

impl Encoder {
    /// One that tries these elements in their order.
    pub(super) fn new(elements: Vec<Element>) -> Self {
        Self { elements, running: None, generation: 0 }
    }

    /// Whether a picture of this size can be encoded by any of these.
    pub(super) fn check_size(elements: &[Element], size: Size) -> Result<(), EncodeError> {
        let coded = Layout::of(size).coded;
        let fits = |element: &Element| {
            let (side, area) = element.limits();
            coded.width.max(coded.height) <= side && coded.area() <= area
        };
        if size.width.min(size.height) < MIN_SIDE || !elements.iter().any(fits) {
            return Err(EncodeError::Size(size));
        }
        Ok(())
    }

    /// Encodes the picture as it is now; `None` if there is none. A new stream starts with a key frame in any case.
    /// `picked_up` is called with the picture still locked, when what will be encoded is fixed.
    ///
    /// # Errors
    /// If no element can encode it: with the size it has.
    pub(super) fn encode(
        &mut self,
        picture: &Mutex<Option<Picture>>,
        key: bool,
        mut picked_up: impl FnMut(),
    ) -> Result<Option<Encoded>, (Size, EncodeError)> {
        loop {
            let Some((size, layout)) = lock(picture).as_ref().map(|p| (p.size(), p.layout())) else {
                return Ok(None);
            };
            let Some(&element) = self.elements.first() else { return Err((size, EncodeError::Size(size))) };
            match self.encode_with(element, picture, (size, layout), key, &mut picked_up) {
                Ok(Some(unit)) => {
                    let (coded, generation) = (layout.coded, self.generation);
                    return Ok(Some(Encoded { unit, size, coded, generation }));
                }
                Ok(None) => {} // it changed its size meanwhile
                Err(error) => {
                    self.running = None;
                    if self.elements.len() < 2 {
                        return Err((size, error));
                    }
                    self.elements.remove(0);
                    tracing::warn!(error = %error, "encoder fails, trying the next");
                }
            }
        }
    }

    /// `None` if the picture has no longer this size.
    fn encode_with(
        &mut self,
        element: Element,
        picture: &Mutex<Option<Picture>>,
        (size, layout): (Size, Layout),
        key: bool,
        picked_up: &mut impl FnMut(),
    ) -> Result<Option<AccessUnit>, EncodeError> {
        let (running, key) = match self.running.take() {
            Some(running) if running.size == size => (running, key),
            _ => {
                self.generation += 1;
                let pipeline = Pipeline::new(element, layout)?;
                (Running { size, pipeline, check: StreamCheck::new(layout.coded) }, true)
            }
        };
        let running = self.running.insert(running);
        let mut filled = false;
        let encoded = running.pipeline.encode(key, |planes| {
            if let Some(picture) = lock(picture).as_ref().filter(|picture| picture.size() == size) {
                picture.copy_to(planes);
                picked_up();
                filled = true;
            }
        })?;
        if !filled {
            self.running = None; // what it got is no picture: nothing must build on it
            return Ok(None);
        }
        let unit = running.check.access_unit(&encoded)?;
        if key && !unit.key {
            return Err(EncodeError::NoKeyFrame(element.name()));
        }
        Ok(Some(unit))
    }
}
