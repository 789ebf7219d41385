//! The commands of virtio-gpu and their replies, as bytes. All numbers are little-endian.

use crate::frame::{PixelFormat, Rect, Size};

/// The most ranges of guest memory that a resource can lie in, as in QEMU.
pub(super) const MAX_ENTRIES: u32 = 16_384;

/// Bytes of a request's or reply's header.
const HEADER: usize = 24;

/// Bytes of one range of guest memory.
const ENTRY: usize = 16;

/// The most bytes of a request that are read: those of the longest command, with all its ranges.
pub(in super::super) const MAX_REQUEST: usize = HEADER + 32 + 16_384 * ENTRY;

/// Header flag: the guest waits for this command by its fence, which the reply repeats.
const FLAG_FENCE: u32 = 1;

/// Why a command is refused. The guest's driver logs the number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// A command that the device does not have, or of the wrong length.
    Unspecified,
    /// More memory than a guest may use.
    OutOfMemory,
    /// A scanout that does not exist.
    Scanout,
    /// A resource that does not exist, or exists already.
    Resource,
    /// Numbers that do not fit each other.
    Parameter,
}

impl Refusal {
    fn number(self) -> u32 {
        match self {
            Self::Unspecified => 0x1200,
            Self::OutOfMemory => 0x1201,
            Self::Scanout => 0x1202,
            Self::Resource => 0x1203,
            Self::Parameter => 0x1205,
        }
    }
}

/// A command, decoded. Its numbers are still the guest's.
#[derive(Debug)]
pub(super) enum Command<'a> {
    GetDisplayInfo,
    GetEdid { scanout: u32 },
    CreateResource { resource: u32, format: u32, size: Size },
    DropResource { resource: u32 },
    SetScanout { scanout: u32, resource: u32, part: Rect },
    Flush { resource: u32, part: Rect },
    Transfer { resource: u32, part: Rect, offset: u64 },
    AttachBacking { resource: u32, ranges: Ranges<'a> },
    DetachBacking { resource: u32 },
    CreateBlob { resource: u32, memory: u32, size: u64, ranges: Ranges<'a> },
    SetScanoutBlob { scanout: u32, resource: u32, part: Rect, layout: BlobLayout },
    Cursor(CursorCommand),
}

/// How the pixels of a blob lie in it. Only the first plane counts, because every format has one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BlobLayout {
    pub(super) size: Size,
    pub(super) format: u32,
    pub(super) stride: u32,
    pub(super) offset: u32,
}

/// A command of the cursor queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct CursorCommand {
    pub(super) scanout: u32,
    pub(super) x: u32,
    pub(super) y: u32,
    /// 0 hides the cursor.
    pub(super) resource: u32,
    /// The hot spot, if the shape changes too.
    pub(super) shape: Option<(u32, u32)>,
}

/// Ranges of guest memory: each an address and a length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges<'a>(&'a [u8]);

impl Ranges<'_> {
    /// Returns the ranges in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.0.as_chunks::<ENTRY>().0.iter().map(|entry| {
            let mut fields = Fields(entry);
            (fields.u64().unwrap_or_default(), fields.u32().unwrap_or_default())
        })
    }
}

/// Reads fields from the front of a request.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(Refusal::Unspecified)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refusal> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn rect(&mut self) -> Result<Rect, Refusal> {
        Ok(Rect::new(self.u32()?, self.u32()?, self.u32()?, self.u32()?))
    }

    fn size(&mut self) -> Result<Size, Refusal> {
        Ok(Size::new(self.u32()?, self.u32()?))
    }

    /// Takes `count` ranges, all of which must be there.
    fn ranges(&mut self, count: u32) -> Result<Ranges<'a>, Refusal> {
        if count > MAX_ENTRIES {
            return Err(Refusal::Parameter);
        }
        let len = usize::try_from(count).map_or(usize::MAX, |count| count.saturating_mul(ENTRY));
        self.0.get(..len).map(Ranges).ok_or(Refusal::Parameter)
    }
}

/// The header of a request: what the reply has to repeat.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Header {
    kind: u32,
    flags: u32,
    fence: u64,
    context: u32,
}

impl Header {
    /// Reads the header of `request` and the command after it.
    pub(super) fn decode(request: &[u8]) -> (Self, Result<Command<'_>, Refusal>) {
        let mut fields = Fields(request);
        let header = Self::read(&mut fields);
        let command = header.and_then(|header| command(header.kind, &mut fields));
        (header.unwrap_or_default(), command)
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Refusal> {
        let (kind, flags, fence, context) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u32()?);
        fields.u32()?; // the ring's number and padding
        Ok(Self { kind, flags, fence, context })
    }

    /// Encodes a reply without a body.
    pub(super) fn reply(&self, done: Result<(), Refusal>) -> Vec<u8> {
        self.encode(done.map_or_else(Refusal::number, |()| 0x1100), &[])
    }

    /// Encodes the reply to `GET_DISPLAY_INFO`.
    pub(super) fn display_info(&self, modes: &[u8]) -> Vec<u8> {
        self.encode(0x1101, modes)
    }

    /// Encodes the reply to `GET_EDID`: the length of `edid`, padding, and room for 1,024 bytes.
    pub(super) fn edid(&self, edid: &[u8; 128]) -> Vec<u8> {
        let mut body = vec![0; 8 + 1024];
        for (to, from) in body.iter_mut().zip(128_u64.to_le_bytes().iter().chain(edid)) {
            *to = *from;
        }
        self.encode(0x1104, &body)
    }

    fn encode(&self, kind: u32, body: &[u8]) -> Vec<u8> {
        let fenced = self.flags & FLAG_FENCE != 0;
        let (fence, context) = if fenced { (self.fence, self.context) } else { (0, 0) };
        let mut reply = Vec::with_capacity(HEADER + body.len());
        reply.extend(kind.to_le_bytes());
        reply.extend((self.flags & FLAG_FENCE).to_le_bytes());
        reply.extend(fence.to_le_bytes());
        reply.extend(context.to_le_bytes());
        reply.extend([0; 4]);
        reply.extend(body);
        reply
    }
}

const GET_DISPLAY_INFO: u32 = 0x0100;
const GET_EDID: u32 = 0x010a;

/// Returns whether `request` asks for sizes, which may have changed since they were asked for the last time.
#[must_use]
pub(in super::super) fn asks_for_display(request: &[u8]) -> bool {
    Header::read(&mut Fields(request)).is_ok_and(|header| matches!(header.kind, GET_DISPLAY_INFO | GET_EDID))
}

/// Returns whether `request` asks for all displays at once, as a guest does that was notified of a change.
#[must_use]
pub(super) fn asks_for_display_info(request: &[u8]) -> bool {
    Header::read(&mut Fields(request)).is_ok_and(|header| header.kind == GET_DISPLAY_INFO)
}

/// Reads the fields of the command numbered `kind`. 3D, contexts, capability sets and mapped blobs are not offered.
fn command<'a>(kind: u32, fields: &mut Fields<'a>) -> Result<Command<'a>, Refusal> {
    Ok(match kind {
        GET_DISPLAY_INFO => Command::GetDisplayInfo,
        GET_EDID => Command::GetEdid { scanout: fields.u32()? },
        0x0101 => {
            let (resource, format) = (fields.u32()?, fields.u32()?);
            Command::CreateResource { resource, format, size: fields.size()? }
        }
        0x0102 => Command::DropResource { resource: fields.u32()? },
        0x0103 => {
            let (part, scanout) = (fields.rect()?, fields.u32()?);
            Command::SetScanout { scanout, resource: fields.u32()?, part }
        }
        0x0104 => {
            let part = fields.rect()?;
            Command::Flush { resource: fields.u32()?, part }
        }
        0x0105 => {
            let (part, offset) = (fields.rect()?, fields.u64()?);
            Command::Transfer { resource: fields.u32()?, part, offset }
        }
        0x0106 => {
            let (resource, count) = (fields.u32()?, fields.u32()?);
            Command::AttachBacking { resource, ranges: fields.ranges(count)? }
        }
        0x0107 => Command::DetachBacking { resource: fields.u32()? },
        0x010c => {
            let (resource, memory, _flags) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let (count, _host_id, size) = (fields.u32()?, fields.u64()?, fields.u64()?);
            Command::CreateBlob { resource, memory, size, ranges: fields.ranges(count)? }
        }
        0x010d => {
            let (part, scanout, resource) = (fields.rect()?, fields.u32()?, fields.u32()?);
            let (size, format, _padding) = (fields.size()?, fields.u32()?, fields.u32()?);
            let [stride, ..] = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
            let [offset, ..] = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
            let layout = BlobLayout { size, format, stride, offset };
            Command::SetScanoutBlob { scanout, resource, part, layout }
        }
        0x0300 | 0x0301 => {
            let (scanout, x, y, _padding) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
            let (resource, hot_x, hot_y) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let shape = (kind == 0x0300).then_some((hot_x, hot_y));
            Command::Cursor(CursorCommand { scanout, x, y, resource, shape })
        }
        _ => return Err(Refusal::Unspecified),
    })
}

/// Finds the pixel format of a `VIRTIO_GPU_FORMAT_` number. virtio names bytes in memory, from the first to the last.
pub(super) fn pixel_format(number: u32) -> Result<PixelFormat, Refusal> {
    Ok(match number {
        1 => PixelFormat::Argb8888,
        2 => PixelFormat::Xrgb8888,
        3 => PixelFormat::Bgra8888,
        4 => PixelFormat::Bgrx8888,
        67 => PixelFormat::Abgr8888,
        68 => PixelFormat::Rgbx8888,
        121 => PixelFormat::Rgba8888,
        134 => PixelFormat::Xbgr8888,
        _ => return Err(Refusal::Parameter),
    })
}
