#!/usr/bin/python3
"""When QEMU told its viewers of a change: `clock.py BUS_ADDRESS`, a listener of its own on the D-Bus display.

One command a line comes in on standard input: `place X Y` says where a film's patch is, `mark` forgets what was seen,
`seen` prints JSON: [number, ns of CLOCK_MONOTONIC, the same] of each change of the patch.
"""

import json
import mmap
import os
import socket
import sys
import threading
import time

from gi.repository import Gio, GLib

LISTENER = """<node>
<interface name="org.qemu.Display1.Listener">
  <method name="Scanout"><arg type="u" direction="in"/><arg type="u" direction="in"/><arg type="u" direction="in"/>
    <arg type="u" direction="in"/><arg type="ay" direction="in"/></method>
  <method name="Update"><arg type="i" direction="in"/><arg type="i" direction="in"/><arg type="i" direction="in"/>
    <arg type="i" direction="in"/><arg type="u" direction="in"/><arg type="u" direction="in"/><arg type="ay" direction="in"/></method>
  <method name="Disable"/>
  <method name="MouseSet"><arg type="i" direction="in"/><arg type="i" direction="in"/><arg type="i" direction="in"/></method>
  <method name="CursorDefine"><arg type="i" direction="in"/><arg type="i" direction="in"/><arg type="i" direction="in"/>
    <arg type="i" direction="in"/><arg type="ay" direction="in"/></method>
  <property name="Interfaces" type="as" access="read"/>
</interface>
<interface name="org.qemu.Display1.Listener.Unix.Map">
  <method name="ScanoutMap"><arg type="h" direction="in"/><arg type="u" direction="in"/><arg type="u" direction="in"/>
    <arg type="u" direction="in"/><arg type="u" direction="in"/><arg type="u" direction="in"/></method>
  <method name="UpdateMap"><arg type="i" direction="in"/><arg type="i" direction="in"/><arg type="i" direction="in"/>
    <arg type="i" direction="in"/></method>
</interface>
</node>"""


class Listener:
    """A view of QEMU's first console by its shared memory, in a thread of its own: its times wait for nobody.
    `look` is called with it at each change."""

    def __init__(self, address, look):
        self.look = look
        self.memory = None
        ready = threading.Event()
        threading.Thread(target=self._run, args=(address, ready), daemon=True).start()
        if not ready.wait(20):
            raise TimeoutError("QEMU did not take a second listener")

    def _run(self, address, ready):
        context = GLib.MainContext.new()
        context.push_thread_default()
        self._register(address)
        ready.set()
        GLib.MainLoop.new(context, False).run()

    def _register(self, address):
        bus = Gio.DBusConnection.new_for_address_sync(
            address, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
        ours, theirs = socket.socketpair()
        fds = Gio.UnixFDList.new()
        index = fds.append(theirs.fileno())
        bus.call_with_unix_fd_list_sync("org.qemu", "/org/qemu/Display1/Console_0", "org.qemu.Display1.Console",
                                        "RegisterListener", GLib.Variant("(h)", (index,)), None, 0, -1, fds, None)
        theirs.close()
        stream = Gio.Socket.new_from_fd(ours.detach()).connection_factory_create_connection()
        flags = Gio.DBusConnectionFlags
        self.connection = Gio.DBusConnection.new_sync(
            stream, None, flags.AUTHENTICATION_CLIENT | flags.DELAY_MESSAGE_PROCESSING, None, None)
        for interface in Gio.DBusNodeInfo.new_for_xml(LISTENER).interfaces:
            self.connection.register_object("/org/qemu/Display1/Listener", interface, self._call, self._property, None)
        self.connection.start_message_processing()

    def grey(self, x, y):
        """The blue of one pixel."""
        return self.memory[self.offset + y * self.stride + x * 4]

    def _property(self, *_):
        return GLib.Variant("as", ["org.qemu.Display1.Listener.Unix.Map"])

    def _call(self, _connection, _sender, _path, _interface, method, parameters, invocation):
        if method == "ScanoutMap":
            handle, offset, _width, height, stride, _format = parameters.unpack()
            fd = invocation.get_message().get_unix_fd_list().get(handle)
            self.memory = mmap.mmap(fd, offset + stride * height, prot=mmap.PROT_READ)
            self.offset, self.stride = offset, stride
            os.close(fd)
        if self.memory is not None and method in ("ScanoutMap", "UpdateMap"):
            self.look(self)
        invocation.return_value(None)


def number_at(grey, x, y):
    """What a film's patch says; see film.h."""
    shades = (min(15, max(0, round((grey(x + digit % 2 * 16 + 8, y + digit // 2 * 16 + 8) - 8) / 16))) for digit in range(4))
    return sum(shade * 7 % 16 << 4 * digit for digit, shade in enumerate(shades))


def main():
    place, seen = [0, 0], []

    def look(memory):
        number = number_at(memory.grey, *place)
        if not seen or seen[-1][0] != number:
            now = time.monotonic_ns()
            seen.append((number, now, now))
    Listener(sys.argv[1], look)
    print("ready", flush=True)
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "place":
            place[:] = map(int, numbers)
        if word == "mark":
            seen.clear()
        print(json.dumps({"seen": seen} if word == "seen" else {}), flush=True)


if __name__ == "__main__":
    main()
