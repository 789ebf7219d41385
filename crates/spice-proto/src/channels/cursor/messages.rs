//! Messages of the cursor channel. Clients send none of their own.

use std::sync::Arc;

use crate::wire::{Byte, Form, Payload, Reader, WireError, Writer, fields, messages};

/// Largest width and height of a cursor, in pixels: QEMU's own limit.
pub const CURSOR_SIZE_MAX: u16 = 512;

const FLAG_NONE: u16 = 1;
const FLAG_CACHE_ME: u16 = 2;
const TYPE_ALPHA: u8 = 0;

messages! {
    /// From server to client. Cached shapes and other types than `ALPHA` are refused: we never send them.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromServer, "cursor message from server" in errors {
        /// `SPICE_MSG_CURSOR_INIT`, the first message.
        101 => Init(State as WithTrail),
        /// `SPICE_MSG_CURSOR_RESET`: forget everything.
        102 => Reset,
        /// `SPICE_MSG_CURSOR_SET`.
        103 => Set(State),
        /// `SPICE_MSG_CURSOR_MOVE`.
        104 => Move(Position),
        /// `SPICE_MSG_CURSOR_HIDE`.
        105 => Hide,
    }
}

fields! {
    /// The whole state of a cursor.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct State {
        /// Where the hot spot is.
        pub position: Position,
        /// Whether it shows.
        pub visible: bool as Byte,
        /// What it looks like; `None` sends no shape.
        pub shape: Option<Shape> as WithFlags,
    }
}

fields! {
    /// Where the hot spot of a cursor is, in the display's pixels. `SpicePoint16`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Position {
        /// Column.
        pub x: i16,
        /// Row.
        pub y: i16,
    }
}

/// What a cursor looks like: `SpiceCursor` of type `ALPHA`.
#[derive(Debug, Clone, Eq)]
pub struct Shape {
    width: u16,
    height: u16,
    hot_x: u16,
    hot_y: u16,
    pixels: Arc<[u8]>,
}

impl Shape {
    /// A shape of `width * height` pixels of four bytes, B, G, R, A. The hot spot is moved inside.
    ///
    /// `None` when a side is 0 or over [`CURSOR_SIZE_MAX`], or when `pixels` has another length.
    pub fn new(width: u16, height: u16, hot_x: u16, hot_y: u16, pixels: Arc<[u8]>) -> Option<Self> {
        let sides = 1..=CURSOR_SIZE_MAX;
        if !sides.contains(&width) || !sides.contains(&height) || pixels.len() != pixel_bytes(width, height) {
            return None;
        }
        let hot_x = hot_x.min(width.saturating_sub(1));
        let hot_y = hot_y.min(height.saturating_sub(1));
        Some(Self { width, height, hot_x, hot_y, pixels })
    }

    /// Width in pixels.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u16 {
        self.height
    }

    /// The hot spot: column and row in the shape.
    pub fn hot_spot(&self) -> (u16, u16) {
        (self.hot_x, self.hot_y)
    }

    /// The pixels, B, G, R, A, rows from the top without gaps.
    pub fn pixels(&self) -> &Arc<[u8]> {
        &self.pixels
    }
}

impl PartialEq for Shape {
    /// Compares two shapes, which is quick where they share their pixels.
    fn eq(&self, other: &Self) -> bool {
        let fixed = |shape: &Self| (shape.width, shape.height, shape.hot_x, shape.hot_y);
        let shared = Arc::ptr_eq(&self.pixels, &other.pixels);
        fixed(self) == fixed(other) && (shared || self.pixels == other.pixels)
    }
}

/// A state in the first message, which has a trail after the position. We never ask for one.
struct WithTrail;

impl Form<State> for WithTrail {
    fn write(state: &State, w: &mut Writer) {
        Position::write(&state.position, w);
        w.u16(0); // trail_length
        w.u16(0); // trail_frequency
        Byte::write(&state.visible, w);
        WithFlags::write(&state.shape, w);
    }

    fn read(r: &mut Reader<'_>) -> Result<State, WireError> {
        let position = Position::read(r)?;
        r.u16()?; // trail_length
        r.u16()?; // trail_frequency
        Ok(State { position, visible: Byte::read(r)?, shape: WithFlags::read(r)? })
    }
}

/// Flags, which say whether there is a shape, and the shape. Its pixels end the body.
struct WithFlags;

impl Form<Option<Shape>> for WithFlags {
    fn write(shape: &Option<Shape>, w: &mut Writer) {
        let Some(shape) = shape else {
            w.u16(FLAG_NONE);
            return;
        };
        w.u16(0);
        w.u64(0); // unique: only for caching
        w.u8(TYPE_ALPHA);
        w.u16(shape.width);
        w.u16(shape.height);
        w.u16(shape.hot_x);
        w.u16(shape.hot_y);
        w.payload(Payload::new(shape.pixels.clone()));
    }

    fn read(r: &mut Reader<'_>) -> Result<Option<Shape>, WireError> {
        let flags = r.u16()?;
        if flags & !(FLAG_NONE | FLAG_CACHE_ME) != 0 {
            return Err(r.invalid("cursor flags", flags));
        }
        if flags & FLAG_NONE != 0 {
            return Ok(None);
        }
        r.u64()?; // unique
        r.constant("cursor type", TYPE_ALPHA)?;
        let (width, height) = (r.u16()?, r.u16()?);
        let (hot_x, hot_y) = (r.u16()?, r.u16()?);
        let pixels = r.rest();
        let shape = Shape::new(width, height, hot_x, hot_y, pixels.into());
        shape.map(Some).ok_or_else(|| r.invalid("cursor of width", width))
    }
}

fn pixel_bytes(width: u16, height: u16) -> usize {
    usize::from(width).saturating_mul(usize::from(height)).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_init_without_a_shape() {
        let state = State { position: Position::default(), visible: true, shape: None };
        let wire = FromServer::Init(state).encode();
        assert_eq!((wire.id(), wire.body()), (101, vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]));
    }

    #[test]
    fn the_bytes_of_a_one_pixel_cursor() {
        let shape = Shape::new(1, 1, 9, 9, vec![1, 2, 3, 4].into()).unwrap();
        let state = State { position: Position { x: -1, y: 2 }, visible: true, shape: Some(shape) };
        let wire = FromServer::Set(state).encode();
        let fixed = [0xff, 0xff, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(wire.body(), [&fixed[..], &[1, 2, 3, 4]].concat());
    }

    #[test]
    fn server_messages_survive_the_wire() {
        let shape = Shape::new(2, 3, 1, 2, vec![5; 24].into()).unwrap();
        let position = Position { x: 7, y: -7 };
        for message in [
            FromServer::Init(State { position, visible: false, shape: Some(shape.clone()) }),
            FromServer::Set(State { position, visible: true, shape: Some(shape) }),
            FromServer::Set(State { position, visible: true, shape: None }),
            FromServer::Move(position),
            FromServer::Reset,
            FromServer::Hide,
            FromServer::Unknown { id: 108 },
        ] {
            let wire = message.encode();
            assert_eq!(FromServer::decode(wire.id(), &wire.body()), Ok(message));
        }
    }

    #[test]
    fn shapes_must_fill_their_size() {
        assert_eq!(Shape::new(2, 2, 0, 0, vec![0; 15].into()), None);
        assert_eq!(Shape::new(0, 2, 0, 0, vec![].into()), None);
        assert_eq!(Shape::new(513, 1, 0, 0, vec![0; 513 * 4].into()), None);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(id in 100u16..110, body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = FromServer::decode(id, &body);
        }
    }
}
