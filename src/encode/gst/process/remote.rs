use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::Launcher;
use super::messages::{Answer, DmabufForm, Request};
use crate::encode::gst::pipeline::{check_planes, deadline};
use crate::encode::gst::{Control, Element, Input};
use crate::encode::picture::{Layout, Planes};
use crate::frame::{Dmabuf, Size};
use crate::sys::{WrittenMemory, send};

/// How long a process may take to start, and the encoder in it. One on the processor is there in a tenth of a second;
/// a driver may have a lot to load.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The fewest bytes that an encoded picture may have: small ones have much around them.
const MIN_MOST_BYTES: usize = 1 << 20;

/// What is wrong with an answer to another question.
const OUT_OF_TURN: &str = "its process gives an answer out of turn";

/// An encoder at work in a process of its own, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct RemotePipeline {
    element: Element,
    answers: BufReader<Timed>,
    /// Where pictures that are planes go, and how they are laid out there.
    memory: Option<(WrittenMemory, Layout)>,
    limit: Option<u64>,
    /// The most bytes of an encoded picture.
    most: usize,
}

/// A socket that is read until a time.
#[derive(Debug)]
struct Timed {
    socket: UnixStream,
    until: Instant,
}

impl RemotePipeline {
    /// Starts a process with an encoder for pictures of this size that come in this way.
    ///
    /// # Errors
    /// If there is no process for it, or the encoder does not start there.
    pub(crate) fn start(
        launcher: &Launcher,
        element: Element,
        input: &Input,
        size: Size,
        control: Control,
    ) -> Result<Self, String> {
        let socket = launcher.launch().map_err(|error| format!("no process for it: {error}"))?;
        Self::with(socket, element, input, size, control)
    }

    /// Starts an encoder in the process at the other end of this socket.
    fn with(
        socket: UnixStream,
        element: Element,
        input: &Input,
        size: Size,
        control: Control,
    ) -> Result<Self, String> {
        let layout = Layout::of(size, element.pixels());
        let memory = match input {
            Input::Planes => {
                let memory = WrittenMemory::new(layout.len());
                Some((memory.map_err(|error| format!("no memory for its pictures: {error}"))?, layout))
            }
            Input::Dmabuf { .. } => None,
        };
        // A process that reads nothing does not hold us.
        socket.set_write_timeout(Some(START_LIMIT)).map_err(|error| error.to_string())?;
        let answers = BufReader::new(Timed { socket, until: Instant::now() });
        // Nothing makes a picture twice as large as it was.
        let most = (2 * layout.len()).max(MIN_MOST_BYTES);
        let mut this = Self { element, answers, memory, limit: None, most };
        let (input, width, height) = (input.clone(), size.width, size.height);
        this.ask(
            &Request::Start { element, input, width, height, control },
            this.memory.as_ref().map(|(memory, _)| memory.fd()).as_slice(),
        )?;
        match this.answer(START_LIMIT)? {
            Answer::Started => Ok(this),
            _ => Err(OUT_OF_TURN.to_owned()),
        }
    }

    /// As for a pipeline in this process.
    pub(crate) fn limit(&mut self, frame_bytes: Option<u64>) {
        self.limit = frame_bytes;
    }

    /// Encodes planes. Returns when they are read, and what was made of them is there.
    ///
    /// # Errors
    /// If the encoder fails, ends or hangs. It is of no use afterwards.
    pub(crate) fn encode(&mut self, key: bool, planes: &Planes) -> Result<Vec<u8>, String> {
        let (memory, layout) = self.memory.as_mut().ok_or("takes no planes")?;
        let Layout { pixels, coded, .. } = *planes.layout();
        if coded != layout.coded || pixels != self.element.planes() {
            return Err("takes other planes".to_owned());
        }
        planes.write(layout.pixels, memory.bytes_mut());
        self.encoded(&Request::Encode { key, limit: self.limit, dmabuf: None }, &[])
    }

    /// Encodes the guest's own buffer, as [`Self::encode`].
    ///
    /// # Errors
    /// As for [`Self::encode`], and if the encoder cannot read it.
    pub(crate) fn encode_dmabuf(&mut self, key: bool, dmabuf: &Dmabuf) -> Result<Vec<u8>, String> {
        check_planes(self.element, dmabuf)?;
        let files: Vec<_> = dmabuf.planes.iter().map(|plane| plane.buffer.fd().as_fd()).collect();
        let Dmabuf { fourcc, modifier, backing, crop, bottom_up, .. } = *dmabuf;
        let form = DmabufForm {
            planes: dmabuf.planes.iter().map(|plane| (plane.offset, plane.stride)).collect(),
            fourcc,
            modifier,
            backing: (backing.width, backing.height),
            crop: (crop.x, crop.y, crop.width, crop.height),
            bottom_up,
        };
        self.encoded(&Request::Encode { key, limit: self.limit, dmabuf: Some(form) }, &files)
    }

    fn encoded(&mut self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<Vec<u8>, String> {
        self.ask(request, files)?;
        match self.answer(deadline(self.element))? {
            Answer::Encoded(bytes) => Ok(bytes),
            _ => Err(OUT_OF_TURN.to_owned()),
        }
    }

    fn ask(&self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<(), String> {
        let told = |error: io::Error| format!("its process takes no request: {error}");
        let bytes = request.bytes().map_err(told)?;
        match send(&self.answers.get_ref().socket, &bytes, files) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err(told(io::ErrorKind::WriteZero.into())),
            // How it has ended is there in the place of an answer.
            Err(error) if is_end(&error) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    /// Waits so long for an answer that tells no failure.
    fn answer(&mut self, limit: Duration) -> Result<Answer, String> {
        self.answers.get_mut().until = Instant::now() + limit;
        match Answer::read(&mut self.answers, self.most) {
            Ok(Answer::Failed(reason)) => Err(reason),
            Ok(Answer::Ended(how)) => Err(format!("its process {how}")),
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err("gives no frame".to_owned()),
            Err(error) if is_end(&error) => Err("its process is gone".to_owned()),
            Err(error) => Err(format!("its process gives no answer but {error}")),
        }
    }
}

/// Returns whether this is what a closed socket says.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        self.socket.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Picture;
    use std::io::Write;

    const SIZE: Size = Size::new(64, 48);

    /// What becomes of an encoder whose process answers each request with the next of these bytes, and then ends.
    fn answered(answers: &[&[u8]]) -> Result<Vec<u8>, String> {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let answers: Vec<_> = answers.iter().map(|bytes| bytes.to_vec()).collect();
        let process = std::thread::spawn(move || {
            for bytes in answers {
                Request::receive(&theirs).unwrap().unwrap();
                let _ = (&theirs).write_all(&bytes); // what is refused is not read to its end
            }
            Request::receive(&theirs)
        });
        let (element, input) = (Element::X264, Input::Planes);
        let encoded = RemotePipeline::with(socket, element, &input, SIZE, Control::Quality)
            .and_then(|mut pipeline| pipeline.encode(true, &Picture::new(SIZE, element.planes()).planes()));
        drop(process.join().unwrap());
        encoded
    }

    fn bytes(answer: &Answer) -> Vec<u8> {
        let mut bytes = Vec::new();
        answer.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        let started = &bytes(&Answer::Started)[..];
        let unit = Answer::Encoded(vec![1, 2, 3]);
        assert_eq!(answered(&[started, &bytes(&unit)]), Ok(vec![1, 2, 3]));
        let crashed = bytes(&Answer::Ended("was ended by SIGSEGV".into()));
        for (answers, reason) in [
            (&[&bytes(&unit)[..]][..], OUT_OF_TURN),
            (&[started, started], OUT_OF_TURN),
            (&[started, &crashed], "its process was ended by SIGSEGV"),
            (&[&crashed], "its process was ended by SIGSEGV"),
            (&[started, &bytes(&Answer::Failed("no\nmemory".into()))], "no memory"),
            (&[started, b"\xff\xff\xff\x7f"], "its process gives no answer but a message is too long"),
        ] {
            assert_eq!(answered(answers), Err(reason.to_owned()));
        }
        let most = MIN_MOST_BYTES;
        assert!(answered(&[started, &bytes(&Answer::Encoded(vec![7; most]))]).is_ok());
        assert!(answered(&[started, &bytes(&Answer::Encoded(vec![7; most + 1]))]).is_err());
        let garbled = [&8_u32.to_le_bytes()[..], b"Started!"].concat();
        assert!(answered(&[&garbled]).unwrap_err().starts_with("its process gives no answer but "));
    }

    #[test]
    fn a_process_that_is_gone_or_goes_in_the_middle_is_a_failure() {
        let started = &bytes(&Answer::Started)[..];
        let gone = |answers: &[&[u8]]| {
            let (socket, theirs) = UnixStream::pair().unwrap();
            (&theirs).write_all(&answers.concat()).unwrap();
            drop(theirs);
            RemotePipeline::with(socket, Element::X264, &Input::Planes, SIZE, Control::Quality)
                .and_then(|mut it| it.encode(true, &Picture::new(SIZE, Element::X264.planes()).planes()))
        };
        let unit = bytes(&Answer::Encoded(vec![5; 100]));
        for answers in [&[][..], &[started], &[started, &unit[..50]]] {
            assert_eq!(gone(answers), Err("its process is gone".to_owned()), "{} answers", answers.len());
        }
    }

    #[test]
    fn other_planes_than_the_memory_is_for_are_refused() {
        let (socket, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(&bytes(&Answer::Started)).unwrap();
        let mut pipeline =
            RemotePipeline::with(socket, Element::X264, &Input::Planes, SIZE, Control::Quality).unwrap();
        let larger = Picture::new(Size::new(640, 480), Element::X264.planes()).planes();
        assert_eq!(pipeline.encode(true, &larger), Err("takes other planes".to_owned()));
    }
}
