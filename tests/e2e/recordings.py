"""What `qemu-spice record` and `qemu-spice screenshot` keep of a console; the recordings are decoded by FFmpeg."""

import bisect
import math
import re
import signal
import subprocess
import sys

import av
import numpy
from PIL import Image

import sound
import vhost_user
from metrics import _samples as samples
from rig import ROOT, Process, Skip, eventually

sys.path.insert(0, str(ROOT / "tests" / "bench"))
from clock import number_at  # noqa: E402

PATIENCE = 60  # seconds for a command to end


def beside_a_viewer(rig):
    """a recording beside a viewer is not encoded for itself, has the numbers of its frames in order, and another mode"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    server = rig.serve(vm, "--relay-bus", bus.address, "--metrics-addr", "127.0.0.1:0")
    client = rig.client(server)
    rig.same_picture(vm, client)
    vm.stage("film motion")
    vm.stage("play 100000 50")
    client("sleep 1000")
    recorder, path = _record(rig, bus)
    eventually(lambda: _sent(rig, bus) > 5, "a recording that began", limit=20)
    encoded, sent = samples(server)["qemu_spice_encoded_frames_total"], _sent(rig, bus)
    eventually(lambda: _sent(rig, bus) > sent + 40, "forty frames", limit=40)
    encoded, sent = samples(server)["qemu_spice_encoded_frames_total"] - encoded, _sent(rig, bus) - sent
    assert encoded <= sent + 3, f"{encoded} frames encoded for {sent} that were recorded"
    vm.stage("stop")
    vm.stage("mode 800 600")
    client("wait-size 800 600")
    rig.same_picture(vm, client)
    told = _end(recorder)
    frames = _decode(path)
    film = [number for _, picture, number in frames if picture.shape == (720, 1280, 3)]
    # The guest draws a frame and then its number: what is encoded in between has another one, or none.
    follow = _follow(film)
    assert len(follow) > 20 and len(follow) > len(film) / 3, film
    last = rig.fresh("last", ".png")
    Image.fromarray(frames[-1][1]).save(last)
    rig.same_file(vm, last)
    with av.open(str(path)) as container:
        seconds = container.duration / av.time_base
        assert abs(seconds - frames[-1][0]) < 0.1, (seconds, frames[-1][0])
        container.seek(int(seconds * 0.9 * av.time_base))
        assert next(container.decode(video=0)).key_frame
    assert re.search(rf"{re.escape(str(path))}: 00:\d\d:\d\d, \d+\.\d MB, {len(frames)} pictures$", told), (told, len(frames))
    pipeline = f"filesrc location={path} ! matroskademux ! h264parse ! avdec_h264 ! fakesink sync=false"
    done = subprocess.run(["gst-launch-1.0", "-v", *pipeline.split()], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and "width=(int)800" in done.stdout, (done.stdout[-2000:], done.stderr)
    rig.tell(f"{encoded:.0f} frames encoded for {sent} that were recorded")


def a_screen_that_rests(rig):
    """a recording of a screen that rests lasts as long as it was to, without a viewer"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    rig.serve(vm, "--relay-bus", bus.address)
    recorder, path = _record(rig, bus, "--time", "3s")
    assert recorder.process.wait(PATIENCE) == 0
    frames = _decode(path)
    assert 1 < len(frames) < 10 and 2.9 < frames[-1][0] < 30, [frame[0] for frame in frames]
    last = rig.fresh("last", ".png")
    Image.fromarray(frames[-1][1]).save(last)
    rig.same_file(vm, last)


def killed(rig):
    """a recording plays that was killed, and so does one whose qemu-spice was; the other is told so"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    server = rig.serve(vm, "--relay-bus", bus.address)
    vm.stage("animate 100000 20")
    recorder, path = _record(rig, bus)
    eventually(lambda: _sent(rig, bus) > 20, "twenty frames", limit=20)
    recorder.process.kill()
    eventually(lambda: not _rows(rig, bus), "the end of the recording")
    eventually(lambda: "a recording ended" in server.errors(), "the end of the file")
    frames = _decode(path)
    with av.open(str(path)) as container:
        assert container.duration and len(frames) > 20
    recorder, path = _record(rig, bus)
    eventually(lambda: _sent(rig, bus) > 20, "twenty frames", limit=20)
    server.process.kill()
    assert recorder.process.wait(PATIENCE) == 1
    assert "qemu-spice is gone" in recorder.errors() and str(path) in recorder.errors(), recorder.errors()
    assert len(_decode(path)) > 20


def the_program_ends(rig):
    """a recording is whole whose qemu-spice ends, and the command says so in one line"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    server = rig.serve(vm, "--relay-bus", bus.address)
    recorder, path = _record(rig, bus)
    eventually(lambda: _sent(rig, bus), "a frame", limit=20)
    server.terminate()
    assert recorder.process.wait(PATIENCE) == 1
    assert re.fullmatch(rf"qemu-spice: {path}: qemu-spice ends, after .*\n", recorder.errors()), recorder.errors()
    with av.open(str(path)) as container:
        assert container.duration is not None
    assert _decode(path)


def a_disk_that_is_full(rig):
    """a disk that is full ends a recording in one line, and what is there plays; the viewer does not notice"""
    rig.needs_program()
    folder = rig.fresh("disk", "")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", folder], capture_output=True, text=True)
    if mounted.returncode:
        raise Skip(f"no file system of its own: {mounted.stderr.strip()}")
    try:
        vm, bus = rig.vm(), rig.bus()
        server = rig.serve(vm, "--relay-bus", bus.address)
        client = rig.client(server)
        client("wait-picture")
        vm.stage("film motion")
        vm.stage("play 100000 20")
        recorder, path = _record(rig, bus, path=folder / "vm.mkv")
        assert recorder.process.wait(PATIENCE) == 1
        assert re.fullmatch(rf"qemu-spice: {path}: No space left on device.*, after .*\n", recorder.errors()), recorder.errors()
        frames = _decode(path)
        with av.open(str(path)) as container:
            assert abs(container.duration / av.time_base - frames[-1][0]) < 0.1
        vm.stage("stop")
        vm.stage("picture")
        rig.same_picture(vm, client)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def with_sound(rig):
    """what the guest plays is in the recording, by the one encoder of viewers' sound"""
    vm, bus = sound._vm(rig), rig.bus()
    client = rig.client(rig.serve(vm, "--relay-bus", bus.address), sound=True)
    client("wait-event playback opened")
    recorder, path = _record(rig, bus)
    eventually(lambda: _sent(rig, bus), "a frame", limit=20)
    vm.stage("tone 440 2 48000")
    eventually(lambda: rig.status(bus)["Sound"]["encoded"] > 150, "1.5 seconds of sound", limit=PATIENCE)
    eventually(lambda: not rig.status(bus)["Sound"]["playing"], "the end of the tone", limit=PATIENCE)
    told = rig.status(bus)["Sound"]
    assert told["listeners"] == 2, told
    _end(recorder)
    with av.open(str(path)) as container:
        assert [stream.codec.name for stream in container.streams] == ["h264", "opus"], container.streams
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        blocks = [frame for packet in packets for frame in packet.decode()]
    assert told["encoded"] * 0.9 <= len(packets) <= told["encoded"], (len(packets), told)
    left = numpy.concatenate([block.to_ndarray()[0] for block in blocks]).astype(float)
    middle = left[len(left) // 4:len(left) * 3 // 4]
    spectrum = numpy.abs(numpy.fft.rfft(middle * numpy.hanning(len(middle))))
    pitch = numpy.argmax(spectrum) * 48000 / len(middle)
    assert abs(pitch - 440) < 2, f"{pitch} Hz"
    rig.tell(f"{len(packets)} blocks, {pitch:.0f} Hz")


def refused(rig):
    """what cannot be recorded is said in one line, and no file is left behind nor written over"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    there = rig.fresh("there", ".mkv")
    there.write_text("was there before")
    for words in (["record", there], ["screenshot", there], ["record", rig.fresh("none", ".mkv")]):
        _fails(rig, [*words, "-a", bus.address], "--force" if words[1] == there else "no qemu-spice is named")
    rig.serve(vm, "--relay-bus", bus.address, "--video-codec", "mjpeg")
    for words, reason in ((["--console", "7"], "there is no console 7"), ([], "no encoder of H.264")):
        path = rig.fresh("none", ".mkv")
        _fails(rig, ["record", path, "-a", bus.address, *words], reason)
        assert not path.exists()
    _fails(rig, ["screenshot", rig.fresh("none", ".png"), "-a", bus.address, "--console", "7"], "there is no console 7")
    assert there.read_text() == "was there before"
    done = _run(rig, ["screenshot", there, "-a", bus.address, "--force"])
    assert done.returncode == 0, done.stderr
    rig.same_file(vm, there.rename(there.with_suffix(".png")), at_least=math.inf)


def screenshots(rig):
    """a screenshot is QEMU's own to the pixel, of shared memory and of pixels by value, watched or not"""
    rig.needs_program()
    for name in ("qemu", "qemu72", "qemu11"):
        try:
            vm, bus = rig.vm(name), rig.bus()
        except Skip:
            continue
        server = rig.serve(vm, "--relay-bus", bus.address)
        for width, height in ((1280, 720), (800, 600), (853, 481)):
            vm.stage(f"mode {width} {height}")
            eventually(lambda: rig.status(bus)["Consoles"][0].get("width") == width, f"a width of {width}")
            path = rig.fresh(name, ".png")
            _shot(rig, bus, path)
            rig.same_file(vm, path, at_least=math.inf)
        client = rig.client(server)
        client("wait-picture")
        vm.stage("fill 307050")
        client("wait-colour 100 100 307050")
        done = subprocess.run([rig.settings.program, "screenshot", "-", "-a", bus.address], capture_output=True, timeout=PATIENCE)
        path = rig.fresh(name, ".png")
        path.write_bytes(done.stdout)
        rig.same_file(vm, path, at_least=math.inf)
        rig.told += f"{name}: {rig.status(bus)['Consoles'][0]['memory']}; "


def screenshots_of_our_own_card(rig):
    """… and where qemu-spice is the guest's graphics card, of its memory and of the guest's own (QEMU 11's test device)"""
    reference = rig.vm()
    for number, options in enumerate(({}, {"name": "qemu11", "gpu": vhost_user.TEST_DEVICE, "size": None})):
        bus = rig.bus()
        try:
            vm, _server = vhost_user._start(rig, "--relay-bus", bus.address, folder=f"vm-{number}", **options)
        except Skip:
            continue
        vm.stage("mode 1280 720")
        eventually(lambda: rig.status(bus)["Consoles"][0].get("width") == 1280, "a picture")
        path = rig.fresh(f"card-{number}", ".png")
        _shot(rig, bus, path)
        rig.same_file(reference, path, at_least=math.inf)
        rig.told += f"{rig.status(bus)['Consoles'][0]['memory']}; "


def _record(rig, bus, *words, path=None):
    """Starts a recording; returns its process and its file."""
    path = path or rig.fresh("recorded", ".mkv")
    log = rig.fresh("record", ".log")
    with open(log, "w") as errors:
        process = Process(subprocess.Popen([rig.settings.program, "record", path, "-a", bus.address, *words],
                                           stdin=subprocess.DEVNULL, stderr=errors))
    process.errors = log.read_text
    rig.own.append(process)
    return process, path


def _end(recorder):
    """Ends a recording as Ctrl-C does; returns what it said."""
    recorder.process.send_signal(signal.SIGINT)
    assert recorder.process.wait(PATIENCE) == 0, recorder.errors()
    lines = recorder.errors().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def _rows(rig, bus):
    return [row for row in rig.status(bus)["Viewers"] if row["transport"] == "record"]


def _sent(rig, bus):
    """The pictures that are recorded so far."""
    return sum(row["sent"] for row in _rows(rig, bus))


def _decode(path):
    """Each frame: its time in seconds, its pixels, and its number if it is of the film `motion`."""
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24", src_colorspace="ITU709")
            frames.append((frame.time, pixels, number_at(lambda x, y: int(pixels[y, x, 1]), 0, 0)))
    assert all(before[0] <= after[0] for before, after in zip(frames, frames[1:])), "times go back"
    return frames


def _follow(numbers):
    """The longest part of numbers, not all of them side by side, that grow."""
    ends = []  # of each length, what ends with the smallest number
    for number in numbers:
        at = bisect.bisect_left([end[-1] for end in ends], number)
        ends[at:at + 1] = [[*(ends[at - 1] if at else []), number]]
    return ends[-1] if ends else []


def _run(rig, words):
    return subprocess.run([rig.settings.program, *words], capture_output=True, text=True, timeout=PATIENCE)


def _fails(rig, words, reason):
    done = _run(rig, words)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and reason in done.stderr, done


def _shot(rig, bus, path):
    done = _run(rig, ["screenshot", path, "-a", bus.address])
    assert done.returncode == 0 and not done.stderr and not done.stdout, done
