"""What viewers see of a guest whose screens are dmabufs, and what the guest feels of them.

Each is given the rig and a stand: a VM, the program attached to it, a client `far` that is connected
over TCP and decodes video, and a client `near` on a unix socket that imports dmabufs.
"""

import math
import os
import signal
from pathlib import Path

STREAMED = 30.0  # dB: how like the guest's picture a decoded one has to be; upside down it is below 10
FLIPS = 60  # per measurement
MIN_ROUNDS, MAX_ROUNDS = 3, 8
STUCK_AT_LEAST = 0.95  # of the flip rate without a viewer


def over_tcp(rig, stand):
    """a client over TCP decodes the guest's picture, the right way up"""
    rig.same_picture(stand.vm, stand.far, at_least=STREAMED)
    assert stand.far.streams() > 0, "the client was sent no video stream"


def over_a_unix_socket(rig, stand):
    """a client on a unix socket is given the guest's buffer, and sees every pixel exactly"""
    rig.same_picture(stand.vm, stand.near, at_least=math.inf)
    assert stand.near("stats")["dmabuf_draws"] > 0, "the client was given no buffer"
    assert stand.near.streams() == 0, "the client was sent a video stream"


def as_images(rig, stand):
    """a client that can decode no video sees every pixel exactly"""
    client = rig.client(stand.server.uris[0], "--images-only")
    rig.same_picture(stand.vm, client, at_least=math.inf)


def flips(rig, stand):
    """all follow the guest's flips, without a black frame or a stream begun anew"""
    streams, surfaces = stand.far.streams(), surfaces_of(stand.far)
    stand.vm.stage("animate 40 50")
    both_follow(rig, stand)
    assert stand.far.streams() == streams, f"{stand.far.streams() - streams} new streams in 40 flips"
    assert surfaces_of(stand.far) == surfaces, f"{surfaces_of(stand.far) - surfaces} new surfaces in 40 flips"


def resolutions(rig, stand):
    """all follow the guest's resolution"""
    for size in ("800 600", "1280 720"):
        stand.vm.stage(f"mode {size}")
        for client in (stand.far, stand.near):
            client(f"wait-size {size}")
    both_follow(rig, stand)


def the_text_console(rig, stand):
    """all follow the guest to its text console and back"""
    stand.vm.stage("console")
    for client in (stand.far, stand.near):
        client("wait-colour 1000 600 000000")
    stand.vm.stage("picture")
    both_follow(rig, stand)


def switched_off(rig, stand):
    """a screen that the guest switches off goes black, and comes back"""
    stand.vm.stage("fill 804020")
    for client in (stand.far, stand.near):
        client("wait-colour 640 600 804020")
    stand.vm.stage("off")
    for client in (stand.far, stand.near):
        client("wait-colour 640 600 000000")
    stand.vm.stage("mode 1280 720")
    both_follow(rig, stand)


def nothing_is_kept(rig, stand):
    """the program's open files and memory return to where they were after flips and resolutions"""
    both_follow(rig, stand)
    files, memory = files_of(stand.server), memory_of(stand.server)
    for _ in range(3):
        stand.vm.stage("flips 100")
        stand.vm.stage("mode 640 480")
        stand.vm.stage("mode 1280 720")
    both_follow(rig, stand)
    told = f"files: {files}, then {files_of(stand.server)}; memory: {memory} MiB, then {memory_of(stand.server)} MiB"
    assert files_of(stand.server) <= files + 2 and memory_of(stand.server) <= memory + 16, told
    return told


def flip_rate(rig, stand):
    """a viewer that is stuck slows the guest no more than none"""
    viewers = {"over TCP": (stand.far, stand.server.uris[0], ()),
               "on a unix socket": (stand.near, stand.server.uris[1], ("--dmabufs",))}
    best = {name: 0.0 for name in ("none", "one over TCP", "one on a unix socket", "stuck over TCP", "stuck on a unix socket")}

    def measure(name):
        best[name] = max(best[name], flips_per_second(stand.vm))
    # A stopped process is stuck as no other: it reads nothing, answers nothing, and takes no processor time from the guest.
    stand.stop_clients(signal.SIGSTOP)
    for place, (client, _, _) in viewers.items():
        client.process.send_signal(signal.SIGCONT)
        for _ in range(2):
            measure(f"one {place}")
        client.process.send_signal(signal.SIGSTOP)
    stand.stop_clients(signal.SIGKILL)
    # The best of several rounds: what else this machine does can only make the guest slower.
    for number in range(MAX_ROUNDS):
        measure("none")
        for place, (_, uri, options) in viewers.items():
            client = rig.client(uri, *options)
            client("wait-picture")
            client.process.send_signal(signal.SIGSTOP)
            flips_per_second(stand.vm)  # what the way to the client takes before it is full
            measure(f"stuck {place}")
            client.stop(signal.SIGKILL)
        ratios = [best[f"stuck {place}"] / best["none"] for place in viewers]
        if number + 1 >= MIN_ROUNDS and min(ratios) >= STUCK_AT_LEAST:
            break
    told = "flips per second by viewer: " + ", ".join(f"{name} {rate:.1f}" for name, rate in best.items())
    assert min(ratios) >= STUCK_AT_LEAST, told
    return told


# The last one ends the clients.
ALL = [over_tcp, over_a_unix_socket, as_images, flips, resolutions, the_text_console, switched_off,
       nothing_is_kept, flip_rate]


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


def both_follow(rig, stand):
    rig.same_picture(stand.vm, stand.far, at_least=STREAMED)
    rig.same_picture(stand.vm, stand.near, at_least=math.inf)


def flips_per_second(vm):
    """How fast the guest flips."""
    words = vm.stage(f"flips {FLIPS}")[-1].split()
    return int(words[1]) * 1000 / max(1, int(words[2]))


def surfaces_of(client):
    """How many screens it was told to make so far."""
    return Path(client.log_path).read_text(errors="replace").count("Create primary canvas")


def files_of(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def memory_of(server):
    """Its own memory in MiB: the guest's buffers that it maps do not count."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("RssAnon:"))
