use std::sync::Mutex;

use super::codec::{AccessUnit, StreamCheck};
use super::console_picture::ConsolePicture;
use super::gst::{Control, Element, EncodedBytes, Input, Lease, Pipelines, RunningPipeline, Version, input};
use super::picture::{Picture, even};
use super::{EncodeError, lock};
use crate::frame::{Dmabuf, Scanout, Size};
use crate::hub::Release;

/// The fewest pixels of a picture that is halved: smaller ones need little as they are.
const MIN_HALVED: u64 = 640 * 400;

/// Turns the picture as it is now into frames, with the first element that manages to, in the best way it manages.
pub(super) struct Encoder {
    elements: Vec<Element>,
    pipelines: Pipelines,
    /// The stream has half the picture's size each way.
    halves: bool,
    version: Version,
    /// What has failed with pictures of `size`: elements, and whether they were to read the guest's buffer.
    failed: Vec<(Element, bool)>,
    size: Option<Size>,
    running: Option<Running>,
    generation: u64,
    /// The most bytes a frame should have.
    limit: Option<u64>,
}

/// An element, and how pictures get into it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct ElementSetup {
    element: Element,
    input: Input,
    /// How it is set up for the bytes a frame may have: what changes that anew needs another pipeline.
    control: Control,
}

struct Running {
    way: ElementSetup,
    pipeline: RunningPipeline,
    check: Box<dyn StreamCheck>,
}

/// What became of a picture.
pub(super) struct EncodedPicture {
    /// The bytes.
    pub(super) unit: AccessUnit,
    /// The size of what is encoded.
    pub(super) size: Size,
    /// The size in the stream for that.
    pub(super) coded: Size,
    /// Another number for each stream with its own parameter sets.
    pub(super) generation: u64,
}

impl Encoder {
    /// Makes an encoder that tries `elements` in order. With `halves`, it encodes large pictures at half the
    /// width and height.
    pub(super) fn new(elements: Vec<Element>, pipelines: Pipelines, halves: bool) -> Self {
        Self {
            elements,
            pipelines,
            halves,
            version: version(),
            failed: Vec::new(),
            size: None,
            running: None,
            generation: 0,
            limit: None,
        }
    }

    /// The size in the stream of pictures of this size.
    fn coded(&self, size: Size) -> Size {
        let whole = even(size);
        if self.halves && size.area() >= MIN_HALVED {
            even(Size::new(whole.width / 2, whole.height / 2))
        } else {
            whole
        }
    }

    /// Limits the bytes of each frame from the next one on. The encoder coarsens the picture to stay below.
    pub(super) fn limit(&mut self, frame_bytes: Option<u64>) {
        self.limit = frame_bytes;
    }

    /// Returns whether a stream is running.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Ends the stream: the next frame begins another.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Checks that any of `elements` can encode a picture of `size`.
    pub(super) fn check_size(elements: &[Element], size: Size) -> Result<(), EncodeError> {
        if elements.iter().any(|element| element.fits(size)) { Ok(()) } else { Err(EncodeError::Size(size)) }
    }

    /// Returns whether any of `elements` may read the guest's own buffer, all of it.
    pub(super) fn may_import(elements: impl IntoIterator<Item = Element>, scanout: &Scanout) -> bool {
        let dmabuf = scanout.as_dmabuf();
        elements.into_iter().any(|element| input(element, dmabuf, version()) != Input::Planes)
    }

    /// Encodes the picture as it is now; `None` if there is none. A new stream starts with a key frame in any case.
    /// `picked_up` is called with the picture still locked, when what will be encoded is fixed. What it gives holds
    /// off the guest: as long as its pixels are being read, and not longer than until the frame is there.
    ///
    /// # Errors
    /// If no element can encode it: with the size it has.
    pub(super) fn encode(
        &mut self,
        shown: &Mutex<Option<ConsolePicture>>,
        key: bool,
        mut picked_up: impl FnMut() -> Option<Release>,
    ) -> Result<Option<EncodedPicture>, (Size, EncodeError)> {
        let mut last_error = None;
        loop {
            let Some((size, way)) = lock(shown).as_mut().map(|shown| self.choose(shown, key)) else {
                return Ok(None);
            };
            let Some(way) = way else {
                return Err((size, last_error.unwrap_or(EncodeError::Size(size))));
            };
            match self.encode_in(&way, shown, size, key, &mut picked_up) {
                Ok(Some(unit)) => {
                    let (coded, generation) = (self.coded(size), self.generation);
                    return Ok(Some(EncodedPicture { unit, size, coded, generation }));
                }
                Ok(None) => {} // it is another picture meanwhile
                Err(error) => {
                    let imports = way.imports();
                    tracing::warn!(element = way.element.name(), imports, error = %error, "encoder fails");
                    self.running = None;
                    self.failed.push((way.element, imports));
                    last_error = Some(error);
                }
            }
        }
    }

    /// Returns the picture's size, and the best way to encode it that has not failed.
    ///
    /// A stream that limits bytes keeps doing so until a key frame is due anyway, because a change starts
    /// another stream.
    fn choose(&mut self, shown: &mut ConsolePicture, key: bool) -> (Size, Option<ElementSetup>) {
        let size = shown.size();
        if self.size != Some(size) {
            (self.size, self.running) = (Some(size), None);
            self.failed.clear();
        }
        let counting = |running: &&Running| !key && running.way.control == Control::Bytes;
        let counts = self.running.as_ref().filter(counting).map(|running| running.way.element);
        let control = |element: Element| match counts {
            Some(running) if running == element => Control::Bytes,
            _ => element.control(size, self.limit),
        };
        let elements = self.elements.iter().copied().filter(|element| element.fits(size));
        let ways = elements.flat_map(|element| {
            let best = input(element, imported(self.halves, shown.dmabuf()), self.version);
            let planes = (best != Input::Planes).then_some(Input::Planes);
            let control = control(element);
            std::iter::once(best).chain(planes).map(move |input| ElementSetup { element, input, control })
        });
        let way = ways.into_iter().find(|way| !self.failed.contains(&(way.element, way.imports())));
        shown.read_ahead(!way.as_ref().is_some_and(ElementSetup::imports));
        (size, way)
    }

    /// Encodes in `way`. Returns `None` if the picture's size changed meanwhile or cannot be encoded in this
    /// way.
    fn encode_in(
        &mut self,
        way: &ElementSetup,
        shown: &Mutex<Option<ConsolePicture>>,
        size: Size,
        key: bool,
        picked_up: &mut impl FnMut() -> Option<Release>,
    ) -> Result<Option<AccessUnit>, EncodeError> {
        let coded = self.coded(size);
        let same_way = self.running.take().filter(|running| running.way == *way);
        let key = key || same_way.is_none();
        let running = match same_way {
            Some(running) => running,
            None => {
                self.generation += 1;
                let pictures = if way.imports() { size } else { coded };
                let pipeline = self.pipelines.start(way.element, &way.input, pictures, way.control)?;
                tracing::debug!(element = way.element.name(), imports = way.imports(), %size,
                    generation = self.generation, "encoder starts");
                Running { way: way.clone(), pipeline, check: way.element.codec().check(coded) }
            }
        };
        let running = self.running.insert(running);
        running.pipeline.limit(self.limit);
        let encoded = if way.imports() {
            running.import(shown, size, self.version, key, picked_up)?
        } else {
            running.convert(shown, size, coded, key, picked_up)?
        };
        let Some(encoded) = encoded else {
            self.running = None; // it may have got what is no picture: nothing must build on it
            return Ok(None);
        };
        let unit = running.check.access_unit(&encoded)?;
        if key && !unit.key {
            return Err(EncodeError::NoKeyFrame(way.element.name()));
        }
        Ok(Some(unit))
    }
}

impl ElementSetup {
    /// Returns whether the encoder reads the guest's own buffer.
    fn imports(&self) -> bool {
        self.input != Input::Planes
    }
}

impl Running {
    /// Encodes the planes; `None` if the picture has no longer this size.
    fn convert(
        &mut self,
        shown: &Mutex<Option<ConsolePicture>>,
        size: Size,
        coded: Size,
        key: bool,
        picked_up: &mut impl FnMut() -> Option<Release>,
    ) -> Result<Option<EncodedBytes>, EncodeError> {
        let planes = {
            let mut shown = lock(shown);
            let Some(shown) = shown.as_mut().filter(|shown| shown.size() == size) else { return Ok(None) };
            if let Err(error) = shown.read() {
                tracing::debug!(error = %error, "picture cannot be read");
            }
            drop(picked_up());
            shown.planes().unwrap_or_else(|| Picture::new(size, self.way.element.planes()).planes())
        };
        let planes = if coded == even(size) { planes } else { planes.halved() };
        Ok(Some(self.pipeline.encode(key, planes)?))
    }

    /// Encodes the guest's own buffer; `None` if it shows another that this way is not for.
    fn import(
        &mut self,
        shown: &Mutex<Option<ConsolePicture>>,
        size: Size,
        version: Version,
        key: bool,
        picked_up: &mut impl FnMut() -> Option<Release>,
    ) -> Result<Option<EncodedBytes>, EncodeError> {
        let (dmabuf, lease) = {
            let shown = lock(shown);
            let Some(shown) = shown.as_ref().filter(|shown| shown.size() == size) else { return Ok(None) };
            let Some(dmabuf) = shown.dmabuf() else { return Ok(None) };
            if input(self.way.element, Some(dmabuf), version) != self.way.input {
                return Ok(None);
            }
            (dmabuf.clone(), Lease::new(picked_up()))
        };
        let term = lease.term();
        let encoded = self.pipeline.encode_dmabuf(key, &dmabuf, lease);
        term.end();
        Ok(Some(encoded?))
    }
}

/// Returns the guest's buffer if an encoder may read it directly. Halving is done by the CPU, so it excludes
/// that.
fn imported(halves: bool, dmabuf: Option<&Dmabuf>) -> Option<&Dmabuf> {
    dmabuf.filter(|_| !halves)
}

/// GStreamer's.
fn version() -> Version {
    let (major, minor, ..) = gstreamer::version();
    (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Encoders, Pixels};
    use std::sync::Arc;

    const SIZE: Size = Size::new(64, 48);

    #[test]
    fn the_next_element_goes_on_where_one_fails_and_then_there_is_none() {
        let elements = [Element::X264, Element::OpenH264];
        let works = |&element: &Element| Encoders::probe(&[element], Pipelines::default()).is_ok();
        if !elements.iter().all(works) {
            println!("skipped: needs both encoders");
            return;
        }
        let grey = Scanout::owned(64, 48, 256, 0x2002_0888, &[99; 64 * 48 * 4]).unwrap();
        let shown = Mutex::new(Some(ConsolePicture::new(Arc::new(grey), SIZE.rect(), Pixels::I420)));
        let mut encoder = Encoder::new(elements.to_vec(), Pipelines::default(), false);
        let mut encode = |stop: bool| {
            if stop {
                encoder.running.as_mut().unwrap().pipeline.stop();
            }
            encoder.encode(&shown, false, || None).map(Option::unwrap)
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
