//! The VM and its consoles, as objects.
//!
//! Methods are run in the order they were called (`spawn = false`) and wait for nobody. What their comments say is in
//! the introspection too, and `dbus-interfaces/org.qemu.Display1.xml` has to agree.

use std::sync::Arc;

use zbus::interface;
use zbus::message::Header;
use zbus::zvariant::OwnedFd;

use super::error::DisplayError;
use super::socket::ListenerSocket;
use super::{Shared, peer_name};
use crate::frame::{ConsoleId, GuestCommand, Size, Window};
use crate::hub::{ConsoleInfo, Guest};

/// `/org/qemu/Display1/VM`.
pub(super) struct VmObject {
    pub(super) shared: Arc<Shared>,
}

#[interface(name = "org.qemu.Display1.VM", spawn = false)]
impl VmObject {
    /// As given with -name.
    #[zbus(property)]
    fn name(&self) -> String {
        self.shared.guest(|guest| guest.name.clone())
    }

    /// In the usual form with dashes; all zero where it has none.
    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        self.shared.guest(Guest::uuid_text)
    }

    /// The numbers of its consoles: N of the objects Console_N.
    #[zbus(property, name = "ConsoleIDs")]
    fn console_ids(&self) -> Vec<u32> {
        self.shared.guest(|guest| guest.consoles.keys().map(|id| id.0).collect())
    }

    /// The other interfaces of this object.
    #[zbus(property)]
    fn interfaces(&self) -> Vec<String> {
        Vec::new()
    }
}

/// `/org/qemu/Display1/Console_N`.
pub(super) struct ConsoleObject {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ConsoleId,
}

impl ConsoleObject {
    fn info<T>(&self, read: impl FnOnce(&ConsoleInfo) -> T) -> T {
        let read = |guest: &Guest| match guest.consoles.get(&self.id) {
            Some(info) => read(info),
            None => read(&ConsoleInfo::default()),
        };
        self.shared.guest(read)
    }

    fn size(&self) -> Size {
        self.shared.hub.console(self.id).and_then(|console| console.size()).unwrap_or_default()
    }
}

#[interface(name = "org.qemu.Display1.Console", spawn = false)]
impl ConsoleObject {
    /// Takes a connected unix stream socket, on which the caller is then shown the console: see
    /// org.qemu.Display1.Listener. The other end of the socket has to be served by a D-Bus client with that object,
    /// which is asked for its properties first. QEMU stands still until it has answered; qemu-spice does not.
    fn register_listener(
        &self,
        listener: OwnedFd,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), DisplayError> {
        let socket =
            ListenerSocket::new(listener.into()).map_err(|error| DisplayError::Invalid(error.to_string()))?;
        let console = self.shared.hub.console(self.id);
        let console = console.ok_or_else(|| DisplayError::Failed("the console is gone".to_owned()))?;
        self.shared.admit(peer_name(&header), socket, console)
    }

    /// Tells the guest how large a window the console has, for it to fit its picture to: millimetres, the place among
    /// the other consoles, pixels. A guest that cannot keeps its size.
    #[zbus(name = "SetUIInfo")]
    #[expect(clippy::too_many_arguments, reason = "they are the method's, and the caller")]
    fn set_ui_info(
        &self,
        width_mm: u16,
        height_mm: u16,
        xoff: i32,
        yoff: i32,
        width: u32,
        height: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), DisplayError> {
        let window = Window { size: Size::new(width, height), width_mm, height_mm, x: xoff, y: yoff };
        if !window.is_possible() {
            return Err(DisplayError::invalid("no display is as large"));
        }
        self.shared.send(peer_name(&header), GuestCommand::Window { console: self.id, window })
    }

    /// The name of the device it belongs to.
    #[zbus(property)]
    fn label(&self) -> String {
        self.info(|info| info.label.clone())
    }

    /// Which of the device's heads it is.
    #[zbus(property)]
    fn head(&self) -> u32 {
        0
    }

    /// "Graphic", or "Text" for QEMU's own terminals, which qemu-spice does not show.
    #[zbus(property)]
    fn type_(&self) -> String {
        "Graphic".to_owned()
    }

    /// Pixels across; 0 while nothing is shown.
    #[zbus(property)]
    fn width(&self) -> u32 {
        self.size().width
    }

    /// Pixels down; 0 while nothing is shown.
    #[zbus(property)]
    fn height(&self) -> u32 {
        self.size().height
    }

    /// Where the device is, such as pci/0000/02.0; empty where that is not known.
    #[zbus(property)]
    fn device_address(&self) -> String {
        String::new()
    }

    /// The other interfaces of this object.
    #[zbus(property)]
    fn interfaces(&self) -> Vec<String> {
        super::CONSOLE_INTERFACES.map(str::to_owned).to_vec()
    }
}
