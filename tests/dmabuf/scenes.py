"""What viewers see of a guest whose screens are dmabufs, and what the guest feels of them.

Each is given the rig and a stand: a VM, the program attached to it, a client `far` that is connected
over TCP and decodes video, a client `near` on a unix socket that imports dmabufs, and a viewer `beside` of
`org.qemu.Display1` that does so too. A scene may return what it has to tell.
"""

import json
import math
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

STREAMED = 30.0  # dB: how like the guest's picture a decoded one has to be; upside down it is below 10
FLIPS = 150  # per measurement
ROUNDS = 2  # measurements
LATE_AT_MOST = 0.05  # of the flips: a program that has no time is late for some, one that waits for a stuck viewer for all
READY_LIMIT = 90  # seconds


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
    animate(stand, *stand.viewers())
    all_follow(rig, stand)
    rows = json.loads(status(stand, "--json"))[0]["Viewers"]
    told = sorted((row["transport"], row["delivery"]) for row in rows)
    assert told == [("dbus", "Passthrough"), ("tcp", "Encode(h264)"), ("unix", "Passthrough")], rows
    return status(stand)


def as_images(rig, stand):
    """a client that can decode no video sees every pixel exactly"""
    client = rig.client(stand.server.uris[0], "--images-only")
    rig.same_picture(stand.vm, client, at_least=math.inf)


def flips(rig, stand):
    """all follow the guest's flips, without a black frame or a stream begun anew"""
    streams, surfaces = stand.far.streams(), surfaces_of(stand.far)
    animate(stand, *stand.viewers())
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
    """a viewer that is stuck holds the guest no more than none"""
    viewers = dict(zip(("over TCP", "on a unix socket", "over D-Bus"), stand.viewers()))
    for viewer in viewers.values():
        viewer("leave")
    told, holding = "", []
    for place, viewer in viewers.items():
        none = [held_for_flips(stand) for _ in range(ROUNDS)]
        viewer("come-back")
        viewer("wait-picture")
        one = [held_for_flips(stand)]
        # A stopped process is stuck as no other: it reads nothing, answers nothing, and takes no processor time from the guest.
        viewer.process.send_signal(signal.SIGSTOP)
        stand.vm.stage("flips 1")  # it is given what fits into its socket
        stuck = [held_for_flips(stand) for _ in range(ROUNDS)]
        viewer.process.send_signal(signal.SIGCONT)
        viewer("leave")
        told += f"{place}: {words(none)} with no viewer, {words(one)} with one, {words(stuck)} with one that is stuck\n"
        if sum(held.late for held in stuck) > LATE_AT_MOST * sum(held.draws for held in stuck):
            holding.append(place)
        assert min(held.draws for held in none + one + stuck) >= FLIPS, f"not all flips were answered\n{told}"
    assert not holding, f"flips waited for a viewer that is stuck {', '.join(holding)}\n{told}"
    return told


def read_by_the_gpu(rig, stand):
    """a program that may not read buffers with the CPU has the GPU do it"""
    stand.server.stop()
    server = rig.start("--qmp", stand.vm.qmp_path, "--spice-addr", "127.0.0.1:5931", "--read-dmabuf", "gpu")
    server.ready(READY_LIMIT)
    client = rig.client(server.uris[0])
    rig.same_picture(stand.vm, client, at_least=math.inf)
    animate(stand, client, frames=10)
    rig.same_picture(stand.vm, client, at_least=math.inf)


# The last but one has the viewers leave, the last ends the program.
ALL = [over_tcp, over_a_unix_socket, over_dbus, three_at_once, as_images, flips, resolutions, the_text_console, switched_off,
       nothing_is_kept, flip_rate, read_by_the_gpu]


# Those that are about buffers, for the guest whose card is the program. Its text console has the card's own size, and a screen that
# is off has no picture at all.
CARD = [over_tcp, over_a_unix_socket, over_dbus, three_at_once, as_images, flips, resolutions]

# In the lines of those that tell whether it works at all.
BRIEF = [f"qemu blob: {scene.__doc__}" for scene in (over_tcp, over_a_unix_socket, over_dbus, three_at_once)]

GPUS = {
    "blob": "virtio-gpu-pci,blob=true",  # the guest's own memory, as udmabufs
    "virgl": "virtio-gpu-gl-pci",  # textures of virglrenderer, upside down
    # The program is the card, and makes the udmabufs: a device of QEMU 11 that offers the guest all that the program does.
    "card": "vhost-user-test-device-pci,virtio-id=16,num_vqs=2,vq_size=256,config_size=24,chardev=card",
}


def plan(qemus, names):
    """What to run: QEMU's name, the GPU's, and a list of scenes with their lines. With `names`, only those scenes
    in whose line one of them occurs."""
    for qemu in qemus:
        for gpu in GPUS:
            if gpu == "card" and qemu != "qemu11":
                continue
            scenes = CARD if gpu == "card" else ALL
            lines = [(scene, f"dmabuf: {qemu} {gpu}: {scene.__doc__}") for scene in scenes]
            wanted = [(scene, line) for scene, line in lines if not names or any(name in line for name in names)]
            if wanted:
                yield qemu, gpu, wanted


def animate(stand, *viewers, frames=40):
    """Flips that end on the picture, and begin on another one: what a viewer showed before is not taken for their end."""
    stand.vm.stage("fill 804020")
    for viewer in viewers:
        viewer("wait-colour 640 600 804020")
    stand.vm.stage(f"animate {frames} 50")


def all_follow(rig, stand):
    rig.same_picture(stand.vm, stand.far, at_least=STREAMED)
    rig.same_picture(stand.vm, stand.near, at_least=math.inf)
    rig.same_picture(stand.vm, stand.beside, at_least=math.inf)


def status(stand, *options):
    """What `qemu-spice status` says."""
    command = [stand.server.command[0], "status", "--dbus-address", stand.bus.address, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


class Held(NamedTuple):
    """What a guest was held for so many flips and draws, as the program counts it where it answers QEMU."""

    draws: int
    late: int  # those that were held as long as the program ever holds one
    microseconds: int
    rate: float  # flips a second, by the clock: to be read, not to be compared, as the emulation is now faster and now slower


def held_for_flips(stand):
    """Has the guest flip as fast as it goes."""
    before = draws(stand)
    stand.vm.begin(f"flips {FLIPS}")
    stand.vm.until(rb"stage: (flipping|ready)\n", READY_LIMIT)
    began = time.monotonic()
    told = stand.vm.until(rb"stage: (flipped|ready)\n", READY_LIMIT)
    rate = FLIPS / (time.monotonic() - began)
    assert b"flipped" in told, "the guest started anew by itself"
    stand.vm.until(rb"stage: ok\n", READY_LIMIT)
    after = until_settled(lambda: draws(stand))  # up to a hundred still wait in the guest's queue
    return Held(*(now - then for now, then in zip(after, before)), rate)


def draws(stand):
    """How often the guest drew so far, how often it was held to the end, and for how many microseconds in all."""
    console = json.loads(status(stand, "--json"))[0]["Consoles"][0]
    return console["draws"], console["late"], console["held"]


def words(measured):
    """Such as `2 of 502 late, 0.3 ms each (40-41 a second)`."""
    rates = [held.rate for held in measured]
    drawn = sum(held.draws for held in measured)
    each = sum(held.microseconds for held in measured) / 1000 / drawn
    return f"{sum(held.late for held in measured)} of {drawn} late, {each:.2f} ms each ({min(rates):.0f}-{max(rates):.0f} a second)"


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


def times_asked(server):
    """How often it asked QEMU to show a console again."""
    return server.errors().count("QEMU shows the console again")
