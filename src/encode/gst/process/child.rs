use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use gstreamer as gst;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::messages::{Answer, DmabufForm, Request, write_encoded};
use crate::encode::gst::pipeline::EncodedBuffer;
use crate::encode::gst::{Control, Element, Input, Lease, Pipeline};
use crate::encode::picture::Layout;
use crate::frame::{Buffer, Dmabuf, DmabufPlane, Rect, Size};
use crate::sys::ReadMemory;

/// Is an encoder, until the parent closes the socket that is standard input, or the encoder fails. The process may have
/// been closed off from what encoders do not need, once GStreamer had read its list of plugins.
///
/// # Errors
/// If there is no such socket, or what comes from it is no request.
pub(crate) fn encode_for_parent() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    serve(&UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Does what is asked for at the other end of this socket.
///
/// # Errors
/// As for [`encode_for_parent`].
pub(super) fn serve(mut socket: &UnixStream) -> io::Result<()> {
    let mut encoder = None;
    while let Some((request, files)) = Request::receive(socket)? {
        let done = match (request, &mut encoder) {
            (Request::Start { element, input, width, height, control }, None) => {
                let size = Size::new(width, height);
                Encoder::start(element, input, size, control, files).map(|started| {
                    encoder = Some(started);
                    None
                })
            }
            (Request::Encode { key, limit, dmabuf }, Some(encoder)) => {
                encoder.pipeline.limit(limit);
                match dmabuf {
                    None => encoder.encode(key),
                    Some(form) => encoder.encode_dmabuf(key, form, files),
                }
                .map(Some)
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        match done {
            Ok(None) => Answer::Started.write(&mut socket)?,
            Ok(Some(encoded)) => write_encoded(&mut socket, &encoded)?,
            Err(reason) => return Answer::Failed(reason).write(&mut socket),
        }
    }
    Ok(())
}

struct Encoder {
    pipeline: Pipeline,
    /// Where the pictures are that come in planes.
    memory: Option<Arc<ReadMemory>>,
}

/// The memory for one picture. Clones are cheap.
struct SharedMemory(Arc<ReadMemory>);

impl AsRef<[u8]> for SharedMemory {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl Encoder {
    fn start(
        element: Element,
        input: Input,
        size: Size,
        control: Control,
        files: Vec<OwnedFd>,
    ) -> Result<Self, String> {
        gst::init().map_err(|error| error.to_string())?;
        let memory = match (&input, files.into_iter().next()) {
            (Input::Dmabuf { .. }, _) => None,
            (Input::Planes, None) => return Err("there is no memory for its pictures".to_owned()),
            (Input::Planes, Some(file)) => {
                let length = Layout::of(size, element.pixels()).len();
                let memory = ReadMemory::new(file, length);
                Some(Arc::new(memory.map_err(|error| format!("the memory for its pictures: {error}"))?))
            }
        };
        let pipeline = Pipeline::new(element, &input, size, control).map_err(|error| error.reason)?;
        Ok(Self { pipeline, memory })
    }

    /// Encodes what is in the memory.
    fn encode(&mut self, key: bool) -> Result<EncodedBuffer, String> {
        let memory = self.memory.clone().ok_or("takes no planes")?;
        // The parent writes the next picture there when it has what was made of this one, which was read then.
        let buffer = gst::Buffer::from_slice(SharedMemory(memory));
        self.pipeline.encode_laid_out(key, buffer).map_err(|error| error.reason)
    }

    fn encode_dmabuf(
        &mut self,
        key: bool,
        form: DmabufForm,
        files: Vec<OwnedFd>,
    ) -> Result<EncodedBuffer, String> {
        let dmabuf = dmabuf(form, files)?;
        let buffer = self.pipeline.import(&dmabuf, &Lease::new(None)).map_err(|error| error.reason)?;
        self.pipeline.encode_dmabuf(key, buffer).map_err(|error| error.reason)
    }
}

/// Puts a dmabuf together.
fn dmabuf(form: DmabufForm, files: Vec<OwnedFd>) -> Result<Dmabuf, String> {
    let DmabufForm { planes, fourcc, modifier, backing, crop, bottom_up } = form;
    let backing = Size::new(backing.0, backing.1);
    let (x, y, width, height) = crop;
    let crop = Rect::new(x, y, width, height);
    if planes.is_empty() || planes.len() != files.len() || !backing.rect().contains(crop) {
        return Err("the guest's buffer is incomplete".to_owned());
    }
    let plane = |((offset, stride), file)| {
        Buffer::new(file).map(|buffer| DmabufPlane { buffer: Arc::new(buffer), offset, stride })
    };
    let planes = planes.into_iter().zip(files).map(plane).collect::<io::Result<_>>();
    let planes = planes.map_err(|error| format!("the guest's buffer: {error}"))?;
    Ok(Dmabuf { planes, fourcc, modifier, backing, crop, bottom_up })
}
