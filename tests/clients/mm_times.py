#!/usr/bin/python3
"""A SPICE client that notes the times on what it gets: `mm_times.py URI [OPTIONS]`.

It takes video and sound, decodes nothing, and answers what a client has to. Prints `ready` when its channels are open. One
command a line comes in on standard input, each answered by a line of JSON with `ok`:

  mark         forgets all that was noted
  sound COUNT  waits for so many pieces of sound
  video COUNT  waits for so many pictures
  stop         waits for the end of the sound
  report       tells `sound` and `video`: pairs of the server's milliseconds and bytes; and the other messages of the sound,
               in their order
"""

import argparse
import json
import select
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from viewers import DISPLAY_CAPS, NO_FRAME, STREAM_DATA, STREAM_DATA_SIZED, Channel, Viewer  # noqa: E402

PLAYBACK = 5
DATA, MODE, START, STOP, VOLUME, MUTE, LATENCY = range(101, 108)  # of the playback channel
NAMES = {MODE: "mode", START: "start", STOP: "stop", VOLUME: "volume", MUTE: "mute", LATENCY: "latency"}
CAPS = 1 << 1 | 1 << 2 | 1 << 3  # volume, latency, Opus
LIMIT = 30  # seconds a command may wait


class Listener(Viewer):
    def __init__(self, address, caps):
        self.forget()
        super().__init__(address, DISPLAY_CAPS)
        self.playback = Channel(address, PLAYBACK, self.session, caps, self._playback)

    def forget(self):
        self.sound, self.video, self.other = [], [], []

    def _display(self, channel, kind, size, at):
        super()._display(channel, kind, size, at)
        if kind in (STREAM_DATA, STREAM_DATA_SIZED) and size > 12 + NO_FRAME:
            self.video.append((struct.unpack_from("<I", channel.pending, at + 4)[0], size))

    def _playback(self, channel, kind, size, at):
        if kind == DATA:
            self.sound.append((struct.unpack_from("<I", channel.pending, at)[0], size - 4))
        elif kind in NAMES:
            self.other.append((NAMES[kind], bytes(channel.pending[at:at + size]).hex()))

    def wait(self, condition, what):
        deadline = time.monotonic() + LIMIT
        channels = [self.main, self.display, self.playback]
        while not condition():
            readable, _, _ = select.select([channel.socket for channel in channels], [], [], 0.1)
            for channel in channels:
                if channel.socket in readable:
                    channel.read()
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain: {what}; so far {len(self.sound)} pieces, {len(self.video)} pictures")

    def run(self, line):
        word, _, count = line.strip().partition(" ")
        if word == "mark":
            self.forget()
        elif word == "sound":
            self.wait(lambda: len(self.sound) >= int(count), f"{count} pieces of sound")
        elif word == "video":
            self.wait(lambda: len(self.video) >= int(count), f"{count} pictures")
        elif word == "stop":
            self.wait(lambda: any(name == "stop" for name, _ in self.other), "the end of the sound")
        elif word == "report":
            return {"sound": self.sound, "video": self.video, "other": self.other}
        else:
            raise ValueError(f"no such command: {line}")
        return {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri")
    parser.add_argument("--raw", action="store_true", help="be a client without Opus")
    arguments = parser.parse_args()
    listener = Listener(arguments.uri, CAPS & ~(1 << 3) if arguments.raw else CAPS)
    listener.wait(lambda: any(name == "mode" for name, _ in listener.other), "the sound's first message")
    for line in sys.stdin:
        try:
            answer = {"ok": True, **listener.run(line)}
        except Exception as error:  # whatever it is, the test that asked has to hear of it
            answer = {"ok": False, "error": f"{line}: {type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
