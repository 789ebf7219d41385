"""What clients see of a guest that is not booted yet: its firmware's screen, which QEMU repaints all the time."""

import math
import time
from pathlib import Path

from rig import SHOWN_LIMIT, Skip
from vm import Qmp

FIRMWARE = Path("/usr/share/ovmf/OVMF.fd")  # of Debian's package `ovmf`
SIZE = (800, 600)  # of its first screen
PROMPT_LIMIT = 90  # seconds until the UEFI shell waits for a command; 15 on an idle machine
QUIET = 4  # seconds in which nothing may be sent: longer than a picture that rests is sent once more
IDLE_BYTES = 2000  # of a connection that only asks now and then whether the other end is there


def the_uefi_shell(rig):
    """the firmware's screen, repainted 33 times a second, becomes exact and then costs nothing"""
    rig.needs_program()
    machine = _Machine(rig)
    bus = rig.bus()
    server = rig.serve(machine, "--relay-bus", bus.address)
    client = rig.client(server)
    client(f"wait-size {SIZE[0]} {SIZE[1]}")
    machine.at_prompt()
    rig.same_picture(machine, client, at_least=math.inf)
    client(f"sleep {QUIET * 1000}")

    before, sent = client("stats"), _sent(rig, bus)
    client(f"sleep {QUIET * 1000}")
    after, still_sent = client("stats"), _sent(rig, bus)
    assert still_sent == sent, f"{still_sent - sent} pictures were sent of a screen that stood still"
    assert after["changes"] == before["changes"], (before, after)
    silence = after["bytes"]["display"] - before["bytes"]["display"]
    assert silence < IDLE_BYTES, f"{silence} bytes were sent of a screen that stood still"

    # A caret that moves on behind each letter: exact at once, in a few hundred bytes; video and the rest after it need thousands.
    for letter in "spice":
        machine.qmp("send-key", keys=[{"type": "qcode", "data": letter}])
        client("sleep 300")
    typed = client("stats")
    rig.same_picture(machine, client, at_least=math.inf)
    assert typed["changes"] > after["changes"], "typed letters were not shown"
    letters = typed["bytes"]["display"] - after["bytes"]["display"]
    assert letters < 5 * 1000, f"{letters} bytes for five letters"
    rig.tell(f"{letters} bytes for five letters")


class _Machine:
    """QEMU with UEFI alone: nothing to boot, so its shell comes."""

    def __init__(self, rig):
        if not FIRMWARE.exists():
            raise Skip(f"no firmware at {FIRMWARE}")
        self.folder = rig.artifacts / "firmware"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.qmp_path = self.folder / "qmp.sock"
        self.process = rig.background([
            rig.qemu("qemu"), "-accel", "tcg", "-m", "256", "-nodefaults", "-no-user-config", "-nic", "none",
            "-vga", "none", "-device", "ramfb", "-bios", FIRMWARE, "-display", "dbus,p2p=yes",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off", "-qmp", f"unix:{self.folder}/rig.sock,server=on,wait=off"])
        self.qmp = Qmp(self.folder / "rig.sock")

    def screendump(self, path):
        """What QEMU itself says the screen shows, as a PNG."""
        self.qmp("screendump", filename=str(path), format="png")
        return Path(path)

    def at_prompt(self):
        """Waits until the screen has stood still for a while: the shell counts the seconds before that."""
        deadline, same_since, before = time.monotonic() + PROMPT_LIMIT, time.monotonic(), None
        while time.monotonic() < same_since + SHOWN_LIMIT or len(before) < 2000:  # a black screen has less
            assert time.monotonic() < deadline, "the UEFI shell did not come"
            time.sleep(0.5)
            now = self.screendump(self.folder / "screen.png").read_bytes()
            if now != before:
                before, same_since = now, time.monotonic()


def _sent(rig, bus):
    viewers = rig.status(bus)["Viewers"]
    assert len(viewers) == 1, viewers
    return viewers[0]["sent"]
