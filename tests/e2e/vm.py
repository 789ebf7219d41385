"""A virtual machine with the test guest: QEMU without a window, its QMP socket, and the stage inside.

`vm.py screendump QMP_SOCKET FILE` writes what a running QEMU shows as a PNG.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BOOT_LIMIT = 120  # seconds; a boot takes about 10 on an idle machine, without KVM
CONNECT_LIMIT = 20  # seconds for a socket to come up
STAGE_LIMIT = 20  # seconds for the stage to answer a command
# What a real processor is the better for an emulated one is the worse: see scripts/dmabuf-vm.
CPU = ("-accel", "tcg", "-cpu", "max,la57=off,erms=off,fsrm=off,smap=off")
EMULATED = (*CPU, "-m", "512")


class Qmp:
    """One QMP connection. Events are skipped."""

    def __init__(self, path, limit=CONNECT_LIMIT, alive=lambda: True):
        self.socket = connect(path, limit, alive)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        message = {"execute": command, "arguments": arguments}
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        for line in self.lines:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError(f"QMP {command}: {answer['error']['desc']}")
        raise ConnectionError("QEMU closed its QMP socket")

    def hmp(self, line):
        return self("human-monitor-command", **{"command-line": line})


class Vm:
    """A running QEMU with the guest in it.

    `display` is QEMU's `-display` argument, `gpu` the device it shows, of `size` if it has such a property, `machine` what
    runs it; `extra` are more arguments, `fds` files that stay open for it. Its processors run on `processor` of this machine alone, if one is named. `folder` holds the
    sockets and logs: `qmp.sock` is left free for the program under test, the rig has its own.
    """

    def __init__(self, folder, guest, qemu="qemu-system-x86_64", display="dbus,p2p=yes", tablet=True,
                 extra=(), stage="picture", size=(1280, 720), env=None, gpu="virtio-gpu-pci", machine=EMULATED,
                 boot_limit=BOOT_LIMIT, processor=None, fds=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.qmp_path = self.folder / "qmp.sock"
        self.size = size
        self.tablet = tablet
        self.stage_text = b""
        devices = ["-device", f"{gpu},xres={size[0]},yres={size[1]}" if size else gpu]
        if tablet:
            devices += ["-device", "virtio-tablet-pci"]
        command = [
            qemu, *machine, "-nodefaults", "-no-user-config", "-nic", "none",
            "-vga", "none", *devices,
            "-kernel", f"{guest}/vmlinux", "-initrd", f"{guest}/initrd",
            "-append", f"console=ttyS0 quiet loglevel=3 no_timer_check mitigations=off stage={stage}",
            "-chardev", f"socket,id=serial,path={self.folder}/serial.sock,server=on,wait=off,"
                        f"logfile={self.folder}/serial.log",
            "-serial", "chardev:serial",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-qmp", f"unix:{self.folder}/rig.sock,server=on,wait=off",
            "-display", display, "-S", *extra,
        ]
        for name in ("qmp.sock", "rig.sock", "serial.sock"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "qemu.command").write_text(" ".join(command) + "\n")
        self.log = open(self.folder / "qemu.log", "w")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(env or {})}, pass_fds=fds)
        try:
            self.qmp = Qmp(self.folder / "rig.sock", boot_limit, self.alive)
            for thread in self.qmp("query-cpus-fast") if processor is not None else ():
                os.sched_setaffinity(thread["thread-id"], {processor})
            self.qmp("cont")
            self.serial = connect(self.folder / "serial.sock")
            self.until(rb"stage: ready", boot_limit)
        except BaseException as error:
            self.stop()
            text = (self.folder / "qemu.log").read_text().strip()
            raise RuntimeError(f"the VM did not come up: {error or type(error).__name__}; QEMU says: {text or 'nothing'}")

    def stage(self, command, limit=STAGE_LIMIT):
        """Has the guest's stage carry out `command`; returns the lines it printed before its answer."""
        self.begin(command)
        text = self.until(rb"stage: (ok|error[^\n]*)\n", limit)
        lines = text.decode(errors="replace").splitlines()
        if lines[-1] != "stage: ok":
            raise RuntimeError(f"in the guest: {lines[-1]}")
        return [line.removeprefix("stage: ") for line in lines[:-1]]

    def begin(self, command):
        """Has the guest's stage carry out `command`, without waiting."""
        self.stage_text = b""
        self.serial.sendall(command.encode() + b"\n")

    def until(self, pattern, limit=STAGE_LIMIT):
        """Waits until what the stage printed since its last command has `pattern`; returns all up to there."""
        deadline = time.monotonic() + limit
        while not (found := re.search(pattern, self.stage_text.replace(b"\r\n", b"\n"))):
            self._read(deadline)
        return self.stage_text.replace(b"\r\n", b"\n")[: found.end()]

    def reset(self):
        """The state in which each test finds a shared VM."""
        for command in ("stop", "events off", f"mode {self.size[0]} {self.size[1]}", "cursor off 0 0", "picture"):
            self.stage(command)
        for lock in re.findall(r"(num|caps|scroll)=1", "".join(self.stage("leds"))):
            self.qmp("send-key", keys=[{"type": "qcode", "data": f"{lock}_lock"}])
        if self.tablet:
            self.absolute_pointer(True)

    def events(self, until, limit=10):
        """Waits until what the guest's input devices sent satisfies `until(events)`; returns the events
        as (device, type, code, value). `stage("events on")` comes first."""
        deadline = time.monotonic() + limit
        while True:
            found = [(name, int(kind), int(code), int(value)) for name, kind, code, value in re.findall(
                r"stage: event (\S+) (\d+) (\d+) (-?\d+)\r?\n", self.stage_text.decode(errors="replace"))]
            if until(found):
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guest got other input events than expected: {found[-40:]}")
            self._read(deadline)

    def screendump(self, path):
        """What QEMU itself says the screen shows, as a PNG."""
        self.qmp("screendump", filename=str(path), format="png")
        return Path(path)

    def absolute_pointer(self, on):
        """Switches between the tablet and the PS/2 mouse, as a guest's drivers coming and going would."""
        for line in self.qmp.hmp("info mice").splitlines():
            found = re.match(r"[ *] Mouse #(\d+): .*?(\(absolute\))?\s*$", line)
            if found and bool(found[2]) == on:
                self.qmp.hmp(f"mouse_set {found[1]}")
                return
        raise RuntimeError(f"no such pointer device: {self.qmp.hmp('info mice')}")

    def processor_thread(self):
        """The thread of QEMU that runs the guest's processor."""
        return self.qmp("query-cpus-fast")[0]["thread-id"]

    def alive(self):
        return self.process.poll() is None

    def stop(self, how=signal.SIGKILL):
        if self.alive():
            self.process.send_signal(how)
            self.process.wait(10)
        self.log.close()

    def _read(self, deadline):
        self.serial.settimeout(min(0.5, max(0.01, deadline - time.monotonic())))
        try:
            data = self.serial.recv(65536)
        except TimeoutError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guest said nothing more than: {self.stage_text[-300:].decode(errors='replace')!r}")
            if not self.alive():
                raise ConnectionError("QEMU ended")
            return
        if not data:
            raise ConnectionError("QEMU closed the guest's serial port")
        self.stage_text += data


def connect(path, limit=CONNECT_LIMIT, alive=lambda: True):
    """Connects to a unix socket, waiting for it to come up as long as its owner is alive."""
    deadline = time.monotonic() + limit
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline or not alive():
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "screendump":
        sys.exit(__doc__)
    Qmp(sys.argv[2])("screendump", filename=os.path.abspath(sys.argv[3]), format="png")
