"""Servers to measure, viewers to measure them with, and what is counted; all ended behind it."""

import bisect
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "bench"
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "clients"), str(HERE)]

import font  # noqa: E402

PYTHON = "/usr/bin/python3"
SCREENS = {"dbus": (1280, 720), "large": (3840, 2160), "huge": (7680, 4320)}  # of players
READY_LIMIT = 60  # seconds for a server or its viewers to be there; 64 links cost an RSA key each
ANSWER_LIMIT = 60  # seconds for an answer
WARM_UP = 0.4  # seconds that are played before it counts
# The reports that spice-gtk makes of libspice-server's frames, all of them late by their own time stamps, bring that server's
# rate control down to a few frames a second within two seconds: it is measured without them.
WATCHING = {**os.environ, "SPICE_DISABLE_ADAPTIVE_STREAMING": "1"}
FILMS = ("text", "page", "drag", "motion")
PART_FILMS = ("clip", "films", "typing", "scroll", "window")  # those of which a part moves, or moves as a whole
# Of film.h: where the patch is, one rectangle around all that moves, and the parts of that which may be video.
PATCH = {"text": (160, 64), "page": (576, 160), "drag": (544, 320), "motion": (0, 0), "clip": (576, 160),
         "films": (96, 96), "typing": (784, 64), "scroll": (120, 64), "window": (232, 112)}
MOVING = {"text": (160, 64, 960, 592), "page": (576, 160, 640, 360), "drag": (272, 112, 576, 416),
          "motion": (0, 0, 1280, 720), "clip": (576, 160, 400, 200), "films": (96, 96, 1088, 528),
          "typing": (64, 64, 1120, 520), "scroll": (120, 64, 1000, 592), "window": (232, 112, 616, 416)}
VIDEOS = {"films": [(96, 96, 400, 200), (784, 424, 400, 200)], "typing": [(784, 64, 400, 200)]}


def place(film):
    """The command that tells clock.py, watch.py and a page where a film's patch is."""
    return "place {} {}".format(*PATCH[film])


def truth(path, film, screen=(1280, 720)):
    """The command that tells watch.py of a film as it should be."""
    parts = [MOVING[film], *VIDEOS.get(film, [MOVING[film]])]
    return " ".join(map(str, ("truth", path, *screen, *(number for part in parts for number in part))))


class Talk:
    """A program that answers lines with lines, in a process of its own."""

    def __init__(self, command, log, **options):
        self.command = list(map(str, command))
        self.log = open(log, "w")
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, **options)
        self.pid = self.process.pid

    def line(self, limit=ANSWER_LIMIT):
        watchdog = threading.Timer(limit, self.process.kill)
        watchdog.start()
        text = self.process.stdout.readline().strip()
        watchdog.cancel()
        if not text:
            raise RuntimeError(f"{Path(self.command[0]).name} … ended or hung ({' '.join(self.command[-3:])}); see {self.log.name}")
        return text

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def __call__(self, line):
        self.say(line)
        return json.loads(self.line())

    def stop(self):
        for end in (self.process.stdin, self.process.stdout):
            try:
                end.close()
            except BrokenPipeError:
                pass
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Player(Talk):
    """Plays films to a display server; see player.c."""

    def __call__(self, line):
        self.say(line)
        told = []
        while (answer := self.line()) != "ok":
            if answer.startswith("error"):
                raise RuntimeError(f"player: {line}: {answer}")
            told.append(tuple(map(int, answer.split()[1:])))
        return told


class Bench:
    """One run: where things are, and what is running."""

    def __init__(self, settings):
        self.settings = settings
        self.folder = settings.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.running = []
        self.count = 0
        self.font = self.folder / "font"
        font.write(self.font)
        self.players = self._compile()

    def _compile(self):
        """The player for each of the servers that can be had, and in QEMU's place with a large screen, too."""
        players = {}
        flags = lambda *names: subprocess.run(["pkg-config", "--cflags", "--libs", *names], capture_output=True, text=True, check=True).stdout.split()  # noqa: E731
        gcc = ["gcc", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", HERE / "player.c"]
        for screen, (width, height) in SCREENS.items():
            sized = [*gcc, f"-DFILM_WIDTH={width}", f"-DFILM_HEIGHT={height}"]
            players[screen] = self.folder / f"player-{screen}"
            subprocess.run([*sized, HERE / "player_dbus.c", "-o", players[screen], *flags("gio-unix-2.0")], check=True)
            if not self.settings.tree:
                continue
            name = f"spice {screen}"
            players[name] = self.folder / f"player-spice-{screen}"
            lib, include = self.settings.tree / "usr/lib/x86_64-linux-gnu", self.settings.tree / "usr/include"
            # What the tree's libraries need in their turn is found when it runs, with the tree's own linker.
            subprocess.run([*sized, HERE / "player_spice.c", "-o", players[name], "-I", include / "spice-server", "-I",
                            include / "spice-1", *flags("glib-2.0"), lib / "libspice-server.so.1",
                            "-Wl,--unresolved-symbols=ignore-in-shared-libs"], check=True)
        return players

    def counting(self):
        """Words before a command that have its allocations counted, and what gives the counts: allocations, bytes, large ones."""
        library, counts = self.folder / "allocations.so", self.folder / "allocations"
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", HERE / "allocations.c", "-o", library], check=True)
        counts.unlink(missing_ok=True)
        return ("env", f"LD_PRELOAD={library}", f"ALLOCATIONS={counts}"), lambda: struct.unpack("3L", counts.read_bytes())

    def log(self, name):
        self.count += 1
        return self.folder / f"{self.count:03}-{name}.log"

    @contextmanager
    def things(self):
        """Ends behind it what was started within."""
        kept, self.running = self.running, []
        try:
            yield
        finally:
            for thing in reversed(self.running):
                thing.stop()
            self.running = kept

    def start(self, kind, name, command, **options):
        made = kind(command, self.log(name), **options)
        self.running.append(made)
        return made

    # -- servers --

    def ours(self, memory="dmabuf", *options, before=(), player="dbus"):
        """qemu-spice, with a player in QEMU's place. `before` are words of the command before it."""
        player, program = self._dbus_player(lambda fd: [*before, self.settings.program, "--dbus-p2p-fd", fd, "--spice-addr", "127.0.0.1:0",
                                                        "--spice-addr", f"unix:{self.folder}/spice.sock", *options], "qemu-spice", player)
        tcp, unix = program.line(READY_LIMIT), program.line(READY_LIMIT)
        player(f"memory {memory}")
        return Served(player, program.pid, tcp, unix)

    def empty_listener(self, memory="dmabuf"):
        """A listener that answers at once: the floor of every release."""
        player, listener = self._dbus_player(lambda fd: [self.players["dbus"], self.font, fd, "listen"], "listener")
        player(f"memory {memory}")
        return Served(player, listener.pid, None, None)

    def _dbus_player(self, other, name, player="dbus"):
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.set_inheritable(True)
        player = self.start(Player, "player", [self.players[player], self.font, ours.fileno()], pass_fds=[ours.fileno()])
        program = self.start(Talk, name, other(theirs.fileno()), pass_fds=[theirs.fileno()])
        ours.close()
        theirs.close()
        if player.line(READY_LIMIT) != "ok":
            raise RuntimeError("the player does not start")
        return player, program

    def libspice(self, unix=False, player="spice dbus"):
        """libspice-server, with the player in its process as QEMU would be."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        path = self.folder / "libspice.sock"
        path.unlink(missing_ok=True)
        player = self.start(Player, "libspice", [self.settings.execute, self.players[player], self.font, path if unix else port],
                            env={**os.environ, "SPICE_DEBUG_ALLOW_MC": "1"})
        player.line(READY_LIMIT)
        return Served(player, player.pid, f"spice://127.0.0.1:{port}", f"spice+unix://{path}", within=True)

    # -- viewers --

    def viewers(self, served, count, dmabufs=False):
        """So many viewers that count, connected."""
        uri = served.unix if dmabufs else served.tcp
        made = self.start(Talk, "viewers", [PYTHON, HERE / "viewers.py", uri, count, *(["--dmabufs"] if dmabufs else [])])
        # A peer shows nothing to those that come until the guest draws.
        ready = threading.Event()
        thread = threading.Thread(target=lambda: (made.line(READY_LIMIT), ready.set()))
        thread.start()
        while not ready.wait(0.2) and thread.is_alive():
            served.player("show 0")
        thread.join()
        return made

    def watch(self, served):
        """One viewer that decodes and looks."""
        made = self.start(Talk, "watch", [PYTHON, HERE / "watch.py", served.tcp], env=WATCHING)
        ready = threading.Event()
        thread = threading.Thread(target=lambda: (made.line(READY_LIMIT), ready.set()))
        thread.start()
        while not ready.wait(0.2) and thread.is_alive():
            served.player("show 0")
        thread.join()
        return made


class Served:
    """A server with something to show."""

    def __init__(self, player, pid, tcp, unix, within=False):
        self.player = player
        self.pid = pid
        self.tcp = tcp
        self.unix = unix
        self.within = within  # the player is in the server's process
        self.film = None

    def show(self, film):
        if self.film != film:
            self.player(f"film {film}")
            self.film = film

    def play(self, seconds, fps, when_warm=lambda: None):
        """Plays for so long, 0 frames a second being as fast as it goes, and tells of each update: number, said, released;
        and what the server used for it. `when_warm` is called before the first of them."""
        period = round(1e6 / fps) if fps else 0
        self.player(f"run {round(WARM_UP * 1000)} {period}")
        time.sleep(0.1)
        when_warm()
        used = Used(self)
        updates = self.player(f"run {round(seconds * 1000)} {period}")
        # What is still on its way belongs to it.
        time.sleep(0.15)
        return updates, used.since()

    def cpu_ns(self):
        """CPU of the server's process so far, without the player's own thread."""
        total = process_cpu_ns(self.pid)
        if self.within:
            total -= sum(thread_cpu_ns(thread) for thread in threads(self.pid, "commands"))
        return total


class Used:
    """What a server uses from here on."""

    def __init__(self, served):
        self.served = served
        self.cpu, self.switches = served.cpu_ns(), switches(served.pid)

    def since(self):
        return {"cpu_ms": (self.served.cpu_ns() - self.cpu) / 1e6, "switches": switches(self.served.pid) - self.switches}


def process_cpu_ns(pid):
    # The kernel's number of another process's CPU clock, see clock_getcpuclockid(3).
    return time.clock_gettime_ns(~pid << 3 | 2)


def thread_cpu_ns(thread):
    return int(Path(f"/proc/{thread}/schedstat").read_text().split()[0])


def threads(pid, name=None):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            if name is None or (task / "comm").read_text().strip() == name:
                found.append(int(task.name))
        except OSError:
            pass  # ended meanwhile
    return found


def switches(pid):
    """Context switches of a process's threads so far."""
    total = 0
    for thread in threads(pid):
        try:
            lines = Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def resident_mib(pid):
    """(resident, of it private) memory in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Rss"] / 1024, (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1024


def arrivals_after(updates, arrivals):
    """Milliseconds from each update to its frame at a socket: in turn where each has one, else the next that comes."""
    if len(updates) == len(arrivals):
        return [(at - said) / 1e6 for (_, said, *_), at in zip(updates, arrivals)]
    found = []
    for index, (_, said, *_) in enumerate(updates):
        at = bisect.bisect(arrivals, said)
        until = updates[index + 1][1] if index + 1 < len(updates) else float("inf")
        if at < len(arrivals) and arrivals[at] < until:
            found.append((arrivals[at] - said) / 1e6)
    return found


def shown_after(updates, seen):
    """Milliseconds from each update until a viewer shows it or a newer one."""
    found = []
    known = {number for number, *_ in updates}
    seen = [(number, at) for number, at in seen if number in known]
    for number, said, *_ in updates:
        at = next((at for other, at in seen if other >= number and at >= said), None)
        if at is not None:
            found.append((at - said) / 1e6)
    return found


def distinct(updates, seen):
    """How many of the updates a viewer showed."""
    return len({number for number, _ in seen} & {number for number, *_ in updates})


def middle(values):
    return statistics.median(values) if values else None


def ninth(values):
    """What nine of ten are under."""
    return sorted(values)[len(values) * 9 // 10] if values else None
