#!/usr/bin/python3
"""Shows for each patch in qemu-patches what QEMU does without it and with it.

`run.py --qemu VERSION=COMMAND… --program PATH --guest FOLDER [NAME…]`: COMMAND runs the patched QEMU and `COMMAND-stock` the one
as it is (`scripts/qemu-patched` makes both). With NAMEs only the tests in whose line one of them occurs. One line is printed for
each test, and at the end `N passed, N failed, N skipped`.
"""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import run  # noqa: E402
from rig import Rig  # noqa: E402

import faults  # noqa: E402

run.TEST_LIMIT = 900  # seconds: the flips boot a machine with dmabufs, and two guests in it


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--qemu", action="append", required=True, metavar="VERSION=COMMAND")
    parser.add_argument("--program", type=Path, required=True, help="the qemu-spice to test")
    parser.add_argument("--guest", required=True, help="the folder of the guest's kernel and initramfs")
    parser.add_argument("--artifacts", type=Path, default=Path("target/artifacts"))
    settings = parser.parse_args()
    settings.against_qemu = False
    settings.trees = {}
    for version, command in (qemu.split("=", 1) for qemu in settings.qemu):
        settings.trees |= {f"{version}-stock": f"{command}-stock", version: command}
        if not os.access(f"{command}-stock", os.X_OK):
            parser.error(f"no QEMU at {command}-stock")

    artifacts = settings.artifacts.absolute() / "patches"
    shutil.rmtree(artifacts, ignore_errors=True)
    rig = Rig(settings, artifacts)
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    signal.signal(signal.SIGALRM, run.out_of_time)
    for version in (qemu.split("=", 1)[0] for qemu in settings.qemu):
        for fault in faults.ALL:
            line = f"patches: {version}: {run.title(fault)}"
            if not settings.names or any(name in line for name in settings.names):
                counts[run.run(rig, f"{version}.{fault.__name__}", shown_by(fault, version), line)] += 1
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    sys.exit(counts["FAIL"] > 0)


def shown_by(fault, version):
    """The test of one fault: QEMU as it is has it, the patched one has not."""
    def test(rig):
        stock, patched = fault(rig, f"{version}-stock"), fault(rig, version)
        rig.tell(f"without: {stock.seen}; with: {patched.seen}")
        assert stock.faulty, f"QEMU as it is has not this fault any more: {stock.seen}"
        assert not patched.faulty, f"still there with the patch: {patched.seen}"
    test.__name__ = "shown"
    return test


if __name__ == "__main__":
    main()
