"""Encoders in processes of their own: one that crashes or hangs ends no viewer's session."""

import math
import os
import re
import shlex
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

from command_line import PLUGINS
from rig import ROOT, Skip, eventually


def killed(rig):
    """an encoder's process that is killed while there is motion: another goes on within a second, in the same sessions"""
    _in_place_of(rig, lambda encoder: os.kill(encoder, signal.SIGKILL), "SIGKILL")


def aborted(rig):
    """… one that aborts"""
    _in_place_of(rig, lambda encoder: os.kill(encoder, signal.SIGABRT), "SIGABRT")


def all_killed(rig):
    """when the last encoder's process is killed viewers get images, and video again in another mode"""
    vm, server, client = _moving(rig)
    while encoders := _encoders(server):
        for encoder in encoders:
            os.kill(encoder, signal.SIGABRT)
        time.sleep(0.5)
    _goes_on(client)
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)
    vm.stage("mode 800 600")
    vm.stage("animate 100000 20")
    eventually(lambda: _encoders(server), "an encoder for another mode")
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)


def device_that_crashes(rig):
    """a device's encoder that crashes at the tenth picture, without any option: the processor goes on"""
    for how, word in (("abort", "SIGABRT"), ("segv", "SIGSEGV")):
        _device(rig, {"FAILING_AT": "10", "FAILING_HOW": how}, f"its process was ended by {word}")


def device_that_hangs(rig):
    """… one that hangs is ended after two seconds"""
    _device(rig, {"FAILING_AT": "10", "FAILING_HOW": "hang"}, "gives no frame")


def device_that_is_stopped(rig):
    """… and so is one whose process stands still"""
    vm, server, client = _moving(rig, env=_failing(rig, {}), option=())
    (encoder,) = _encoders(server)
    os.kill(encoder, signal.SIGSTOP)
    _next_goes_on(rig, server, client, "vah264enc", "gives no frame")
    eventually(lambda: not Path(f"/proc/{encoder}").exists(), "the end of one that stands still")
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)


def device_that_crashes_when_tried(rig):
    """a device's encoder that crashes when it is tried at the start is told of, and the processor encodes"""
    rig.needs_program()
    env = _failing(rig, {"FAILING_AT": "1", "FAILING_HOW": "segv"})
    told = subprocess.run([rig.settings.program, "probe"], capture_output=True, text=True, timeout=60, env={**os.environ, **env})
    assert told.returncode == 0, told
    assert re.search(r"vah264enc +hardware +- +failed: its process was ended by SIGSEGV\n", told.stdout), told.stdout
    assert re.search(r"x264enc .*is used\n", told.stdout), told.stdout
    vm, server, client = _moving(rig, env=env, option=())
    assert "x264enc" in _started(server)[-1][1], _started(server)
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)


def at_rest(rig):
    """encoders' processes end with what they encode and sleep when it rests, as does the one that starts them"""
    vm, server, client = _moving(rig)
    (encoder,), launcher = _encoders(server), _launcher(server)
    vm.stage("stop")
    client("wait-rest 1000")
    before = [_switches(process) for process in (launcher, encoder)]
    client("sleep 3000")
    after = [_switches(process) for process in (launcher, encoder)]
    assert after == before, f"woken up: {before}, and then {after}"
    rig.tell(f"the one that starts them has {_memory(launcher):.1f} MiB of its own, an encoder's {_memory(encoder):.1f} MiB")
    eventually(lambda: not _encoders(server), "the end of an encoder with nothing to do", limit=25)
    vm.stage("animate 100000 20")
    eventually(lambda: _encoders(server), "another encoder")
    client.stop()
    eventually(lambda: not _encoders(server), "the end of an encoder without viewers")


def none_without_need(rig):
    """where no encoder runs in a process of its own, there is no process besides"""
    vm, server, _ = _moving(rig, option=())
    assert _children(server.process.pid) == [], "processes for an encoder on the processor"
    vm.stage("stop")


def program_killed(rig):
    """when the program itself is killed, nothing of it is left"""
    vm, server, _ = _moving(rig)
    processes = [_launcher(server), *_encoders(server)]
    os.kill(processes[-1], signal.SIGSTOP)  # also one that hangs
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    eventually(lambda: not any(map(_runs, processes)), f"the end of {processes}")
    vm.stage("stop")


def _in_place_of(rig, end, word):
    vm, server, client = _moving(rig)
    (encoder,) = _encoders(server)
    other = rig.client(server)
    other("wait-picture")
    end(encoder)
    _next_goes_on(rig, server, client, "x264enc", f"its process was ended by {word}")
    vm.stage("stop")
    for viewer in (client, other):
        rig.same_picture(vm, viewer, at_least=math.inf)
        assert viewer("stats")["events"]["main"] == ["opened"], "another session"


def _device(rig, how, word):
    vm, server, client = _moving(rig, env=_failing(rig, how), option=())
    _next_goes_on(rig, server, client, "vah264enc", word)
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)
    assert client("stats")["events"]["main"] == ["opened"], "another session"


def _moving(rig, env=None, option=("--encoder-process", "all")):
    """A guest that moves, and a viewer of its video."""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm, *option, "--video-codec", "h264", env={"RUST_LOG": "qemu_spice=debug", **(env or {})})
    client = rig.client(server)
    client("wait-picture")
    vm.stage("animate 100000 20")
    eventually(lambda: client.streams() > 0 and _started(server), "a video stream")
    return vm, server, client


def _next_goes_on(rig, server, client, element, word):
    """An encoder fails, as the program says, and the next starts within a second; viewers get pictures again."""
    failed = eventually(lambda: _failed(server), f"word of {element}'s failure", limit=15)
    assert failed[0][1:] == (element, f"{element}: {word}"), failed
    started = eventually(lambda: [at for at, _ in _started(server) if at > failed[0][0]], "another encoder")
    took = (started[0] - failed[0][0]).total_seconds()
    assert took < 1.0, f"{took:.2f} s until another encoder starts"
    _goes_on(client)
    rig.tell(f"another after {took:.3f} s")


def _goes_on(client):
    before = client("stats")["changes"]
    client("sleep 1000")
    assert client("stats")["changes"] > before + 3, "no pictures"


def _failed(server):
    """When which encoder failed, and why."""
    found = re.findall(r"(\S+) +WARN encoder fails element=\"(\S+)\" .*error=(.*)", _log(server))
    return [(_time(at), element, why) for at, element, why in found]


def _started(server):
    """When which encoder started."""
    return [(_time(at), element) for at, element in re.findall(r"(\S+) +DEBUG encoder starts element=\"(\S+)\"", _log(server))]


def _log(server):
    return Path(server.log_path).read_text(errors="replace")


def _time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _children(parent):
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split() if _runs(int(child))]


def _runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _launcher(server):
    (launcher,) = _children(server.process.pid)
    return launcher


def _encoders(server):
    return _children(_launcher(server))


def _switches(process):
    """How often the threads of a process have been woken up."""
    status = [file.read_text() for file in Path(f"/proc/{process}/task").glob("*/status")]
    return sum(int(count) for text in status for count in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M))


def _memory(process):
    """The memory that a process shares with no other, in MiB."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+)", rollup, re.M)) / 1024


def _failing(rig, how):
    """The environment of a machine with a device whose encoder fails."""
    folder = rig.fresh("failing", "")
    folder.mkdir()
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "gstreamer-video-1.0"], capture_output=True, text=True)
    x264 = PLUGINS / "libgstx264.so"
    if flags.returncode or not x264.exists():
        raise Skip("no x264, or nothing to build a plug-in of GStreamer's with")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", folder / "libgstfailing.so", ROOT / "tests/e2e/failing_encoder.c",
                    *shlex.split(flags.stdout)], check=True)
    return {"GST_PLUGIN_PATH_1_0": str(folder), "GST_REGISTRY_1_0": str(folder / "registry"), "FAILING_X264": str(x264), **how}
