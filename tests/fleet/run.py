#!/usr/bin/python3
"""Programs by the hundred on one machine: `run.py --program PROGRAM --folder FOLDER [--docs FOLDER]` measures them and
asserts nothing; `run.py --check …` starts ten and asserts what counts can tell. Called by scripts/fleet."""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import report
from machines import Fleet, Viewers, make_player, until

COUNTS = (1, 25, 50, 100, 200)
TO_REST = 5  # seconds after the first picture until all of it has been sent, and looked at once more
TO_REST_LONG = 22  # … until encoders that nobody needs are gone
SECONDS = 3  # that something is measured for
PLAY_SHARE = 20  # one machine of so many plays a film
PLAY_FPS = 10
CHECKED = 10  # programs of the check
REST_LIMIT = 60  # seconds for a program to come to rest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, type=Path)
    parser.add_argument("--folder", required=True, type=Path, help="where logs and results go")
    parser.add_argument("--docs", type=Path, help="where the page is whose numbers are written")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--counts", type=int, nargs="*", default=COUNTS)
    settings = parser.parse_args()
    settings.folder.mkdir(parents=True, exist_ok=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    player = make_player(settings.folder)
    # Sockets' paths are short.
    with tempfile.TemporaryDirectory(prefix="fleet-") as sockets:
        made = lambda count: Fleet(count, Path(sockets), settings.folder, [settings.program], *player)  # noqa: E731
        if settings.check:
            sys.exit(check(made))
        measure(settings, made)


def measure(settings, made):
    began = time.monotonic()
    results = {"machine": report.machine(settings.program), "counts": {}}
    say("[0] one with a password …")
    with made(1) as fleet:
        results["password_cpu_ms"] = with_password(fleet, settings.folder / "password")
    for turn, count in enumerate(settings.counts):
        say(f"[{turn + 1}/{len(settings.counts)}] {count} machine{'s' * (count > 1)}, after {time.monotonic() - began:.0f} s …")
        with made(count) as fleet:
            results["counts"][str(count)] = one_count(fleet, count == max(settings.counts))
        (settings.folder / "fleet.json").write_text(json.dumps(results, indent=1) + "\n")
    say(f"done after {time.monotonic() - began:.0f} s; written to {settings.folder}/fleet.json")
    report.write(results, settings.docs or settings.folder)
    say(report.tables(results))


def one_count(fleet, is_last):
    """All that is measured of one fleet."""
    took = {}
    until(fleet.listens, "the scripted QEMUs to listen", 60)
    alone = lone_start(fleet)
    each, took["start"] = fleet.start()
    fleet.draw()
    say(f"      ready within {took['start']:.2f} s; at rest without viewers …")
    time.sleep(TO_REST)
    without = fleet.use(SECONDS)
    viewers = Viewers(fleet.machines)
    took["pictures"] = viewers.took
    say(f"      all viewers have a picture after {viewers.took:.2f} s; at rest with one viewer each …")
    time.sleep(TO_REST)
    states = {"no viewer": without, "one viewer": fleet.use(SECONDS)}
    if is_last:
        say("      one of twenty plays a film …")
        states |= play(fleet)
        say("      long at rest …")
        time.sleep(TO_REST_LONG)
        states["long at rest"] = fleet.use(SECONDS)
    say("      restart of all …")
    codes, took["end"] = fleet.end()
    refused = viewers.refused
    viewers.stop()
    _, took["start again"] = fleet.start()
    viewers = Viewers(fleet.machines)
    took["pictures again"] = viewers.took
    refused += viewers.refused
    viewers.stop()
    return {"start_alone_s": alone, "start_each_s": summary(each), "took_s": took, "failed": sum(code != 0 for code in codes), "refused": refused,
            "states": {name: {key: summary([use[key] for use in uses]) for key in uses[0]} for name, uses in states.items()}}


def with_password(fleet, file):
    """CPU of a program until it has all of the keys that it makes ahead."""
    file.write_text("a password\n")
    only = fleet.machines[0]
    only.program = [*only.program, "--password-file", file]
    until(fleet.listens, "the scripted QEMU to listen", 60)
    fleet.start()
    fleet.draw()
    until(lambda: fleet.use(1)[0]["cpu_ms_s"] == 0, "the program to come to rest", REST_LIMIT)
    return fleet.use(0.1)[0]["cpu_ms"]


def lone_start(fleet):
    """How long one program takes until it is ready when nothing else starts."""
    only = Fleet.of(fleet.machines[:1])
    times = []
    for _ in range(3):
        each, _ = only.start()
        only.draw()
        only.end()
        times += each
    return summary(times)


def play(fleet):
    """One machine of twenty plays a film of which all moves, the others rest."""
    playing = fleet.machines[::PLAY_SHARE]
    uses = {}
    with ThreadPoolExecutor(len(playing)) as pool:
        list(pool.map(lambda machine: machine.player("film motion"), playing))
        list(pool.map(lambda machine: machine.player("run 500 33333"), playing))
        played = [pool.submit(machine.player, f"run {(SECONDS + 2) * 1000} {1000000 // PLAY_FPS}") for machine in playing]
        time.sleep(1)
        uses = fleet.use(SECONDS)
        for one in played:
            one.result()
    return {"plays": uses[::PLAY_SHARE], "rests beside": [use for place, use in enumerate(uses) if place % PLAY_SHARE]}


def summary(values):
    return {"sum": sum(values), "median": statistics.median(values), "low": min(values), "high": max(values)}


# -- the check --

def check(made):
    """Prints a line for each test and `N passed, N failed, N skipped`; returns the exit code."""
    counts = {"ok": 0, "FAIL": 0}
    with made(CHECKED) as fleet:
        for test in (all_start, everyone_sees_their_own, nobody_wakes_up, all_end, all_come_again):
            began, word, told = time.monotonic(), "ok", ""
            try:
                test(fleet)
            except Exception as error:
                word, told = "FAIL", f"\n       {error or traceback.extract_tb(error.__traceback__)[-1].line}"
            counts[word] += 1
            say(f"{word:4} {time.monotonic() - began:6.1f} s  fleet: {test.__doc__}{told}")
    say(f"{counts['ok']} passed, {counts['FAIL']} failed, 0 skipped")
    return counts["FAIL"] > 0


def all_start(fleet):
    """ten programs start at once beside ten machines"""
    fleet.start()
    fleet.draw()
    assert len({machine.uri for machine in fleet.machines}) == CHECKED


def everyone_sees_their_own(fleet):
    """the viewer of each sees the picture of its own machine, to the pixel"""
    fleet.viewers = Viewers(fleet.machines, exact=True)
    numbers = lambda: {viewer.uri: viewer.number for viewer in fleet.viewers.all}  # noqa: E731
    wanted = {machine.uri: machine.number for machine in fleet.machines}
    until(lambda: numbers() == wanted, f"{wanted}, but see {numbers()}", 20)


def nobody_wakes_up(fleet):
    """at rest none of them wakes up, with its viewer there"""
    until(lambda: all(use["wakeups_s"] == 0 for use in fleet.use(2)), "two seconds without a wake-up of any", REST_LIMIT)
    assert fleet.viewers.broken == 0


def all_end(fleet):
    """SIGTERM ends all of them cleanly, and every viewer is told"""
    codes, _ = fleet.end()
    assert codes == [0] * CHECKED, f"exit codes {codes}"
    until(lambda: fleet.viewers.broken == 2 * CHECKED, "both connections of each viewer to end", 10)
    fleet.viewers.stop()


def all_come_again(fleet):
    """started again beside the same machines, at the same ports, all show the same to viewers that come again"""
    before = [machine.uri for machine in fleet.machines]
    fleet.start()
    assert [machine.uri for machine in fleet.machines] == before
    everyone_sees_their_own(fleet)
    fleet.viewers.stop()
    codes, _ = fleet.end()
    assert codes == [0] * CHECKED, f"exit codes {codes}"


def say(line):
    print(line, flush=True)


if __name__ == "__main__":
    os.environ.pop("NOTIFY_SOCKET", None)
    main()
