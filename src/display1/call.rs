//! The calls that a listener gets. `dbus-interfaces/org.qemu.Display1.Listener.xml` describes them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zbus::Message;
use zbus::message::Body;
use zbus::zvariant::{DynamicType, Fd, Signature, Type};

use super::names::{DMABUF2, LISTENER, LISTENER_PATH, MAP};
use super::{Refusal, ScanoutDmabuf, ScanoutDmabuf2};
use crate::frame::{Rect, Size};

/// States the calls of one object, each once: documentation, name here, arguments, interface and name on D-Bus. Makes
/// of them an enum, and how one is read and written.
macro_rules! calls {
    (
        $(#[$meta:meta])*
        pub(crate) enum $Call:ident at $path:ident {
            $($(#[$doc:meta])* $name:ident($arguments:ty) is $interface:ident.$method:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) enum $Call<'m> {
            $($(#[$doc])* $name($arguments),)*
        }

        impl<'m> $Call<'m> {
            /// The interface and name of each call.
            const METHODS: &'static [(&'static str, &'static str)] = &[$(($interface, $method),)*];

            /// Reads a call. Bytes and file descriptors stay in the message.
            ///
            /// # Errors
            /// If there is no such method, or its arguments have other types.
            pub(crate) fn decode(
                interface: Option<&str>,
                member: &str,
                body: &'m zbus::message::Body,
            ) -> Result<Self, $crate::display1::Refusal> {
                match $crate::display1::call::find(Self::METHODS, interface, member)? {
                    $($method => $crate::display1::call::arguments($method, body).map(Self::$name),)*
                    _ => Err($crate::display1::Refusal::Method),
                }
            }

            /// Writes the call. Bytes are copied, file descriptors duplicated.
            ///
            /// # Errors
            /// If no file descriptor is free, or the call is longer than D-Bus allows.
            #[allow(dead_code, reason = "of sound, nobody but the tests makes calls")]
            pub(crate) fn message(&self) -> zbus::Result<zbus::Message> {
                match self {
                    $(Self::$name(arguments) => {
                        $crate::display1::call::message($path, $interface, $method, arguments)
                    })*
                }
            }
        }
    };
}

pub(super) use calls;

calls! {
    /// One call of a console's listener.
    pub(crate) enum Call at LISTENER_PATH {
        /// The console shows these pixels.
        Scanout(ScanoutPixels<'m>) is LISTENER."Scanout",
        /// These pixels of it changed.
        Update(UpdatePixels<'m>) is LISTENER."Update",
        /// The console shows this shared memory.
        ScanoutMap(ScanoutMap<'m>) is MAP."ScanoutMap",
        /// This part of the shared memory changed.
        UpdateMap(Area) is MAP."UpdateMap",
        /// The console shows this buffer.
        ScanoutDmabuf(ScanoutDmabuf<'m>) is LISTENER."ScanoutDMABUF",
        /// The console shows this part of this buffer.
        ScanoutDmabuf2(ScanoutDmabuf2<'m>) is DMABUF2."ScanoutDMABUF2",
        /// This part of the buffer changed, and the guest waits for the answer.
        UpdateDmabuf(Area) is LISTENER."UpdateDMABUF",
        /// The console shows nothing.
        Disable(()) is LISTENER."Disable",
        /// The cursor is here.
        MouseSet(MouseSet) is LISTENER."MouseSet",
        /// The cursor looks like this.
        CursorDefine(CursorDefine<'m>) is LISTENER."CursorDefine",
    }
}

/// Pixels by value: `stride` bytes a row, from the top.
#[derive(Debug, Deserialize, Serialize, Type)]
pub(crate) struct ScanoutPixels<'m> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) stride: u32,
    /// The format, as pixman numbers them.
    pub(crate) pixman: u32,
    #[serde(borrow)]
    pub(crate) data: Bytes<'m>,
}

/// Pixels that replace a part of those shown.
#[derive(Debug, Deserialize, Serialize, Type)]
pub(crate) struct UpdatePixels<'m> {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) stride: u32,
    /// The format, as pixman numbers them.
    pub(crate) pixman: u32,
    #[serde(borrow)]
    pub(crate) data: Bytes<'m>,
}

/// Pixels in shared memory, `offset` bytes from its start.
#[derive(Debug, Deserialize, Serialize, Type)]
pub(crate) struct ScanoutMap<'m> {
    #[serde(borrow, deserialize_with = "fd")]
    pub(crate) memory: Fd<'m>,
    pub(crate) offset: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) stride: u32,
    /// The format, as pixman numbers them.
    pub(crate) pixman: u32,
}

/// A part of the picture, in pixels from its top-left corner. A peer may give any numbers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, Type)]
pub(crate) struct Area {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
}

/// The place of the cursor: the top-left corner of its shape. `on` is 0 if the guest shows none.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, Type)]
pub(crate) struct MouseSet {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) on: i32,
}

/// The shape of the cursor: 4 bytes a pixel, B, G, R, A, without gaps.
#[derive(Debug, Deserialize, Serialize, Type)]
pub(crate) struct CursorDefine<'m> {
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) hot_x: i32,
    pub(crate) hot_y: i32,
    #[serde(borrow)]
    pub(crate) data: Bytes<'m>,
}

/// Bytes that are read in place and written as a whole. serde takes a slice apart, byte by byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'m>(pub(crate) &'m [u8]);

/// Finds the name of a call among `methods`.
pub(super) fn find(
    methods: &[(&str, &'static str)],
    interface: Option<&str>,
    member: &str,
) -> Result<&'static str, Refusal> {
    let is_known = |name: &str| methods.iter().any(|(interface, _)| *interface == name);
    if interface.is_some_and(|name| !is_known(name)) {
        return Err(Refusal::Interface);
    }
    let is_meant = |(its, method): &&(&str, &str)| {
        *method == member && interface.is_none_or(|interface| interface == *its)
    };
    methods.iter().find(is_meant).map(|(_, method)| *method).ok_or(Refusal::Method)
}

/// Reads the arguments of a call.
pub(super) fn arguments<'m, A>(method: &'static str, body: &'m Body) -> Result<A, Refusal>
where
    A: Deserialize<'m> + Type,
{
    body.deserialize().map_err(|error| Refusal::Types {
        method,
        wanted: A::SIGNATURE.to_string_no_parens(),
        error: error.to_string(),
    })
}

/// Writes a call of the object at `path`.
pub(super) fn message<A>(path: &str, interface: &str, method: &str, arguments: &A) -> zbus::Result<Message>
where
    A: Serialize + DynamicType,
{
    Message::method_call(path, method)?.interface(interface)?.build(arguments)
}

impl Area {
    /// Returns the same part as a rectangle.
    ///
    /// # Errors
    /// If a number is negative.
    pub(crate) fn rect(self) -> Result<Rect, Refusal> {
        let number = |n: i32| {
            u32::try_from(n).map_err(|_| Refusal::Numbers("the changed part starts or ends nowhere"))
        };
        Ok(Rect::new(number(self.x)?, number(self.y)?, number(self.width)?, number(self.height)?))
    }

    /// Returns what of it is inside a picture of this size, if anything is.
    pub(crate) fn clipped(self, picture: Size) -> Option<Rect> {
        Rect::clipped(self.x, self.y, self.width, self.height, picture)
    }
}

impl From<Rect> for Area {
    /// The sides of a picture are far below 2^31.
    fn from(rect: Rect) -> Self {
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        Self { x: number(rect.x), y: number(rect.y), width: number(rect.width), height: number(rect.height) }
    }
}

impl UpdatePixels<'_> {
    /// Returns the part that is replaced.
    pub(crate) fn area(&self) -> Area {
        Area { x: self.x, y: self.y, width: self.width, height: self.height }
    }
}

impl Type for Bytes<'_> {
    const SIGNATURE: &'static Signature = <[u8]>::SIGNATURE;
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Reads a file descriptor in place: zvariant has this for a lifetime that ends with the message alone.
pub(super) fn fd<'de: 'm, 'm, D: Deserializer<'de>>(deserializer: D) -> Result<Fd<'m>, D::Error> {
    Fd::deserialize(deserializer)
}

/// Reads several file descriptors in place.
pub(super) fn fds<'de: 'm, 'm, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Fd<'m>>, D::Error> {
    Vec::deserialize(deserializer)
}

impl<'de: 'm, 'm> Deserialize<'de> for Bytes<'m> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn received(interface: &str, member: &str, body: &(impl Serialize + DynamicType)) -> Message {
        let call = Message::method_call(LISTENER_PATH, member).unwrap();
        call.interface(interface).unwrap().build(body).unwrap()
    }

    #[test]
    fn pixels_are_borrowed_from_the_message() {
        let pixels = [1u8, 2, 3, 4, 5, 6, 7, 8];
        let message = received(LISTENER, "Scanout", &(2u32, 1u32, 8u32, 0x2002_0888u32, pixels.as_slice()));
        let body = message.body();
        let Call::Scanout(ScanoutPixels { width: 2, height: 1, stride: 8, pixman: 0x2002_0888, data }) =
            Call::decode(Some(LISTENER), "Scanout", &body).unwrap()
        else {
            panic!()
        };
        assert_eq!(data.0, pixels);
        assert!(body.data().bytes().as_ptr_range().contains(&data.0.as_ptr()));
    }

    #[test]
    fn other_types_and_names_are_refused() {
        let message = received(LISTENER, "UpdateDMABUF", &(1i32, 2i32, 3i32));
        let body = message.body();
        let refused = |interface, member| Call::decode(interface, member, &body).unwrap_err();
        let types = refused(Some(LISTENER), "UpdateDMABUF");
        assert!(types.to_string().starts_with("UpdateDMABUF takes (iiii): "), "{types}");
        assert!(matches!(refused(None, "ScanoutDMABUF2"), Refusal::Types { .. }));
        assert!(matches!(refused(Some(LISTENER), "UpdateMap"), Refusal::Method));
        assert!(matches!(refused(Some("org.example"), "UpdateDMABUF"), Refusal::Interface));
        assert!(matches!(
            Call::decode(None, "MouseSet", &body),
            Ok(Call::MouseSet(MouseSet { x: 1, y: 2, on: 3 }))
        ));
    }

    /// Writes a call and reads it again; gives its types on D-Bus.
    fn there_and_back(call: &Call<'_>) -> (String, String, String) {
        let message = call.message().unwrap();
        let header = message.header();
        let (interface, member) = (header.interface().unwrap().as_str(), header.member().unwrap().as_str());
        let body = message.body();
        let again = Call::decode(Some(interface), member, &body).unwrap();
        assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(call));
        (interface.to_owned(), member.to_owned(), body.signature().to_string_no_parens())
    }

    #[test]
    fn every_call_is_as_the_interface_file_says() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let (memory, data) = (|| Fd::from(&null), Bytes(&[1, 2, 3, 4]));
        let area = Area { x: 1, y: 2, width: 3, height: 4 };
        let Area { x, y, width, height } = area;
        let mut ours = [
            Call::Scanout(ScanoutPixels { width: 1, height: 1, stride: 4, pixman: 0, data }),
            Call::Update(UpdatePixels { x, y, width, height, stride: 4, pixman: 0, data }),
            Call::ScanoutMap(ScanoutMap {
                memory: memory(),
                offset: 0,
                width: 1,
                height: 1,
                stride: 4,
                pixman: 0,
            }),
            Call::UpdateMap(area),
            Call::ScanoutDmabuf(ScanoutDmabuf::example(memory())),
            Call::ScanoutDmabuf2(ScanoutDmabuf2::example(memory())),
            Call::UpdateDmabuf(area),
            Call::Disable(()),
            Call::MouseSet(MouseSet { x, y, on: 1 }),
            Call::CursorDefine(CursorDefine { width: 1, height: 1, hot_x: 0, hot_y: 0, data }),
        ]
        .map(|call| there_and_back(&call));
        let mut methods = methods_of(super::super::LISTENER_XML);
        methods.sort();
        ours.sort();
        assert_eq!(methods, ours);
    }

    /// Interface, name and types of each method in an introspection file.
    pub(in crate::display1) fn methods_of(xml: &str) -> Vec<(String, String, String)> {
        let attribute = |line: &str, name: &str| {
            let rest = line.split_once(&format!(" {name}=\""))?.1;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let mut methods: Vec<(String, String, String)> = Vec::new();
        let mut interface = String::new();
        for line in xml.lines().map(str::trim) {
            if line.starts_with("<interface") {
                interface = attribute(line, "name").unwrap();
            } else if line.starts_with("<method") {
                methods.push((interface.clone(), attribute(line, "name").unwrap(), String::new()));
            } else if line.starts_with("<arg") && !line.contains("\"out\"") {
                methods.last_mut().unwrap().2 += &attribute(line, "type").unwrap();
            }
        }
        methods
    }
}
