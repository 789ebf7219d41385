"""What spice_client.py can do with the guest's devices: USB sockets, shared folders, and ports by name."""

import ctypes

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import Gio, GObject, SpiceClientGLib as Spice  # noqa: E402

KINDS = {Spice.UsbredirChannel: "usbredir", Spice.PortChannel: "port", Spice.WebdavChannel: "webdav"}


class DeviceCommands:
    """A part of spice_client.Client."""

    def prepare_devices(self, folder):
        self.devices = {}  # a channel's name, such as usbredir:0, and the channel
        self.read_from = {}  # what a port has given, by its channel's name
        self.usb = Spice.UsbDeviceManager.get(self.session)  # it connects the channels of USB
        self.usb_errors = []
        self.usb_devices = []  # the binding drops one reference too many of those that `get_devices` gives
        GObject.Object.connect(self.usb, "device-added", lambda _manager, device: self.usb_devices.append(device))
        GObject.Object.connect(self.usb, "device-error", lambda _manager, _device, error: self.usb_errors.append(str(error)))
        if folder is not None:
            self.session.props.shared_dir = folder

    def new_device(self, channel):
        """Takes a new channel if it is a device's."""
        kind = KINDS.get(type(channel))
        if kind is None:
            return False
        name = f"{kind}:{channel.props.channel_id}"
        self.devices[name] = self.channels[name] = channel
        self.events[name] = []  # there may have been one before
        self.read_from[name] = bytearray()
        GObject.Object.connect(channel, "channel-event", lambda _channel, event: self.events[name].append(event.value_nick))
        if kind == "port":
            GObject.Object.connect(channel, "port-data", lambda _channel, data, size: self._port_data(name, data, size))
        if kind != "usbredir":
            Spice.Channel.connect(channel)
        return True

    def _port_data(self, name, data, size):
        self.read_from[name] += ctypes.string_at(data, size) if isinstance(data, int) else bytes(data)

    def share_cd(self, path):
        """Plugs in a CD whose image is a file, and waits until that is on its way to the guest's socket."""
        self.channel("usbredir:0")
        before = len(self._cds())
        if not self.usb.create_shared_cd_device(path):
            raise RuntimeError(f"no CD of {path}")
        self.wait(lambda: len(self._cds()) > before, "a CD")
        done = []
        self.usb.connect_device_async(self._cds()[-1], None, lambda _manager, result: done.append(result))
        self.wait(lambda: done, "the CD to be plugged in")
        if not self.usb.connect_device_finish(done[0]):
            raise RuntimeError("the CD is not plugged in")

    def take_cd(self):
        """Unplugs the CD."""
        self.usb.disconnect_device(self._cds()[-1])

    def usb_state(self):
        return {"plugged": [self.usb.is_device_connected(device) for device in self.usb_devices], "errors": self.usb_errors}

    def _cds(self):
        return [device for device in self.usb_devices if self.usb.is_device_shared_cd(device)]

    def ports(self):
        """Tells of each port that has a name: the name, and whether it is open."""
        named = {name: channel for name, channel in self.devices.items() if not name.startswith("usbredir")}
        return {"ports": {name: [channel.props.port_name, channel.props.port_opened] for name, channel in named.items()}}

    def wait_port(self, name, how):
        self.wait(lambda: name in self.devices and self.devices[name].props.port_opened == (how == "open"), f"{name} {how}")

    def port_write(self, name, path):
        """Writes a file to a port, and waits until the library has sent it."""
        with open(path, "rb") as file:
            data = file.read()
        done = []
        self.devices[name].write_async(data, None, lambda channel, result: done.append(channel.write_finish(result)))
        self.wait(lambda: done, f"{len(data)} bytes to be written")
        return {"written": done[0]}

    def port_read(self, name, size, path):
        """Waits for so many bytes of a port, and writes all that came to a file."""
        self.wait(lambda: len(self.read_from[name]) >= int(size), f"{size} bytes of {name}")
        with open(path, "wb") as file:
            file.write(self.read_from[name])
        self.read_from[name] = bytearray()

    def port_has(self, name, text):
        """Waits until a port has given this text."""
        self.wait(lambda: text.encode() in self.read_from[name], f"{text!r} of {name}")

    def port_break(self, name):
        self.devices[name].event(2)
