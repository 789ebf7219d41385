//! Messages between a VMM and its device, as bytes: a header, and a payload that is not looked into.
//!
//! Follows QEMU's `docs/interop/vhost-user.rst`. Numbers have the byte order of this machine.

/// Bytes of a header.
const HEADER: usize = 12;

/// The most bytes of a payload: what the crate `vhost` takes. The longest that QEMU sends has 328.
const MAX_PAYLOAD: u32 = 0x1000;

/// The most files of a message. A memory table has eight.
const MAX_FILES: usize = 16;

/// The version of the protocol, which is in the lowest two bits of the flags.
const VERSION: u32 = 1;

/// `VHOST_USER_SET_BACKEND_REQ_FD`: the VMM gives the socket on which the device may speak first.
const SET_BACKEND_REQ_FD: u32 = 21;

/// The first bytes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    request: u32,
    flags: u32,
    /// Bytes of the payload.
    size: u32,
}

/// These bytes are no message: another program is at the other end, or it is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoMessage {
    /// No header begins like this.
    #[error("what it sends is not vhost-user (request {request}, flags {flags:#x}, {size} bytes)")]
    Header {
        /// The number in the request's place.
        request: u32,
        /// The number in the flags' place.
        flags: u32,
        /// The number in the size's place.
        size: u32,
    },
    /// No message has as many files.
    #[error("it sends {0} files with one message")]
    Files(usize),
}

impl Header {
    /// Makes the header of a request that nobody answers.
    pub(super) fn new(request: u32, size: u32) -> Self {
        Self { request, flags: VERSION, size }
    }

    pub(super) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let fields = [self.request, self.flags, self.size].map(u32::to_ne_bytes);
        for (to, from) in bytes.iter_mut().zip(fields.as_flattened()) {
            *to = *from;
        }
        bytes
    }

    fn decode(bytes: [u8; HEADER]) -> Result<Self, NoMessage> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let [request, flags, size] = [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_ne_bytes);
        if request == 0 || flags & 3 != VERSION || size > MAX_PAYLOAD {
            return Err(NoMessage::Header { request, flags, size });
        }
        Ok(Self { request, flags, size })
    }
}

/// A message on its way, and the files `F` that came with it.
#[derive(Debug, Eq, PartialEq)]
pub struct Message<F> {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Its files.
    pub files: Vec<F>,
}

impl<F> Message<F> {
    /// Returns the socket for notices, if the message gives one.
    pub fn notices(&self) -> Option<&F> {
        let header = Header::decode(*self.bytes.first_chunk()?).ok()?;
        self.files.first().filter(|_| header.request == SET_BACKEND_REQ_FD)
    }
}

/// Takes messages off a stream of bytes.
///
/// INVARIANT: [`Messages::wanted`] never goes beyond the end of a message, because files belong to the message with
/// whose first byte they come.
#[derive(Debug)]
pub struct Messages<F> {
    bytes: Vec<u8>,
    have: usize,
    files: Vec<F>,
}

impl<F> Default for Messages<F> {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER], have: 0, files: Vec::new() }
    }
}

impl<F> Messages<F> {
    /// Returns where the next bytes have to be written. It is never empty.
    pub fn wanted(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.have..).unwrap_or_default()
    }

    /// Takes notice that the first `count` bytes of [`Messages::wanted`] were written, and that `files` came with them.
    /// Returns the message, if that was its end.
    ///
    /// # Errors
    /// If these are no messages.
    pub fn took(
        &mut self,
        count: usize,
        files: impl IntoIterator<Item = F>,
    ) -> Result<Option<Message<F>>, NoMessage> {
        self.have = self.have.saturating_add(count).min(self.bytes.len());
        self.files.extend(files);
        if self.files.len() > MAX_FILES {
            return Err(NoMessage::Files(self.files.len()));
        }
        if self.have < self.bytes.len() {
            return Ok(None);
        }
        if let (HEADER, Some(header)) = (self.bytes.len(), self.bytes.first_chunk()) {
            let size = Header::decode(*header)?.size;
            self.bytes.resize(HEADER.saturating_add(usize::try_from(size).unwrap_or(0)), 0);
            if size > 0 {
                return Ok(None);
            }
        }
        let Self { bytes, files, .. } = std::mem::take(self);
        Ok(Some(Message { bytes, files }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `stream` in pieces. Files are numbers, which come with the byte at their place.
    fn take(stream: &[u8], files: &[(usize, u32)], piece: usize) -> Result<Vec<Message<u32>>, NoMessage> {
        let (mut messages, mut found, mut at) = (Messages::default(), Vec::new(), 0);
        while at < stream.len() {
            let wanted = messages.wanted();
            let count = wanted.len().min(piece).min(stream.len() - at);
            assert!(count > 0);
            wanted[..count].copy_from_slice(&stream[at..at + count]);
            let came = files.iter().filter(|(place, _)| (at..at + count).contains(place));
            found.extend(messages.took(count, came.map(|(_, file)| *file))?);
            at += count;
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            sent in proptest::collection::vec((1..60_u32, 0..40_u32, 0..3_u32), 0..8), piece in 1..50_usize
        ) {
            let (mut stream, mut files, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
            for (request, size, count) in sent {
                let header = Header::new(request, size).encode();
                let bytes: Vec<u8> = header.into_iter().chain((0..size).map(|n| n as u8)).collect();
                files.extend((0..count).map(|file| (stream.len(), file)));
                stream.extend(&bytes);
                wanted.push(Message { bytes, files: (0..count).collect() });
            }
            prop_assert_eq!(take(&stream, &files, piece), Ok(wanted));
        }
    }

    #[test]
    fn what_is_no_message_is_refused_at_once() {
        for (request, flags, size) in [(0, 1, 0), (1, 0, 0), (1, 2, 0), (1, 1, 0x1001), (1, 1, u32::MAX)] {
            let bytes = Header { request, flags, size }.encode();
            assert_eq!(take(&bytes, &[], 5), Err(NoMessage::Header { request, flags, size }));
        }
        let many: Vec<_> = (0..17).map(|file| (0, file)).collect();
        assert_eq!(take(&Header::new(1, 0).encode(), &many, 1), Err(NoMessage::Files(17)));
        let told = take(b"GET / HTTP/1.0\r\n", &[], 16).unwrap_err().to_string();
        assert!(told.starts_with("what it sends is not vhost-user"), "{told}");
    }

    #[test]
    fn the_socket_for_notices_is_found() {
        let message = |request, files| Message { bytes: Header::new(request, 0).encode().to_vec(), files };
        assert_eq!(message(21, vec![5]).notices(), Some(&5));
        assert_eq!((message(21, vec![]).notices(), message(13, vec![5]).notices()), (None, None));
    }
}
