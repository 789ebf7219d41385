//! How the values of a field's type are written and read.

use super::{Payload, Reader, WireError, Writer};

/// A form on the wire for values of `T`.
///
/// A type has its usual form itself: `u32` is a `Form<u32>`. Where a message writes a type in another way, or a type of
/// somebody else, a type without values stands for that form: `Padded` is a `Form<Ping>`.
pub(crate) trait Form<T = Self> {
    /// Appends `value`.
    fn write(value: &T, w: &mut Writer);

    /// Reads a value.
    ///
    /// # Errors
    /// When the bytes end inside of it, and for values that the protocol does not define or that we refuse.
    fn read(r: &mut Reader<'_>) -> Result<T, WireError>;
}

macro_rules! numbers_have_forms {
    ($($number:ident)*) => {
        $(
            impl Form for $number {
                fn write(value: &Self, w: &mut Writer) {
                    w.$number(*value);
                }

                fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
                    r.$number()
                }
            }
        )*
    };
}

numbers_have_forms!(u8 u16 u32 u64 i16 i32 i64);

/// 32 bits: 0, or anything else for `true`.
impl Form for bool {
    fn write(value: &Self, w: &mut Writer) {
        w.u32(u32::from(*value));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(r.u32()? != 0)
    }
}

/// A truth value of 8 bits: 0, or anything else for `true`.
pub(crate) struct Byte;

impl Form<bool> for Byte {
    fn write(value: &bool, w: &mut Writer) {
        w.u8(u8::from(*value));
    }

    fn read(r: &mut Reader<'_>) -> Result<bool, WireError> {
        Ok(r.u8()? != 0)
    }
}

/// The bytes as they are, without a length.
impl<const N: usize> Form for [u8; N] {
    fn write(value: &Self, w: &mut Writer) {
        w.bytes(value);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.array()
    }
}

/// The rest of the body.
impl Form for Vec<u8> {
    fn write(value: &Self, w: &mut Writer) {
        w.bytes(value);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(r.rest().to_vec())
    }
}

/// The rest of the body, which is not copied when it is written.
impl Form for Payload {
    fn write(value: &Self, w: &mut Writer) {
        w.payload(value.clone());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self::from(r.rest()))
    }
}
