#!/usr/bin/python3
"""Tests with real dmabufs: QEMU with `gl=on` in scripts/dmabuf-vm, where they are to be had without a GPU.

`run.py --program PATH --guest FOLDER [--tree qemu11=COMMAND] [--brief] [NAME…]`: with NAMEs only the tests in whose
line one of them occurs, with `--brief` only the few that tell in three minutes whether it works at all. One line is printed for each test, and at the end `N passed, N failed, N skipped`. Exit code 3,
with the reason on the last line, where the virtual machine cannot be had.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import scenes  # noqa: E402
from vm import Vm  # noqa: E402

LIMIT = 3600  # seconds for all tests of one run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--program", type=Path, required=True, help="the qemu-spice to test")
    parser.add_argument("--guest", type=Path, required=True, help="the folder of the guest's kernel and initramfs")
    parser.add_argument("--artifacts", type=Path, default=Path("target/artifacts"))
    parser.add_argument("--tree", action="append", default=[], metavar="NAME=COMMAND", help="another version of QEMU")
    parser.add_argument("--brief", action="store_true", help="only a few tests")
    settings = parser.parse_args()
    if settings.brief:
        settings.names += scenes.BRIEF
    settings.tree = [tree for tree in settings.tree if tree.startswith("qemu11=")]  # older ones are not for GL

    qemus = ["qemu", *(tree.split("=", 1)[0] for tree in settings.tree)]
    if not list(scenes.plan(qemus, settings.names)):
        print("0 passed, 0 failed, 0 skipped")
        return
    artifacts = settings.artifacts.absolute() / "dmabuf"
    shutil.rmtree(artifacts, ignore_errors=True)
    artifacts.mkdir(parents=True)
    print("[1/2] the guest's picture, as QEMU shows it without GL …", flush=True)
    draw_reference(settings.guest, artifacts)
    print("[2/2] the virtual machine with dmabufs …", flush=True)
    inside = [ROOT / "tests/dmabuf/inside.py", "--program", settings.program.absolute(),
              "--guest", settings.guest.absolute(), "--artifacts", artifacts]
    inside += [argument for tree in settings.tree for argument in ("--tree", tree)]
    command = [ROOT / "scripts/dmabuf-vm", "--artifacts", artifacts, "--limit", str(LIMIT), "--",
               "/usr/bin/python3", *inside, *settings.names]
    sys.exit(subprocess.run(command, check=False).returncode)


def draw_reference(guest, artifacts):
    """What the guest draws: from a QEMU whose screen can be dumped, which it cannot with GL."""
    vm = Vm(artifacts / "reference", guest, display="none")
    try:
        vm.screendump(artifacts / "reference.png")
    finally:
        vm.stop()


if __name__ == "__main__":
    main()
