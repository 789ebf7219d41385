//! What the program and a process with an encoder say to each other: a request, then its answer.
//!
//! A message is a head in JSON with its length in four bytes before it, little end first; after the head of an encoded
//! picture come its bytes. File descriptors come with the first byte of a request. Both ends are the same program, but
//! what an encoder answers is as hostile as what it encodes.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::encode::gst::{Control, Element, Input};
use crate::sys::receive;

/// The most bytes of a head.
const HEAD_MAX: usize = 4096;

/// The most characters of a reason.
const REASON_MAX: usize = 400;

/// What the program asks for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Request {
    /// Start an encoder, once. With [`Input::Planes`] comes the memory that the pictures will be in.
    Start { element: Element, input: Input, width: u32, height: u32, control: Control },
    /// Encode what is in the memory, or the buffer whose planes come with it.
    Encode {
        key: bool,
        /// The most bytes that it should have.
        limit: Option<u64>,
        dmabuf: Option<DmabufForm>,
    },
}

/// A dmabuf without its files, which come in the order of the planes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DmabufForm {
    /// Offset and stride of each.
    pub(super) planes: Vec<(u32, u32)>,
    pub(super) fourcc: u32,
    pub(super) modifier: u64,
    /// Width and height.
    pub(super) backing: (u32, u32),
    /// X, y, width and height.
    pub(super) crop: (u32, u32, u32, u32),
    pub(super) bottom_up: bool,
}

/// What comes back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The encoder runs.
    Started,
    /// The encoded picture.
    Encoded(Vec<u8>),
    /// The encoder failed: one line. The process ends.
    Failed(String),
    /// The process has ended, says who started it.
    Ended(String),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
enum AnswerHead {
    Started,
    Encoded { bytes: u32 },
    Failed { reason: String },
    Ended { how: String },
}

impl Request {
    /// Returns its bytes.
    ///
    /// # Errors
    /// If they are too many.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        head(self)
    }

    /// Waits for one, and what came with it; `None` when there will be no more.
    ///
    /// # Errors
    /// If it is none, or the other end does not say all of it.
    pub(super) fn receive(socket: &UnixStream) -> io::Result<Option<(Self, Vec<OwnedFd>)>> {
        let mut reader = WithFiles { socket, files: Vec::new() };
        match read_head(&mut reader) {
            Ok(request) => Ok(Some((request, reader.files))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Answer {
    /// Reads one whose encoded picture has `most` bytes at most.
    ///
    /// # Errors
    /// If it is none, or what `from` says.
    pub fn read(from: &mut impl Read, most: usize) -> io::Result<Self> {
        Ok(match read_head(from)? {
            AnswerHead::Started => Self::Started,
            AnswerHead::Encoded { bytes } => {
                let length = usize::try_from(bytes).ok().filter(|length| *length <= most);
                let mut encoded = vec![0; length.ok_or_else(|| invalid("an encoded picture is too long"))?];
                from.read_exact(&mut encoded)?;
                Self::Encoded(encoded)
            }
            AnswerHead::Failed { reason } => Self::Failed(one_line(&reason)),
            AnswerHead::Ended { how } => Self::Ended(one_line(&how)),
        })
    }

    /// Says it.
    ///
    /// # Errors
    /// What `to` says.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let head = match self {
            Self::Started => AnswerHead::Started,
            Self::Encoded(bytes) => return write_encoded(to, bytes),
            Self::Failed(reason) => AnswerHead::Failed { reason: one_line(reason) },
            Self::Ended(how) => AnswerHead::Ended { how: one_line(how) },
        };
        to.write_all(&self::head(&head)?)
    }
}

/// Says [`Answer::Encoded`] of bytes where they are, at once where there is room: the other end wakes up once.
///
/// # Errors
/// If they are too many, or what `to` says.
pub(super) fn write_encoded(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let count = u32::try_from(bytes.len()).map_err(|_| invalid("an encoded picture is too long"))?;
    let head = head(&AnswerHead::Encoded { bytes: count })?;
    let mut said = to.write_vectored(&[IoSlice::new(&head), IoSlice::new(bytes)])?;
    for part in [&head, bytes] {
        to.write_all(part.get(said..).unwrap_or_default())?;
        said = said.saturating_sub(part.len());
    }
    Ok(())
}

fn head(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    let told = u32::try_from(length).ok().filter(|_| length <= HEAD_MAX);
    let told = told.ok_or_else(|| invalid("a message is too long"))?;
    if let Some(first) = bytes.first_chunk_mut() {
        *first = told.to_le_bytes();
    }
    Ok(bytes)
}

fn read_head<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= HEAD_MAX);
    let mut head = vec![0; length.ok_or_else(|| invalid("a message is too long"))?];
    from.read_exact(&mut head)?;
    Ok(serde_json::from_slice(&head)?)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Makes one short line of what may go into a log.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(REASON_MAX).collect()
}

/// Reads bytes, and keeps the files that come with them.
struct WithFiles<'a> {
    socket: &'a UnixStream,
    files: Vec<OwnedFd>,
}

impl Read for WithFiles<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, files) = receive(self.socket, buffer)?;
        self.files.extend(files);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers() -> impl Strategy<Value = Answer> {
        prop_oneof![
            Just(Answer::Started),
            proptest::collection::vec(any::<u8>(), 0..3000).prop_map(Answer::Encoded),
            ".{0,900}".prop_map(Answer::Failed),
            "[a-z ]{0,30}".prop_map(Answer::Ended),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard_as_one_short_line_or_the_same_bytes(answer in answers()) {
            let mut bytes = Vec::new();
            answer.write(&mut bytes).unwrap();
            let heard = Answer::read(&mut &bytes[..], 3000).unwrap();
            match (&answer, &heard) {
                (Answer::Failed(said), Answer::Failed(heard)) => {
                    prop_assert!(!heard.contains(char::is_control) && heard.chars().count() <= REASON_MAX);
                    prop_assert_eq!(heard.chars().count(), said.chars().count().min(REASON_MAX));
                }
                _ => prop_assert_eq!(&answer, &heard),
            }
            for cut in 0..bytes.len() {
                prop_assert!(Answer::read(&mut &bytes[..cut], 3000).is_err(), "{} of {} bytes", cut, bytes.len());
            }
        }

        #[test]
        fn whatever_comes_is_an_answer_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Answer::read(&mut &bytes[..], 100);
        }
    }

    #[test]
    fn lengths_are_bounded_before_there_is_memory_for_them() {
        let mut long = Vec::new();
        write_encoded(&mut long, &[7; 100]).unwrap();
        assert!(Answer::read(&mut &long[..], 100).is_ok());
        assert!(Answer::read(&mut &long[..], 99).is_err());
        assert!(Answer::read(&mut &u32::MAX.to_le_bytes()[..], 100).is_err());
        let unknown = [&15_u32.to_le_bytes()[..], br#"{"Encoded":{}} "#].concat();
        assert!(Answer::read(&mut &unknown[..], 100).is_err());
    }

    #[test]
    fn a_request_comes_with_its_files_and_the_end_is_no_request() {
        let (here, there) = UnixStream::pair().unwrap();
        let request = Request::Start {
            element: Element::X264Full,
            input: Input::Dmabuf { caps: "video/x-raw".into(), bottom_up: true },
            width: 640,
            height: 480,
            control: Control::Bytes,
        };
        let file = std::os::fd::AsFd::as_fd(&here);
        crate::sys::send(&here, &request.bytes().unwrap(), &[file, file]).unwrap();
        let (heard, files) = Request::receive(&there).unwrap().unwrap();
        assert_eq!((heard, files.len()), (request, 2));
        drop((here, files));
        assert!(Request::receive(&there).unwrap().is_none());
    }
}
