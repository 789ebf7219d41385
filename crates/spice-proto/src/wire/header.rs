//! The header before each message of the data stage.

use super::{Reader, WireError, Writer};

const CONTEXT: &str = "SpiceDataHeader";
const MINI_LEN: usize = 6;
const FULL_LEN: usize = 18;

/// Which header a connection uses, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderForm {
    /// `SpiceMiniDataHeader`, 6 bytes: both sides announced `MINI_HEADER`.
    Mini,
    /// `SpiceDataHeader`, 18 bytes, with a serial.
    Full,
}

/// A message's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Counts messages of a connection from 1. Absent from the mini form, which decodes as 0.
    pub serial: u64,
    /// Message type.
    pub id: u16,
    /// Bytes of the body.
    pub size: u32,
}

impl HeaderForm {
    /// Bytes of a header in this form.
    pub fn len(self) -> usize {
        match self {
            Self::Mini => MINI_LEN,
            Self::Full => FULL_LEN,
        }
    }

    /// No form is empty.
    pub fn is_empty(self) -> bool {
        false
    }
}

impl Header {
    /// Appends the header.
    pub fn encode(self, form: HeaderForm, w: &mut Writer) {
        if form == HeaderForm::Full {
            w.u64(self.serial);
        }
        w.u16(self.id);
        w.u32(self.size);
        if form == HeaderForm::Full {
            w.u32(0); // sub_list
        }
    }

    /// Reads a header from exactly [`HeaderForm::len`] bytes. `limit` gives the longest body of a type.
    ///
    /// # Errors
    /// When the body it announces is longer, and for sub-messages, which no client sends.
    pub fn decode(form: HeaderForm, bytes: &[u8], limit: impl FnOnce(u16) -> u32) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes, CONTEXT);
        let serial = match form {
            HeaderForm::Mini => 0,
            HeaderForm::Full => r.u64()?,
        };
        let id = r.u16()?;
        let size = r.u32()?;
        r.at_most("size", size, limit(id))?;
        if form == HeaderForm::Full {
            r.constant("sub_list", 0u32)?;
        }
        r.finish()?;
        Ok(Self { serial, id, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_survive_the_wire() {
        for (form, serial) in [(HeaderForm::Mini, 0), (HeaderForm::Full, 7)] {
            let header = Header { serial, id: 304, size: 99 };
            let mut w = Writer::new();
            header.encode(form, &mut w);
            assert_eq!(w.len(), form.len());
            assert_eq!(Header::decode(form, &w.into_bytes(), |_| 99), Ok(header));
        }
    }

    #[test]
    fn an_oversized_body_is_refused_before_it_arrives() {
        let bytes = [103, 0, 0xff, 0xff, 0xff, 0xff];
        let error = Header::decode(HeaderForm::Mini, &bytes, |_| 1024).unwrap_err();
        assert_eq!(error.to_string(), "SpiceDataHeader: size of 4294967295 is over the limit of 1024");
    }

    #[test]
    fn sub_messages_are_refused() {
        let mut bytes = [0; 18];
        bytes[14] = 18;
        assert!(Header::decode(HeaderForm::Full, &bytes, |_| 1024).is_err());
    }
}
