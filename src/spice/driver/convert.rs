//! From the program's words to the protocol's, and back.

use std::collections::BTreeMap;

use spice_proto::agent::{Monitor, MonitorsConfig};
use spice_proto::channels::cursor::{self, Shape};
use spice_proto::channels::display::{DisplayChannel, GlDraw, Plane, Scanout};
use spice_proto::channels::inputs::{Button, InputEvent, LockKeys};
use spice_proto::channels::main::MouseMode;
use spice_proto::channels::sound::Volume;
use spice_proto::wire;

use crate::frame::{ConsoleId, Cursor, Dmabuf, GuestCommand, Pointer, PointerButton, Rect, Size, Window};
use crate::hub::Leds;
use crate::sound::Loudness;
use crate::spice::codecs;
use crate::viewer::Abilities;

/// Tells what the client of `display` can show, over a connection that passes file descriptors or not.
pub(super) fn abilities(display: &DisplayChannel, passes_fds: bool) -> Abilities {
    Abilities {
        codecs: codecs::decoded(display),
        decoder_failed: display.decoder_failed(),
        imports: display.imports(),
        imports_planes: display.imports_planes(),
        passes_fds,
    }
}

/// Describes the whole of `dmabuf` to a client.
pub(super) fn scanout(dmabuf: &Dmabuf) -> Scanout {
    let planes = dmabuf.planes.iter().map(|plane| Plane {
        fd: plane.buffer.fd().clone(),
        offset: plane.offset,
        stride: plane.stride,
    });
    Scanout {
        size: size(dmabuf.backing),
        fourcc: dmabuf.fourcc,
        modifier: dmabuf.modifier,
        bottom_up: dmabuf.bottom_up,
        planes: planes.collect(),
    }
}

/// Names the part `rect` of a buffer.
pub(super) fn draw(rect: Rect) -> GlDraw {
    let Rect { x, y, width, height } = rect;
    GlDraw { x, y, width, height }
}

/// Converts a part of a picture.
pub(super) fn rect(rect: Rect) -> wire::Rect {
    wire::Rect::at(rect.x, rect.y, rect.width, rect.height)
}

/// Converts a size in pixels.
pub(super) fn size(size: Size) -> wire::Size {
    wire::Size::new(size.width, size.height)
}

/// Converts a cursor without copying it. Its bytes go as the guest gave them: clients were made for that, though the
/// protocol leaves open whether the colours are multiplied by alpha.
pub(super) fn shape(cursor: &Cursor) -> Option<Shape> {
    let (hot_x, hot_y) = cursor.hot_spot();
    Shape::new(cursor.width(), cursor.height(), hot_x, hot_y, cursor.pixels().clone())
}

/// Converts the place of a cursor.
pub(super) fn pointer(pointer: Pointer) -> cursor::Pointer {
    let Pointer { x, y, visible } = pointer;
    cursor::Pointer { x, y, visible }
}

/// Names who moves the pointer: the client, by `absolute` positions, or the guest.
pub(super) fn mouse_mode(absolute: bool) -> MouseMode {
    if absolute { MouseMode::Client } else { MouseMode::Server }
}

/// Converts the state of the guest's keyboard LEDs.
pub(super) fn lights(leds: Leds) -> LockKeys {
    LockKeys::from_bits(u16::from(leds.bits()))
}

/// Converts the windows that a client shows displays in. Display numbers are those of consoles.
pub(super) fn windows(monitors: &MonitorsConfig) -> BTreeMap<ConsoleId, Window> {
    let window = |monitor: &Monitor| {
        let Monitor { width, height, x, y, width_mm, height_mm } = *monitor;
        Window { size: Size::new(width, height), width_mm, height_mm, x, y }
    };
    (0..).map(ConsoleId).zip(monitors.monitors.iter().map(window)).collect()
}

/// Converts how loud a stream is to be: QEMU's 255 is SPICE's 65535.
pub(super) fn volume(loudness: &Loudness) -> Volume {
    let channels = loudness.channels.iter().map(|volume| u16::from(*volume).saturating_mul(257));
    Volume { channels: channels.collect(), mute: loudness.mute }
}

/// Converts what a client's user did. Display numbers are those of consoles; key codes are QEMU's key numbers.
pub(super) fn command(event: InputEvent) -> GuestCommand {
    let console = |display: u8| ConsoleId(u32::from(display));
    match event {
        InputEvent::Key { code, down } => GuestCommand::Key { qnum: u32::from(code), down },
        InputEvent::Button { display, button: pressed, down } => {
            GuestCommand::Button { console: console(display), button: button(pressed), down }
        }
        InputEvent::Position { display, x, y } => GuestCommand::Position { console: console(display), x, y },
        InputEvent::Motion { display, dx, dy } => GuestCommand::Motion { console: console(display), dx, dy },
    }
}

fn button(button: Button) -> PointerButton {
    match button {
        Button::Left => PointerButton::Left,
        Button::Middle => PointerButton::Middle,
        Button::Right => PointerButton::Right,
        Button::WheelUp => PointerButton::WheelUp,
        Button::WheelDown => PointerButton::WheelDown,
        Button::Side => PointerButton::Side,
        Button::Extra => PointerButton::Extra,
    }
}
