"""A slow network on a machine that has none: two tun devices, one of them in a network namespace of its own, and this
program between them, which delays, drops and queues what it passes on. Real TCP runs over it.

`link.py NAME`: makes the namespace NAME, prints `ready`, and passes on until its standard input ends. Each line there sets
what follows: `BITS_PER_SECOND DELAY_MS LOST_OF_1000 BUFFER_BYTES`, in each direction. The kernel's own netem would do
as well; many kernels are built without it.
"""

import collections
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

HERE, THERE = "198.18.77.1", "198.18.77.2"  # of the block for benchmarks (RFC 2544): nobody else's
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
CLONE_NEWNET = 0x40000000  # linux/sched.h
PACKET_MAX = 65536


class Direction:
    """Packets on their way from one device to the other."""

    def __init__(self, source, target, seed):
        self.source = source
        self.target = target
        self.random = random.Random(seed)
        self.waiting = collections.deque()  # (when it arrives, packet)
        self.idle_at = 0.0  # when the link has sent all it has

    def take(self, settings):
        rate, delay, lost, buffer = settings
        now = time.monotonic()
        while True:
            try:
                packet = os.read(self.source, PACKET_MAX)
            except BlockingIOError:
                return
            queued = max(0.0, self.idle_at - now) * rate / 8
            if queued + len(packet) > buffer:
                continue
            self.idle_at = max(now, self.idle_at) + len(packet) * 8 / rate
            if self.random.randrange(1000) >= lost:
                self.waiting.append((self.idle_at + delay / 1000, packet))

    def give(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            try:
                os.write(self.target, self.waiting.popleft()[1])
            except OSError:
                pass  # the device drops it, as networks may

    def wake_at(self):
        return self.waiting[0][0] if self.waiting else None


def main():
    name = sys.argv[1]
    run("ip", "netns", "add", name)
    try:
        ours = tun("qslink0")
        run("ip", "address", "add", f"{HERE}/30", "dev", "qslink0")
        run("ip", "link", "set", "qslink0", "up")
        # Linux's own default, whatever this machine's is: the one that takes a lost packet for a full network.
        run("ip", "route", "replace", "198.18.77.0/30", "dev", "qslink0", "congctl", "cubic")
        with open(f"/run/netns/{name}") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        theirs = tun("qslink1")
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", f"{THERE}/30", "dev", "qslink1")
        run("ip", "link", "set", "qslink1", "up")
        print("ready", flush=True)
        pass_on([Direction(ours, theirs, 1), Direction(theirs, ours, 2)])
    finally:
        run("ip", "netns", "delete", name)


def pass_on(directions):
    settings, pending = None, b""
    while True:
        times = [at for at in (direction.wake_at() for direction in directions) if at is not None]
        wait = max(0.0, min(times) - time.monotonic()) if times else None
        sources = [direction.source for direction in directions] if settings else []
        readable, _, _ = select.select([0, *sources], [], [], wait)
        if 0 in readable:
            data = os.read(0, 4096)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                rate, delay, lost, buffer = line.split()
                settings = (int(rate), float(delay), int(lost), int(buffer))
        for direction in directions:
            if settings and direction.source in readable:
                direction.take(settings)
            direction.give()


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
