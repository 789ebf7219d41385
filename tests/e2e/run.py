#!/usr/bin/python3
"""Runs the end-to-end tests: real QEMU, a real guest, real clients.

`run.py --program PATH --guest FOLDER [NAME…]`: with NAMEs only the tests in whose line one of them occurs.
One line is printed for each test, and at the end `N passed, N failed, N skipped`.

Two themes are tested at a time, as a test mostly waits for one guest to start, but those that measure time, which are
tested alone at the end.
"""

import argparse
import importlib
import multiprocessing
import os
import queue
import signal
import shutil
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rig import Rig, Skip, compare  # noqa: E402

# What takes longest comes first.
THEMES = ["agent", "vhost_user", "devices", "lifecycle", "recordings", "invitations", "sasl", "video_codecs", "attach", "clients",
          "relay", "firmware", "metrics", "proxies", "auth", "moved", "web", "tls", "systemd", "sandbox", "inputs", "resolution",
          "cursor", "command_line", "qemu_versions", "viewer", "smallest_server"]
ALONE = ["picture", "areas", "encoder_processes", "page", "strangers", "network", "publish", "sound"]
AT_A_TIME = min(2, os.cpu_count() or 1)
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
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for themes, at_a_time in ((THEMES, AT_A_TIME), (ALONE, 1)):
        for word, line in results(settings, artifacts, themes, at_a_time):
            print(line, flush=True)
            counts[word] += 1
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    sys.exit(counts["FAIL"] > 0)


def results(settings, artifacts, themes, at_a_time):
    """Tests the themes, some at a time; yields how each test went, and its line, as soon as it has ended."""
    fork = multiprocessing.get_context("fork")
    waiting, ended = fork.Queue(), fork.Queue()
    for theme in themes + [None] * at_a_time:
        waiting.put(theme)
    lanes = [fork.Process(target=lane, args=(settings, artifacts, number, waiting, ended), daemon=True) for number in range(at_a_time)]
    for process in lanes:
        process.start()
    running = at_a_time
    while running:
        try:
            result = ended.get(timeout=5)
        except queue.Empty:
            lost = [process for process in lanes if process.exitcode]
            assert not lost, f"the tests' own process ended: {lost}"
            continue
        if result:
            yield result
        else:
            running -= 1
    for process in lanes:
        process.join()


def lane(settings, artifacts, number, waiting, ended):
    """Tests themes one after the other, as long as some wait."""
    rig = Rig(settings, artifacts, number)
    try:
        while theme := waiting.get():
            for test in tests_of(theme):
                line = f"{theme.replace('_', ' ')}: {title(test)}"
                names = f"{line} {theme}.{test.__name__} {theme.replace('_', '-')}"
                if not settings.names or any(name in names for name in settings.names):
                    ended.put(tried(rig, theme, test, line))
    finally:
        rig.close()
    ended.put(None)


def tests_of(theme):
    """The functions of a theme's file, in its order, whose first line of help says what a user sees."""
    module = importlib.import_module(theme)
    return [value for value in vars(module).values()
            if callable(value) and getattr(value, "__module__", "") == module.__name__ and value.__doc__
            and not value.__name__.startswith("_")]


def title(test):
    return test.__doc__.strip().splitlines()[0].rstrip(".")


def run(rig, theme, test, line):
    """Tests, and prints how it went; returns the first word of that."""
    word, text = tried(rig, theme, test, line)
    print(text, flush=True)
    return word


def tried(rig, theme, test, line):
    """Tests; returns how it went in a word, and in a line."""
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
    return word, f"{word:4} {time.monotonic() - began:6.1f} s  {line}{told}"


def out_of_time(*_):
    raise TimeoutError(f"took longer than {TEST_LIMIT} s")


if __name__ == "__main__":
    main()
