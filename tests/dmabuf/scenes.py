"""What viewers see of a guest whose screens are dmabufs, and what the guest feels of them.

Each is given the rig and a stand: a VM, the program attached to it, a client `far` that is connected
over TCP and decodes video, a client `near` on a unix socket that imports dmabufs, and a viewer `beside` of
`org.qemu.Display1` that does so too. A scene may return what it has to tell.
"""

import itertools
import json
import math
import os
import random
import signal
import statistics
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

STREAMED = 30.0  # dB: how like the guest's picture a decoded one has to be; upside down it is below 10
FLIPS = 150  # per measurement, at least: up to a hundred wait in a queue on their way to QEMU, now more, now fewer
LASTING = 2.5  # seconds a measurement takes, where those take less
PAIRS = 5  # of measurements to compare
READY_LIMIT = 90  # seconds
STUCK_AT_LEAST = 0.95  # of the flip rate without a viewer
STUCK_AS_SEEN = 0.9  # … as the clock has it, of all viewers together


def over_tcp(rig, stand):
    """a client over TCP decodes the guest's picture, the right way up"""
    rig.same_picture(stand.vm, stand.far, at_least=STREAMED)
    assert stand.far.streams() > 0, "the client was sent no video stream"


def over_a_unix_socket(rig, stand):
    """a client on a unix socket is given the guest's buffer, and sees every pixel exactly"""
    rig.same_picture(stand.vm, stand.near, at_least=math.inf)
    assert stand.near("stats")["dmabuf_draws"] > 0, "the client was given no buffer"
    assert stand.near.streams() == 0, "the client was sent a video stream"


def over_dbus(rig, stand):
    """a D-Bus viewer is given the guest's buffer, and sees every pixel exactly"""
    rig.same_picture(stand.vm, stand.beside, at_least=math.inf)
    by = stand.beside("memory")["by"]
    assert by.startswith("ScanoutDMABUF"), f"the viewer was given its picture by {by}"


def three_at_once(rig, stand):
    """`qemu-spice status` tells how each of the three gets the picture"""
    stand.vm.stage("animate 40 50")
    all_follow(rig, stand)
    rows = json.loads(status(rig, stand, "--json"))[0]["Viewers"]
    told = sorted((row["transport"], row["delivery"]) for row in rows)
    assert told == [("dbus", "Passthrough"), ("tcp", "Encode(h264)"), ("unix", "Passthrough")], rows
    return status(rig, stand)


def as_images(rig, stand):
    """a client that can decode no video sees every pixel exactly"""
    client = rig.client(stand.server.uris[0], "--images-only")
    rig.same_picture(stand.vm, client, at_least=math.inf)


def flips(rig, stand):
    """all follow the guest's flips, without a black frame or a stream begun anew"""
    streams, surfaces = stand.far.streams(), surfaces_of(stand.far)
    stand.vm.stage("animate 40 50")
    all_follow(rig, stand)
    assert stand.far.streams() == streams, f"{stand.far.streams() - streams} new streams in 40 flips"
    assert surfaces_of(stand.far) == surfaces, f"{surfaces_of(stand.far) - surfaces} new surfaces in 40 flips"


def resolutions(rig, stand):
    """all follow the guest's resolution"""
    for size in ("800 600", "1280 720"):
        stand.vm.stage(f"mode {size}")
        for viewer in stand.viewers():
            viewer(f"wait-size {size}")
    all_follow(rig, stand)


def the_text_console(rig, stand):
    """all follow the guest to its text console and back"""
    stand.vm.stage("console")
    for viewer in stand.viewers():
        viewer("wait-colour 1000 600 000000")
    stand.vm.stage("picture")
    all_follow(rig, stand)


def switched_off(rig, stand):
    """a screen that the guest switches off goes black, and comes back"""
    stand.vm.stage("fill 804020")
    for viewer in stand.viewers():
        viewer("wait-colour 640 600 804020")
    stand.vm.stage("off")
    for viewer in stand.viewers():
        viewer("wait-colour 640 600 000000")
    stand.vm.stage("mode 1280 720")
    all_follow(rig, stand)


def nothing_is_kept(rig, stand):
    """the program's open files and memory return to where they were after flips and resolutions"""
    def flips_and_resolutions(times):
        for _ in range(times):
            stand.vm.stage("flips 100")
            stand.vm.stage("mode 640 480")
            stand.vm.stage("mode 1280 720")
        all_follow(rig, stand)
        # With a viewer there are as many encoders as its network happens to have made of it.
        for viewer in stand.viewers():
            viewer("leave")
        kept = until_settled(lambda: (stand.server.files(), round(stand.server.memory()), times_asked(stand.server)))
        for viewer in stand.viewers():
            viewer("come-back")
            viewer("wait-picture")
        return kept
    files, memory, asked = flips_and_resolutions(1)
    then_files, then_memory, then_asked = flips_and_resolutions(3)
    told = f"files: {files}, then {then_files}; memory: {memory} MiB, then {then_memory} MiB"
    # QEMU 10.0 keeps a socket for each time that it was asked to show the console again.
    assert then_files <= files + 2 + then_asked - asked and then_memory <= memory + 16, told
    return told


def flip_rate(rig, stand):
    """a viewer that is stuck slows the guest no more than none"""
    viewers = dict(zip(("over TCP", "on a unix socket", "over D-Bus"), stand.viewers()))
    for viewer in viewers.values():
        viewer("leave")
    stand.give_the_guest_its_processor()
    count = max(FLIPS, round(LASTING * steady_flips(stand, FLIPS).rate))
    one, none, stuck = ({place: [] for place in viewers} for _ in range(3))
    for place, viewer in viewers.items():
        viewer("come-back")
        viewer("wait-picture")
        one[place].append(steady_flips(stand, count))
        viewer("leave")
    for _ in range(PAIRS):
        # In another order each time: what comes and goes beside the tests must not always meet the same measurement.
        for place, viewer in random.sample(list(viewers.items()), len(viewers)):
            for is_stuck in random.sample((False, True), 2):
                measured = flips_beside_a_stuck(viewer, stand, count) if is_stuck else steady_flips(stand, count)
                (stuck if is_stuck else none)[place].append(measured)
    ratios = {place: statistics.median(with_it.busy / without.busy for with_it, without in zip(stuck[place], none[place]))
              for place in viewers}
    seen = rate(*stuck.values()) / rate(*none.values())
    told = f"all: stuck/none {seen:.2f} by the clock"
    for place in viewers:
        rates = [" ".join(f"{flips.rate:.0f}" for flips in measured[place]) for measured in (none, one, stuck)]
        busy = [statistics.median(flips.busy for flips in measured[place]) for measured in (none, one, stuck)]
        told += (f"\n{place}: stuck/none {ratios[place]:.2f}, by the clock {rate(stuck[place]) / rate(none[place]):.2f}; "
                 f"QEMU busy {busy[0]:.3f} with no viewer, {busy[1]:.3f} with one, {busy[2]:.3f} with one that is stuck; "
                 f"flips a second {rates[0]}, {rates[1]}, {rates[2]}")
    assert min(ratios.values()) >= STUCK_AT_LEAST and seen >= STUCK_AS_SEEN, told
    return told


def read_by_the_gpu(rig, stand):
    """a program that may not read buffers with the CPU has the GPU do it"""
    stand.server.stop()
    server = rig.start("--qmp", stand.vm.qmp_path, "--spice-addr", "127.0.0.1:5931", "--read-dmabuf", "gpu")
    server.ready(READY_LIMIT)
    client = rig.client(server.uris[0])
    rig.same_picture(stand.vm, client, at_least=math.inf)
    stand.vm.stage("animate 10 50")
    rig.same_picture(stand.vm, client, at_least=math.inf)


# The last but one has the viewers leave, the last ends the program.
ALL = [over_tcp, over_a_unix_socket, over_dbus, three_at_once, as_images, flips, resolutions, the_text_console, switched_off,
       nothing_is_kept, flip_rate, read_by_the_gpu]


# In the lines of those that tell whether it works at all.
BRIEF = [f"qemu blob: {scene.__doc__}" for scene in (over_tcp, over_a_unix_socket, over_dbus, three_at_once)]

GPUS = {
    "blob": "virtio-gpu-pci,blob=true",  # the guest's own memory, as udmabufs
    "virgl": "virtio-gpu-gl-pci",  # textures of virglrenderer, upside down
}


def plan(qemus, names):
    """What to run: QEMU's name, the GPU's, and a list of scenes with their lines. With `names`, only those scenes
    in whose line one of them occurs."""
    for qemu in qemus:
        for gpu in GPUS:
            lines = [(scene, f"dmabuf: {qemu} {gpu}: {scene.__doc__}") for scene in ALL]
            wanted = [(scene, line) for scene, line in lines if not names or any(name in line for name in names)]
            if wanted:
                yield qemu, gpu, wanted


def all_follow(rig, stand):
    rig.same_picture(stand.vm, stand.far, at_least=STREAMED)
    rig.same_picture(stand.vm, stand.near, at_least=math.inf)
    rig.same_picture(stand.vm, stand.beside, at_least=math.inf)


def status(rig, stand, *options):
    """What `qemu-spice status` says."""
    command = [rig.settings.program, "status", "--dbus-address", stand.bus.address, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def steady_flips(stand, count):
    """How fast the guest makes so many flips, once a viewer that has just come, gone or got stuck makes no work any more:
    for each that comes, the program makes the keys for the next ones, which takes a second here."""
    stand.vm.stage("flips 1")
    until_settled(lambda: processor_time(stand.server.process))
    return as_fast_as_it_goes(stand.vm, count)


def flips_beside_a_stuck(viewer, stand, count):
    """… with this viewer stuck meanwhile."""
    viewer("come-back")
    viewer("wait-picture")
    # A stopped process is stuck as no other: it reads nothing, answers nothing, and takes no processor time from the guest.
    viewer.process.send_signal(signal.SIGSTOP)
    flips = steady_flips(stand, count)
    viewer.process.send_signal(signal.SIGCONT)
    viewer("leave")
    return flips


class Flips(NamedTuple):
    """How fast a guest flipped.

    The emulation around it does the same work now faster and now slower, by a fifth for seconds on end, and the rate by
    the clock with it. What QEMU works on a flip is always the same. So how much of the time it works is the rate with the
    emulation's own speed taken out: where something holds the guest, QEMU rests. From one measurement to the next it
    changes by a hundredth or two.
    """

    rate: float  # flips a second, by the clock outside: that of a guest in a guest jumps
    busy: float  # seconds of processor time that QEMU took a second, on both processors


def as_fast_as_it_goes(vm, count):
    """How the guest flips then."""
    vm.begin(f"flips {count}")
    vm.until(rb"stage: (flipping|ready)\n", READY_LIMIT)
    began, worked = time.monotonic(), processor_time(vm.process)
    told = vm.until(rb"stage: (flipped|ready)\n", READY_LIMIT)
    took, worked = time.monotonic() - began, processor_time(vm.process) - worked
    assert b"flipped" in told, "the guest started anew by itself"
    vm.until(rb"stage: ok\n", READY_LIMIT)
    return Flips(count / took, worked / took)


def rate(*measured):
    """The mean of all."""
    return statistics.mean(flips.rate for flips in itertools.chain(*measured))


def surfaces_of(client):
    """How many screens it was told to make so far."""
    return Path(client.log_path).read_text(errors="replace").count("Create primary canvas")


def until_settled(look):
    """What `look` sees once it has seen the same for a second; or at last."""
    seen, since, began = look(), time.monotonic(), time.monotonic()
    while time.monotonic() < min(since + 1.0, began + 20.0):
        time.sleep(0.1)
        if (now := look()) != seen:
            seen, since = now, time.monotonic()
    return seen


def processor_time(process):
    """What it took so far, in seconds, to a hundredth."""
    numbers = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def times_asked(server):
    """How often it asked QEMU to show a console again."""
    return server.errors().count("QEMU shows the console again")
