#!/usr/bin/python3
"""A SPICE client without a window, by spice-gtk's own library: `spice_client.py URI [OPTIONS] [COMMAND…]`.

Each COMMAND (one argument each; without any, one line of standard input each) is answered by one line of
JSON with `ok`, and with `error` where it failed. Waits end after `--limit` seconds.

  wait-picture                the whole first picture is there
  wait-size W H               the picture has this size
  wait-rest MS                nothing changed for MS milliseconds
  wait-colour X Y RRGGBB      the pixel has this colour, give or take --tolerance
  wait-event CHANNEL EVENT    a channel said: opened, closed, error-auth, error-io, error-connect, error-link …
  wait-end                    the connection was closed
  wait-cursor KIND            the pointer is `shaped` or `hidden`
  wait-leds N                 the guest's lock keys: 1 scroll, 2 num, 4 caps, added up
  wait-mouse-mode MODE        `client` (absolute) or `server` (relative)
  picture FILE                writes the picture as a PNG
  pixel X Y                   … or tells one pixel
  key SCANCODE [down|up|tap]  PC scancode set 1, hexadecimal, extended ones with 0x100 added
  leds N                      asks the guest for this state of its lock keys
  position X Y                moves the pointer to a place (client mouse mode)
  motion DX DY                … or by a distance (server mouse mode)
  button N [down|up|tap]      1 left 2 middle 3 right 4 wheel up 5 wheel down 6 side 7 extra
  cursor [FILE]               tells the pointer's shape, and writes it as a PNG
  wait-agent on|off           the guest's agent, or the server's own, is there
  wait-agent-caps BIT…        … and can do all of these
  copy TYPE FILE [SELECTION]  has copied a file's content: 1 text, 2 PNG; has selected it with SELECTION 1, so for all these
  wait-copied TYPE            the guest has copied something of this type
  clipboards                  tells what types the guest has copied something of
  paste TYPE FILE             asks for it, and writes it to a file; tells its type, 0 if there is nothing
  send FILE… [--cancel]       sends files to the guest, or gives up on the way
  window W H [DISPLAY [W H]]  shows the display in a window of this size, in pixels and millimetres; 0 0 for none
  prefer CODEC…               tells the server which video codecs it likes best, by SPICE's numbers
  agent-caps                  tells the agent's capabilities
  sizes                       tells the sizes that the picture has had
  displays                    tells the sizes of each display, each time that it began or got another one
  stats                       what came in: events of channels, changes of the picture, bytes, milliseconds to the first picture
  numbers X Y STEP            from now on, notes each number that four pixels, STEP apart, show in light and dark
  noted                       … tells them: pairs of a number and the second of the machine's clock
  sleep MS                    goes on serving the connection
  wait-sound MS               so much sound was played since the last `hear`
  hear FILE                   writes the sound since the last `hear` as raw samples (S16LE, stereo), and tells of it
  speak HZ MS                 says a tone, as fast as time passes, as soon as the guest records
  volumes                     tells how loud the guest wants what it plays and what it records
  share-cd FILE               plugs in a USB CD drive with an image
  take-cd                     unplugs it
  usb-state                   tells which USB devices are plugged in, and what went wrong
  ports                       tells the names of the ports, and which are open
  wait-port CHANNEL open|closed
  port-write CHANNEL FILE     writes a file to a port
  port-read CHANNEL N FILE    waits for N bytes of a port, and writes what came to a file
  port-has CHANNEL TEXT       waits until a port has given a text
  port-break CHANNEL          sends a break, as on a serial line
  leave                       ends the session
  come-back                   … and begins another
"""

import argparse
import ctypes
import fcntl
import json
import mmap
import os
import shlex
import struct
import sys
import time

import gi
import numpy
from PIL import Image

from agent_commands import AgentCommands
from device_commands import DeviceCommands

gi.require_version("Gst", "1.0")
gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, Gst, SpiceClientGLib as Spice  # noqa: E402

DMA_BUF_IOCTL_SYNC, SYNC_READ, SYNC_END = 0x40086200, 1, 4  # linux/dma-buf.h
BLUE_FIRST = {b"XR24", b"AR24"}  # DRM's names of the formats whose bytes are blue, green, red, …
RED_FIRST = {b"XB24", b"AB24"}  # … and of those whose are red, green, blue
BUTTONS = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 32, 7: 64}  # SPICE's mask of each button


class Client(AgentCommands, DeviceCommands):
    """One session: what came in on its channels, and what can be done with them."""

    def __init__(self, uri, password=None, limit=20.0, tolerance=40, dmabufs=False, authority=None, username=None,
                 sound=False, folder=None):
        self.limit = limit
        self.tolerance = tolerance
        self.started = time.monotonic()
        self.events = {}  # channel name: what it said
        self.channels = {}  # channel name: channel
        self.pixels = None  # the first display's pixels, shared with spice-gtk
        self.monitor = None  # where in them the first monitor is: x, y, width, height
        self.marked = False
        self.on_change = lambda: None
        self.numbers_seen = []  # (number, second)
        self.changes = 0
        self.sizes_seen = []
        self.displays_seen = {}  # by the display's number
        self.changed_at = self.first_picture_at = None
        self.pointer = None  # the cursor's shape, None while hidden
        self.held = 0  # buttons
        self.session = Spice.Session()
        self.session.props.uri = uri
        self.session.props.enable_audio = sound
        self.played = bytearray()  # what the guest played
        self.plays = []  # "start" and "stop"
        self.recording = None  # the rate and the channels that the guest records, None while it does not
        self.session.props.gl_scanout = dmabufs
        self.draws = 0  # of dmabufs
        if password is not None:
            self.session.props.password = password
        if authority is not None:
            self.session.props.ca_file = authority
        if username is not None:
            self.session.props.username = username
        self.prepare_devices(folder)
        # The library's own `connect` hides GObject's.
        GObject.Object.connect(self.session, "channel-new", self._new_channel)
        Spice.Session.connect(self.session)

    # -- what comes in --

    def _new_channel(self, _session, channel):
        if self.new_device(channel):
            return
        name = {
            Spice.MainChannel: "main", Spice.DisplayChannel: "display",
            Spice.InputsChannel: "inputs", Spice.CursorChannel: "cursor",
            Spice.PlaybackChannel: "playback", Spice.RecordChannel: "record",
        }.get(type(channel))
        if name == "display":
            self._follow_display(channel)
        if name is None or (name != "main" and channel.props.channel_id != 0):
            return
        self.channels[name] = channel
        self.events.setdefault(name, [])
        listen = lambda signal, callback: GObject.Object.connect(channel, signal, callback)  # noqa: E731
        listen("channel-event", lambda _channel, event: self.events[name].append(event.value_nick))
        if name == "display":
            listen("display-primary-create", self._primary_create)
            listen("display-primary-destroy", self._primary_destroy)
            listen("display-invalidate", self._invalidate)
            listen("display-mark", self._mark)
            listen("notify::monitors", self._monitors)
            listen("gl-draw", self._gl_draw)
        elif name == "main":
            self.listen_to_agent(channel)
        elif name == "cursor":
            listen("cursor-set", self._cursor_set)
            listen("cursor-hide", self._cursor_hide)
        elif name == "playback":
            listen("playback-start", self._playback_start)
            listen("playback-data", self._playback_data)
            listen("playback-stop", lambda _channel: self.plays.append("stop"))
        elif name == "record":
            listen("record-start", self._record_start)
            listen("record-stop", self._record_stop)
        if name != "main":
            Spice.Channel.connect(channel)

    def _follow_display(self, channel):
        """Notes the sizes of any display."""
        seen = self.displays_seen.setdefault(channel.props.channel_id, [])
        GObject.Object.connect(channel, "display-primary-create", lambda _channel, _format, *size: seen.append(list(size[:2])))
        if channel.props.channel_id != 0:
            Spice.Channel.connect(channel)

    def displays(self):
        return {"sizes": self.displays_seen}

    def _playback_start(self, _channel, format, channels, rate):
        assert (format, channels, rate) == (1, 2, 48000), (format, channels, rate)
        self.plays.append("start")

    def _playback_data(self, _channel, data, size):
        self.played += ctypes.string_at(data, size)

    def _record_start(self, _channel, format, channels, rate):
        assert (format, channels) == (1, 2), (format, channels)
        self.recording = rate

    def _record_stop(self, _channel):
        self.recording = None

    def _primary_create(self, _channel, _format, width, height, stride, _shmid, data):
        size = stride * height
        shared = (ctypes.c_uint8 * size).from_address(data)
        self.pixels = numpy.frombuffer(shared, numpy.uint8).reshape(height, stride // 4, 4)[:, :width, :]
        self.marked = False
        self._change()

    def _primary_destroy(self, _channel):
        self.pixels = None
        self.marked = False

    def _monitors(self, channel, _property):
        self.monitor = first_monitor(channel)

    @property
    def shown(self):
        """What a window would show: the part of the surface that is the first monitor."""
        if self.pixels is None or self.monitor is None:
            return self.pixels
        x, y, width, height = self.monitor
        return self.pixels[y:y + height, x:x + width]

    def _mark(self, _channel, on):
        self.marked = bool(on)

    def _invalidate(self, *_rectangle):
        self._change()

    def _gl_draw(self, channel, *_rectangle):
        """Looks at the guest's own buffer, as a client with a window would import it."""
        scanout = channel.get_gl_scanout()
        self.pixels = read_dmabuf(scanout)
        self.marked = True
        self.draws += 1
        self._change()
        channel.gl_draw_done()

    def _change(self):
        self.changes += 1
        if self.shown is not None and self.sizes_seen[-1:] != [list(self.shown.shape[1::-1])]:
            self.sizes_seen.append(list(self.shown.shape[1::-1]))
        self.changed_at = time.monotonic()
        self.on_change()

    # Not by the `cursor` property: the binding gets its structure's offsets wrong.
    def _cursor_set(self, _channel, width, height, hot_x, hot_y, data):
        if not data:
            self.pointer = None
            return
        pixels = numpy.frombuffer(ctypes.string_at(data, width * height * 4), numpy.uint8).reshape(height, width, 4)
        self.pointer = {"width": width, "height": height, "hot": [hot_x, hot_y], "pixels": pixels}

    def _cursor_hide(self, _channel):
        self.pointer = None

    # -- waiting --

    def wait(self, condition, what, limit=None):
        """Serves the connection until `condition()`; raises after the limit or when the session ended."""
        deadline = time.monotonic() + (self.limit if limit is None else limit)
        context = GLib.MainContext.default()
        # Wakes the loop below; conditions on time alone need it too.
        tick = GLib.timeout_add(10, lambda: True)
        try:
            while not condition():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"waited in vain: {what}; so far: {json.dumps(self.stats())}")
                context.iteration(True)
        finally:
            GLib.source_remove(tick)

    def has_picture(self):
        if self.first_picture_at is None and self.pixels is not None and self.marked and self.pixels[..., :3].any():
            self.first_picture_at = time.monotonic()
        return self.first_picture_at is not None and self.pixels is not None and self.marked

    def wait_picture(self):
        self.wait(self.has_picture, "a first picture")

    def wait_size(self, width, height):
        self.wait(lambda: self.has_picture() and self.shown.shape[:2] == (int(height), int(width)),
                  f"a picture of {width}x{height}")

    def wait_rest(self, milliseconds):
        self.wait(lambda: self.has_picture() and time.monotonic() - self.changed_at > float(milliseconds) / 1000,
                  f"a picture at rest for {milliseconds} ms")

    def wait_colour(self, x, y, colour):
        wanted = [int(colour[i:i + 2], 16) for i in (4, 2, 0)]

        def reached():
            found = self._at(x, y)
            return found is not None and all(abs(int(found[i]) - wanted[i]) <= self.tolerance for i in range(3))
        self.wait(reached, f"the colour {colour} at {x},{y}")

    def wait_event(self, channel, event):
        self.wait(lambda: event in self.events.get(channel, []), f"{event} of {channel}")

    def wait_end(self):
        self.wait(lambda: self.events.get("main", ["opened"])[-1] != "opened", "the connection's end")

    def wait_cursor(self, kind):
        self.wait(lambda: (self.pointer is not None) == (kind == "shaped"), f"a {kind} pointer")

    def wait_leds(self, leds):
        self.wait(lambda: self.channel("inputs").props.key_modifiers == int(leds), f"lock keys {leds}")

    def wait_mouse_mode(self, mode):
        wanted = {"server": 1, "client": 2}[mode]
        self.wait(lambda: self.channel("main").props.mouse_mode == wanted, f"mouse mode {mode}")

    def sleep(self, milliseconds):
        end = time.monotonic() + float(milliseconds) / 1000
        self.wait(lambda: time.monotonic() > end, "time", limit=float(milliseconds) / 1000 + 1)

    # -- doing --

    def channel(self, name):
        """The channel, once it is open."""
        self.wait(lambda: "opened" in self.events.get(name, []), f"the {name} channel")
        return self.channels[name]

    def picture(self, path):
        self.wait_picture()
        Image.fromarray(self.shown[..., 2::-1].copy()).save(path)
        return {"width": self.shown.shape[1], "height": self.shown.shape[0]}

    def pixel(self, x, y):
        self.wait_picture()
        return {"colour": "%02x%02x%02x" % tuple(int(c) for c in self._at(x, y)[2::-1])}

    def _at(self, x, y):
        if self.pixels is None or int(y) >= self.pixels.shape[0] or int(x) >= self.pixels.shape[1]:
            return None
        return self.pixels[int(y), int(x)]

    def key(self, scancode, how="tap"):
        inputs = self.channel("inputs")
        code = int(scancode, 16)
        if how != "up":
            inputs.key_press(code)
        if how != "down":
            inputs.key_release(code)

    def leds(self, state):
        self.channel("inputs").set_key_locks(int(state))

    def position(self, x, y):
        self.channel("inputs").position(int(x), int(y), 0, self.held)

    def motion(self, x, y):
        self.channel("inputs").motion(int(x), int(y), self.held)

    def button(self, number, how="tap"):
        inputs = self.channel("inputs")
        number = int(number)
        if how != "up":
            self.held |= BUTTONS[number]
            inputs.button_press(number, self.held)
        if how != "down":
            self.held &= ~BUTTONS[number]
            inputs.button_release(number, self.held)

    def cursor(self, path=None):
        if self.pointer is None:
            return {"shape": None}
        if path:
            Image.fromarray(self.pointer["pixels"]).save(path)
        told = {key: value for key, value in self.pointer.items() if key != "pixels"}
        return {"shape": told | {"opaque": int((self.pointer["pixels"][..., 3] > 0).sum())}}

    def numbers(self, x, y, step):
        def look():
            bits = [self._at(int(x) + int(step) * bit, y) for bit in range(4)]
            if any(found is None for found in bits):
                return
            number = sum((int(found[1]) > 128) << bit for bit, found in enumerate(bits))
            if not self.numbers_seen or self.numbers_seen[-1][0] != number:
                self.numbers_seen.append((number, time.monotonic()))
        # One update is several messages where a part of it is copied: what it shows in between is not looked at.
        due = []

        def look_later():
            if not due:
                due.append(GLib.idle_add(look_now, priority=GLib.PRIORITY_LOW))

        def look_now():
            due.clear()
            look()
        self.on_change = look_later
        look()

    def sizes(self):
        return {"sizes": self.sizes_seen}

    def noted(self):
        return {"numbers": self.numbers_seen}

    def wait_sound(self, milliseconds):
        wanted = int(milliseconds) * 48 * 4
        self.wait(lambda: len(self.played) >= wanted, f"{milliseconds} ms of sound")

    def hear(self, path):
        told = {"ms": len(self.played) / 4 / 48, "plays": self.plays}
        with open(path, "wb") as file:
            file.write(self.played)
        self.played, self.plays = bytearray(), []
        return told

    def speak(self, hz, milliseconds):
        channel = self.channel("record")
        self.wait(lambda: self.recording is not None, "the guest to record")
        rate = self.recording
        sample = numpy.arange(rate * int(milliseconds) // 1000)
        tone = (8000 * numpy.sin(sample * int(hz) * 2 * numpy.pi / rate)).astype("<i2")
        frames = numpy.repeat(tone, 2).tobytes()
        piece = rate // 100 * 4
        began = time.monotonic()
        for at in range(0, len(frames), piece):
            due = began + at / rate / 4
            self.wait(lambda due=due: time.monotonic() >= due, "time")
            data = ctypes.create_string_buffer(frames[at:at + piece], piece)
            channel.send_data(ctypes.addressof(data), piece, int((due - began) * 1000))
        return {"recording": self.recording is not None}

    def volumes(self):
        return {name: {"volume": volumes_of(self.channels[name]), "mute": self.channels[name].props.mute}
                for name in ("playback", "record") if name in self.channels}

    def leave(self):
        channels = list(self.channels.values())
        Spice.Session.disconnect(self.session)
        self.wait(lambda: all(channel.props.socket is None for channel in channels), "the channels' ends")
        self.events, self.channels, self.pixels, self.monitor, self.first_picture_at = {}, {}, None, None, None

    def come_back(self):
        Spice.Session.connect(self.session)

    def prefer(self, *codecs):
        assert self.channel("display").display_channel_change_preferred_video_codec_types([int(codec) for codec in codecs])

    def stats(self):
        first = self.first_picture_at and round((self.first_picture_at - self.started) * 1000)
        size = self.pixels is not None and [self.shown.shape[1], self.shown.shape[0]]
        return {"recording": self.recording, "events": self.events, "size": size, "marked": self.marked, "changes": self.changes,
                "dmabuf_draws": self.draws, "first_picture_ms": first,
                "bytes": {name: channel.props.total_read_bytes for name, channel in self.channels.items()}}

    def run(self, line):
        """Carries out one command line; returns what to answer."""
        words = shlex.split(line)
        try:
            method = getattr(self, words[0].replace("-", "_"))
            return {"ok": True} | (method(*words[1:]) or {})
        except Exception as error:  # whatever it is, the test that asked has to hear of it
            return {"ok": False, "error": f"{line}: {type(error).__name__}: {error}"}


def read_dmabuf(scanout):
    """A copy of a dmabuf's picture: rows from the top, of blue, green, red, and a byte more."""
    size = scanout.stride * scanout.height
    fcntl.ioctl(scanout.fd, DMA_BUF_IOCTL_SYNC, struct.pack("Q", SYNC_READ))
    try:
        with mmap.mmap(scanout.fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
            pixels = numpy.frombuffer(memory[:], numpy.uint8)
    finally:
        fcntl.ioctl(scanout.fd, DMA_BUF_IOCTL_SYNC, struct.pack("Q", SYNC_READ | SYNC_END))
    pixels = pixels.reshape(scanout.height, scanout.stride // 4, 4)[:, :scanout.width]
    if scanout.y0top:  # QEMU's word for: the first row is the bottom one
        pixels = pixels[::-1]
    fourcc = struct.pack("<I", scanout.format)
    if fourcc in RED_FIRST:
        return pixels[..., [2, 1, 0, 3]]
    if fourcc in BLUE_FIRST:
        return pixels
    raise ValueError(f"a dmabuf of format {fourcc}")


def first_monitor(channel):
    """The place of a display's first monitor, or None. By hand: the binding cannot read this property, an array
    of `{id, surface, x, y, width, height}`."""
    gobject = ctypes.CDLL("libgobject-2.0.so.0")
    glib = ctypes.CDLL("libglib-2.0.so.0")

    class Array(ctypes.Structure):
        _fields_ = [("data", ctypes.POINTER(ctypes.c_uint)), ("length", ctypes.c_uint)]
    # A Python object of the binding: its head, two words long, and then the pointer to the object behind it.
    pointer = ctypes.c_void_p.from_address(id(channel) + 16)
    found = ctypes.POINTER(Array)()
    gobject.g_object_get(pointer, b"monitors", ctypes.byref(found), None)
    if not found:
        return None
    place = tuple(found.contents.data[2:6]) if found.contents.length > 0 else None
    glib.g_array_unref(found)
    return place


def volumes_of(channel):
    """The volume of each channel of a sound channel. By hand: the binding cannot read this property, an array."""
    gobject = ctypes.CDLL("libgobject-2.0.so.0")
    pointer = ctypes.c_void_p.from_address(id(channel) + 16)
    found, count = ctypes.POINTER(ctypes.c_uint16)(), ctypes.c_uint()
    gobject.g_object_get(pointer, b"volume", ctypes.byref(found), b"nchannels", ctypes.byref(count), None)
    return list(found[:count.value]) if found else []


def without_video_decoders():
    """Makes this process one without any video codec, as a bare installation of a client is."""
    registry = Gst.Registry.get()
    for feature in registry.get_feature_list(Gst.ElementFactory):
        if "Decoder/Video" in (feature.get_metadata("klass") or ""):
            registry.remove_feature(feature)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri")
    parser.add_argument("commands", nargs="*", metavar="COMMAND")
    parser.add_argument("--password")
    parser.add_argument("--username", help="log in by this name, where the server wants one")
    parser.add_argument("--authority", help="trust the certificates that this file's authority signed")
    parser.add_argument("--limit", type=float, default=20, help="seconds a command may wait")
    parser.add_argument("--tolerance", type=int, default=40, help="how far wait-colour may be off, per colour")
    parser.add_argument("--images-only", action="store_true", help="be a client that can decode no video")
    parser.add_argument("--dmabufs", action="store_true", help="be a client that imports dmabufs")
    parser.add_argument("--sound", action="store_true", help="be a client with a loudspeaker and a microphone")
    parser.add_argument("--folder", help="share this folder")
    arguments = parser.parse_args()

    # With SPICE_DEBUG=1 the library talks on standard output: that goes to the log, answers do not.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    Gst.init(None)
    if arguments.images_only:
        without_video_decoders()
    client = Client(arguments.uri, arguments.password, arguments.limit, arguments.tolerance, arguments.dmabufs,
                    arguments.authority, arguments.username, arguments.sound, arguments.folder)
    failed = False

    def answer(line):
        nonlocal failed
        result = client.run(line)
        failed = failed or not result["ok"]
        print(json.dumps(result), file=answers, flush=True)

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
