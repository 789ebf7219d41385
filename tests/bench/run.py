#!/usr/bin/python3
"""Measures qemu-spice beside its peers: `run.py [PART…]`, all parts if none is named. Called by scripts/bench."""

import argparse
import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from measure import (PART_FILMS, SCREENS, Bench, Used, arrivals_after, distinct, middle, ninth, place, resident_mib,
                     shown_after, truth)

from card import Cards
from guest import Guests
from pages import Pages
import report

ROUNDS = 5
SECONDS = 1.5  # that one thing is played
CASES = [("motion", 30), ("motion", 10), ("text", 30), ("page", 30), ("drag", 30), ("motion", 0)]
RESTING = [("text", 30), ("motion", 30)]  # cases after which it is seen when the picture is exact
VIEWERS = (1, 4, 16, 64)
AREA_FPS = 20


class Results:
    """Values by what was measured, of whom, in which case: one of each round."""

    def __init__(self):
        self.values = {}

    def add(self, part, who, case, **values):
        for name, value in values.items():
            self.values.setdefault(part, {}).setdefault(who, {}).setdefault(case, {}).setdefault(name, []).append(value)

    def take(self, other):
        """Adds another's values to these."""
        for part, everyone in other.values.items():
            for who, cases in everyone.items():
                for case, named in cases.items():
                    for name, values in named.items():
                        for value in values:
                            self.add(part, who, case, **{name: value})


def case_name(film, fps):
    return f"{film} {fps}" if fps else f"{film} flat out"


def servers(bench):
    found = {"qemu-spice": lambda: bench.ours("dmabuf")}
    if "spice dbus" in bench.players:
        found["libspice-server"] = bench.libspice
    return found


def alternating(things, turn):
    """The same things, each round in another order."""
    names = list(things)
    return names[turn % len(names):] + names[:turn % len(names)]


def path(bench, results, turn):
    """Update to release, to the client's socket and to the decoded pixel; CPU, switches, bytes, likeness."""
    with bench.things():
        for memory in ("dmabuf", "shared"):
            empty = bench.empty_listener(memory)
            empty.show("motion")
            updates, _ = empty.play(1.0, 30)
            results.add("release", "empty listener", memory, release_ms=middle([(out - said) / 1e6 for _, said, out in updates]))
    with bench.things():
        served = bench.ours("shared")
        served.show("motion")
        bench.viewers(served, 1)
        updates, used = served.play(SECONDS, 30)
        results.add("release", "qemu-spice", "shared", release_ms=middle([(out - said) / 1e6 for _, said, out in updates]))
    made = servers(bench) | {report.FULL_COLOUR: lambda: bench.ours("dmabuf", "--video-codec", "h264-444")}
    for who in alternating(made, turn):
        cases = [(film, fps) for film, fps in CASES if fps == 30 or who != report.FULL_COLOUR]
        with bench.things():
            served = made[who]()
            served.show("motion")
            with bench.things():
                viewers = bench.viewers(served, 1)
                for film, fps in cases:
                    counted(bench, results, who, served, viewers, film, fps)
            with bench.things():
                watch = bench.watch(served)
                for film, fps in cases:
                    watched(bench, results, who, served, watch, film, fps)


def counted(bench, results, who, served, viewers, film, fps):
    served.show(film)
    time.sleep(0.3)
    served.player("run 400 33333")
    time.sleep(0.2)
    updates, used = served.play(SECONDS, fps, lambda: viewers("mark"))
    told = viewers("report")
    arrivals = told["arrivals"]
    seconds = (updates[-1][2] - updates[0][1]) / 1e9
    reach = arrivals_after(updates, arrivals)
    waits = [(out - said) / 1e6 for _, said, out in updates]
    # What is copied comes in several messages, and flat out not every update is a frame.
    frames = len(updates) if fps else max(1, len(arrivals))
    results.add("path", who, case_name(film, fps), release_ms=middle(waits), release_90_ms=ninth(waits),
                # Flat out, nothing tells which update a frame is of.
                socket_ms=middle(reach) if fps else None, fps=len(arrivals) / seconds,
                cpu_ms=used["cpu_ms"] / frames, switches=used["switches"] / frames,
                kib=told["bytes"][0] / 1024 / frames, mbit=told["bytes"][0] * 8 / 1e6 / seconds)


def areas(bench, results, turn):
    """Films of which a part moves, and one of them in larger screens."""
    made = {"qemu-spice": lambda screen: bench.ours("shared", player=screen)}
    if "spice dbus" in bench.players:
        made["libspice-server"] = lambda screen: bench.libspice(player=f"spice {screen}")
    for screen in SCREENS:
        for who in alternating(made, turn):
            films = PART_FILMS if screen == "dbus" else ("clip",)
            with bench.things():
                served = made[who](screen)
                served.show(films[0])
                viewer = bench.viewers(served, 1)
                for film in films:
                    counted_area(results, who, served, viewer, film, screen)
            # Another server: a peer's second viewer is black where nothing moves.
            with bench.things():
                served = made[who](screen)
                served.show(films[0])
                watch = bench.watch(served)
                for film in films:
                    watched_area(bench, results, who, served, watch, film, screen)


def counted_area(results, who, served, viewer, film, screen):
    served.show(film)
    # The viewer's first second, and what it takes until motion is known to stay where it is.
    served.player("run 3000 50000")
    updates, used = served.play(SECONDS, AREA_FPS, lambda: viewer("mark"))
    told = viewer("report")
    results.add("areas", who, area_name(film, screen), cpu_ms=used["cpu_ms"] / len(updates),
                kib=told["bytes"][0] / 1024 / len(updates), fps=len(updates) / ((updates[-1][2] - updates[0][1]) / 1e9))


def watched_area(bench, results, who, served, watch, film, screen):
    frames = bench.folder / f"frames-{film}-{screen}"
    served.show(film)
    if not frames.exists():
        served.player(f"frames {frames}")
    watch(place(film))
    watch(truth(frames, film, SCREENS[screen]))
    served.player("run 3000 50000")
    watch("mark")
    updates, _ = served.play(SECONDS, AREA_FPS)
    seen = watch("seen")["seen"]
    shown = distinct(updates, seen) / ((updates[-1][2] - updates[0][1]) / 1e9)
    results.add("areas", who, area_name(film, screen), shown_fps=shown, **watch("quality"))


def area_name(film, screen):
    return film if screen == "dbus" else "{} in {}x{}".format(film, *SCREENS[screen])


def watched(bench, results, who, served, watch, film, fps):
    served.show(film)
    frames = bench.folder / f"frames-{film}"
    if not frames.exists():
        served.player(f"frames {frames}")
    watch(place(film))
    watch(truth(frames, film))
    served.player("run 400 33333")
    watch("mark")
    updates, _ = served.play(SECONDS, fps)
    last = updates[-1]
    # Once is enough of what takes its time where it never comes.
    rest = watch(f"exact {last[0]} 2000") if (film, fps) in RESTING else None
    seen = watch("seen")["seen"]
    times = shown_after(updates, seen)
    seconds = (last[2] - updates[0][1]) / 1e9
    values = {"pixel_ms": middle(times), "pixel_90_ms": ninth(times), "pixel_worst_ms": max(times, default=None), "shown_fps": distinct(updates, seen) / seconds}
    if fps:
        values |= watch("quality")
    if rest:
        values |= {"exact_ms": (rest["ns"] - last[1]) / 1e6 if "ns" in rest else None, "rest_psnr": rest.get("psnr", 99.0)}
    results.add("path", who, case_name(film, fps), **values)


def viewers(bench, results, turn):
    """One encode for many: the CPU for a frame of the guest, with more and more viewers."""
    made = servers(bench)
    for who in alternating(made, turn):
        with bench.things():
            served = made[who]()
            served.show("motion")
            for count in VIEWERS:
                if who != "qemu-spice" and count > 16:
                    continue  # its one encoder for each viewer has long filled the machine
                with bench.things():
                    several = bench.viewers(served, count)
                    served.player("run 600 33333")
                    updates, used = served.play(SECONDS, 30, lambda: several("mark"))
                    frames = several("report")["frames"]
                    seconds = (updates[-1][2] - updates[0][1]) / 1e9
                    results.add("viewers", who, str(count), cpu_ms=used["cpu_ms"] / len(updates), switches=used["switches"] / len(updates),
                                fps_slowest=min(frames) / seconds, release_ms=middle([(out - said) / 1e6 for _, said, out in updates]),
                                resident_mib=resident_mib(served.pid)[0])
                time.sleep(0.3)


def passthrough(bench, results, turn):
    """The guest's own buffer handed on over a unix socket; and what a listener takes that only answers."""
    with bench.things():
        empty = bench.empty_listener()
        empty.show("motion")
        for fps in (60, 0):
            updates, used = empty.play(SECONDS, fps)
            waits = [(out - said) / 1e6 for _, said, out in updates]
            results.add("passthrough", "empty listener", case_name("motion", fps), release_ms=middle(waits),
                        fps=len(updates) / ((updates[-1][2] - updates[0][1]) / 1e9), cpu_ms=used["cpu_ms"] / len(updates),
                        switches=used["switches"] / len(updates))
    made = {"qemu-spice": lambda: bench.ours("dmabuf")}
    if "spice dbus" in bench.players:
        made["libspice-server"] = lambda: bench.libspice(unix=True)
    for who in alternating(made, turn):
        with bench.things():
            served = made[who]()
            served.show("motion")
            taking = bench.viewers(served, 1, dmabufs=True)
            for fps in (60, 0):
                updates, used = served.play(SECONDS, fps, lambda: taking("mark"))
                arrivals = taking("report")["arrivals"]
                reach = arrivals_after(updates, arrivals)
                waits = [(out - said) / 1e6 for _, said, out in updates]
                frames, seconds = max(1, len(arrivals)), (updates[-1][2] - updates[0][1]) / 1e9
                results.add("passthrough", who, case_name("motion", fps), release_ms=middle(waits), socket_ms=middle(reach),
                            fps=len(arrivals) / seconds, cpu_ms=used["cpu_ms"] / frames, switches=used["switches"] / frames)


def idle(bench, results, turn):
    """A guest at rest, and viewers that look at it."""
    made = servers(bench)
    for who in alternating(made, turn):
        with bench.things():
            served = made[who]()
            served.show("still")
            bare = resident_mib(served.pid)
            watching = bench.viewers(served, 4)
            served.show("motion")
            served.player("run 500 33333")
            # The exact picture is sent, after three seconds once more, and after twenty the encoder's memory is given back.
            time.sleep(22)
            watching("mark")
            used = Used(served)
            time.sleep(3.0)
            used = used.since()
            told = watching("report")
            full = resident_mib(served.pid)
            results.add("idle", who, "4 viewers", wakeups_s=used["switches"] / 3, cpu_ms_s=used["cpu_ms"] / 3, bytes_s=sum(told["bytes"]) / 3,
                        resident_mib=full[0], private_mib=full[1], bare_mib=bare[0], bare_private_mib=bare[1])


def allocations(bench, results, turn):
    """What is asked of malloc for an update of the guest."""
    before, counts = bench.counting()
    with bench.things():
        served = bench.ours("dmabuf", before=before)
        served.show("motion")
        for case, count, kind in (("no viewer", 0, {}), ("1 viewer", 1, {}), ("4 viewers", 4, {}), ("passed through", 1, {"dmabufs": True})):
            with bench.things():
                if count:
                    bench.viewers(served, count, **kind)
                served.play(1.0, 30)
                then = counts()
                updates, _ = served.play(2.0, 30)
                calls, size, large = (now - was for now, was in zip(counts(), then))
                results.add("allocations", "qemu-spice", case, calls=calls / len(updates), kib=size / 1024 / len(updates), large=large / len(updates))


def guest(bench, results, turn):
    """The same films, drawn by a guest in QEMU."""
    if not hasattr(bench, "guests"):
        print("      starting three virtual machines …", flush=True)
        bench.guests = Guests(bench)
    for who in alternating(bench.guests.vms, turn):
        bench.guests.measure(who, results)


def pages(bench, results, turn):
    """The same guest on the pages of browsers."""
    if not hasattr(bench, "guests"):
        print("      starting three virtual machines …", flush=True)
        bench.guests = Guests(bench)
    if not hasattr(bench, "pages"):
        bench.pages = Pages(bench, bench.guests)
    for who in alternating(bench.pages.viewers(), turn):
        bench.pages.measure(who, results)


def card(bench, results, turn):
    """The same films, by way of QEMU's display and by way of the guest's own graphics card."""
    if not hasattr(bench, "cards"):
        print("      starting two virtual machines …", flush=True)
        bench.cards = Cards(bench)
    for who in alternating(bench.cards.ways, turn):
        bench.cards.measure(who, results)


PARTS = {"path": path, "areas": areas, "viewers": viewers, "passthrough": passthrough, "idle": idle, "allocations": allocations, "guest": guest, "pages": pages, "card": card}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--program", required=True, type=Path)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--tree", type=Path, help="the tree with the peers")
    parser.add_argument("--execute", help="runs a program with the tree's libraries")
    parser.add_argument("--guest", help="the folder of the test guest")
    parser.add_argument("--novnc", type=Path, help="the folder of noVNC")
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="runs QEMU, with the newest SPICE server there is")
    parser.add_argument("--criterion", type=Path, help="the folder with the results of the micro-benchmarks")
    parser.add_argument("--docs", type=Path, help="where the page of a whole run goes; of parts it goes to --folder")
    parser.add_argument("--command", default="scripts/bench", help="what the page says it was made by")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    settings = parser.parse_args()
    settings.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(settings)
    results = Results()
    parts = settings.parts or list(PARTS)
    failed = 0
    with bench.things():
        number, total = 0, settings.rounds * len(parts)
        for turn in range(settings.rounds):
            for part in parts:
                number += 1
                print(f"[{number}/{total}] {part}, round {turn + 1} of {settings.rounds} …", flush=True)
                this = Results()
                try:
                    with bench.things() if part not in ("guest", "pages", "card") else nullcontext():
                        PARTS[part](bench, this, turn)
                except (RuntimeError, OSError, ValueError, IndexError) as error:
                    # The other rounds are worth having all the same.
                    failed += 1
                    print(f"      left out: {type(error).__name__}: {error}", flush=True)
                    continue
                results.take(this)
                (settings.folder / "results.json").write_text(json.dumps(results.values, indent=1))
    micro = report.micro_results(settings.criterion) if settings.criterion else []
    docs = settings.docs if not settings.parts else settings.folder
    written = report.Report(results.values, report.versions(settings), micro, settings.command, docs)
    print(written.write())
    print(f"\nwritten to {docs}/performance.md" + (f"; {failed} of {total} measurements failed, see {settings.folder}" if failed else ""))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
