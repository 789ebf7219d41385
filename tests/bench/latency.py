#!/usr/bin/python3
"""Measures how long the picture takes: `latency.py --program PATH --guest FOLDER [--times N] [--beside]`.

The guest's stage changes a patch of its screen; its shade tells which change it is. This process holds two views of
it and times both with one clock: a listener of its own on QEMU's display (QEMU sends the same UpdateMap to it and to
the program; the patch is read from the shared memory at that moment), and a spice-gtk client, whose picture is read
whenever it changes. Video is decoded by spice-gtk's own pipeline; only putting it into a window is left out.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "clients")]

import rig  # noqa: E402
from clock import Listener  # noqa: E402
from spice_client import Client  # noqa: E402
from vm import Vm  # noqa: E402
from gi.repository import Gst  # noqa: E402

WARM_UP = 5  # changes that are not counted
SLACK = 0.005  # seconds by which this process may hear of an update later than the program; told as 0


class Changes:
    """When each shade of the patch was first seen."""

    def __init__(self):
        self.shade = None
        self.seen = []  # (shade, seconds)

    def look(self, grey):
        """Takes in the patch's grey level, as exact or as blurred as it is."""
        shade = min(15, max(0, round((grey - 8) / 16)))
        if shade != self.shade:
            self.shade = shade
            self.seen.append((shade, time.monotonic()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--times", type=int, default=100, help="how often each is measured")
    parser.add_argument("--beside", action="store_true", help="measure QEMU's own SPICE server as well")
    settings = parser.parse_args()
    Gst.init(None)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        print("qemu-spice")
        measure(settings, folder, None)
        if settings.beside:
            print("QEMU's own SPICE server, all of its video on")
            port = rig.free_port()
            measure(settings, folder, f"spice://127.0.0.1:{port}", extra=rig.peer_arguments(port))


def measure(settings, folder, uri, extra=()):
    running = []
    try:
        bus = rig.Bus(folder)
        running.append(bus)
        vm = Vm(folder / "vm", settings.guest, display=f"dbus,addr={bus.address}", extra=extra)
        running.append(vm)
        if uri is None:
            server = rig.Server(settings.program, ["--dbus-address", bus.address, "--spice-addr", "127.0.0.1:0"], folder / "server.log")
            running.append(server)
            server.ready()
            uri = server.uri
        source = Changes()
        Listener(bus.address, lambda memory: source.look(memory.grey(8, 8)))
        client = Client(uri)
        client.wait_picture()
        client.wait_rest(500)
        shown = Changes()
        look = lambda *_: client.pixels is not None and shown.look(int(client.pixels[8, 8, 1]))  # noqa: E731
        client.on_change = look
        for title, period, command in (
            ("a 64x64 patch, 10 times a second", 100, "blink"),
            ("a 64x64 patch, 30 times a second", 33, "blink"),
            ("whole 1280x720 frames, 10 a second", 100, "animate"),
            ("whole 1280x720 frames, 30 a second", 33, "animate"),
        ):
            begin = time.monotonic()
            vm.stage(f"{command} {settings.times + WARM_UP} {period}")
            client.sleep((settings.times + WARM_UP) * period * 1.2 + 1000)
            tell(f"update to changed pixel: {title}", pairs(source.seen, shown.seen, begin)[WARM_UP:], settings.times)
        vm.stage("picture")
        vm.stage("react")
        typed = []
        for _ in range(settings.times + WARM_UP):
            client.sleep(80)
            typed.append(time.monotonic())
            client.key("1e")
            count = len(shown.seen)
            client.wait(lambda: len(shown.seen) > count, "the pixel to change")
        tell("typed key to changed pixel", [after(shown.seen, when) for when in typed[WARM_UP:]], settings.times)
        tell("  of it, typed key to QEMU's update (the guest's own time, without KVM)",
             [after(source.seen, when) for when in typed[WARM_UP:]], settings.times)
    finally:
        for thing in reversed(running):
            thing.stop()


def pairs(updates, shown, since):
    """Seconds from each update to the first time its shade was shown, before that shade came again."""
    found = []
    updates = [update for update in updates if update[1] >= since]
    for index, (shade, when) in enumerate(updates):
        until = next((later for other, later in updates[index + 1:] if other == shade), float("inf"))
        seen = next((at for other, at in shown if other == shade and when - SLACK <= at < until), None)
        if seen is not None:
            found.append(max(0.0, seen - when))
    return found


def after(seen, when):
    """Seconds from `when` to the first change after it."""
    return next(at for _, at in seen if at > when) - when


def tell(title, seconds, times):
    if not seconds:
        print(f"  {title}: nothing was seen")
        return
    milliseconds = sorted(value * 1000 for value in seconds)
    tenth = lambda part: milliseconds[min(len(milliseconds) - 1, len(milliseconds) * part // 10)]  # noqa: E731
    print(f"  {title}: median {statistics.median(milliseconds):.1f} ms, "
          f"10 % under {tenth(1):.1f}, 90 % under {tenth(9):.1f}, longest {milliseconds[-1]:.1f} ({len(milliseconds)} of {times} seen)",
          flush=True)


if __name__ == "__main__":
    main()
