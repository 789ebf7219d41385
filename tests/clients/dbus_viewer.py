#!/usr/bin/python3
"""A viewer of `org.qemu.Display1` without a window, by GLib's D-Bus: `dbus_viewer.py ADDRESS [OPTIONS] [COMMAND…]`.

ADDRESS is that of a bus, where `--name` (`org.qemu.spice`) has the display. Each COMMAND (one argument each;
without any, one line of standard input each) is answered by one line of JSON with `ok`, and with `error`
where it failed. Waits end after `--limit` seconds.

  wait-picture                something is shown
  wait-size W H               the picture has this size
  wait-rest MS                nothing changed for MS milliseconds
  wait-colour X Y RRGGBB      the pixel has this colour, give or take --tolerance
  wait-end                    the listener's connection was closed
  picture FILE                writes the picture as a PNG
  pixel X Y                   … or tells one pixel
  memory                      how the picture came, and which files (device, inode) it is in
  draws on|off                whether updates of buffers are answered from now on
  key QNUM [down|up|tap]      QEMU's key number, hexadecimal
  position X Y                moves the pointer to a place
  window W H                  its window has this size now
  stats                       how often each method was called, and which sizes the picture had one after the other
  sleep MS                    goes on serving the connection
  leave                       unregisters the listener
  come-back                   … and registers it again
"""

import argparse
import fcntl
import json
import mmap
import os
import shlex
import socket
import struct
import sys
import time

import gi
import numpy
from PIL import Image

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

ROOT = "/org/qemu/Display1"
INTERFACES = os.path.join(os.path.dirname(__file__), "../../dbus-interfaces/org.qemu.Display1.Listener.xml")
# pixman's and DRM's names of the formats whose bytes are blue, green, red, …, and of those that begin with red.
BLUE_FIRST = {0x20020888, 0x20028888, 0x34325258, 0x34325241}
RED_FIRST = {0x20030888, 0x20038888, 0x34324258, 0x34324241}
DMA_BUF_SYNC, SYNC_READ, SYNC_END = 0x40086200, 1, 4  # linux/dma-buf.h


class Viewer:
    """A listener to one console: what it was told, and what can be done."""

    def __init__(self, address, name, console, interfaces, limit=20.0, tolerance=40):
        self.name, self.console = name, console
        self.limit, self.tolerance = limit, tolerance
        self.calls, self.sizes = {}, []
        self.changed_at = None
        self.how, self.fds, self.ended = None, [], False
        self.read = None  # gives the picture as rows of B, G, R, x
        self.answers_draws, self.unanswered = True, []
        self.on_change = lambda: None
        self.interfaces = interfaces
        flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
        self.bus = Gio.DBusConnection.new_for_address_sync(
            address, flags | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
        self.come_back()

    def come_back(self):
        self.ended = False
        ours, theirs = socket.socketpair()
        fds = Gio.UnixFDList.new()
        fds.append(theirs.fileno())
        self.call("Console", "RegisterListener", GLib.Variant("(h)", (0,)), fds)
        theirs.close()
        stream = Gio.Socket.new_from_fd(ours.detach()).connection_factory_create_connection()
        self.connection = Gio.DBusConnection.new_sync(
            stream, None, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.DELAY_MESSAGE_PROCESSING, None, None)
        self.connection.connect("closed", self._closed)
        with open(INTERFACES) as xml:
            node = Gio.DBusNodeInfo.new_for_xml(xml.read())
        self.objects = [self.connection.register_object(ROOT + "/Listener", interface, self._called, self._property, None)
                        for interface in node.interfaces]
        self.connection.start_message_processing()

    def leave(self):
        for number in self.objects:
            self.connection.unregister_object(number)
        if not self.connection.is_closed():
            self.connection.close_sync(None)
        self._show(None, [], None)

    def call(self, interface, method, arguments, fds=None):
        self.bus.call_with_unix_fd_list_sync(
            self.name, f"{ROOT}/Console_{self.console}", f"org.qemu.Display1.{interface}", method, arguments, None,
            Gio.DBusCallFlags.NONE, int(self.limit * 1000), fds, None)

    # -- what comes in --

    def _property(self, _connection, _sender, _path, _interface, _name):
        return GLib.Variant("as", [f"org.qemu.Display1.Listener.Unix.{name}" for name in self.interfaces])

    def _closed(self, *_):
        self.ended = True

    def _called(self, _connection, _sender, _path, _interface, method, arguments, call):
        self.calls[method] = self.calls.get(method, 0) + 1
        if method == "UpdateDMABUF" and not self.answers_draws:
            self.unanswered.append(call)
        else:
            fds = call.get_message().get_unix_fd_list()
            try:
                getattr(self, f"_{method}", lambda *_: None)(arguments, fds)
                call.return_value(None)
            except Exception as error:
                call.return_dbus_error("org.qemu.Display1.Error.Unsupported", str(error))
            # What is shown is a duplicate. The call's own would stay open for as long as Python keeps the call.
            for fd in fds.steal_fds() if fds else ():
                os.close(fd)
        if method not in ("MouseSet", "CursorDefine"):
            self.changed_at = time.monotonic()
            self.on_change()

    def _Scanout(self, arguments, _fds):
        (width, height, stride, pixman), data = _with_data(arguments)
        assert pixman in BLUE_FIRST, f"pixels in another format: {pixman:#x}"
        self.pixels = data.reshape(height, stride // 4, 4)[:, :width].copy()
        self._show("Scanout", [], lambda: self.pixels)
        self._sized(width, height)

    def _Update(self, arguments, _fds):
        (x, y, width, height, stride, _pixman), data = _with_data(arguments)
        self.pixels[y:y + height, x:x + width] = data.reshape(height, stride // 4, 4)[:, :width]

    def _ScanoutMap(self, arguments, fds):
        handle, offset, width, height, stride, pixman = arguments.unpack()
        self._show_rows("ScanoutMap", [fds.get(handle)], pixman, offset, stride, (0, 0, width, height), False)

    def _ScanoutDMABUF(self, arguments, fds):
        handle, width, height, stride, fourcc, _modifier, bottom_up = arguments.unpack()
        self._show_rows("ScanoutDMABUF", [fds.get(handle)], fourcc, 0, stride, (0, 0, width, height), bottom_up)

    def _ScanoutDMABUF2(self, arguments, fds):
        handles, x, y, width, height, offsets, strides, _planes, fourcc, *_backing, _modifier, bottom_up = arguments.unpack()
        own = [fds.get(handle) for handle in handles]
        self._show_rows("ScanoutDMABUF2", own, fourcc, offsets[0], strides[0], (x, y, width, height), bottom_up)

    def _Disable(self, _arguments, _fds):
        self._show("Disable", [], None)

    def _show_rows(self, how, fds, code, offset, stride, place, bottom_up):
        """Shows a part of memory that is somebody else's, as long as it is LINEAR; whether it is, the eye can tell."""
        assert code in BLUE_FIRST | RED_FIRST, f"pixels in another format: {code:#x}"
        x, y, width, height = place
        self._sized(width, height)
        fd = fds[0]

        def read():
            size = os.lseek(fd, 0, os.SEEK_END)
            with mmap.mmap(fd, size, prot=mmap.PROT_READ) as memory:
                if how != "ScanoutMap":
                    fcntl.ioctl(fd, DMA_BUF_SYNC, struct.pack("Q", SYNC_READ))
                rows = numpy.frombuffer(memory, numpy.uint8, stride * (y + height - 1) + (x + width) * 4, offset)
                rows = numpy.lib.stride_tricks.as_strided(rows[y * stride + x * 4:], (height, width, 4), (stride, 4, 1)).copy()
                if how != "ScanoutMap":
                    fcntl.ioctl(fd, DMA_BUF_SYNC, struct.pack("Q", SYNC_READ | SYNC_END))
            rows = rows[..., [2, 1, 0, 3]] if code in RED_FIRST else rows
            return rows[::-1] if bottom_up else rows
        self._show(how, fds, read)

    def _sized(self, width, height):
        if self.sizes[-1:] != [[width, height]]:
            self.sizes.append([width, height])

    def _show(self, how, fds, read):
        for fd in self.fds:
            os.close(fd)
        self.how, self.fds, self.read = how, fds, read

    # -- waiting --

    def wait(self, condition, what, limit=None):
        deadline = time.monotonic() + (self.limit if limit is None else limit)
        tick = GLib.timeout_add(10, lambda: True)
        try:
            while not condition():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"waited in vain: {what}; so far: {json.dumps(self.stats())}")
                GLib.MainContext.default().iteration(True)
        finally:
            GLib.source_remove(tick)

    def wait_picture(self):
        self.wait(lambda: self.read is not None, "a first picture")

    def wait_size(self, width, height):
        self.wait(lambda: self.read is not None and self.read().shape[:2] == (int(height), int(width)),
                  f"a picture of {width}x{height}")

    def wait_rest(self, milliseconds):
        self.wait(lambda: self.read is not None and time.monotonic() - self.changed_at > float(milliseconds) / 1000,
                  f"a picture at rest for {milliseconds} ms")

    def wait_colour(self, x, y, colour):
        wanted = [int(colour[i:i + 2], 16) for i in (4, 2, 0)]

        def reached():
            found = self.read is not None and self.read()[int(y), int(x)]
            return found is not False and all(abs(int(found[i]) - wanted[i]) <= self.tolerance for i in range(3))
        self.wait(reached, f"the colour {colour} at {x},{y}")

    def wait_end(self):
        self.wait(lambda: self.ended, "the end of the connection")

    def sleep(self, milliseconds):
        end = time.monotonic() + float(milliseconds) / 1000
        self.wait(lambda: time.monotonic() > end, "time", limit=float(milliseconds) / 1000 + 1)

    # -- doing --

    def picture(self, path):
        self.wait_picture()
        rows = self.read()
        Image.fromarray(rows[..., 2::-1].copy()).save(path)
        return {"width": rows.shape[1], "height": rows.shape[0]}

    def pixel(self, x, y):
        self.wait_picture()
        return {"colour": "%02x%02x%02x" % tuple(int(c) for c in self.read()[int(y), int(x)][2::-1])}

    def memory(self):
        self.wait_picture()
        files = [os.fstat(fd) for fd in self.fds]
        return {"by": self.how, "files": [[file.st_dev, file.st_ino] for file in files]}

    def draws(self, how):
        self.answers_draws = how == "on"
        while self.answers_draws and self.unanswered:
            self.unanswered.pop(0).return_value(None)

    def key(self, qnum, how="tap"):
        for method in {"down": ["Press"], "up": ["Release"], "tap": ["Press", "Release"]}[how]:
            self.call("Keyboard", method, GLib.Variant("(u)", (int(qnum, 16),)))

    def position(self, x, y):
        self.call("Mouse", "SetAbsPosition", GLib.Variant("(uu)", (int(x), int(y))))

    def window(self, width, height):
        self.call("Console", "SetUIInfo", GLib.Variant("(qqiiuu)", (0, 0, 0, 0, int(width), int(height))))

    def stats(self):
        return {"calls": self.calls, "sizes": self.sizes, "ended": self.ended, "unanswered": len(self.unanswered)}

    def run(self, line):
        """Carries out one command line; returns what to answer."""
        words = shlex.split(line)
        try:
            method = getattr(self, words[0].replace("-", "_"))
            return {"ok": True} | (method(*words[1:]) or {})
        except Exception as error:  # whatever it is, the test that asked has to hear of it
            return {"ok": False, "error": f"{line}: {type(error).__name__}: {error}"}


def _with_data(arguments):
    """The numbers of a call, and the bytes after them. To unpack these would make a million of objects."""
    count = arguments.n_children() - 1
    numbers = [arguments.get_child_value(index).unpack() for index in range(count)]
    return numbers, numpy.frombuffer(arguments.get_child_value(count).get_data_as_bytes().get_data(), numpy.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("commands", nargs="*", metavar="COMMAND")
    parser.add_argument("--name", default="org.qemu.spice")
    parser.add_argument("--console", type=int, default=0)
    parser.add_argument("--limit", type=float, default=20, help="seconds a command may wait")
    parser.add_argument("--tolerance", type=int, default=40, help="how far wait-colour may be off, per colour")
    parser.add_argument("--pixels-only", action="store_true", help="be a viewer from before shared memory")
    arguments = parser.parse_args()
    interfaces = [] if arguments.pixels_only else ["Map", "ScanoutDMABUF2"]
    viewer = Viewer(arguments.address, arguments.name, arguments.console, interfaces, arguments.limit, arguments.tolerance)
    failed = False

    def answer(line):
        nonlocal failed
        result = viewer.run(line)
        failed = failed or not result["ok"]
        print(json.dumps(result), flush=True)

    if arguments.commands:
        for command in arguments.commands:
            answer(command)
        sys.exit(failed)
    loop = GLib.MainLoop()
    pending = bytearray()

    def readable(fd, _condition):
        data = os.read(fd, 65536)
        pending.extend(data)
        while b"\n" in pending:
            line, _, rest = bytes(pending).partition(b"\n")
            pending[:] = rest
            answer(line.decode())
        if not data:
            loop.quit()
        return bool(data)
    GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, 0, GLib.IOCondition.IN | GLib.IOCondition.HUP, readable)
    loop.run()


if __name__ == "__main__":
    main()
