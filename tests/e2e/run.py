#!/usr/bin/python3
"""Runs the end-to-end tests: real QEMU, a real guest, real clients.

`run.py --program PATH --guest FOLDER [NAME…]`: with NAMEs only the tests in whose line one of them occurs.
One line is printed for each test, and at the end `N passed, N failed, N skipped`.
"""

import argparse
import importlib
import os
import signal
import shutil
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rig import Rig, Skip, compare  # noqa: E402

THEMES = ["picture", "video_codecs", "encoder_processes", "areas", "moved", "firmware", "inputs", "resolution", "cursor", "clients", "auth",
          "invitations", "tls", "sasl", "web", "page", "strangers", "systemd", "proxies", "attach", "relay", "network",
          "lifecycle", "metrics", "publish", "recordings", "command_line", "agent", "devices", "qemu_versions", "viewer",
          "smallest_server", "vhost_user", "sound", "sandbox"]
TEST_LIMIT = 150  # seconds for one test


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--program", type=Path, help="the qemu-spice to test")
    parser.add_argument("--guest", required=True, help="the folder of the guest's kernel and initramfs")
    parser.add_argument("--desktop", help="the folder of the guest with a desktop")
    parser.add_argument("--axe", type=Path, help="axe-core's axe.min.js")
    parser.add_argument("--artifacts", type=Path, default=Path("target/artifacts"))
    parser.add_argument("--tree", action="append", default=[], metavar="NAME=COMMAND", help="another version of QEMU")
    parser.add_argument("--against-qemu", action="store_true",
                        help="connect the clients to QEMU's own SPICE server: tells a wrong test from a wrong program")
    settings = parser.parse_args()
    settings.trees = dict(tree.split("=", 1) for tree in settings.tree)
    if not settings.against_qemu and not (settings.program and os.access(settings.program, os.X_OK)):
        parser.error(f"no program to test at {settings.program}")

    artifacts = settings.artifacts.absolute() / "e2e"
    shutil.rmtree(artifacts, ignore_errors=True)
    rig = Rig(settings, artifacts)
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for theme in THEMES:
            for test in tests_of(theme):
                line = f"{theme.replace('_', ' ')}: {title(test)}"
                names = f"{line} {theme}.{test.__name__} {theme.replace('_', '-')}"
                if settings.names and not any(name in names for name in settings.names):
                    continue
                counts[run(rig, theme, test, line)] += 1
    finally:
        rig.close()
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    sys.exit(counts["FAIL"] > 0)


def tests_of(theme):
    """The functions of a theme's file, in its order, whose first line of help says what a user sees."""
    module = importlib.import_module(theme)
    return [value for value in vars(module).values()
            if callable(value) and getattr(value, "__module__", "") == module.__name__ and value.__doc__
            and not value.__name__.startswith("_")]


def title(test):
    return test.__doc__.strip().splitlines()[0].rstrip(".")


def run(rig, theme, test, line):
    began = time.monotonic()
    rig.begin(f"{theme}.{test.__name__}")
    word, told = "ok", ""
    try:
        signal.alarm(TEST_LIMIT)
        try:
            test(rig)
        finally:
            signal.alarm(30)
            rig.end()
        if rig.told:
            told = f" ({rig.told})"
        elif rig.likeness:
            told = f" ({compare.words(min(rig.likeness))})"
    except Skip as reason:
        word, told = "skip", f" ({reason})"
    except Exception as error:
        # A bare `assert` says nothing: its own line does.
        why = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        word, told = "FAIL", f"\n       {type(error).__name__}: {why}\n       its files: {rig.artifacts}"
        rig.artifacts.mkdir(parents=True, exist_ok=True)
        (rig.artifacts / "failure.txt").write_text(traceback.format_exc())
    finally:
        signal.alarm(0)
    print(f"{word:4} {time.monotonic() - began:6.1f} s  {line}{told}", flush=True)
    return word


def out_of_time(*_):
    raise TimeoutError(f"took longer than {TEST_LIMIT} s")


if __name__ == "__main__":
    main()
