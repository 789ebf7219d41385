"""The faults of QEMU that qemu-patches is for. Each is given the rig and a QEMU's name, and returns what it saw of that QEMU."""

import json
import math
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import compare
from attach import GPU_BACKEND, SHARED_MEMORY
from gpu_backend import LyingBackend
from rig import ROOT, Skip, eventually, free_port
from vm import Vm

BUSY = 0.5  # of a processor: what an idle main loop never needs, and a spinning one always
WATCHED = 3  # seconds
FLIPS = 100  # twice as many are made


class Seen(NamedTuple):
    faulty: bool
    seen: str


def flips_of_blobs(rig, qemu):
    """a flip between blob buffers is shown, and does not disable the scanout"""
    told = rig.fresh("flips", ".json").absolute()
    inside = ["/usr/bin/python3", ROOT / "tests/patches/flips.py", "--qemu", rig.qemu(qemu), "--guest", Path(rig.settings.guest).absolute(),
              "--flips", str(FLIPS), "--result", told]
    command = [ROOT / "scripts/dmabuf-vm", "--artifacts", told.parent, "--limit", "800", "--", *inside]
    ran = subprocess.run(command, capture_output=True, text=True)
    rig.fresh("dmabuf-vm", ".log").write_text(ran.stdout + ran.stderr)
    if ran.returncode == 3:
        raise Skip(ran.stdout.strip().splitlines()[-1])
    assert ran.returncode == 0, ran.stdout[-500:] + ran.stderr[-500:]
    calls = json.loads(told.read_text())
    shown = calls.get("ScanoutDMABUF", 0) + calls.get("ScanoutDMABUF2", 0)
    disabled = calls.get("Disable", 0)
    return Seen(disabled > 0, f"{shown} scanouts and {disabled} Disable of {calls['flips']} flips")


def listener_without_gl(rig, qemu):
    """a listener that cannot show the console is refused, and the VM lives"""
    bus = rig.bus()
    vm = _vm(rig, qemu, _own_backend(rig).path, bus)
    answer = _register(bus)
    time.sleep(0.5)
    if vm.alive():
        vm.stage("picture")
        return Seen(False, f"{answer!r}, the VM runs")
    return Seen(True, f"QEMU ended with exit code {vm.process.wait()}")


def backend_that_dies(rig, qemu):
    """the end of a vhost-user-gpu backend costs no processor time"""
    backend = _own_backend(rig)
    vm = _vm(rig, qemu, backend.path, rig.bus())
    backend.process.kill()
    backend.process.wait()
    time.sleep(0.5)
    before = _main_loop_time(vm)
    time.sleep(WATCHED)
    share = (_main_loop_time(vm) - before) / WATCHED
    lines = (vm.folder / "qemu.log").read_text(errors="replace").count("\n")
    assert vm.alive(), "QEMU ended"
    return Seen(share > BUSY, f"{share:.0%} of a processor for QEMU's main loop, {lines} lines of errors")


def backend_that_lies(rig, qemu):
    """a vhost-user-gpu backend that updates a scanout it never made does not end QEMU"""
    backend = LyingBackend(rig.fresh("liar", ".sock"))
    rig.own.append(backend)
    vm = _vm(rig, qemu, backend.path, rig.bus(), waits=False)
    eventually(lambda: backend.lied or not vm.alive(), "the guest's driver", 60)
    time.sleep(1)
    if vm.alive():
        vm.qmp("query-status")
        return Seen(False, "the VM runs")
    return Seen(True, f"QEMU ended by signal {-vm.process.wait()}")


def backend_of_pixels(rig, qemu):
    """with dmabuf=off a backend that sends pixels is shown without GL"""
    bus = rig.bus()
    try:
        vm = _vm(rig, qemu, _own_backend(rig).path, bus, options=",dmabuf=off")
    except RuntimeError as error:
        assert "dmabuf' not found" in str(error), error
        return Seen(True, "no such property")
    server = rig.serve(vm, attach=["--dbus-address", bus.address])
    client = rig.client(server, images_only=True)
    client("wait-rest 500")
    shown = rig.fresh("shown", ".png")
    client(f"picture {shown}")
    dumped = shown.with_suffix(".ppm")
    vm.qmp("screendump", filename=str(dumped))
    likeness = compare.psnr(compare.load(dumped), compare.load(shown))
    return Seen(likeness < 99, f"{compare.words(likeness)}")


def backend_of_blobs(rig, qemu):
    """with blob=on the guest's buffers are its own memory, and qemu-spice shows them"""
    path = rig.fresh("card", ".sock")
    server = rig.start("--vhost-user-gpu", path, "--spice-addr", f"127.0.0.1:{free_port()}")
    server.ready()
    try:
        vm = _vm(rig, qemu, path, options=",blob=on")
    except RuntimeError as error:
        assert "blob' not found" in str(error), error
        return Seen(True, "no such property")
    assert "+resource_blob" in "".join(vm.stage("sh dmesg | grep -m 1 resource_blob")), "the guest's driver uses no blobs"
    client = rig.client(server, images_only=True)
    client("wait-picture")
    vm.stage(f"flips {FLIPS}", limit=60)
    likeness = rig.same_picture(rig.vm(), client, at_least=math.inf)
    return Seen(False, f"{FLIPS} flips of blobs, then {compare.words(likeness)}")


ALL = [flips_of_blobs, listener_without_gl, backend_that_dies, backend_that_lies, backend_of_pixels, backend_of_blobs]


def _own_backend(rig):
    """QEMU's own vhost-user GPU."""
    if not os.access(GPU_BACKEND, os.X_OK):
        raise Skip(f"no {GPU_BACKEND}: it is in Debian's qemu-system-gui")
    path = rig.fresh("gpu", ".sock")
    backend = rig.background([GPU_BACKEND, "--socket-path", str(path)])
    backend.path = path
    eventually(path.exists, "the GPU's socket")
    return backend


def _vm(rig, qemu, backend, bus=None, options="", waits=True):
    """A VM whose screen is that of the backend at the path `backend`, on `bus` or shown by nobody else."""
    chardev = ["-chardev", f"socket,id=gpu,path={backend}"]
    display = f"dbus,addr={bus.address}" if bus else "none"
    kind = Vm if waits else UnwatchedVm
    vm = kind(rig.fresh("vm", ""), rig.settings.guest, qemu=rig.qemu(qemu), display=display,
              gpu=f"vhost-user-gpu-pci,chardev=gpu{options}", machine=SHARED_MEMORY, extra=chardev)
    rig.own.append(vm)
    return vm


class UnwatchedVm(Vm):
    """A VM whose guest need not come up."""

    def until(self, *_):
        return b""


def _register(bus):
    """Registers a listener, and tells QEMU's answer in words."""
    viewer = [ROOT / "tests/clients/dbus_viewer.py", "--name", "org.qemu", bus.address, "sleep 100"]
    ran = subprocess.run(["/usr/bin/python3", *viewer], capture_output=True, text=True, timeout=30)
    return ran.stderr.strip().splitlines()[-1].split(": ")[-1].removesuffix(" (36)") if ran.returncode else "registered"


def _main_loop_time(vm):
    """The processor time of QEMU's main thread so far, in seconds."""
    fields = Path(f"/proc/{vm.process.pid}/task/{vm.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
