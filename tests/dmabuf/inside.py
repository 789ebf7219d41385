#!/usr/bin/python3
"""The part of run.py that runs inside scripts/dmabuf-vm."""

import argparse
import shutil
import signal
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import rig  # noqa: E402
import run  # noqa: E402
import scenes  # noqa: E402
from vm import Vm  # noqa: E402

TCP, UNIX = "127.0.0.1:5930", "unix:/run/spice.sock"
LOG = "info,qemu_spice::source::dbus::listener=debug"
# Emulated inside of emulated: everything takes its time. Seconds:
CLIENT_LIMIT = 90
BOOT_LIMIT = 240
STAGE_LIMIT = 90
rig.SHOWN_LIMIT = 60
run.TEST_LIMIT = 500
MEMORY = "512M"
# A guest that moves between emulated processors is slower, and its clock jumps. And it has to keep off the first: up to 11.1
# at least, QEMU's cpu_clear_ignne() changes a word of the first processor's state from the other ones, without a lock, each
# time that they restore FPU registers. If the first is just leaving a guest, that undoes a part of it: from then on it takes
# interrupts where they are forbidden, and the guest or the machine around it dies soon.
GUESTS_PROCESSOR = 1


class GlVm(Vm):
    """A VM whose screens come as dmabufs."""

    def __init__(self, folder, guest, gpu, node, reference, qemu, card):
        self.reference = reference
        options = {"display": f"dbus,gl=on,rendernode={node},p2p=yes"}
        if card:
            options = {"display": "none", "size": None, "extra": ["-chardev", f"socket,id=card,path={card}"]}
        machine = ["-accel", "kvm", "-cpu", "host", "-m", MEMORY, "-machine", "memory-backend=memory",
                   # udmabuf takes pages of memfds only.
                   "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on"]
        super().__init__(folder, guest, qemu=qemu, gpu=scenes.GPUS[gpu], machine=machine, boot_limit=BOOT_LIMIT,
                         processor=GUESTS_PROCESSOR, **options)

    def stage(self, command, limit=STAGE_LIMIT):
        return super().stage(command, limit)

    def screendump(self, path):
        """The resting picture, which is what the guest has to show when this is asked for."""
        shutil.copyfile(self.reference, path)
        return Path(path)


class Stand:
    """A VM, the program attached to it, and its viewers: they outlive a test, as starting them takes long."""

    def __init__(self, rig_of_stand, gpu, qemu):
        rig_of_stand.begin(f"{qemu}-{gpu}")
        self.bus = rig_of_stand.bus()
        # Sockets cannot be on the share.
        folder = Path("/run/vm") / f"{qemu}-{gpu}"
        card = folder / "card.sock" if gpu == "card" else None

        def start(*attach):
            self.server = rig_of_stand.start(*attach, "--spice-addr", TCP, "--spice-addr", UNIX,
                                             "--relay-bus", self.bus.address, env={"RUST_LOG": LOG})
            self.server.ready(scenes.READY_LIMIT)
        if card:
            folder.mkdir(parents=True, exist_ok=True)
            start("--vhost-user-gpu", card)
        self.vm = GlVm(folder, rig_of_stand.settings.guest, gpu, rig_of_stand.node,
                       rig_of_stand.settings.artifacts / "reference.png", rig_of_stand.qemu(qemu), card)
        if card:
            self.vm.stage("mode 1280 720")
        else:
            start("--qmp", self.vm.qmp_path)
        self.far = rig_of_stand.client(self.server.uris[0])
        self.near = rig_of_stand.client(self.server.uris[1], "--dmabufs")
        self.beside = rig_of_stand.dbus_viewer(self.bus)
        self.folder = rig_of_stand.artifacts
        rig_of_stand.own.clear()
        for viewer in self.viewers():
            viewer("wait-picture")

    def viewers(self):
        return self.far, self.near, self.beside

    def signal_viewers(self, how):
        for viewer in self.viewers():
            viewer.process.send_signal(how)

    def stop(self):
        self.signal_viewers(signal.SIGKILL)
        self.server.stop()
        self.bus.stop()
        self.vm.stop()
        for log in self.vm.folder.glob("*.log"):
            shutil.copyfile(log, self.folder / f"vm-{log.name}")
        assert "panicked at" not in self.server.errors(), f"the program panicked; see {self.server.log_path}"


class DmabufRig(rig.Rig):
    """What a test is given besides its stand."""

    def __init__(self, settings, artifacts, node):
        super().__init__(settings, artifacts)
        self.node = node

    def client(self, uri, *options):
        """A scripted spice-gtk client, connecting."""
        client = rig.Client(uri, ["--limit", str(CLIENT_LIMIT), *options], self.fresh("client", ".log"))
        self.own.append(client)
        return client

    def dbus_viewer(self, bus, *options):
        return super().dbus_viewer(bus, "--limit", str(CLIENT_LIMIT), *options)


def render_node():
    """The device of the kernel's vgem driver, on which Mesa renders in software."""
    for node in Path("/sys/class/drm").glob("renderD*"):
        # Which bus it is on differs from one kernel to the next.
        if (node / "device").resolve().name == "vgem":
            return f"/dev/dri/{node.name}"
    raise SystemExit("inside.py: no vgem render node")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--program", required=True)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--tree", action="append", default=[])
    settings = parser.parse_args()
    settings.trees = dict(tree.split("=", 1) for tree in settings.tree)
    settings.against_qemu = False

    tests = DmabufRig(settings, settings.artifacts, render_node())
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    signal.signal(signal.SIGALRM, run.out_of_time)
    for qemu, gpu, wanted in scenes.plan(("qemu", *settings.trees), settings.names):
        for word in run_scenes(tests, qemu, gpu, wanted):
            counts[word] += 1
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    sys.exit(counts["FAIL"] > 0)


def run_scenes(tests, qemu, gpu, wanted):
    """Yields `ok`, `FAIL` or `skip` for each scene with this GPU under this QEMU."""
    stand = None

    def start(_):
        nonlocal stand
        stand = Stand(tests, gpu, qemu)
    began = run.run(tests, f"{qemu}-{gpu}", start, f"dmabuf: {qemu} {gpu}: the VM, qemu-spice and three viewers come up")
    yield began
    if began != "ok":
        return
    for scene, line in wanted:
        told = []

        def test(rig_of_test, scene=scene, told=told):
            told.append(scene(rig_of_test, stand))
        test.__name__ = scene.__name__
        yield run.run(tests, f"{qemu}-{gpu}", test, line)
        if told and told[0]:
            print(textwrap.indent(told[0].rstrip(), " " * 16), flush=True)
    stand.stop()


if __name__ == "__main__":
    main()
