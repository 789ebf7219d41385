#!/usr/bin/python3
"""Many SPICE clients that count what they get: `viewers.py URI COUNT [--dmabufs]`.

They take H.264 and images, decode nothing, and answer what a client has to. With `--dmabufs` they also take guest buffers
(over a unix socket) and say at once that they have drawn them. One command a line comes in on standard input:

  mark     forgets all that was counted
  report   prints JSON: `frames` and `bytes` of each viewer, and of the first one `arrivals`: when each frame's last byte
           was there (ns of CLOCK_MONOTONIC)

Prints `ready` when every viewer's display channel has been sent something.
"""

import argparse
import hashlib
import json
import os
import select
import socket
import struct
import sys
import time
from urllib.parse import urlparse

MAIN, DISPLAY = 1, 2
AUTH_SELECTION_SPICE_MINI = 1 << 0 | 1 << 1 | 1 << 3
# Sized streams, monitors, LZ4, several codecs, MJPEG, H.264; as bits of spice/protocol.h's display capabilities.
DISPLAY_CAPS = 1 << 0 | 1 << 1 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11
GL_SCANOUT_CAP = 1 << 7
SET_ACK, PING, INIT, STREAM_DATA, STREAM_DATA_SIZED, GL_SCANOUT, GL_DRAW = 3, 4, 103, 123, 316, 320, 321
IMAGES = range(302, 316)
NO_FRAME = 32  # bytes: a stream's data this short is no picture


class Channel:
    """One connection. What comes in is taken apart by `feed`."""

    def __init__(self, address, kind, session, caps, heard):
        self.socket = connect(address)
        self.heard = heard
        self.pending = bytearray()
        self.window = self.unanswered = 0
        link(self.socket, kind, session, caps)

    def say(self, kind, body=b""):
        self.socket.sendall(struct.pack("<HI", kind, len(body)) + body)

    def read(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.pending += data
        at = 0
        while len(self.pending) - at >= 6:
            kind, size = struct.unpack_from("<HI", self.pending, at)
            # A byte that carries the file comes after the message.
            whole = 6 + size + (kind == GL_SCANOUT)
            if len(self.pending) - at < whole:
                break
            self.message(kind, size, at + 6)
            at += whole
        del self.pending[:at]
        return len(data)

    def message(self, kind, size, at):
        if self.window:
            self.unanswered += 1
            if self.unanswered >= self.window:
                self.unanswered = 0
                self.say(2)
        if kind == SET_ACK:
            generation, self.window = struct.unpack_from("<II", self.pending, at)
            self.unanswered = 0
            self.say(1, struct.pack("<I", generation))
        elif kind == PING:
            self.say(3, bytes(self.pending[at:at + 12]))
        else:
            self.heard(self, kind, size, at)


class Viewer:
    def __init__(self, address, caps):
        self.frames = self.bytes = 0
        self.arrivals = []
        self.session = None
        self.seen = False
        self.main = Channel(address, MAIN, 0, 0, self._main)
        while self.session is None:
            self.main.read()
        self.main.say(104)
        self.display = Channel(address, DISPLAY, self.session, caps, self._display)
        self.display.say(101, struct.pack("<BqBi", 1, 20 << 20, 1, 1 << 20))

    def _main(self, channel, kind, _size, at):
        if kind == INIT:
            self.session = struct.unpack_from("<I", channel.pending, at)[0]

    def _display(self, channel, kind, size, _at):
        self.seen = True
        if kind == GL_DRAW:
            channel.say(104)
        if kind in IMAGES or kind == GL_DRAW or (kind in (STREAM_DATA, STREAM_DATA_SIZED) and size > 12 + NO_FRAME):
            self.frames += 1
            self.arrivals.append(time.monotonic_ns())


def connect(address):
    parsed = urlparse(address)
    if parsed.scheme == "spice+unix":
        made = socket.socket(socket.AF_UNIX)
        made.connect(parsed.path)
    else:
        made = socket.create_connection((parsed.hostname, parsed.port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def link(on, kind, session, caps):
    """SPICE's greeting, with an empty password."""
    body = struct.pack("<IBBIIIII", session, kind, 0, 1, 1, 18, AUTH_SELECTION_SPICE_MINI, caps)
    on.sendall(struct.pack("<4sIII", b"REDQ", 2, 2, len(body)) + body)
    size = struct.unpack("<4sIII", exactly(on, 16))[3]
    reply = exactly(on, size)
    error = struct.unpack_from("<I", reply)[0]
    if error:
        raise ConnectionError(f"the server refused the link: {error}")
    on.sendall(struct.pack("<I", 1) + ticket(reply[4:166]))
    result = struct.unpack("<I", exactly(on, 4))[0]
    if result:
        raise ConnectionError(f"the server refused the ticket: {result}")


def ticket(key):
    """An empty password, encrypted as SPICE wants it: RSA with OAEP over SHA-1."""
    start = key.index(b"\x02\x81\x81\x00") + 4
    modulus = int.from_bytes(key[start:start + 128], "big")
    hash_length, length = 20, 128
    text = hashlib.sha1(b"").digest() + bytes(length - 2 * hash_length - 3) + b"\x01" + b"\0"
    seed = os.urandom(hash_length)
    text = xor(text, mask(seed, len(text)))
    block = b"\0" + xor(seed, mask(text, hash_length)) + text
    return pow(int.from_bytes(block, "big"), 65537, modulus).to_bytes(length, "big")


def mask(seed, length):
    blocks = (hashlib.sha1(seed + struct.pack(">I", n)).digest() for n in range(length // 20 + 1))
    return b"".join(blocks)[:length]


def xor(one, two):
    return bytes(a ^ b for a, b in zip(one, two))


def exactly(on, size):
    data = b""
    while len(data) < size:
        more = on.recv(size - len(data))
        if not more:
            raise ConnectionError("the server closed the connection while linking")
        data += more
    return data


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri")
    parser.add_argument("count", type=int)
    parser.add_argument("--dmabufs", action="store_true")
    arguments = parser.parse_args()
    caps = DISPLAY_CAPS | (GL_SCANOUT_CAP if arguments.dmabufs else 0)
    viewers = []
    polled = select.epoll()
    owners = {}
    for _ in range(arguments.count):
        viewer = Viewer(arguments.uri, caps)
        viewers.append(viewer)
        for channel in (viewer.main, viewer.display):
            owners[channel.socket.fileno()] = (viewer, channel)
            polled.register(channel.socket.fileno(), select.EPOLLIN)
        # Those that came before are served while the next ones come.
        serve(polled, owners, 0)
    polled.register(0, select.EPOLLIN)
    told = False
    while True:
        if serve(polled, owners, -1):
            line = sys.stdin.readline().strip()
            if line == "mark":
                for viewer in viewers:
                    viewer.frames = viewer.bytes = 0
                    viewer.arrivals = []
                print("{}", flush=True)
            elif line == "report":
                print(json.dumps({"frames": [viewer.frames for viewer in viewers], "bytes": [viewer.bytes for viewer in viewers],
                                  "arrivals": viewers[0].arrivals}), flush=True)
            else:
                return
        if not told and all(viewer.seen for viewer in viewers):
            told = True
            print("ready", flush=True)


def serve(polled, owners, timeout):
    """Reads what has come; True if there is a command."""
    command = False
    for fd, _ in polled.poll(timeout):
        if fd == 0:
            command = True
            continue
        viewer, channel = owners[fd]
        read = channel.read()
        if channel is viewer.display:
            viewer.bytes += read
    return command


if __name__ == "__main__":
    main()
