#!/usr/bin/python3
"""Counts what a listener is told of a guest's flips between blob buffers. Runs in scripts/dmabuf-vm."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in ("tests/e2e", "tests/dmabuf"):
    sys.path.insert(0, str(ROOT / folder))

import inside  # noqa: E402
import rig  # noqa: E402
import scenes  # noqa: E402
from vm import Vm  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qemu", required=True)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--flips", type=int, required=True)
    parser.add_argument("--result", type=Path, required=True)
    settings = parser.parse_args()
    bus = rig.Bus(Path("/run/flips"))
    machine = ["-accel", "kvm", "-cpu", "host", "-m", inside.MEMORY, "-machine", "memory-backend=memory",
               "-object", f"memory-backend-memfd,id=memory,size={inside.MEMORY},share=on"]
    vm = Vm(Path("/run/flips/vm"), settings.guest, qemu=settings.qemu, gpu=scenes.GPUS["blob"], machine=machine,
            display=f"dbus,gl=on,rendernode={inside.render_node()},addr={bus.address}", boot_limit=inside.BOOT_LIMIT,
            processor=inside.GUESTS_PROCESSOR)
    viewer = rig.Client(bus.address, ["--name", "org.qemu", "--limit", "90"], Path("/run/flips/viewer.log"), script="dbus_viewer.py")
    viewer("wait-rest 500")
    before = viewer("stats")["calls"]
    vm.stage(f"flips {settings.flips}", inside.STAGE_LIMIT)
    viewer("sleep 1000")
    calls = {name: count - before.get(name, 0) for name, count in viewer("stats")["calls"].items()}
    # The stage flips 100 times before it counts, and once more for its picture.
    settings.result.write_text(json.dumps(calls | {"flips": settings.flips + 101}))
    viewer.stop()
    vm.stop()
    bus.stop()


if __name__ == "__main__":
    main()
