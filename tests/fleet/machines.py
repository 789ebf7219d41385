"""Machines that are scripted QEMUs, a qemu-spice beside each, and viewers in front of them."""

import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "tests" / "bench"
sys.path.insert(0, str(BENCH))

import font  # noqa: E402
from measure import Player, process_cpu_ns  # noqa: E402
from viewers import DISPLAY_CAPS, Viewer  # noqa: E402

START_LIMIT = 120  # seconds for all programs to be ready, or to end
PICTURE_LIMIT = 120  # seconds for all viewers to see the picture; each link costs an RSA key
AT_ONCE = 16  # viewers that connect side by side
DRAW_COPY, IMAGE_AT, PIXELS_AT, BITMAP = 304, 57, 57 + 18 + 18, 0  # of a message, see spice.proto
PATCH, DIGIT = (64, 64), 16  # film.h: where the film `number` has its number, and the side of a digit, pixels


class Machine:
    """A scripted QEMU that stays, and the qemu-spice beside it, which may come and go; `program` is words of a command."""

    def __init__(self, number, player, font_file, sockets, folder, program):
        self.number, self.folder, self.program, self.user = number, folder, program, os.getuid()
        self.path = sockets / str(number)
        self.path.unlink(missing_ok=True)
        self.player = Player([player, font_file, self.path], folder / f"{number}-qemu.log")
        self.uri, self.process, self.attached, self.started = None, None, False, 0.0

    def start(self):
        """Starts the program, at the port that it had before if it had one."""
        with socket.socket(socket.AF_UNIX) as to_qemu:
            # D-Bus compares who has connected with who speaks.
            os.seteuid(self.user)
            until(lambda: to_qemu.connect_ex(str(self.path)) == 0, f"the scripted QEMU {self.number} to listen", START_LIMIT)
            os.seteuid(os.getuid())
            address = self.uri.removeprefix("spice://") if self.uri else "127.0.0.1:0"
            command = [*self.program, "--dbus-p2p-fd", str(to_qemu.fileno()), "--spice-addr", address]
            self.started = time.monotonic()
            with open(self.folder / f"{self.number}.log", "a") as log:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                                pass_fds=[to_qemu.fileno()])

    def ready(self):
        """Takes the line that tells where viewers come; returns the seconds that it took."""
        line = self.process.stdout.readline().decode().strip()
        took = time.monotonic() - self.started
        if not line.startswith("spice://"):
            raise RuntimeError(f"the program of machine {self.number} did not start; see {self.folder}/{self.number}.log")
        self.uri = line
        return took

    def draw(self):
        """The guest's first picture, which has the machine's number in it. A player answers once it is attached."""
        if not self.attached:
            if self.player.line() != "ok":
                raise RuntimeError(f"the player of machine {self.number} does not start")
            self.attached = True
            self.player("film number")
            self.player(f"number {self.number}")

    def pids(self):
        """The program and what it has started."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, text(children).split())
        return found

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.player.stop()


class Fleet:
    """So many machines; all ended behind it."""

    def __init__(self, count, sockets, folder, program, player, font_file):
        self.viewers = None
        self.machines = [Machine(number, player, font_file, sockets, folder, program) for number in range(count)]

    @classmethod
    def of(cls, machines):
        """Some of the machines of another."""
        made = cls.__new__(cls)
        made.machines = machines
        return made

    def listens(self):
        """Whether all scripted QEMUs do, so that their own start is not measured."""
        return all(machine.path.exists() for machine in self.machines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.viewers:
            self.viewers.stop()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(Machine.stop, self.machines))

    def start(self):
        """Starts all programs at once; returns the seconds until each was ready, and until the last one was."""
        began = time.monotonic()
        for machine in self.machines:
            machine.start()
        each, waiting, told = [], {machine.process.stdout.fileno(): machine for machine in self.machines}, select.poll()
        for stream in waiting:
            told.register(stream, select.POLLIN)
        while waiting:
            for stream, _ in told.poll(1000):
                told.unregister(stream)
                each.append(waiting.pop(stream).ready())
            if time.monotonic() - began > START_LIMIT:
                raise RuntimeError(f"{len(waiting)} programs were not ready within {START_LIMIT} s")
        return each, time.monotonic() - began

    def draw(self):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(Machine.draw, self.machines))

    def end(self):
        """SIGTERM to all programs; returns their exit codes, and the seconds until the last one had ended."""
        began = time.monotonic()
        for machine in self.machines:
            machine.process.send_signal(signal.SIGTERM)
        codes = []
        for machine in self.machines:
            codes.append(machine.process.wait(START_LIMIT))
            machine.process.stdout.close()
        return codes, time.monotonic() - began

    def use(self, seconds):
        """What each program uses for so long, and what it has then."""
        before = [counts(machine.pids()) for machine in self.machines]
        began = time.monotonic()
        time.sleep(seconds)
        after, took = [counts(machine.pids()) for machine in self.machines], time.monotonic() - began
        return [{"cpu_ms_s": grown(then[0], now[0]) / 1e6 / took, "wakeups_s": grown(then[1], now[1]) / took,
                 "cpu_ms": sum(now[0].values()) / 1e6, **kept(machine)}
                for machine, then, now in zip(self.machines, before, after)]


def counts(pids):
    """CPU of each process in ns, and the context switches of each of their threads, so far."""
    cpu, switches = {}, {}
    for pid in pids:
        try:
            cpu[pid] = process_cpu_ns(pid)
        except OSError:
            continue  # ended meanwhile
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            switches[status] = sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", text(status))))
    return cpu, switches


def grown(then, now):
    """How much more there is of all; all of those that are new, and nothing of those that have ended."""
    return sum(count - then.get(what, 0) for what, count in now.items())


def text(path):
    """A file of /proc, which is empty if what it tells of has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def kept(machine):
    """Memory in MiB, file descriptors and threads of a machine's program."""
    sizes = {"Pss": 0, "Rss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    pids = machine.pids()
    for pid in pids:
        for name, size in re.findall(r"^(\w+): +(\d+) kB", text(Path(f"/proc/{pid}/smaps_rollup")), re.M):
            if name in sizes:
                sizes[name] += int(size) / 1024
    return {"pss_mib": sizes["Pss"], "rss_mib": sizes["Rss"], "private_mib": sizes["Private_Clean"] + sizes["Private_Dirty"],
            "descriptors": sum(len(list(Path(f"/proc/{pid}/fd").glob("*"))) for pid in pids),
            "threads": sum(len(list(Path(f"/proc/{pid}/task").glob("*"))) for pid in pids)}


class Seen(Viewer):
    """A viewer that takes pixels as they are where `exact`, and reads the number in the guest's picture."""

    def __init__(self, uri, exact):
        self.uri, self.digits = uri, {}
        super().__init__(uri, 0 if exact else DISPLAY_CAPS)

    @property
    def number(self):
        return sum(digit << 4 * place for place, digit in self.digits.items()) if len(self.digits) == 4 else None

    def _display(self, channel, kind, size, at):
        super()._display(channel, kind, size, at)
        if kind != DRAW_COPY:
            return
        body = memoryview(channel.pending)[at:at + size]
        top, left, bottom, right = struct.unpack_from("<4i", body, 4)
        kind, width = struct.unpack_from("<8xBxI", body, IMAGE_AT)
        if kind != BITMAP:
            return
        for place in range(4):
            x, y = PATCH[0] + place % 2 * DIGIT + DIGIT // 2, PATCH[1] + place // 2 * DIGIT + DIGIT // 2
            if left <= x < right and top <= y < bottom:
                # A digit's shade: film_number() has them far apart, seven to the next one, modulo 16.
                shade = body[PIXELS_AT + ((y - top) * width + x - left) * 4]
                self.digits[place] = shade // 16 * 7 % 16


class Viewers:
    """A viewer for each machine, read in a thread of their own."""

    def __init__(self, machines, exact=False):
        self.all, self.broken, self.refused = [], 0, 0
        self.polled, self.owners = select.epoll(), {}
        self.ended = threading.Event()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        began = time.monotonic()
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda machine: self._add(machine.uri, exact), machines))
            until(lambda: sum(viewer.frames > 0 for viewer in self.all) == len(machines), "every viewer to see a picture", PICTURE_LIMIT)
        except BaseException:
            self.stop()
            raise
        self.took = time.monotonic() - began

    def _add(self, uri, exact):
        deadline = time.monotonic() + PICTURE_LIMIT
        while True:
            try:
                viewer = Seen(uri, exact)
                break
            except ConnectionError:
                # A machine with too much to do refuses those that could not be linked in time, and they come again.
                self.refused += 1
                if time.monotonic() > deadline:
                    raise
        self.all.append(viewer)
        for channel in (viewer.main, viewer.display):
            self.owners[channel.socket.fileno()] = (viewer, channel)
            self.polled.register(channel.socket.fileno(), select.EPOLLIN)

    def _read(self):
        while not self.ended.is_set():
            for fd, _ in self.polled.poll(0.2):
                viewer, channel = self.owners[fd]
                try:
                    viewer.bytes += channel.read()
                except OSError:
                    self.broken += 1
                    self.polled.unregister(fd)

    def stop(self):
        if self.ended.is_set():
            return
        self.ended.set()
        self.reader.join()
        for viewer in self.all:
            viewer.main.socket.close()
            viewer.display.socket.close()


def make_player(folder):
    """Compiles the player; returns it and the file of its font."""
    player, font_file = folder / "player", folder / "font"
    font.write(font_file)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "gio-unix-2.0"], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", BENCH / "player.c", BENCH / "player_dbus.c", "-o", player, *flags], check=True)
    return player, font_file


def until(done, what, limit):
    deadline = time.monotonic() + limit
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {limit} s for {what}")
        time.sleep(0.02)
