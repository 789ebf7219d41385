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
    /// Those that have failed with pictures of `size`.
    failed: Vec<Element>,
    size: Option<Size>,
    running: Option<Running>,
    generation: u64,
}

struct Running {
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
        Self { elements, failed: Vec::new(), size: None, running: None, generation: 0 }
    }

    /// Whether a picture of this size can be encoded by any of these.
    pub(super) fn check_size(elements: &[Element], size: Size) -> Result<(), EncodeError> {
        if elements.iter().any(|&element| fits(element, size)) {
            Ok(())
        } else {
            Err(EncodeError::Size(size))
        }
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
        let mut last_error = None;
        loop {
            let Some((size, layout)) = lock(picture).as_ref().map(|p| (p.size(), p.layout())) else {
                return Ok(None);
            };
            if self.size != Some(size) {
                (self.size, self.running) = (Some(size), None);
                self.failed.clear();
            }
            let usable = |element: &Element| fits(*element, size) && !self.failed.contains(element);
            let Some(element) = self.elements.iter().copied().find(usable) else {
                return Err((size, last_error.unwrap_or(EncodeError::Size(size))));
            };
            match self.encode_with(element, picture, (size, layout), key, &mut picked_up) {
                Ok(Some(unit)) => {
                    let (coded, generation) = (layout.coded, self.generation);
                    return Ok(Some(Encoded { unit, size, coded, generation }));
                }
                Ok(None) => {} // it changed its size meanwhile
                Err(error) => {
                    tracing::warn!(element = element.name(), error = %error, "encoder fails");
                    self.running = None;
                    self.failed.push(element);
                    last_error = Some(error);
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
        let (running, key) = match &mut self.running {
            Some(running) => (running, key),
            none => {
                let pipeline = Pipeline::new(element, layout)?;
                self.generation += 1;
                tracing::debug!(element = element.name(), %size, generation = self.generation, "encoder starts");
                (none.insert(Running { pipeline, check: StreamCheck::new(layout.coded) }), true)
            }
        };
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

/// Whether an element takes pictures of this size.
fn fits(element: Element, size: Size) -> bool {
    let coded = Layout::of(size).coded;
    let (side, area) = element.limits();
    size.width.min(size.height) >= MIN_SIDE && coded.width.max(coded.height) <= side && coded.area() <= area
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scanout;

    const SIZE: Size = Size::new(64, 48);

    fn picture() -> Mutex<Option<Picture>> {
        let mut picture = Picture::new(SIZE);
        let grey = Scanout::owned(64, 48, 256, 0x2002_0888, &[99; 64 * 48 * 4]).unwrap();
        picture.refresh(&mut grey.reader().unwrap(), SIZE.rect()).unwrap();
        Mutex::new(Some(picture))
    }

    #[test]
    fn the_next_element_goes_on_where_one_fails_and_then_there_is_none() {
        if super::super::gst::probe(&Element::ALL).map(|all| all.len()).ok() != Some(2) {
            println!("skipped: needs both encoders");
            return;
        }
        let (mut encoder, picture) = (Encoder::new(Element::ALL.to_vec()), picture());
        let mut encode = |stop: bool| {
            if stop {
                encoder.running.as_mut().unwrap().pipeline.stop();
            }
            encoder.encode(&picture, false, || {}).map(Option::unwrap)
        };
        let first = encode(false).unwrap();
        assert!(!encode(false).unwrap().unit.key);
        let second = encode(true).unwrap();
        assert!(
            second.unit.key && second.generation != first.generation,
            "another encoder in the same stream"
        );
        let Err((size, error)) = encode(true) else { panic!("no encoder is left") };
        assert_eq!(size, SIZE);
        assert!(error.to_string().starts_with("openh264enc: "), "{error}");
    }
}
