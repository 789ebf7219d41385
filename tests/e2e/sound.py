"""The guest's sound: what it plays, measured in clients, and what they say, measured in the guest."""

import time
from pathlib import Path

import numpy

from invitations import _invite
from rig import Skip, eventually
from vm import Vm

RATE = 48000
CARD = ("-device", "ich9-intel-hda", "-device", "hda-duplex,audiodev=snd", "-trace", "hda_audio_overrun")
WITHOUT_OPUS = {"SPICE_DISABLE_OPUS": "1"}


def a_tone_in_opus(rig):
    """a tone that the guest plays arrives in Opus: its pitch, all of it, without a gap"""
    _tone(rig, _vm(rig), sound=True)


def a_tone_in_raw(rig):
    """… and as raw samples, in a client without Opus"""
    _tone(rig, _vm(rig), sound=True, env=WITHOUT_OPUS)


def tones_of_other_formats(rig):
    """… whatever the format and rate of QEMU's stream"""
    for number, out in enumerate(("out.frequency=48000,out.format=f32", "out.frequency=22050,out.format=u8,out.channels=1",
                                  "out.mixing-engine=off")):
        vm = rig.own_vm(folder=f"vm-{number}", **_with_sound(f"dbus,id=snd,{out}"))
        vm.stage("volume 100")
        _tone(rig, vm, sound=True, noisy="u8" in out)


def a_tone_on_a_bus(rig):
    """… on a bus, too"""
    bus = rig.bus()
    vm = rig.own_vm(**_with_sound(display=f"dbus,addr={bus.address},audiodev=snd"))
    vm.stage("volume 100")
    _tone(rig, vm, attach=["--dbus-address", bus.address], sound=True)


def tones_of_other_qemus(rig):
    """… of other versions of QEMU, too; one that would end of it is not asked for sound but over a bus"""
    vm = rig.own_vm("qemu11", folder="vm-qemu11", **_with_sound())
    vm.stage("volume 100")
    _tone(rig, vm, sound=True)
    vm = rig.own_vm("qemu72", folder="vm-qemu72", **_with_sound())
    server = rig.serve(vm)
    rig.same_picture(vm, rig.client(server))
    assert vm.alive() and "no sound" in server.errors()
    bus = rig.bus()
    vm = rig.own_vm("qemu72", folder="vm-qemu72-bus", **_with_sound(display=f"dbus,addr={bus.address},audiodev=snd"))
    vm.stage("volume 100")
    _tone(rig, vm, attach=["--dbus-address", bus.address], sound=True)


def a_viewer_that_joins_a_tone(rig):
    """a viewer that joins hears what is played"""
    vm = _vm(rig)
    server = rig.serve(vm)
    vm.stage("tone 440 8 48000")
    client = rig.client(server, sound=True)
    client("wait-sound 1000")
    told, pitch = _heard(rig, client)
    assert told["plays"] == ["start"] and abs(pitch - 440) < 1, (told, pitch)


def four_listeners_share_an_encode(rig):
    """four listeners hear the same, of one encode"""
    bus = rig.bus()
    vm = _vm(rig)
    server = rig.serve(vm, "--relay-bus", bus.address)
    clients = [rig.client(server, sound=True) for _ in range(4)]
    for client in clients:
        client("wait-event playback opened")
    eventually(lambda: rig.status(bus)["Sound"]["listeners"] == 4, "four listeners")
    vm.stage("tone 440 2 48000")
    for client in clients:
        client("wait-sound 1900")
    eventually(lambda: not rig.status(bus)["Sound"]["playing"], "the end of the tone")
    sound = rig.status(bus)["Sound"]
    for client in clients:
        told, pitch = _heard(rig, client)
        assert abs(pitch - 440) < 1, pitch
        blocks = told["ms"] / 10
        assert sound["encoded"] - sound["missed"] - 1 <= blocks <= sound["encoded"], (told, sound)
    rig.tell(f"{sound['encoded']} blocks encoded for 4 listeners")


def volume_and_mute(rig):
    """the guest's volume and its mute arrive at the client, and are not in the samples"""
    vm = _vm(rig)
    client = rig.client(rig.serve(vm), sound=True)
    client("wait-event playback opened")
    vm.stage("tone 440 20 48000")
    vm.stage("volume 30")

    def volume():
        client("sleep 50")
        return client("volumes")["playback"]
    quiet = eventually(lambda: (v := volume())["volume"] and 0 < max(v["volume"]) < 65535 and v, "a low volume")
    assert len(quiet["volume"]) == 2 and not quiet["mute"], quiet
    vm.stage("volume 0")
    eventually(lambda: (v := volume())["mute"] or not any(v["volume"]), "no volume")
    vm.stage("volume 100")
    eventually(lambda: (v := volume()) == {"volume": [65535, 65535], "mute": False}, "all of the volume")
    rig.tell(f"record: {client('volumes')['record']}")


def the_picture_and_its_sound(rig):
    """picture and sound of one moment have one time, and the sound's time is that of its samples"""
    vm = _vm(rig)
    listener = rig.listener(rig.serve(vm))
    behind = []
    for colour in ("20c020", "c02020", "2020c0"):
        listener("mark")
        vm.stage(f"clap {colour}")
        listener("video 1")
        listener("stop")
        told = listener("report")
        behind.append(told["sound"][0][0] - told["video"][0][0])
    # What the guest's own drivers and QEMU's mixer take is in it.
    assert all(-50 <= ms <= 400 for ms in behind), behind
    listener("mark")
    vm.stage("tone 440 8 48000")
    listener("stop")
    times = [time for time, _ in listener("report")["sound"]]
    steps = numpy.diff(times)
    assert len(times) > 750 and steps.min() >= 1, (len(times), steps.min())
    drift = times[-1] - times[0] - 10 * (len(times) - 1)
    # A guest that had to pause is later by that.
    assert abs(drift) < 150 or numpy.sum(steps > 30) > 0, f"{drift} ms in {len(times)} blocks: {steps}"
    rig.tell(f"the sound {behind} ms behind the picture, {drift} ms off after {len(times) * 10} ms")


def a_voice_in_opus(rig):
    """what a client says in Opus is what the guest records"""
    _voice(rig)


def a_voice_in_raw(rig):
    """… and as raw samples"""
    _voice(rig, env=WITHOUT_OPUS)


def the_microphone_is_handed_on(rig):
    """the first viewer holds the microphone, and the next has it when it leaves"""
    bus = rig.bus()
    vm = _vm(rig)
    server = rig.serve(vm, "--relay-bus", bus.address)
    holder = lambda: rig.status(bus)["Sound"].get("microphone")  # noqa: E731
    first = rig.client(server, sound=True)
    first("wait-event record opened")
    eventually(lambda: holder() is not None, "a holder")
    one = holder()
    second = rig.client(server, sound=True)
    second("wait-event record opened")
    assert holder() == one
    vm.begin("listen 6 48000")
    first("speak 700 300")
    assert rig.status(bus)["Sound"]["recording"]
    first.stop()
    eventually(lambda: holder() not in (None, one), "another holder")
    two = holder()
    second("speak 700 300")
    vm.until(rb"stage: (ok|error[^\n]*)\n")
    second.stop()
    eventually(lambda: holder() is None, "no holder")
    rig.tell(f"first client {one}, then client {two}")


def who_may_only_look(rig):
    """who is invited to look hears the guest, and gets no microphone"""
    bus = rig.bus()
    vm = _vm(rig)
    file = rig.fresh("password", "")
    file.write_text("open sesame\n")
    server = rig.serve(vm, "--password-file", file, "--relay-bus", bus.address)
    looker = rig.client(server, password=_invite(rig, bus, "--look")[1], sound=True)
    looker("wait-event record opened")
    owner = rig.client(server, password="open sesame", sound=True)
    owner("wait-event record opened")
    vm.begin("listen 3 48000")
    owner("speak 700 300")
    assert looker("stats")["recording"] is None
    vm.until(rb"stage: (ok|error[^\n]*)\n")
    vm.stage("tone 440 1 48000")
    looker("wait-sound 900")


def silence_costs_nothing(rig):
    """while nothing sounds, the program does not wake up, with its sound channels open"""
    vm = _vm(rig)
    server = rig.serve(vm)
    client = rig.client(server, sound=True)
    client("wait-picture")
    client("wait-event record opened")
    vm.stage("tone 440 1 48000")
    client("wait-sound 900")

    def sleeps():
        before = _switches(server)
        time.sleep(2)
        return _switches(server) == before
    eventually(sleeps, "two seconds without a wake-up", limit=60)
    rig.tell(f"{server.memory():.1f} MiB")


def no_sound_card(rig):
    """a guest without a sound card has a picture, and no sound channels"""
    client = rig.client(rig.serve(rig.vm()), sound=True)
    client("wait-picture")
    client("wait-rest 300")
    assert not {"playback", "record"} & set(client("stats")["events"])


def _with_sound(audiodev="dbus,id=snd", display="dbus,p2p=yes,audiodev=snd"):
    return {"display": display, "extra": ("-audiodev", audiodev, *CARD)}


def _vm(rig):
    """A VM with a sound card, for all of these tests."""
    rig.needs_program()
    vm = rig.shared.get("sound")
    if vm is None or not vm.alive():
        folder = rig.root_artifacts / "vm-sound"
        vm = rig.shared["sound"] = Vm(folder, rig.settings.guest, qemu=rig.qemu("qemu"), **_with_sound())
    vm.stage("quiet")
    vm.reset()
    vm.stage("volume 100")
    return vm


def _tone(rig, vm, attach=None, noisy=False, **client):
    bus = rig.bus()
    client = rig.client(rig.serve(vm, "--relay-bus", bus.address, attach=attach), **client)
    client("wait-event playback opened")
    for _ in range(8):
        overruns, client.pieces = _overruns(vm), []
        vm.stage("tone 440 3 48000")
        eventually(lambda: client("sleep 50") is not None and _stopped(rig, client), "the end of the sound", limit=30)
        missed = rig.status(bus)["Sound"]["missed"]
        assert missed == 0, f"{missed} blocks were dropped"
        if _overruns(vm) == overruns:
            break
    else:
        raise Skip("QEMU loses sound itself: this machine is too busy")
    pitch, jump, length = _measure(numpy.concatenate(client.pieces), noisy)
    assert abs(pitch - 440) < 0.5, f"{pitch} Hz"
    assert jump < 0.5, f"a jump of {jump} of the 6.28 of a wave"
    assert 2900 <= length <= 3200, f"{length} ms"
    rig.tell(f"{pitch:.2f} Hz, {length:.0f} ms, jumps below {jump:.2f} of 6.28")


def _overruns(vm):
    """How often QEMU's sound card has thrown away what it had, because QEMU or the guest stood still for 0.1 s."""
    return (vm.folder / "qemu.log").read_text().count("hda_audio_overrun")


def _stopped(rig, client):
    path = rig.fresh("played", ".raw")
    told = client(f"hear {path}")
    client.pieces = [*getattr(client, "pieces", []), _samples(path)]
    return "stop" in told["plays"]


def _heard(rig, client):
    path = rig.fresh("played", ".raw")
    told = client(f"hear {path}")
    return told, _measure(_samples(path))[0]


def _samples(path):
    return numpy.frombuffer(Path(path).read_bytes(), "<i2").reshape(-1, 2)


def _measure(samples, noisy=False, hz=440):
    """The pitch of a tone near `hz`, the largest jump of its phase between two pieces of 10 ms, and its length in ms."""
    left = samples[:, 0].astype(float)
    assert len(left) > RATE // 2, f"{len(left)} frames"
    loud = numpy.flatnonzero(numpy.abs(left) > (0.5 if noisy else 0.2) * numpy.abs(left).max())
    tone = left[loud[0]:loud[-1] + 1]
    # Both ends fade in filters, and in an encoder.
    inner = tone[RATE // 20:len(tone) - RATE // 20]
    turned = inner * numpy.exp(-2j * numpy.pi * hz * numpy.arange(len(inner)) / RATE)
    pieces = turned[:len(turned) // 480 * 480].reshape(-1, 480).mean(axis=1)
    # Without the mirror image at twice the pitch, which a piece of no whole number of waves has a rest of.
    phase = numpy.unwrap(numpy.angle(pieces))
    slope = numpy.polyfit(numpy.arange(len(phase)) * 0.01, phase, 1)[0]
    jumps = numpy.abs(numpy.diff(phase) - slope * 0.01)
    weakest = numpy.abs(pieces).min() / numpy.abs(pieces).max()
    assert weakest > 0.5, f"a piece of 10 ms is {weakest} times as loud as the loudest"
    return hz + slope / 2 / numpy.pi, jumps.max(), len(tone) / RATE * 1000


def _voice(rig, **client):
    vm = _vm(rig)
    client = rig.client(rig.serve(vm), sound=True, **client)
    client("wait-event record opened")
    vm.begin("listen 4 48000")
    client("speak 700 2000")
    text = vm.until(rb"stage: (ok|error[^\n]*)\n").decode()
    found = dict(pair.split("=") for pair in text.split("stage: heard ")[1].split("\n")[0].split())
    hz, loudest, length, silent = (int(found[name]) for name in ("hz", "loudest", "ms", "silent"))
    rig.tell(f"{hz} Hz, {length} ms, {silent} silent pieces within")
    assert abs(hz - 700) <= 5, found
    assert loudest > 1000, found
    # Where QEMU's timer is late, it records less than time passes.
    assert 1500 <= length <= 2300, found


def _switches(server):
    """How often the program's threads have gone to sleep."""
    status = Path(f"/proc/{server.process.pid}/task").glob("*/status")
    lines = [line for path in status for line in path.read_text().splitlines() if "ctxt_switches" in line]
    return sum(int(line.split()[1]) for line in lines)
