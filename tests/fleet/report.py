"""Writes what was measured of a fleet: JSON, two plots, and the figures within docs/fleet.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import plot  # noqa: E402
from plot import number  # noqa: E402

BEGIN, END = "<!-- scripts/fleet writes from here -->", "<!-- … to here -->"
STATES = {"no viewer": "at rest, before its first viewer", "one viewer": "at rest, with a viewer since 5 s", "plays": "plays a film, with a viewer",
          "rests beside": "at rest with a viewer, while others play", "long at rest": "at rest with a viewer, for over 20 s"}


def machine(program):
    """What it was measured on."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
    return {"cpus": os.cpu_count(), "processor": model[1] if model else "unknown", "kernel": os.uname().release.split("-")[0],
            "version": version[-1] if version else "unknown", "load before": os.getloadavg()[0]}


def write(results, folder):
    """Into a folder: fleet.json, the plots, and the figures of fleet.md if that is there."""
    (folder / "fleet.json").write_text(json.dumps(rounded(results), indent=1, ensure_ascii=False) + "\n")
    counts = list(results["counts"])
    point = lambda value: {"median": value, "low": value, "high": value}  # noqa: E731
    names = {"no viewer": "no viewer", "one viewer": "a viewer each"}
    memory = {name: {count: point(results["counts"][count]["states"][state]["pss_mib"]["sum"] / 1024) for count in counts}
              for state, name in names.items()}
    plot.lines(folder / "fleet-memory.svg", "Memory of all programs, machines at rest", "GiB (PSS)", counts, list(names.values()), memory, "machines")
    steps = {"start": "all are ready", "pictures": "all viewers have a picture"}
    times = {name: {count: point(results["counts"][count]["took_s"][step]) for count in counts} for step, name in steps.items()}
    plot.lines(folder / "fleet-start.svg", "All at once", "seconds until the last one", counts, list(steps.values()), times, "machines")
    page = folder / "fleet.md"
    if page.exists():
        before, rest = page.read_text().split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{rest.split(END)[1]}")


def tables(results):
    """The figures as Markdown."""
    most = str(max(map(int, results["counts"])))
    of = results["machine"]
    last = results["counts"][most]
    return "\n\n".join([
        f"qemu-spice {of['version']}, on {of['cpus']} CPUs ({of['processor']}) without a GPU, Linux {of['kernel']}, where the scripted QEMUs and the "
        f"viewers run as well; the load was {of['load before']:.1f} before. {most} machines of 1280x720, a viewer each over TCP; one of twenty plays a "
        "film of which all moves, ten times a second.",
        table(["one program of " + most, "memory (PSS), MiB", "of it private, MiB", "CPU, ms a second", "wake-ups a second", "descriptors", "threads"],
              [[words] + [cell(last["states"][state][key]) for key in ("pss_mib", "private_mib", "cpu_ms_s", "wakeups_s", "descriptors", "threads")]
               for state, words in STATES.items() if state in last["states"]]),
        "Median, with the lowest and the highest program in brackets.",
        table(["machines", "PSS of all, no viewer, MiB", "… a viewer each, MiB", "wake-ups a second of all, no viewer", "… a viewer each",
               "ready alone, s", "all ready, s", "all viewers have a picture, s", "all ended, s", "all ready again, s", "all viewers again, s", "programs that ended badly", "viewers that were refused once"],
              [row(count, values) for count, values in results["counts"].items()]),
        "![Memory of all programs by their number](fleet-memory.svg)",
        "![Time until all have started, and until all viewers have a picture](fleet-start.svg)",
        planned(results, last)])


def row(count, values):
    states, took = values["states"], values["took_s"]
    return [count, *(number(states[state]["pss_mib"]["sum"]) for state in ("no viewer", "one viewer")),
            *(number(states[state]["wakeups_s"]["sum"]) for state in ("no viewer", "one viewer")),
            number(values["start_alone_s"]["median"]),
            *(number(took[step]) for step in ("start", "pictures", "end", "start again", "pictures again")), str(values["failed"]), str(values["refused"])]


def planned(results, last):
    """What a host is planned with."""
    states = last["states"]
    ready, looked_at = (states[state]["cpu_ms"]["median"] for state in ("no viewer", "one viewer"))
    if "plays" not in states:
        return ""
    gib = lambda state: number(states[state]["pss_mib"]["median"] * 100 / 1024)  # noqa: E731
    cost = states["plays"]["cpu_ms_s"]["median"]
    return "\n".join([
        "For each hundred machines of a host, besides what QEMU takes:", "",
        f"- memory: {gib('no viewer')} GiB that nobody looks at, {gib('long at rest')} GiB looked at and at rest, {gib('plays')} GiB "
        "where something moves or a viewer has just come;",
        f"- CPU: nothing at rest; {number(cost / 10)} % of one core for each machine whose whole screen moves ten times a second, "
        f"so that a core does for {int(1000 / cost)} of them;",
        f"- when all start at once: {number(ready / 10)} s of one core until they are ready, {number((looked_at - ready) / 10)} s more until a viewer "
        f"of each has its picture, and with passwords {number(results['password_cpu_ms'] / 10)} s at the lowest priority for keys."])


def cell(value):
    middle, low, high = (number(value[key]) for key in ("median", "low", "high"))
    return middle if low == high else f"{middle} [{low}, {high}]"


def table(header, rows):
    return "\n".join(["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)])


def rounded(value):
    """With no more digits than say something."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return round(value, 3) if isinstance(value, float) else value
