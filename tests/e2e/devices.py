"""The guest's devices: USB sockets, shared folders, and ports by name."""

import os
import signal
import struct
import types

import crowd
from rig import eventually

LIMIT = 90  # seconds for what goes through an emulated guest
USB, PORT, WEBDAV = "org.qemu.usbredir", "com.example.echo", "org.spice-space.webdav.0"
CONSOLE = "org.qemu.console.serial.0"  # QEMU's name for what `-serial vc` makes
PORT_CHANNEL, DATA, COMPRESSED, EVENT = 10, 101, 102, 201
MOST = 16  # MiB that the program may grow by, whatever waits for somebody


def usb_cd(rig):
    """a CD that the viewer plugs in is read in the guest, byte for byte, and is gone when it is unplugged"""
    vm, client = _reads_cd(rig, "qemu")
    client("take-cd")
    eventually(lambda: _cd(vm) == b"", "the CD's end in the guest", LIMIT)


def usb_cd_in_qemu72(rig):
    """a CD that the viewer plugs in is read in a guest of QEMU 7.2"""
    _reads_cd(rig, "qemu72")


def usb_cd_in_qemu11(rig):
    """a CD that the viewer plugs in is read in a guest of QEMU 11"""
    _reads_cd(rig, "qemu11")


def usb_handed_over(rig):
    """a viewer that dies is unplugged, and what the next one has plugged in meanwhile takes its place"""
    vm, server = _machine(rig)
    first, images = rig.client(server), [_image(rig), _image(rig)]
    first(f"share-cd {images[0]}")
    eventually(lambda: _cd(vm) == images[0].read_bytes(), "the first CD in the guest", LIMIT)
    second = rig.client(server)
    second(f"share-cd {images[1]}")
    second("sleep 1000")
    assert _cd(vm) == images[0].read_bytes(), "the second viewer took the first one's place"
    first.process.send_signal(signal.SIGKILL)
    eventually(lambda: _cd(vm) == images[1].read_bytes(), "the second CD in the guest", LIMIT)
    second.process.send_signal(signal.SIGKILL)
    eventually(lambda: _cd(vm) == b"", "the second CD's end in the guest", LIMIT)


def next_machine(rig):
    """a viewer that stays while the machine is started anew has the USB sockets and ports of the next one"""
    bus = rig.bus()
    server = rig.serve(None, "--wait", attach=["--dbus-address", bus.address])
    vm = rig.desktop(extra=_devices(), display=f"dbus,addr={bus.address}")
    client, image = rig.client(server), _image(rig)
    client(f"share-cd {image}")
    eventually(lambda: _cd(vm) == image.read_bytes(), "the CD in the guest", LIMIT)
    vm.stop()
    client("wait-port port:1 closed")
    # The next one has another port before those that the viewer knows.
    other = ["-chardev", "dbus,id=another,name=com.example.another", "-device", "virtserialport,chardev=another,name=another"]
    vm = rig.desktop(extra=_devices() + other, display=f"dbus,addr={bus.address}")
    client("wait-port port:2 open")
    image = _image(rig)
    client(f"share-cd {image}")
    eventually(lambda: _cd(vm) == image.read_bytes(), "the CD in the next guest", LIMIT)
    names = {name: row[0] for name, row in client("ports")["ports"].items()}
    assert names == {"webdav:0": WEBDAV, "port:0": "com.example.another", "port:1": PORT, "port:2": CONSOLE}, names


def plugged_in_later(rig):
    """a USB socket and a port that QEMU gets while it runs are there for a viewer that is there already"""
    vm, server = _machine(rig)
    client = rig.client(server)
    client("wait-port port:1 open")
    for id, name, device in (("usb2", USB, {"driver": "usb-redir", "bus": "usb.0"}), ("late", "com.example.late", {"driver": "virtserialport"})):
        vm.qmp("chardev-add", id=id, backend={"type": "dbus", "data": {"name": name}})
        vm.qmp("device_add", id=f"{id}-device", chardev=id, **device)
    client("wait-event usbredir:2 opened")
    client("wait-port port:2 closed")
    eventually(lambda: client("ports")["ports"]["port:2"] == ["com.example.late", False], "the port's name", LIMIT)
    # Away again, and another one in its place.
    vm.qmp("device_del", id="late-device")
    eventually(lambda: _removed(vm, "late"), "the end of the port", LIMIT)
    vm.qmp("chardev-add", id="later", backend={"type": "dbus", "data": {"name": "com.example.later"}})
    eventually(lambda: client("ports")["ports"]["port:2"][0] == "com.example.later", "the port in its place", LIMIT)


def port(rig):
    """a port with a name carries 5 MB both ways, and is closed and opened as the guest does"""
    vm, server = _machine(rig)
    client = rig.client(server)
    client("wait-port port:0 closed")
    _echo_on(vm)
    client("wait-port port:0 open")
    sent, back = rig.fresh("sent", ""), rig.fresh("back", "")
    sent.write_bytes(os.urandom(5_000_000))
    client(f"port-write port:0 {sent}")
    client(f"port-read port:0 {sent.stat().st_size} {back}")
    assert back.read_bytes() == sent.read_bytes()
    vm.stage("pkill -x cat")
    client("wait-port port:0 closed")
    assert set(map(tuple, client("ports")["ports"].values())) == {(PORT, False), (WEBDAV, False), (CONSOLE, True)}


def serial_console(rig):
    """a serial console has its name, carries text and a break, and QEMU's monitor is for no viewer"""
    vm, server = _machine(rig)
    assert "compat_monitor" in vm.qmp.hmp("info chardev"), "no monitor to be found"
    client = rig.client(server)
    client("wait-port port:1 open")
    assert client("ports")["ports"]["port:1"][0] == CONSOLE
    _in_background(vm, "sleep 1000 <>/dev/ttyS1")
    vm.stage("stty raw -echo </dev/ttyS1; echo from the guest >/dev/ttyS1")
    client("port-has port:1 'from the guest'")
    text = rig.fresh("text", "")
    text.write_bytes(b"from the viewer\n")
    client(f"port-write port:1 {text}")
    assert vm.stage("timeout 20 head -n 1 </dev/ttyS1") == ["from the viewer"]
    client("port-break port:1")
    eventually(lambda: "brk:1" in "".join(vm.stage("grep ^1: /proc/tty/driver/serial")), "a break in the guest", LIMIT)


def folder(rig):
    """a folder that the viewer shares is listed in the guest, and a file in it read; the next viewer's when it leaves"""
    vm, server = _machine(rig)
    folders = []
    for text in ("of the first", "of the second"):
        folders.append(rig.fresh("folder", ""))
        folders[-1].mkdir()
        (folders[-1] / "file.txt").write_text(text)
        (folders[-1] / f"{text.split()[-1]}.bin").write_bytes(os.urandom(3_000_000))
    first = rig.client(server, folder=folders[0])
    # It wants to be found by name as well, which takes these two.
    vm.stage("mkdir -p /run/dbus; dbus-daemon --system --fork; avahi-daemon -D --no-drop-root --no-chroot --no-rlimits", LIMIT)
    _in_background(vm, "spice-webdavd -p 9843")
    first("wait-port webdav:0 open")
    _reads_folder(vm, folders[0], "first")
    second = rig.client(server, folder=folders[1])
    second("wait-port webdav:0 closed")
    first.process.send_signal(signal.SIGKILL)
    second("wait-port webdav:0 open")
    _reads_folder(vm, folders[1], "second")


def not_for_all(rig):
    """a second viewer waits for the port of the first, and who may only look has no device at all"""
    password = rig.fresh("password", "")
    password.write_text("open sesame\n")
    bus = rig.bus()
    vm, server = _machine(rig, "--password-file", str(password), "--relay-bus", bus.address)
    first = rig.client(server, password="open sesame")
    first("wait-event port:0 opened")
    first("wait-event usbredir:1 opened")
    second = rig.client(server, password="open sesame")
    second("wait-event port:0 opened")
    second("wait-event usbredir:1 opened")
    looker = rig.client(server, password=_invited_to_look(rig, bus))
    looker("wait-picture")
    # It never reads: who reads is told of an end when a viewer leaves, and may close the port.
    _in_background(vm, f"sleep 1000 <>/dev/virtio-ports/{PORT}")
    first("wait-port port:0 open")
    second("wait-port port:0 closed")
    row = _device(rig, bus, "port:0")
    assert (row["name"], row["open"], row["client"], row["waiting"]) == (PORT, True, 0, [1]), row
    first.stop()
    second("wait-port port:0 open")
    assert _device(rig, bus, "port:0")["client"] == 1 and "client" in _device(rig, bus, "usbredir:1")
    assert not [name for name in looker("stats")["events"] if ":" in name]


def hostile(rig):
    """what is no message of a port ends the channel of who sent it, and data without end costs no memory"""
    vm, server = _machine(rig)
    peer = types.SimpleNamespace(origins=1, host="127.0.0.1", port=int(server.uri.rpartition(":")[2]))
    for message in (struct.pack("<HI", EVENT, 2) + b"\2\2", struct.pack("<HI", EVENT, 0), struct.pack("<HIB", EVENT, 1, 9),
                    struct.pack("<HI", EVENT, 1 << 31), struct.pack("<HIBI", COMPRESSED, 6, 1, 0xffffffff) + b"\0"):
        main, session = crowd.start(peer, 0)
        channel, entered = crowd.link(peer, 0, session, PORT_CHANNEL, 0)
        assert entered
        channel.sendall(message)
        _until_closed(channel)
        main.close()
    main, session = crowd.start(peer, 0)
    for kind, number in ((PORT_CHANNEL, 2), (PORT_CHANNEL, 255), (9, 2), (11, 1), (8, 0)):
        assert not crowd.link(peer, 0, session, kind, number)[1], f"channel {number} of kind {kind}"
    # One message of 4 GiB, to a guest that does not read: what is not sent waits in the sockets.
    _in_background(vm, f"sleep 1000 <>/dev/virtio-ports/{PORT}")
    channel, entered = crowd.link(peer, 0, session, PORT_CHANNEL, 0)
    assert entered
    before = server.memory()
    channel.sendall(struct.pack("<HI", DATA, 0xffffffff))
    sent = _as_much_as_it_takes(channel)
    assert sent < 100 << 20, "somebody took it"
    assert server.memory() < before + MOST
    main.close()
    rig.tell(f"{sent >> 10} KiB until it had to wait")


def does_not_read(rig):
    """a viewer that does not read what the guest writes without end costs no memory, and the next one gets the rest"""
    vm, server = _machine(rig)
    peer = types.SimpleNamespace(origins=1, host="127.0.0.1", port=int(server.uri.rpartition(":")[2]))
    main, session = crowd.start(peer, 0)
    channel, entered = crowd.link(peer, 0, session, PORT_CHANNEL, 0)
    assert entered
    viewer = rig.client(server)
    viewer("wait-picture")
    before = server.memory()
    _in_background(vm, f"yes flood | head -c 50000000 >/dev/virtio-ports/{PORT}")
    viewer("sleep 2000")
    changes = viewer("stats")["changes"]
    viewer("sleep 3000")
    assert viewer("stats")["changes"] > changes, "the display stands still"  # the console's caret blinks
    assert vm.stage("pgrep -x yes"), "somebody took it all"
    assert server.memory() < before + MOST
    main.close()
    viewer("port-has port:0 flood")


def _reads_cd(rig, qemu):
    vm, server = _machine(rig, qemu=qemu)
    client = rig.client(server)
    image = _image(rig)
    client(f"share-cd {image}")
    eventually(lambda: _cd(vm) == image.read_bytes(), "the CD in the guest", LIMIT)
    return vm, client


def _machine(rig, *arguments, qemu="qemu"):
    """A guest with devices, and the program."""
    vm = rig.desktop(qemu, extra=_devices())
    return vm, rig.serve(vm, *arguments)


def _devices():
    """QEMU's arguments for two USB sockets, a folder, a port, a serial console and a monitor."""
    extra = ["-device", "qemu-xhci,id=usb"]
    for number in range(2):
        extra += ["-chardev", f"dbus,id=usb{number},name={USB}", "-device", f"usb-redir,bus=usb.0,chardev=usb{number}"]
    for id, name in (("folder", WEBDAV), ("echo", PORT)):
        extra += ["-chardev", f"dbus,id={id},name={name}", "-device", f"virtserialport,chardev={id},name={name}"]
    return [*extra, "-serial", "vc", "-monitor", "vc"]


def _removed(vm, chardev):
    """Whether QEMU has given up a chardev, which it does once its device is gone."""
    try:
        vm.qmp("chardev-remove", id=chardev)
    except RuntimeError:
        return False
    return True


def _image(rig):
    image = rig.fresh("cd", ".iso")
    image.write_bytes(os.urandom(2 << 20))
    return image


def _cd(vm):
    """What is on the guest's CD; nothing where there is none."""
    vm.stage("rm -f /share/cd; for cd in /dev/sr*; do dd if=$cd of=/share/cd bs=64k 2>/dev/null; done; true", LIMIT)
    read = vm.shared / "cd"
    return read.read_bytes() if read.exists() else b""


def _echo_on(vm):
    _in_background(vm, f"exec 3<>/dev/virtio-ports/{PORT}; cat <&3 >&3")


def _in_background(vm, command):
    vm.stage(f"({command}) </dev/null >/share/log 2>&1 &")


def _reads_folder(vm, folder, name):
    get = "curl -s -m 20 http://127.0.0.1:9843"
    eventually(lambda: vm.stage(f"{get}/file.txt; echo", LIMIT) == [(folder / "file.txt").read_text()], "a file in the guest", LIMIT)
    listed = "".join(vm.stage(f"{get}/ -X PROPFIND -H 'Depth: 1' -d ''", LIMIT))
    assert f"{name}.bin" in listed, listed
    vm.stage(f"{get}/{name}.bin -o /share/{name}.bin", LIMIT)
    assert (vm.shared / f"{name}.bin").read_bytes() == (folder / f"{name}.bin").read_bytes()


def _invited_to_look(rig, bus):
    from invitations import _invite
    return _invite(rig, bus, "--look")[1]


def _device(rig, bus, channel):
    return next(row for row in rig.status(bus)["Devices"] if row["channel"] == channel)


def _until_closed(channel):
    channel.settimeout(20)
    try:
        while channel.recv(4096):
            pass
    except ConnectionResetError:
        pass


def _as_much_as_it_takes(channel):
    """Sends until the other side takes no more for two seconds; returns how many bytes."""
    channel.settimeout(2)
    sent = 0
    try:
        while sent < 200 << 20:
            sent += channel.send(bytes(1 << 16))
    except TimeoutError:
        pass
    return sent
