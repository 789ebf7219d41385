#!/usr/bin/python3
"""One viewer that looks at what it decodes: `watch.py URI`, with `spice://…` by spice-gtk's library, `vnc://HOST:PORT` by the
Tight encoding that VNC viewers ask for first, without loss. One command a line comes in on standard input; each is
answered by a line of JSON.

  place X Y                 where the film's patch is
  truth FILE W H RECT RECT… the film as the player writes it, the size of the screen, and as X Y W H what the film's
                            frames are, and the parts of it that move
  mark                      forgets what was seen; from now on up to 12 pictures are kept if there is a truth
  seen                      `seen`: [number, ns of CLOCK_MONOTONIC] of each change of the patch; `bytes` that came in
  quality                   `psnr` and `ssim`: medians over the pictures kept, of the parts that move; `beside`: of how
                            many in a hundred every pixel in none of these parts was equal; `equal`: … every pixel
  exact NUMBER MS           waits until every pixel is that frame's, at most MS; `ns` when it was, or else `psnr`
"""

import json
import math
import os
import socket
import statistics
import struct
import sys
import time
import zlib
from pathlib import Path
from urllib.parse import urlparse

import numpy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

from clock import number_at  # noqa: E402
from spice_client import Client  # noqa: E402
from gi.repository import GLib, Gst  # noqa: E402

FRAMES, DIGIT = 16, 16  # as in film.h
KEPT_BYTES = 250 << 20  # of pictures
KEPT = 12
SETTLED = 20  # ms after its patch until all of a frame is there


class Watch:
    def __init__(self, viewer):
        self.viewer = viewer
        self.patch = (0, 0)
        self.width, self.height = 1280, 720
        self.whole = self.frames = self.moving = self.parts = None
        self.number = None
        self.seen = []
        self.kept = []
        self.keeping = False
        viewer.on_change = self.changed

    def changed(self):
        pixels = self.viewer.pixels
        if pixels is None or pixels.shape[:2] != (self.height, self.width):
            return
        x, y = self.patch
        number = number_at(lambda x, y: int(pixels[y, x, 1]), x, y)
        if number == self.number:
            return
        self.number = number
        self.seen.append((number, time.monotonic_ns()))
        if self.keeping and len(self.kept) < min(KEPT, KEPT_BYTES // pixels.nbytes + 1) and len(self.seen) % 3 == 0:
            GLib.timeout_add(SETTLED, self.keep, number)

    def keep(self, number):
        if self.number == number and len(self.kept) < KEPT:
            self.kept.append((number, self.viewer.pixels.copy()))
        return False

    def place(self, x, y):
        self.patch = int(x), int(y)

    def truth(self, path, width, height, *numbers):
        self.width, self.height = int(width), int(height)
        self.moving, *self.parts = zip(*[map(int, numbers)] * 4)
        film = numpy.memmap(path, numpy.uint8, "r")
        size = self.width * self.height * 4
        self.whole = film[:size].reshape(self.height, self.width, 4)
        self.frames = film[size:].reshape(FRAMES, self.moving[3], self.moving[2], 4)

    def mark(self):
        self.seen, self.kept, self.keeping = [], [], self.frames is not None
        self.before = self.viewer.bytes_read()

    def end(self):
        return {"seen": self.seen, "bytes": self.viewer.bytes_read() - self.before}

    def quality(self):
        results = [self.likeness(number, pixels) for number, pixels in self.kept]
        self.kept, self.keeping = [], False
        if not results:
            return {}
        psnr, ssim, beside, equal = zip(*results)
        of_hundred = lambda yes: 100 * sum(yes) / len(yes)  # noqa: E731
        return {"psnr": statistics.median(psnr), "ssim": statistics.median(ssim), "beside": of_hundred(beside),
                "equal": of_hundred(equal)}

    def expected(self, number):
        frame = self.whole.copy()
        x, y, width, height = self.moving
        frame[y:y + height, x:x + width] = self.frames[number % FRAMES]
        x, y = self.patch
        for digit in range(4):
            left, top = x + digit % 2 * DIGIT, y + digit // 2 * DIGIT
            frame[top:top + DIGIT, left:left + DIGIT] = number % 16 * 7 % 16 * 16 + 8
            number //= 16
        return frame

    def likeness(self, number, pixels):
        """PSNR and SSIM of what moves; whether all beside it is equal, and whether all is."""
        expected = self.expected(number)[..., :3]
        grey = numpy.array([0.114, 0.587, 0.299], numpy.float32)
        errors, alike, sizes = [], [], []
        for x, y, width, height in self.parts:
            one, two = (picture[y:y + height, x:x + width, :3].astype(numpy.float32) for picture in (expected, pixels))
            errors.append(float(numpy.mean((one - two) ** 2)))
            alike.append(ssim(one @ grey, two @ grey))
            sizes.append(width * height)
        different = (expected != pixels[..., :3]).any(axis=2)
        equal = not different.any()
        for x, y, width, height in self.parts:
            different[y:y + height, x:x + width] = False
        error, likeness = numpy.average(errors, weights=sizes), numpy.average(alike, weights=sizes)
        # Infinite for equal pictures, which JSON has no word for.
        return 10 * math.log10(255**2 / max(error, 1e-4)), likeness, not different.any(), equal

    def exact(self, number, ms):
        number = int(number)
        wanted = self.expected(number)[..., :3]
        deadline = time.monotonic() + float(ms) / 1000
        context = GLib.MainContext.default()
        tick = GLib.timeout_add(10, lambda: True)
        looked = None
        try:
            while time.monotonic() < deadline:
                context.iteration(True)
                now = self.viewer.changes
                if now != looked and self.number == number:
                    looked, at = now, time.monotonic_ns()
                    if numpy.array_equal(self.viewer.pixels[..., :3], wanted):
                        return {"ns": at}
        finally:
            GLib.source_remove(tick)
        return {"psnr": self.likeness(number, self.viewer.pixels)[0], "number": self.number}

    def run(self, line):
        words = line.split()
        return getattr(self, {"seen": "end"}.get(words[0], words[0]))(*words[1:]) or {}


def ssim(one, two):
    """Structural similarity of two pictures of grey, the mean over blocks of 8x8."""
    rows, columns = one.shape[0] // 8 * 8, one.shape[1] // 8 * 8
    blocks = [p[:rows, :columns].reshape(rows // 8, 8, columns // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 64) for p in (one, two)]
    means = [block.mean(1) for block in blocks]
    apart = [block - mean[:, None] for block, mean in zip(blocks, means)]
    variances = [(part**2).mean(1) for part in apart]
    together = (apart[0] * apart[1]).mean(1)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * means[0] * means[1] + c1) * (2 * together + c2)
    return float((value / ((means[0] ** 2 + means[1] ** 2 + c1) * (variances[0] + variances[1] + c2))).mean())


class Spice(Client):
    def bytes_read(self):
        return sum(channel.props.total_read_bytes for channel in self.channels.values())


class Vnc:
    """A VNC viewer: it asks for the next update when it has drawn the one before."""

    def __init__(self, host, port):
        self.on_change = lambda: None
        self.pixels = None
        self.changes = self.count = 0
        self.streams = {}
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 20)
        self.read(12)
        self.socket.sendall(b"RFB 003.008\n")
        self.read(self.read(1)[0])
        self.socket.sendall(b"\1")
        self.read(4)
        self.socket.sendall(b"\1")
        width, height = struct.unpack(">HH", self.read(4))
        self.read(16)
        self.read(struct.unpack(">I", self.read(4))[0])
        # 32 bits, depth 24, little-endian, blue first.
        self.socket.sendall(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.socket.sendall(struct.pack(">BxHiiii", 2, 4, 7, 5, 0, -223))  # Tight, hextile, raw, size of the desktop
        self.resize(width, height)
        self.ask(False)
        self.last = time.monotonic()
        GLib.io_add_watch(self.socket.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_IN, self.readable)

    def bytes_read(self):
        return self.count

    def wait_picture(self):
        while self.changes == 0:
            GLib.MainContext.default().iteration(True)

    def read(self, size):
        data = self.file.read(size)
        if len(data) != size:
            raise ConnectionError("the VNC server closed the connection")
        self.count += size
        return data

    def resize(self, width, height):
        if self.pixels is None or self.pixels.shape[:2] != (height, width):
            self.pixels = numpy.zeros((height, width, 4), numpy.uint8)

    def ask(self, incremental):
        height, width = self.pixels.shape[:2]
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, width, height))

    def readable(self, *_):
        while True:
            kind = self.read(1)[0]
            if kind == 0:
                self.update()
            elif kind == 1:
                self.read(struct.unpack(">xHH", self.read(5))[1] * 6)
            elif kind == 3:
                self.read(struct.unpack(">xxxI", self.read(7))[0])
            # What the file has read ahead no socket tells of.
            if not self.buffered():
                return True

    def buffered(self):
        self.socket.setblocking(False)
        try:
            return bool(self.file.peek(1))
        finally:
            self.socket.setblocking(True)

    def update(self):
        for _ in range(struct.unpack(">xH", self.read(3))[0]):
            x, y, width, height, encoding = struct.unpack(">HHHHi", self.read(12))
            if encoding == -223:
                self.resize(width, height)
            elif encoding == 0:
                self.pixels[y:y + height, x:x + width] = numpy.frombuffer(self.read(width * height * 4), numpy.uint8).reshape(height, width, 4)
            elif encoding == 7:
                self.pixels[y:y + height, x:x + width, 2::-1] = self.tight(width, height)
            else:
                raise ValueError(f"a rectangle of encoding {encoding}")
        self.ask(True)
        self.changes += 1
        self.on_change()

    def tight(self, width, height):
        control = self.read(1)[0]
        for stream in range(4):
            if control & 1 << stream:
                self.streams.pop(stream, None)
        kind = control >> 4
        if kind == 8:
            return numpy.frombuffer(self.read(3), numpy.uint8)
        if kind > 8:
            raise ValueError("Tight with loss was not asked for")
        kind_of_filter = self.read(1)[0] if kind & 4 else 0
        if kind_of_filter == 0:
            return self.unpacked(kind & 3, width * height * 3).reshape(height, width, 3)
        if kind_of_filter != 1:
            raise ValueError("Tight's gradient filter")
        colours = self.read(1)[0] + 1
        palette = numpy.frombuffer(self.read(colours * 3), numpy.uint8).reshape(colours, 3)
        if colours == 2:
            row = (width + 7) // 8
            bits = numpy.unpackbits(self.unpacked(kind & 3, row * height).reshape(height, row), axis=1)
            return palette[bits[:, :width]]
        return palette[self.unpacked(kind & 3, width * height).reshape(height, width)]

    def unpacked(self, stream, size):
        if size < 12:
            return numpy.frombuffer(self.read(size), numpy.uint8)
        length = shift = 0
        while True:
            byte = self.read(1)[0]
            length |= (byte & 0x7f if shift < 14 else byte) << shift
            shift += 7
            if byte < 0x80 or shift > 14:
                break
        inflate = self.streams.setdefault(stream, zlib.decompressobj())
        return numpy.frombuffer(inflate.decompress(self.read(length)), numpy.uint8)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    uri = urlparse(sys.argv[1])
    Gst.init(None)
    viewer = Vnc(uri.hostname, uri.port) if uri.scheme == "vnc" else Spice(sys.argv[1])
    watch = Watch(viewer)
    viewer.wait_picture()
    loop = GLib.MainLoop()
    pending = bytearray()

    def readable(fd, _condition):
        data = os.read(fd, 65536)
        pending.extend(data)
        while b"\n" in pending:
            line, _, rest = bytes(pending).partition(b"\n")
            pending[:] = rest
            print(json.dumps(watch.run(line.decode())), file=answers, flush=True)
        if not data:
            loop.quit()
        return bool(data)
    GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, 0, GLib.IOCondition.IN | GLib.IOCondition.HUP, readable)
    print("ready", file=answers, flush=True)
    loop.run()


if __name__ == "__main__":
    main()
