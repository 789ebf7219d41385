#!/usr/bin/python3
"""Installs the Debian package where it is for, and runs its units under a real systemd.

`run.py --package DEB --debian SUITE=FOLDER --guest FOLDER [NAME…]`; scripts/debian makes the FOLDER of a suite. With
`--libvirt` serves domains of a real libvirt instead, in the trees of `scripts/debian SUITE libvirt`. With NAMEs only the tests in whose line one of them occurs. One line is printed for each test, and at the end
`N passed, N failed, N skipped`.
"""

import argparse
import shutil
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import domains  # noqa: E402
import tests  # noqa: E402
from machine import why_not  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--program", help="not used: the package has its own")
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--again", type=Path, help="the same package, built another time")
    parser.add_argument("--debian", action="append", default=[], metavar="SUITE=FOLDER")
    parser.add_argument("--libvirt", action="store_true")
    parser.add_argument("--guest", type=Path, required=True, help="the folder of the guest's kernel and initramfs")
    parser.add_argument("--artifacts", type=Path, default=Path("target/artifacts"))
    settings = parser.parse_args()
    settings.artifacts = settings.artifacts.absolute() / ("libvirt" if settings.libvirt else "package")
    shutil.rmtree(settings.artifacts, ignore_errors=True)
    settings.artifacts.mkdir(parents=True)
    if why := why_not():
        print(why)
        sys.exit(3)
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    once, each = ((), domains.TESTS) if settings.libvirt else (tests.ONCE, tests.OF_EACH_DEBIAN)
    for test in once:
        counts[run(test, settings, None)] += 1
    for debian in settings.debian:
        for test in each:
            counts[run(test, settings, debian.split("=", 1))] += 1
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    sys.exit(counts["FAIL"] > 0)


def run(test, settings, debian):
    line = f"{test.__doc__.strip().splitlines()[0].rstrip('.')}" + (f" (Debian {debian[0]})" if debian else "")
    kind = "libvirt" if settings.libvirt else "package"
    if settings.names and not any(name in f"{kind}: {line} systemd {test.__name__}" for name in settings.names):
        return "skip"
    began, word, told = time.monotonic(), "ok", ""
    folder = settings.artifacts / "-".join([test.__name__, *(debian or [])[:1]])
    try:
        if told := test(settings, folder, *map(Path, (debian or [])[1:])) or "":
            told = f" ({told})"
    except tests.Skip as reason:
        word, told = "skip", f" ({reason})"
    except Exception as error:
        why = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        word, told = "FAIL", f"\n       {type(error).__name__}: {why}\n       its files: {folder}"
    print(f"{word:4} {time.monotonic() - began:6.1f} s  {kind}: {line}{told}", flush=True)
    return word


if __name__ == "__main__":
    main()
